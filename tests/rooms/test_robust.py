"""Pushed inputs: exact answers for linear classifiers, a trained net on real digits, and the work that a push takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import call, isolate

from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome
from thalweg.robust import data
from thalweg.robust.classifier import JaxClassifier
from thalweg.robust.energy import Collision, Confidence
from thalweg.robust.model import SmallNet, classification_loss
from thalweg.robust.tasks.attack import attack, standing
from thalweg.robust.tasks.bring import Posed, correct_ones
from thalweg.robust.tasks.closure import work_of_pushes
from thalweg.robust.tasks.fit import accuracy, fit
from thalweg.robust.tasks.push import Pushes, minimal_pushes, pushes_within, steps_to_boundary
from thalweg.runs import Points
from thalweg.testing import wide_results
from thalweg.verbs.train import from_loss

pytestmark = pytest.mark.usefixtures("x64")
OURS = {"seed", "seconds", "compile_seconds", "out"}


# The net


@pytest.fixture(scope="module")
def net() -> SmallNet:
    """The small net after a few hundred steps in a process of double precision."""
    with jax.enable_x64(True):
        return fit(data.digits()[0], steps=300)


def test_the_digits_are_split_once_and_for_all():
    train, test = data.digits()
    assert (train.x.shape, train.y.shape) == ((1397, 8, 8), (1397,))
    assert (test.x.shape, test.y.shape) == ((400, 8, 8), (400,))
    for part in (train, test):
        assert (part.x.min(), part.x.max()) == (part.lower, part.upper) == (0.0, 1.0)
        assert set(part.y.tolist()) == set(range(10))
    # The same split in every process, and no test digit among those that were trained on, but for true duplicates.
    np.testing.assert_array_equal(data.digits()[1].x, test.x)
    trained = {item.tobytes() for item in train.x}
    assert sum(item.tobytes() in trained for item in test.x) <= 2


def test_the_small_net_learns_in_float32(net):
    # 0.97 was measured after 400 steps; a tenth of that would be chance.
    assert accuracy(net, data.digits()[1]) > 0.9
    assert jax.config.read("jax_enable_x64")
    assert {leaf.dtype for leaf in jax.tree.leaves(net) if eqx.is_array(leaf)} == {jnp.dtype("float32")}
    wide: Any = JaxClassifier(net, "net", np.float32).in_double()
    assert {leaf.dtype for leaf in jax.tree.leaves(wide.model) if eqx.is_array(leaf)} == {jnp.dtype("float64")}


def gradient_jaxpr(model: Any, dtype: Any) -> Any:
    batch = jnp.zeros((4, 8, 8), dtype), jnp.zeros(4, jnp.int32)
    rule = from_loss(classification_loss)
    return jax.make_jaxpr(lambda weights: rule(weights, batch, None, 0, jax.random.key(0))[0])(model).jaxpr


def test_the_training_gradient_holds_no_float64(net):
    # Not even scalars here; Adam's bias correction, which holds some, is outside of the gradient.
    assert list(wide_results(gradient_jaxpr(net, jnp.float32))) == []
    wide: Any = JaxClassifier(net, "net", np.float32).in_double()
    assert "dot_general" in list(wide_results(gradient_jaxpr(wide.model, jnp.float64)))  # it can be found


# Linear classifiers, whose smallest pushes are projections

INPUTS, CLASSES = 4, 3


@pytest.fixture(scope="module")
def linear() -> Posed:
    """A linear classifier and twelve inputs in the unit box, labelled as it reads them."""
    words = np.random.default_rng(4)
    weight, bias = words.normal(size=(CLASSES, INPUTS)), 0.1 * words.normal(size=CLASSES)
    x = words.uniform(0.02, 0.98, (12, INPUTS))
    with jax.enable_x64(True):
        layer = eqx.nn.Linear(INPUTS, CLASSES, key=jax.random.key(0), dtype=jnp.float64)
        layer = eqx.tree_at(lambda one: (one.weight, one.bias), layer, (jnp.asarray(weight), jnp.asarray(bias)))
        labels = (x @ weight.T + bias).argmax(1)
        return Posed(JaxClassifier(layer, "layer"), jnp.asarray(x), jnp.asarray(labels), np.arange(12), 0, 0.0, 1.0)


def half_space(item: np.ndarray, normal: np.ndarray, short: float, low: float, high: float, norm: str) -> float:
    """The distance from `item` to `normal . x <= normal . item - short` in a box: infinite where they do not meet."""
    along = normal if norm == "l2" else np.sign(normal)
    least, most = 0.0, 1e4
    moved = lambda m: np.clip(item - m * along, low, high) - item  # noqa: E731
    if normal @ moved(most) > -short:
        return np.inf
    for _ in range(200):
        middle = 0.5 * (least + most)
        least, most = (middle, most) if normal @ moved(middle) > -short else (least, middle)
    return float(np.linalg.norm(moved(most)) if norm == "l2" else np.abs(moved(most)).max())


def exact_lengths(posed: Posed, norm: str) -> np.ndarray:
    model: Any = posed.classifier.graph
    weight, bias = np.asarray(model.weight), np.asarray(model.bias)
    lengths = []
    for item, label in zip(np.asarray(posed.x), np.asarray(posed.labels), strict=True):
        logits = weight @ item + bias
        ways = [(weight[label] - weight[k], logits[label] - logits[k]) for k in range(CLASSES) if k != label]
        lengths.append(min(half_space(item, *way, posed.lower, posed.upper, norm) for way in ways))
    return np.array(lengths)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("walls", [(0.0, 1.0), (-100.0, 100.0)])
def test_pushes_of_a_linear_classifier_are_exact(linear, norm, walls):
    posed = linear._replace(lower=walls[0], upper=walls[1])
    found, exact = minimal_pushes(posed, norm=norm, budget=120), exact_lengths(posed, norm)
    np.testing.assert_array_equal(found.success, np.isfinite(exact))
    reached = np.isfinite(exact)
    # Beyond the ridge by 2e-5 of the margin and 32 roundings; the last shrinkage of the ball is 0.2 %, of a step less.
    np.testing.assert_allclose(found.norm[reached], exact[reached], rtol=3e-4 if norm == "l2" else 4e-3)
    assert (found.norm[reached] >= exact[reached]).all()
    assert np.isinf(found.norm[~reached]).all()
    inside = np.asarray(found.x)
    assert ((inside >= walls[0]) & (inside <= walls[1])).all()
    read = np.asarray(posed.classifier.logits(found.x)).argmax(1)
    assert (read[reached] != np.asarray(posed.labels)[reached]).all()
    np.testing.assert_array_equal(read[reached], found.target[reached])


def test_no_push_is_longer_than_the_straight_step(linear):
    steps = steps_to_boundary(linear)
    norms = minimal_pushes(linear, budget=120).norm
    # Both are exact up to the hair by which the last probe lies beyond the ridge.
    assert (norms <= steps * (1 + 1e-5)).all()
    assert np.isfinite(steps).any()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_ball_holds_a_push_exactly_if_it_reaches_the_ridge(linear, norm):
    exact = exact_lengths(linear, norm)
    eps = float(np.median(exact[np.isfinite(exact)])) * 1.02
    found = pushes_within(linear, eps, norm=norm, budget=80)
    away = np.abs(exact / eps - 1) > 0.01  # of those nearer to the surface either answer would do
    np.testing.assert_array_equal(found.success[away], exact[away] < eps)
    assert (found.norm[found.success] <= eps * (1 + 1e-9)).all()


def test_requests_that_cannot_be_met_are_one_sentence(linear):
    seven: Any = "l7"
    for ask, sentence in (
        (lambda: minimal_pushes(linear, norm=seven), r"^attack: there is no norm 'l7': choose l2 or linf\.$"),
        (lambda: minimal_pushes(linear, budget=0), r"^attack: a budget of 0 gradients is none"),
        (lambda: pushes_within(linear, float("nan")), r"^attack: eps is nan, but it must be a positive number\.$"),
    ):
        with pytest.raises(InputError, match=sentence):
            ask()


def test_the_work_equals_the_energy_climbed_along_both_paths(linear):
    posed = linear._replace(lower=-100.0, upper=100.0)
    ends = minimal_pushes(posed, budget=40).x
    both = work_of_pushes(posed.classifier, posed.x, posed.labels, ends, key=jax.random.key(0))
    losses = [-jax.nn.log_softmax(posed.classifier.logits(at))[np.arange(12), posed.labels] for at in (posed.x, ends)]
    for found in both:
        np.testing.assert_allclose(found.fall, losses[0] - losses[1], atol=1e-13)
        assert (jnp.abs(found.fall) > 1e-3).any()
        assert (jnp.abs(found.gap) <= 1e-9).all()  # the bar of the room for smooth nets in float64
        assert (jnp.abs(found.gap) <= found.error).all()
        assert found.work.reached.all()
    # Two paths, not one twice.
    assert (jnp.abs(both[0].work.value - both[1].work.value) > 0).any()


# The trained net


@pytest.fixture(scope="module")
def digits(net) -> Posed:
    with jax.enable_x64(True):
        return correct_ones(JaxClassifier(net, "net", np.float32), data.digits()[1], 20)


@pytest.fixture(scope="module")
def pushed(digits) -> Iterator[Pushes]:
    with jax.enable_x64(True):
        yield minimal_pushes(digits, budget=120)


def test_digits_are_pushed_over_their_ridge_inside_the_box_in_double_precision(digits, pushed):
    assert pushed.success.all()
    x = np.asarray(pushed.x, np.float64)
    assert ((x >= 0) & (x <= 1)).all()
    read = np.asarray(digits.classifier.in_double().logits(jnp.asarray(x))).argmax(1)
    assert (read != np.asarray(digits.labels)).all()
    np.testing.assert_array_equal(read, pushed.target)
    lengths = np.linalg.norm((x - np.asarray(digits.x, np.float64)).reshape(20, -1), axis=1)
    np.testing.assert_allclose(pushed.norm, lengths, rtol=1e-12)
    steps = steps_to_boundary(digits)
    assert (pushed.norm <= steps * (1 + 1e-6)).all()  # float32
    assert (pushed.norm < 0.999 * steps).any()  # the margin bends, so that some straight steps are longer


def test_what_is_spent_is_counted_and_within_the_budget(digits):
    calls = {"values": 0, "slopes": 0}
    inner = digits.classifier

    class Counting(type(inner)):  # counts what reaches the model, beside what the attack says
        def field(self, heads, *, each=True):
            field = inner.field(heads, each=each)
            of_value, of_both = field.value_batch, field.value_and_force_batch

            def value_batch(x):
                calls["values"] += 1
                return of_value(x)

            def value_and_force_batch(x):
                calls["slopes"] += 1
                return of_both(x)

            field.value_batch, field.value_and_force_batch = value_batch, value_and_force_batch
            return field

    cases: Any = (("l2", 50), ("linf", 45), ("l2", 3))
    for norm, budget in cases:
        calls.update(values=0, slopes=0)
        seen = digits._replace(classifier=Counting(inner.model, inner.name, inner.dtype))
        found = minimal_pushes(seen, norm=norm, budget=budget)
        assert found.gradients == calls["slopes"] <= budget
        assert found.forwards == calls["slopes"] + calls["values"] + 2


def test_a_larger_budget_finds_no_longer_push(digits, pushed):
    more = minimal_pushes(digits, budget=240)
    # Starts are added, and the polish is longer: kinks and float32 aside, nothing can become worse.
    assert (more.norm <= pushed.norm * (1 + 1e-3)).all()


def test_confidence_and_collision_have_a_valley_on_either_side_of_the_ridge(digits, pushed):
    line = digits.x[0] + jnp.asarray([0.0, 1.0, 2.0], jnp.float32)[:, None, None] * (pushed.x[0] - digits.x[0])
    for head in (Confidence(), Collision()):
        heights = digits.classifier.field(head, each=False).value_batch(line)
        assert heights[1] > heights[0]
        assert heights[1] > heights[2]
    # Two classes share all probability: both ridges have the height log 2.
    even = jnp.asarray([3.0, 3.0, -60.0])
    np.testing.assert_allclose([Confidence()(even), Collision()(even)], np.log(2), rtol=1e-12)


def test_an_attack_keeps_its_blocks_and_goes_on(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("thalweg.robust.tasks.attack._BLOCK", 8)
    store = Points(tmp_path / "blocks")
    digits = digits._replace(x=digits.x[:16], labels=digits.labels[:16], places=digits.places[:16])
    with pytest.raises(WalkError, match=r"^attack: stopped after 1 of 2 parts, which are kept\."):
        attack(digits, budget=12, done=store, hooks=(lambda report: Outcome.CANCELLED,))
    reports = []
    went_on = attack(digits, budget=12, done=store, hooks=(lambda report: reports.append(report.step),))
    at_once = attack(digits, budget=12)
    assert len(list((tmp_path / "blocks").glob("*.safetensors"))) == 2
    np.testing.assert_array_equal(went_on.norm, at_once.norm)
    np.testing.assert_array_equal(went_on.pushed, at_once.pushed)


def test_the_robustness_curve_counts_who_still_stands():
    norms = np.array([0.1, 0.3, 0.3, np.inf])
    np.testing.assert_allclose(standing(norms, np.array([0.0, 0.1, 0.2, 0.3, 9.0])), [1, 0.75, 0.75, 0.25, 0.25])


# Commands

WEIGHT = [[1.0, 0.2, -0.5, 0.3], [-0.4, 0.9, 0.1, -0.2], [0.1, -0.6, 0.8, 0.4]]
LAYER = f"""
import equinox as eqx, jax, jax.numpy as jnp
model = eqx.nn.Linear(4, 3, use_bias=False, key=jax.random.key(0))
model = eqx.tree_at(lambda one: one.weight, model, jnp.asarray({WEIGHT}, jnp.float64))
"""


@pytest.fixture
def brought(tmp_path, monkeypatch) -> tuple[str, str]:
    isolate(tmp_path, monkeypatch)
    (tmp_path / "net.py").write_text(LAYER)
    x = np.random.default_rng(2).uniform(0.05, 0.95, (12, 4))
    np.savez(tmp_path / "items.npz", x=x, y=(x @ np.asarray(WEIGHT).T).argmax(1))
    return "net.py:model", "items.npz"


def test_attack_answers_with_the_documented_keys(brought, tmp_path):
    words = ("robust", "attack", *brought, "--n", "12", "--budget", "60", "--json", "--quiet", "--out", "run")
    ran = call(*words)
    assert ran.exit_code == 0, ran.output
    answer = json.loads(ran.stdout)
    numbers = "success_rate median mean forwards gradients n passed_over norm".split()
    assert set(answer) == {*numbers, *OURS}
    assert (answer["success_rate"], answer["n"], answer["passed_over"], answer["norm"]) == (1.0, 12, 0, "l2")
    with np.load(tmp_path / "run" / "pushes.npz") as kept:
        assert {"clean", "pushed", "y", "target", "norm", "success", "place"} == set(kept.files)
        lengths = np.linalg.norm(kept["pushed"] - kept["clean"], axis=1)
        np.testing.assert_allclose(lengths, kept["norm"], rtol=1e-12)
        assert ((kept["pushed"] @ np.asarray(WEIGHT).T).argmax(1) != kept["y"]).all()
        assert answer["median"] == np.median(kept["norm"])
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.toml", "manifest.json", "pushes.npz", "report.html", "result.json"} <= files
    assert not [name for name in files if "tmp" in name]
    ball = call("robust", "attack", *brought, "--norm", "linf", "--eps", "0.1", "--budget", "40", "--json", "--quiet")
    assert ball.exit_code == 0, ball.output
    answer = json.loads(ball.stdout)
    assert (answer["eps"], answer["norm"]) == (0.1, "linf")
    assert answer["robust_rate"] == 1 - answer["success_rate"]


@pytest.mark.slow
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
    (tmp_path / "bad.py").write_text("model = 3\n")
    np.savez(tmp_path / "ints.npz", x=np.ones((2, 4), int), y=np.zeros(2, int))
    for words, code, sentence in (
        (("bad.py:model", items), 1, "is a int, which cannot be called"),
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


def test_a_torch_module_is_attacked_like_a_jax_one(brought, tmp_path: Path):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    (tmp_path / "torch_net.py").write_text(f"""
import torch
model = torch.nn.Linear(4, 3, bias=False).double()
with torch.no_grad():
    model.weight.copy_(torch.tensor({WEIGHT}))
""")
    few = "--n", "4", "--budget", "60", "--json", "--quiet"
    ours = call("robust", "attack", *brought, *few)
    theirs = call("robust", "attack", "torch_net.py:model", brought[1], *few)
    assert theirs.exit_code == 0, theirs.output
    # The same layer in double precision in both: sums in another order is all that differs.
    for name in ("success_rate", "median", "mean", "forwards", "gradients"):
        assert abs(json.loads(theirs.stdout)[name] - json.loads(ours.stdout)[name]) < 1e-9
