"""The inconsistent-gradient alarm: classifiers and functions with gradients of their own, honest and broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import call, isolate

from thalweg.core.errors import InputError
from thalweg.robust.classifier import JaxClassifier
from thalweg.robust.data import Classified
from thalweg.robust.tasks.audit import Audit, audit
from thalweg.robust.tasks.own_gradient import own_gradient
from thalweg.robust.tasks.subject import of_classifier, of_own_gradient, subject

pytestmark = pytest.mark.usefixtures("x64")
INPUTS, HIDDEN, CLASSES, COUNT = 12, 32, 4, 4


class Net:
    """A layer with kinks, and logits, in JAX for one input; its loss in NumPy with the gradient worked out by hand."""

    def __init__(self, seed: int):
        words = np.random.default_rng(seed)
        self.first = words.normal(size=(HIDDEN, INPUTS))
        self.second = words.normal(size=(CLASSES, HIDDEN))

    def __call__(self, x: Any) -> Any:
        return jnp.asarray(self.second) @ jax.nn.relu(jnp.asarray(self.first) @ (x - 0.5))

    def loss(self, x: np.ndarray, label: int) -> tuple[float, np.ndarray]:
        hidden = self.first @ (x - 0.5)
        logits = self.second @ np.maximum(hidden, 0)
        odds = np.exp(logits - logits.max())
        slope = odds / odds.sum() - (np.arange(CLASSES) == label)
        return float(-np.log(odds[label] / odds.sum())), self.first.T @ ((hidden > 0) * (self.second.T @ slope))


@pytest.fixture(scope="module")
def net() -> Net:
    return Net(5)


@pytest.fixture(scope="module")
def items(net) -> Classified:
    """Inputs, labelled as the net reads them."""
    x = np.random.default_rng(6).uniform(0, 1, (40, INPUTS))
    with jax.enable_x64(True):
        return Classified(x, np.asarray(jax.vmap(net)(jnp.asarray(x)).argmax(1)), 0.0, 1.0, "items")


def of(function: Any, items: Classified, n: int = COUNT) -> Audit:
    """The audit of a function with a gradient of its own."""
    own = own_gradient(function, "own", items.x, items.y)
    assert own is not None
    return audit(of_own_gradient(own, items, n=n))


# Functions with gradients of their own


def rounded(net: Net, levels: int) -> Any:
    return lambda x, y: net.loss(np.round(x * (levels - 1)) / (levels - 1), y)


def changed(net: Net, change: Any) -> Any:
    def both(x: np.ndarray, y: int) -> tuple[float, np.ndarray]:
        value, slope = net.loss(x, y)
        return value, change(slope)

    return both


HONEST = {
    "the loss": lambda net: net.loss,
    "stretched": lambda net: lambda x, y: tuple(1000 * part for part in net.loss(x, y)),
    "single": lambda net: lambda x, y: tuple(np.asarray(part, np.float32) for part in net.loss(x, y)),
}
BROKEN = {
    "quantised to 8": lambda net: rounded(net, 8),
    "quantised to 256": lambda net: rounded(net, 256),
    "dead": lambda net: changed(net, np.zeros_like),
    "scaled by 1.05": lambda net: changed(net, lambda slope: 1.05 * slope),
    "signs": lambda net: changed(net, np.sign),
    "clipped": lambda net: changed(net, lambda slope: np.clip(slope, -0.1, 0.1)),
    "of another net": lambda net: lambda x, y: (net.loss(x, y)[0], Net(9).loss(x, y)[1]),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_gradient_is_consistent(name, net, items):
    result = of(HONEST[name](net), items).result
    assert (result["verdict"], result["flagged"]) == ("consistent", 0.0)
    assert result["closure_max"] <= 2e-3  # the bar for kinks at 256 gradients
    assert result["dtype"] == ("float32" if name == "single" else "float64")
    levels = result["refinement"]
    assert levels[-1]["median"] < 0.1 * levels[0]["median"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_gradient_is_flagged(name, net, items):
    result = of(BROKEN[name](net), items).result
    assert (result["verdict"], result["flagged"]) == ("inconsistent", 1.0)
    assert result["mismatch_median"] > 0.01
    assert all(row["verdict"] == "inconsistent" for row in result["inputs"])


def test_a_loop_is_blind_to_dead_gradients_and_closure_is_not(net, items):
    found = of(BROKEN["dead"](net), items).result
    assert found["loop_median"] == 0
    np.testing.assert_allclose([found["closure_median"], found["closure_max"]], 1, rtol=1e-12)


def test_functions_with_gradients_are_told_from_classifiers(net, items):
    def seen(function: Any) -> tuple[bool, bool] | None:
        own = own_gradient(function, "own", items.x, items.y)
        return None if own is None else (own.takes_label, own.batched)

    def watched(x: Any) -> Any:
        shape = jax.ShapeDtypeStruct((), x.dtype)
        return jax.pure_callback(lambda one: np.sum(np.asarray(one) ** 2), shape, x), 2 * x

    assert seen(jax.value_and_grad(lambda x: jnp.sum(x**2))) == (False, True)
    assert seen(jax.value_and_grad(lambda x, y: -jax.nn.log_softmax(net(x))[y])) == (True, True)
    assert seen(net.loss) == (True, False)
    assert seen(lambda x: (x @ x, 2 * x)) == (False, True)
    assert seen(lambda x: (x @ x, (2 + np.random.default_rng().uniform()) * x)) == (False, False)
    assert seen(watched) == (False, False)
    for other in (net, lambda x: (x[:2], x[:3]), lambda x: 3.0, lambda x, y, z: (0.0, x), "text"):
        assert seen(other) is None
    with pytest.raises(InputError, match=r"returns a value of shape \[3\] beside its gradient: return one number"):
        own_gradient(lambda x: (np.ones(3), x), "own", items.x, items.y)


def test_a_function_whose_inside_is_a_callback_is_audited(items):
    def watched(x: Any) -> Any:
        shape = jax.ShapeDtypeStruct((), x.dtype)
        return jax.pure_callback(lambda one: np.sum(np.asarray(one) ** 2), shape, x), 2 * x

    assert of(watched, items, n=1).result["verdict"] == "consistent"


# Classifiers


def straight_through(x: Any) -> Any:
    return x + jax.lax.stop_gradient(jnp.round(255 * x) / 255 - x)


WRAPPED = {
    "plain": (lambda net: net, "consistent"),
    "stretched": (lambda net: lambda x: 1000 * net(x), "consistent"),
    "steep": (lambda net: lambda x: net(jax.nn.sigmoid(1000 * (x - 0.5))), "consistent"),
    "straight through": (lambda net: lambda x: net(straight_through(x)), "inconsistent"),
    "gate": (lambda net: lambda x: net(0.95 * x + 0.05 * jax.lax.stop_gradient(x)), "inconsistent"),
    "rounded": (lambda net: lambda x: net(jnp.round(7 * x) / 7), "inconsistent"),
}


def eager(name: str) -> Any:
    """Each of them compiles programs of its own, so that two stand for all in the default run."""
    return name if name in ("stretched", "straight through") else pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [eager(name) for name in WRAPPED])
def test_classifiers_are_judged_under_both_energies(name, net, items):
    wrap, verdict = WRAPPED[name]
    model = wrap(net)
    labels = np.asarray(jax.vmap(model)(jnp.asarray(items.x)).argmax(1))
    found = audit(of_classifier(JaxClassifier(model, name), items._replace(y=labels), n=COUNT))
    result = found.result
    assert result["verdict"] == verdict
    assert result["flagged"] == float(verdict == "inconsistent")
    assert result["energies"] == ["loss", "logits"]
    assert result["gradients"] > 17 * 6 * COUNT


def test_a_pytorch_module_that_detaches_is_flagged(items):
    torch = pytest.importorskip("torch")
    from thalweg.robust.tasks.bring import as_classifier

    class Module(torch.nn.Module):
        def __init__(self, part: float):
            torch.nn.Module.__init__(self)
            self.part, self.layers = part, torch.nn.Sequential(torch.nn.Linear(INPUTS, 32), torch.nn.Tanh(),
                                                               torch.nn.Linear(32, CLASSES))  # fmt: skip

        def forward(self, x: Any) -> Any:
            return self.layers((1 - self.part) * x + self.part * x.detach())

    torch.manual_seed(0)
    for part, verdict in ((0.0, "consistent"), (0.05, "inconsistent")):
        classifier = as_classifier(Module(part).double())
        labels = np.asarray(classifier.logits(jnp.asarray(items.x)).argmax(1))
        found = audit(of_classifier(classifier, items._replace(y=np.where(np.arange(40) < 20, labels, 0)), n=COUNT))
        assert found.result["verdict"] == verdict


# What does not change the answer, and what has none


def test_the_same_seed_gives_the_same_bits_and_inputs_do_not_disturb_each_other(net, items):
    own = own_gradient(net.loss, "own", items.x, items.y)
    assert own is not None
    first, again = (audit(of_own_gradient(own, items, n=4), seed=3) for _ in range(2))
    more = audit(of_own_gradient(own, items, n=6), seed=3)
    other = audit(of_own_gradient(own, items, n=4), seed=4)
    for name in ("work", "fall", "mismatch", "closure", "error"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        if name != "closure":
            np.testing.assert_array_equal(getattr(first, name), getattr(more, name)[..., :4])
    assert (first.work[:, 1] != other.work[:, 1]).all()


def test_what_cannot_be_audited_is_said_in_one_sentence(net, items):
    words = np.random.default_rng(0)

    def noisy(x: np.ndarray, y: int) -> tuple[float, np.ndarray]:
        value, slope = net.loss(x, y)
        return value, slope * (1 + 0.01 * words.normal(size=slope.shape))

    bad = [
        (noisy, items, "own gives two answers to one input: it is random"),
        (lambda x: (1.0, np.zeros_like(x)), items, "own: its output changes along no path"),
        (lambda x: (float(np.sum(x)), np.full_like(x, np.nan)), items, "is not finite on the curve from input 0"),
        (net.loss, items._replace(y=np.ones(40, int)), "items: all inputs have the label 1, but the paths of an audit"),
    ]
    for function, where, sentence in bad:
        with pytest.raises(InputError, match=sentence) as caught:
            of(function, where)
        assert "\n" not in str(caught.value)


# The command

CODE = """
import numpy as np
W = np.random.default_rng(0).normal(size=(8, 5))

def honest(x):
    h = np.tanh(W @ x)
    return float(h.sum()), W.T @ (1 - h * h)

def lying(x):
    value, slope = honest(x)
    return value, 0.9 * slope

def crashing(x):
    raise RuntimeError("no such thing")
"""
KEYS = {"verdict", "flagged", "closure_median", "closure_max", "loop_median", "mismatch_median", "refinement",
        "rounding_floor", "n", "passed_over", "gradients", "energies", "flat", "dtype", "notes", "inputs"}  # fmt: skip


@pytest.fixture
def brought(tmp_path: Path, monkeypatch) -> str:
    isolate(tmp_path, monkeypatch)
    (tmp_path / "fields.py").write_text(CODE)
    words = np.random.default_rng(2)
    np.savez(tmp_path / "items.npz", x=words.uniform(0, 1, (12, 5)), y=np.arange(12) % 2)
    return str(tmp_path / "items.npz")


def test_the_command_audits_a_function_in_a_file(brought, tmp_path):
    for name, verdict in (("honest", "consistent"), ("lying", "inconsistent")):
        out = tmp_path / name
        ended = call(
            "robust", "audit", f"{tmp_path}/fields.py:{name}", brought, "--n", "5", "--json", "--out", str(out)
        )
        assert ended.exit_code == 0, ended.stderr
        answer = json.loads(ended.stdout)
        assert set(answer) == KEYS | {"seed", "seconds", "compile_seconds", "out"}
        assert (answer["verdict"], answer["n"], len(answer["inputs"])) == (verdict, 5, 5)
        with np.load(out / "audit.npz", allow_pickle=False) as kept:
            assert kept["closure"].shape[1:] == kept["mismatch"].shape == (1, 3, 5)
            assert kept["flagged"].all() == (verdict == "inconsistent")
        assert verdict in (out / "report.html").read_text()
    ended = call("robust", "audit", f"{tmp_path}/fields.py:crashing", brought, "--json")
    assert ended.exit_code == 1
    assert "does not take an input of shape [5]: no such thing" in ended.stderr


def test_the_subject_of_a_name_without_a_function_is_a_classifier(items, tmp_path):
    np.savez(tmp_path / "items.npz", x=items.x, y=items.y)
    (tmp_path / "net.py").write_text(f"import jax.numpy as jnp\nW = jnp.ones(({CLASSES}, {INPUTS})).at[0].set(2.0)\n"
                                     "def model(x):\n    return W @ (x - 0.5)\n")  # fmt: skip
    found = subject(f"{tmp_path}/net.py:model", str(tmp_path / "items.npz"), n=2)
    assert list(found.energies) == ["loss", "logits"]
    assert (found.pairs.labels != found.pairs.others).all()
    with pytest.raises(InputError, match="holds 40 inputs, so that none is left from 40"):
        subject(f"{tmp_path}/net.py:model", str(tmp_path / "items.npz"), start=40)
