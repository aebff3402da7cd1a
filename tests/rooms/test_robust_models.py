"""Bringing one's own classifier: models of every kind, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError, PrecisionError
from thalweg.robust import data
from thalweg.robust.classifier import JaxClassifier
from thalweg.robust.model import SmallNet
from thalweg.robust.tasks.bring import Posed, bring, correct_ones, pose
from thalweg.robust.tasks.fit import NET, load_net, save_net
from thalweg.runs.directory import Run

X = np.linspace(0, 1, 24).reshape(6, 4)
Y = np.arange(6) % 3


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "items.npz"
    np.savez(path, **arrays)
    return path


HEADER = "import equinox as eqx\nimport jax\nimport jax.numpy as jnp\nimport numpy as np\n"
WEIGHT = [[1.0, 0.2, -0.5, 0.3], [-0.4, 0.9, 0.1, -0.2], [0.1, -0.6, 0.8, 0.4]]


def model_file(folder: Path, code: str) -> str:
    (folder / "net.py").write_text(HEADER + code)
    return f"{folder / 'net.py'}:model"


MODELS = {
    "function": (f"def model(x):\n    return jnp.asarray({WEIGHT}) @ x\n", "float64"),
    "weights outside": (f"w = np.asarray({WEIGHT}, np.float32)\nmodel = jax.jit(lambda x: w @ x)\n", "float32"),
    "one precision only": (
        f"w = np.asarray({WEIGHT}, np.float32)\ndef model(x):\n    return jax.lax.concatenate([w @ x, w[:0, 0]], 0)\n",
        "float32",
    ),
    "partial": (f"model = jax.tree_util.Partial(jnp.matmul, jnp.asarray({WEIGHT}, jnp.float32))\n", "float32"),
    "module": ("model = eqx.nn.Linear(4, 3, key=jax.random.key(1), dtype=jnp.float64)\n", "float64"),
    "random in training": (
        "layer = eqx.nn.Linear(4, 3, key=jax.random.key(1), dtype=jnp.float32)\n"
        "model = eqx.nn.Sequential([layer, eqx.nn.Dropout()])\n",
        "float32",
    ),
    "made by a function": (f"def model():\n    return lambda x: jnp.asarray({WEIGHT}) @ x\n", "float64"),
    "inside a class": (
        f"class model:\n    @staticmethod\n    def small(x):\n        return jnp.asarray({WEIGHT}) @ x\n",
        "float64",
    ),
    "a classifier": (
        "from thalweg.robust.classifier import JaxClassifier\n"
        f"model = JaxClassifier(lambda x: jnp.asarray({WEIGHT}) @ x, 'mine', jnp.float64)\n",
        "float64",
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_any_jax_callable_is_brought_in_its_precision(kind, tmp_path, x64):
    code, width = MODELS[kind]
    name = model_file(tmp_path, code) + (".small" if kind == "inside a class" else "")
    brought = bring(name)
    everything = correct_ones(brought, data.Classified(X, Y, 0.0, 1.0))
    reads = np.asarray(everything.classifier.logits(jnp.asarray(X, width)))
    assert (reads.dtype, reads.shape, everything.classifier.dtype) == (width, (6, 3), width)
    labels = reads.argmax(1)
    labels[[1, 4]] = (labels[[1, 4]] + 1) % 3
    found = correct_ones(brought, data.Classified(X, labels, 0.0, 1.0), 3)
    np.testing.assert_array_equal(found.x, X[[0, 2, 3]].astype(width))
    np.testing.assert_array_equal(found.labels, labels[[0, 2, 3]])
    np.testing.assert_array_equal(found.places, [0, 2, 3])
    assert (found.passed_over, found.notes) == (1, ())
    found = correct_ones(brought, data.Classified(X, labels, 0.0, 1.0), 9, start=2)
    np.testing.assert_array_equal(found.places, [2, 3, 5])
    assert found.passed_over == 1
    assert "reads only 3 of the inputs as labelled, not the 9 asked for" in found.notes[0]


def test_more_inputs_than_one_block(tmp_path):
    x = np.random.default_rng(0).random((1100, 4)).astype(np.float32)
    weight = jnp.asarray(WEIGHT, jnp.float32)
    shapes = []

    def model(x):
        shapes.append(x.shape)
        return weight @ x

    y = np.asarray(x @ weight.T).argmax(1)
    y[::7] = (y[::7] + 1) % 3
    found = correct_ones(JaxClassifier(model, "it", np.float32), data.Classified(x, y, 0.0, 1.0))
    np.testing.assert_array_equal(found.places, np.flatnonzero(np.arange(1100) % 7))
    assert found.passed_over == 157
    # Traced twice to look at it; then once for blocks and once for the single input of the check.
    assert len(shapes) <= 4


def test_bounds_hold_after_rounding(x64):
    # 0.1 is larger in float32 than in float64, so that rounding alone would leave the box.
    items = data.Classified(np.full((2, 4), 0.1), np.zeros(2, int), 0.0, 0.1)
    model = JaxClassifier(lambda x: jnp.stack([x[0], -x[0]]), "it", np.float32)
    assert float(correct_ones(model, items).x.max()) <= 0.1


BAD_MODELS = [
    ("model = 3\n", "net.py:model is a int, which cannot be called: name a model of one input"),
    ("other = 3\n", "has no attribute 'model'"),
    ("def model(x:\n    return x\n", r"net\.py:5: importing .* failed with SyntaxError"),
    ("1 / 0\nmodel = abs\n", r"net\.py:5: importing .* failed with ZeroDivisionError"),
    ("class model:\n    pass\n", r"is a class: name an instance of it, such as model = model\(\.\.\.\)"),
    ("def model():\n    return 3\n", "takes no arguments and returns a int"),
    ("model = jax.tree_util.Partial(jnp.dot, jnp.ones((3, 4), jnp.bfloat16))\n", "weights in bfloat16, which is too"),
    ("model = jax.tree_util.Partial(jnp.dot, (np.ones(3, 'f4'), np.ones(3)))\n", "in float32 and float64: convert all"),
    (
        "def model(x):\n    return jnp.ones((3, 5)) @ x\n",
        r"not take an input of shape \[4\]: dot_general .*: mend",
    ),
    (
        "def model(x):\n    assert x.ndim == 3, 'images only'\n    return x\n",
        r"of shape \[4\]: images only: mend",
    ),
    ("def model(x):\n    raise RuntimeError\n", r"input of shape \[4\]: RuntimeError"),
    (
        "def model(x):\n    assert x.ndim == 2, 'no batch'\n    return x\n",
        "no batch: it takes a batch, so name a func",
    ),
    ("def model(x):\n    return x, x\n", "returns a tuple: return the logits alone"),
    ("def model(x):\n    return x[None]\n", r"returns float64 of shape \[1, 4\] for one input of shape \[4\], not log"),
    ("def model(x):\n    return jnp.argmax(x)\n", r"returns int.* of shape \[\] for one input of shape \[4\]"),
    ("def model(x):\n    return x[:1]\n", r"returns 1 logit for one input: .* return \[0, z\]"),
    ("def model(x):\n    return x[:2]\n", "label 2 of input 0 is no class of .*, which returns 2 logits"),
    ("def model(x):\n    return jnp.log(x[:3] - 0.2)\n", "the logits of input 0 of the data are not finite: mend"),
    (
        "def model(x):\n    return -jnp.arange(3.0) - 9 * x[0]\n",
        "reads none of 6 inputs of the data as labelled:",
    ),
    (
        "def model(x):\n    noise = lambda x: x[..., :3] + np.random.normal(size=(*x.shape[:-1], 3))\n"
        "    return jax.pure_callback(noise, jax.ShapeDtypeStruct((3,), x.dtype), x, vmap_method='expand_dims')\n",
        "gives two answers to one input: switch off what is random",
    ),
    (
        "def model(x):\n    mixed = lambda x: x[..., :3] - x[..., :3].mean(0)\n"
        "    return jax.pure_callback(mixed, jax.ShapeDtypeStruct((3,), x.dtype), x, vmap_method='expand_dims')\n",
        "answers differently for an item alone and in a batch",
    ),
]


@pytest.mark.parametrize(("code", "sentence"), BAD_MODELS, ids=[sentence for _, sentence in BAD_MODELS])
def test_a_model_that_cannot_be_used_is_refused_in_one_sentence(code, sentence, tmp_path, x64):
    with pytest.raises(InputError, match=sentence) as caught:
        correct_ones(bring(model_file(tmp_path, code)), data.Classified(X, np.full(6, 2), 0.0, 1.0), 3)
    assert "\n" not in str(caught.value)


def test_channels_that_would_help_are_named(tmp_path):
    name = model_file(tmp_path, "def model(x):\n    assert x.shape[0] == 1, 'one channel'\n    return x[0, :3, 0]\n")
    with pytest.raises(InputError, match=r"shape \[4, 2\]: one channel: pass --channels first\.$"):
        correct_ones(bring(name), data.Classified(np.ones((2, 4, 2)), np.zeros(2, int), 0.0, 1.0))


def test_one_input_alone_and_a_start_beyond_the_data(tmp_path):
    items = data.Classified(X[:1], np.zeros(1, int), 0.0, 1.0)
    mixing = BAD_MODELS[-1][0].replace("x.dtype), x, v", "'f4'), x, v")
    with pytest.raises(InputError, match="alone and in a batch"):
        correct_ones(bring(model_file(tmp_path, mixing)), items)
    with pytest.raises(InputError, match="the data holds 1 inputs, so that none is left from 3 on: lower --start"):
        correct_ones(bring(model_file(tmp_path, MODELS["function"][0])), items, start=3)


def test_probabilities_are_noted(tmp_path):
    name = model_file(tmp_path, "def model(x):\n    return jax.nn.softmax(9 * x)\n")
    found = correct_ones(bring(name), data.Classified(X, np.full(6, 3), 0.0, 1.0))
    assert "seems to return probabilities: return logits" in found.notes[0]


def test_weights_without_a_model_and_wide_weights(tmp_path):
    with pytest.raises(InputError, match=r"net\.pt holds weights but not the model: write a Python file"):
        bring("net.pt")
    name = model_file(tmp_path, f"model = jax.tree_util.Partial(jnp.dot, np.asarray({WEIGHT}))\n")
    with pytest.raises(PrecisionError, match="weights in float64 but this process computes in float32"):
        bring(name)


# Kept nets and earlier runs


def test_a_small_net_is_kept_bit_for_bit(tmp_path):
    net = SmallNet(4, 4, 4, key=jax.random.key(0))
    back = load_net(save_net(tmp_path / NET, net))
    assert jax.tree.structure(back) == jax.tree.structure(net)
    for ours, theirs in zip(jax.tree.leaves(back), jax.tree.leaves(net), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    (tmp_path / NET).write_bytes((tmp_path / NET).read_bytes()[:-1])
    with pytest.raises(InputError, match=f"{NET} is damaged"):
        load_net(tmp_path / NET)


def test_the_model_of_an_earlier_run(tmp_path, monkeypatch):
    name = model_file(tmp_path, "model = jax.tree_util.Partial(jnp.dot, jnp.eye(3, 4))\n")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    with Run.create(folder, {"model": "net.py:model"}, command=["robust", "attack"], inputs=[tmp_path / "net.py"]):
        pass
    monkeypatch.chdir("/")
    assert np.asarray(bring(str(folder)).logits(jnp.eye(4))).shape == (4, 3)
    net = SmallNet(4, 4, 4, key=jax.random.key(0))
    save_net(folder / NET, net)
    np.testing.assert_array_equal(bring(str(folder)).logits(jnp.eye(4)), JaxClassifier(net, "").logits(jnp.eye(4)))
    (folder / NET).unlink()
    Path(name.partition(":")[0]).write_text("model = 3\n")
    with pytest.raises(InputError, match=r"net\.py is not the file that the run in .* began with: restore it"):
        bring(str(folder))
    with pytest.raises(InputError, match="holds no run"):
        bring(str(tmp_path))
    with Run.create(tmp_path / "other", {"family": "tanh"}, command=["learning", "symmetry"]):
        pass
    with pytest.raises(InputError, match="is no run of `thalweg robust`"):
        bring(str(tmp_path / "other"))


# ONNX and PyTorch


def test_an_onnx_file_is_a_classifier(tmp_path):
    onnx: Any = pytest.importorskip("onnx", reason="ONNX is not installed: pip install 'thalweg[robust]'")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weight = onnx.numpy_helper.from_array(np.asarray(WEIGHT, np.float32).T.copy(), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", kind, ["n", 4])], [helper.make_tensor_value_info("y", kind, ["n", 3])],
        [weight],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "n.onnx")
    labels = (X @ np.asarray(WEIGHT).T).argmax(1)
    found = pose(str(tmp_path / "n.onnx"), str(saved(tmp_path, x=X, y=labels)))
    assert isinstance(found, Posed)
    assert found.x.dtype == np.float32
    np.testing.assert_array_equal(found.places, np.arange(6))
    np.testing.assert_allclose(found.classifier.logits(found.x), X @ np.asarray(WEIGHT).T, atol=1e-6)
    with pytest.raises(InputError, match=r"n\.onnx takes inputs of shape \[4\], not \[2, 2\]: mend"):
        pose(str(tmp_path / "n.onnx"), str(saved(tmp_path, x=X.reshape(6, 2, 2), y=labels)))


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")


def test_a_torch_module_in_a_file(torch, tmp_path):
    code = f"""
import torch
model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(4, 3, bias=False))
with torch.no_grad():
    model[1].weight.copy_(torch.tensor({WEIGHT}))
def make():
    return model
"""
    labels = (X @ np.asarray(WEIGHT).T).argmax(1)
    for attribute in ("model", "make"):
        name = model_file(tmp_path, code).replace(":model", f":{attribute}")
        found = pose(name, str(saved(tmp_path, x=X, y=labels)))
        np.testing.assert_array_equal(found.places, np.arange(6))
        np.testing.assert_allclose(found.classifier.logits(found.x), X @ np.asarray(WEIGHT).T, atol=1e-6)


TORCH = [
    ("model = nn.Linear(4, 3, device='meta')\n", "is on the meta device, where weights have no values"),
    ("model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3, device='meta'))\n", "is on the meta device"),
    ("model = nn.Linear(4, 3).half()\n", "has weights in float16, which is too coarse for small pushes"),
    (
        "model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3).double())\n",
        "in float32 and float64: convert all",
    ),
    ("model = nn.Linear(4, 3).double()\n", "weights in float64 but this process computes in float32"),
    ("model = nn.Linear\n", r"is a class: name an instance of it, such as model = Linear\(\.\.\.\)"),
    ("model = nn.Linear(5, 3)\n", r"Linear refused an input of float32 \[6, 4\]: mat1 and mat2 .*: mend the model"),
    ("model = nn.Sequential(nn.Linear(4, 3), nn.Flatten(0))\n", r"shape \[\] for one input|returned|shape"),
    ("model = lambda x: nn.functional.relu(x)\n", "wrap a function of PyTorch tensors in a torch.nn.Module"),
]


@pytest.mark.parametrize(("code", "sentence"), TORCH, ids=[sentence for _, sentence in TORCH])
def test_a_torch_module_that_cannot_be_used(torch, code, sentence, tmp_path):
    name = model_file(tmp_path, "from torch import nn\n" + code)
    with pytest.raises(InputError, match=sentence) as caught:
        correct_ones(bring(name), data.Classified(X, np.full(6, 2), 0.0, 1.0))
    assert "\n" not in str(caught.value)
    assert "torch" in sys.modules


# Double precision


def test_a_function_over_float32_constants_is_repeated_in_float64(x64):
    words = np.random.default_rng(5)
    kernel, dense = words.normal(size=(3, 1, 2, 2)).astype(np.float32), words.normal(size=(4, 27)).astype(np.float32)

    def build(kernel, dense):
        def model(x):  # a convolution takes no input of another width than its kernel's
            h = jax.nn.relu(jax.lax.conv_general_dilated(x[None], kernel, (1, 1), "VALID")[0])
            return dense @ jnp.tanh(h).ravel()

        return model

    items = data.Classified(words.uniform(size=(8, 1, 4, 4)), np.zeros(8, int), 0.0, 1.0)
    labels = np.asarray(jax.vmap(build(jnp.asarray(kernel), jnp.asarray(dense)))(items.x.astype(np.float32))).argmax(1)
    posed = correct_ones(JaxClassifier(build(jnp.asarray(kernel), jnp.asarray(dense)), "net"), items._replace(y=labels))
    assert posed.classifier.dtype == np.float32
    x = jnp.asarray(posed.x, jnp.float64)
    exact = jax.vmap(build(jnp.asarray(kernel, jnp.float64), jnp.asarray(dense, jnp.float64)))(x)
    np.testing.assert_allclose(posed.classifier.in_double().logits(x), exact, rtol=1e-14)

    @jax.custom_vjp
    def lying(x):
        return jnp.round(x)

    lying.defvjp(lambda x: (lying(x), None), lambda _, slope: (slope,))
    inner = build(jnp.asarray(kernel), jnp.asarray(dense))
    posed = correct_ones(JaxClassifier(lambda x: inner(lying(8 * x) / 8), "liar"), items._replace(y=labels))
    with pytest.raises(
        InputError, match=r"^liar computes in float32 only, and its custom_vjp_call\w* cannot be repeated"
    ):
        posed.classifier.in_double().logits(x)
