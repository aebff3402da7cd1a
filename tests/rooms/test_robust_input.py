"""Bringing one's own classifier and inputs: files of every kind, models of every kind, and the two commands."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import call, isolate
from faults import only_our_errors

from thalweg.core.errors import InputError
from thalweg.robust import data
from thalweg.robust.tasks.bring import bring, correct_ones

X = np.linspace(0, 1, 24).reshape(6, 4)
Y = np.arange(6) % 3


# Files


def saved(folder: Path, **arrays) -> Path:
    path = folder / "items.npz"
    np.savez(path, **arrays)
    return path


def test_inputs_are_read_as_they_were_saved(tmp_path):
    for kind in (np.float32, np.float64):
        found = data.read(str(saved(tmp_path, x=X.astype(kind), y=Y.astype(np.uint8), further=np.ones(2))))
        np.testing.assert_array_equal(found.x, X.astype(kind))
        np.testing.assert_array_equal(found.y, Y)
        assert (found.y.dtype, found.lower, found.upper) == (np.int64, 0.0, 1.0)
    assert data.read(str(saved(tmp_path, x=3 * X - 1, y=Y)), lower=-1.0, upper=2.0).upper == 2.0
    assert data.read("digits").x.shape == (400, 8, 8)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x": X}, r"holds \['x'\] but no array 'y': save it with x=\.\.\., y=\.\.\."),
        ({"images": X, "y": Y}, r"holds \['images', 'y'\] but no array 'x'"),
        ({"x": X, "y": Y[:5]}, r"x has shape \(6, 4\) and y \(5,\): they must be \[n, \.\.\.\] and \[n\]"),
        ({"x": X, "y": Y[:, None]}, r"y \(6, 1\)"),
        ({"x": X[:, 0], "y": Y}, r"x has shape \(6,\)"),
        ({"x": X[:0], "y": Y[:0]}, "with n > 0"),
        ({"x": X, "y": Y.astype(float)}, "y must hold class numbers from 0, but its dtype is float64"),
        ({"x": X, "y": Y - 1}, "y must hold class numbers from 0, but .*-1"),
        ({"x": X, "y": np.array(list("abcabc"))}, "y must hold class numbers from 0, but its dtype is <U1"),
        ({"x": (255 * X).astype(np.uint8), "y": Y}, "x holds uint8: divide it into floats between the bounds first"),
        ({"x": 2 * X, "y": Y}, r"x\[3\] leaves \[0\.0, 1\.0\]: state the bounds with --lower and --upper"),
        ({"x": np.where(X > 0.9, np.nan, X), "y": Y}, r"x\[5\] leaves"),
        ({"x": X, "y": np.array([0, 1, 2, None, 1, 2], dtype=object)}, "cannot be read as an .npz file of plain arr"),
    ],
)
def test_unusable_inputs_are_refused_with_their_file(tmp_path, arrays, sentence):
    path = saved(tmp_path, **arrays)
    with pytest.raises(InputError, match=f"^{path}: .*{sentence}"):
        data.read(str(path))


def test_files_of_other_kinds_are_refused(tmp_path):
    np.save(tmp_path / "one.npy", X)
    (tmp_path / "pickled.npz").write_bytes(pickle.dumps({"x": X, "y": Y}))
    (tmp_path / "text.npz").write_text("x,y\n1,2\n")
    for name in ("one.npy", "pickled.npz", "text.npz", "."):
        with pytest.raises(InputError, match=r"cannot be read as an \.npz file of plain arrays"):
            data.read(str(tmp_path / name))
    with pytest.raises(InputError, match=r"nowhere\.npz: there is no such file: pass an .npz file"):
        data.read(str(tmp_path / "nowhere.npz"))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_file_is_read_or_refused_in_one_sentence(tmp_path, save):
    (tmp_path / "damaged").mkdir()
    save(tmp_path / "items.npz", x=X, y=Y)
    refused = only_our_errors(
        lambda path: data.read(str(path)), tmp_path / "items.npz", tmp_path / "damaged", count=60, seed=2
    )
    assert len(refused) > 60
    assert sum(name.startswith("cut") for name in refused) >= 18


# Models

HEADER = "import equinox as eqx\nimport jax\nimport jax.numpy as jnp\n"
WEIGHT = [[1.0, 0.2, -0.5, 0.3], [-0.4, 0.9, 0.1, -0.2], [0.1, -0.6, 0.8, 0.4]]


def model_file(folder: Path, code: str) -> str:
    (folder / "net.py").write_text(HEADER + code)
    return f"{folder / 'net.py'}:model"


FUNCTION = f"def model(x):\n    return jnp.asarray({WEIGHT}) @ x\n"
MODELS = {
    "function": FUNCTION,
    "partial": f"model = jax.tree_util.Partial(jnp.matmul, jnp.asarray({WEIGHT}, jnp.float32))\n",
    "module with an activation": "model = eqx.nn.MLP(4, 3, 8, 1, key=jax.random.key(1), dtype=jnp.float32)\n",
    "inside a class": f"class model:\n    @staticmethod\n    def small(x):\n        return jnp.asarray({WEIGHT}) @ x\n",
}


@pytest.mark.parametrize("kind", MODELS)
def test_any_jax_callable_is_brought(kind, tmp_path, x64):
    name = model_file(tmp_path, MODELS[kind]) + (".small" if "class" in kind else "")
    brought = bring(name)
    assert brought.dtype == jnp.float64
    reads = np.asarray(jax.vmap(brought.model)(jnp.asarray(X)))
    assert (reads.dtype, reads.shape) == (np.float64, (6, 3))
    labels = reads.argmax(1)
    labels[[1, 4]] = (labels[[1, 4]] + 1) % 3
    clean, found, passed_over = correct_ones(brought, data.Classified(X, labels, 0.0, 1.0), 3)
    np.testing.assert_array_equal(clean, X[[0, 2, 3]])
    np.testing.assert_array_equal(found, labels[[0, 2, 3]])
    assert passed_over == 1


BAD_MODELS = [
    ("model = 3\n", "net.py:model is a int, which cannot be called: name a model of one input"),
    ("other = 3\n", "has no attribute 'model'"),
    ("def model(x:\n    return x\n", r"net\.py:4: importing .* failed with SyntaxError"),
    ("1 / 0\nmodel = abs\n", r"net\.py:4: importing .* failed with ZeroDivisionError"),
    ("def model(x):\n    return jnp.ones((3, 5)) @ x\n", r"^the model does not take an input of shape \(4,\): "),
    ("def model(x):\n    assert x.ndim == 3, 'images only'\n    return x\n", r"input of shape \(4,\): images only"),
    ("def model(x):\n    raise RuntimeError\n", r"input of shape \(4,\): RuntimeError"),
    ("def model(x):\n    return x, x\n", r"^the model does not take an input of shape \(4,\)"),
    ("def model(x):\n    return x[None]\n", r"^the model returns shape \(1, 4\) for one input"),
    ("def model(x):\n    return x[:2]\n", r"^the model returns shape \(2,\) for one input, but the labels go up to 2"),
    ("def model(x):\n    return jnp.log(x[:3] - 0.2)\n", "^the model's logits are not finite for input 0: mend"),
    ("def model(x):\n    return -jnp.arange(3.0) - 9 * x[0]\n", "^the model classifies none of the inputs as labelled"),
]


@pytest.mark.parametrize(("code", "sentence"), BAD_MODELS, ids=[sentence for _, sentence in BAD_MODELS])
def test_a_model_that_cannot_be_used_is_refused_in_one_sentence(code, sentence, tmp_path, x64):
    labels = np.full(6, 2)
    with pytest.raises(InputError, match=sentence) as caught:
        correct_ones(bring(model_file(tmp_path, code)), data.Classified(X, labels, 0.0, 1.0), 3)
    assert "\n" not in str(caught.value)


# The commands: the layer and the number of inputs of the exact tests, whose compiled programs they share

LAYER = f"""
model = eqx.nn.Linear(4, 3, key=jax.random.key(0))
model = eqx.tree_at(lambda one: (one.weight, one.bias), model, (jnp.asarray({WEIGHT}), jnp.zeros(3)))
"""
OURS = {"seed", "seconds", "compile_seconds", "out"}


@pytest.fixture
def brought(tmp_path, monkeypatch) -> tuple[str, str]:
    isolate(tmp_path, monkeypatch)
    x = np.random.default_rng(0).uniform(0.1, 0.9, (16, 4))
    np.savez(tmp_path / "items.npz", x=x, y=(x @ np.asarray(WEIGHT).T).argmax(1))
    return model_file(tmp_path, LAYER), str(tmp_path / "items.npz")


def test_attack_answers_with_the_documented_keys(brought, tmp_path):
    ran = call("robust", "attack", *brought, "--n", "12", "--targets", "2", "--json", "--quiet", "--out", "run")
    assert ran.exit_code == 0, ran.output
    answer = json.loads(ran.stdout)
    numbers = "success_rate median mean baseline_median forwards gradients n passed_over norm".split()
    assert set(answer) == {*numbers, *OURS}
    assert (answer["success_rate"], answer["n"], answer["passed_over"], answer["norm"]) == (1.0, 12, 0, "l2")
    assert 0 < answer["median"] <= answer["baseline_median"]
    with np.load(tmp_path / "run" / "pushes.npz") as kept:
        assert {"clean", "pushed", "y", "target", "norm", "success", "baseline"} == set(kept.files)
        lengths = np.linalg.norm(kept["pushed"] - kept["clean"], axis=1)
        np.testing.assert_allclose(lengths, kept["norm"], rtol=1e-12)
        read = (kept["pushed"] @ np.asarray(WEIGHT).T).argmax(1)
        assert (read != kept["y"]).all()
        assert answer["median"] == np.median(kept["norm"])
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.toml", "manifest.json", "pushes.npz", "report.html", "result.json"} <= files
    assert not [name for name in files if "tmp" in name]


def test_work_answers_with_the_documented_keys(brought):
    ran = call("robust", "work", *brought, "--n", "12", "--json", "--quiet")
    assert ran.exit_code == 0, ran.output
    answer = json.loads(ran.stdout)
    assert set(answer) == {"n", "gap_straight_max", "gap_bent_max", "relative_max", "within_error", "paths", *OURS}
    assert answer["within_error"] is True
    assert max(answer["gap_straight_max"], answer["gap_bent_max"]) <= 1e-9
    assert len(answer["paths"]) == 2 * answer["n"] == 24
    assert set(answer["paths"][0]) == {"input", "path", "work", "fall", "gap", "error", "evaluations", "reached"}
    assert {row["path"] for row in answer["paths"]} == {"straight", "bent"}


@pytest.mark.parametrize("command", ["attack", "work"])
def test_mistakes_are_one_sentence_and_an_exit_code(command, brought, tmp_path):
    model, items = brought
    bad = model_file(tmp_path, "model = 3\n")
    np.savez(tmp_path / "ints.npz", x=np.ones((2, 4), int), y=np.zeros(2, int))
    for words, code, sentence in (
        ((bad, items), 1, "is a int, which cannot be called"),
        ((model, "ints.npz"), 1, "ints.npz: x holds int64"),
        (("nowhere.py:model", items), 1, "there is no file nowhere.py"),
        (("digits", "nowhere.npz"), 1, "nowhere.npz: there is no such file"),
        ((model,), 2, "Missing argument 'DATA'"),
        ((model, items, "--n", "0"), 2, "0 is not in the range"),
    ):
        ran = call("robust", command, *words, "--quiet")
        assert ran.exit_code == code, ran.output
        assert sentence in ran.stderr
        assert ran.stdout == ""
        assert "Traceback" not in ran.output
        assert "defect" not in ran.output


def test_attack_on_a_torch_module(brought, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    code = f"""
import torch
model = torch.nn.Linear(4, 3).double()
with torch.no_grad():
    model.weight.copy_(torch.tensor({WEIGHT})), model.bias.zero_()
"""
    ours = call("robust", "attack", *brought, "--n", "4", "--json", "--quiet")
    theirs = call("robust", "attack", model_file(tmp_path, code), brought[1], "--n", "4", "--json", "--quiet")
    assert theirs.exit_code == 0, theirs.output
    # The same layer in double precision in both: the relaxation's own tolerance of 1e-6 is all that may differ.
    for name in ("success_rate", "median", "mean", "baseline_median"):
        assert abs(json.loads(theirs.stdout)[name] - json.loads(ours.stdout)[name]) < 1e-6


def test_an_equinox_layer_is_taken_to_double_precision(tmp_path, x64):
    layer = bring(model_file(tmp_path, LAYER.replace("key=", "dtype=jnp.float32, key=")))
    assert isinstance(layer.model, eqx.nn.Linear)
    assert layer.model.weight.dtype == jnp.float64
