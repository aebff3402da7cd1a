"""Pushed inputs: exact answers for linear classifiers, a trained net on real digits, and the work that a push takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.robust import data
from thalweg.robust.energy import Confidence, margin
from thalweg.robust.model import SmallNet, classification_loss
from thalweg.robust.tasks import closure, fit, push
from thalweg.testing import wide_results
from thalweg.verbs.train import from_loss

pytestmark = pytest.mark.usefixtures("x64")
BEYOND = push.OVER_THE_RIDGE


# The net


@pytest.fixture(scope="module")
def net() -> SmallNet:
    """The small net after a few hundred steps in a process of double precision."""
    with jax.enable_x64(True):
        return fit.fit(data.digits()[0], steps=300)


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


def test_the_small_net_learns(net):
    # 0.97 was measured after 400 steps; a tenth of that would be chance.
    assert fit.accuracy(net, data.digits()[1]) > 0.9


def test_every_parameter_stays_float32_in_a_process_of_double_precision(net):
    assert jax.config.read("jax_enable_x64")
    widths = {leaf.dtype for leaf in jax.tree.leaves(net) if eqx.is_array(leaf)}
    assert widths == {jnp.dtype("float32")}
    widths = {leaf.dtype for leaf in jax.tree.leaves(fit.in_double(net)) if eqx.is_array(leaf)}
    assert widths == {jnp.dtype("float64")}


def gradient_jaxpr(model: SmallNet, dtype: Any) -> Any:
    batch = jnp.zeros((4, 8, 8), dtype), jnp.zeros(4, jnp.int32)
    rule = from_loss(classification_loss)
    return jax.make_jaxpr(lambda weights: rule(weights, batch, None, 0, jax.random.key(0))[0])(model).jaxpr


def test_the_training_gradient_holds_no_float64(net):
    # Not even scalars here; Adam's bias correction, which holds some, is outside of the gradient.
    assert list(wide_results(gradient_jaxpr(net, jnp.float32))) == []
    assert "dot_general" in list(wide_results(gradient_jaxpr(fit.in_double(net), jnp.float64)))  # it can be found


# Linear classifiers, whose smallest pushes are projections

INPUTS, CLASSES = 4, 3


def linear(weight: np.ndarray, bias: np.ndarray) -> eqx.nn.Linear:
    """A layer of Equinox, so that the command below meets the same compiled programs."""
    layer = eqx.nn.Linear(INPUTS, CLASSES, key=jax.random.key(0), dtype=jnp.float64)
    return eqx.tree_at(lambda one: (one.weight, one.bias), layer, (jnp.asarray(weight), jnp.asarray(bias)))


@pytest.fixture(scope="module")
def problem() -> tuple[eqx.nn.Linear, jax.Array, jax.Array]:
    """A linear classifier and twelve inputs in the unit box, labelled as it reads them."""
    words = np.random.default_rng(4)
    weight, bias = words.normal(size=(CLASSES, INPUTS)), 0.1 * words.normal(size=CLASSES)
    x = words.uniform(0.02, 0.98, (12, INPUTS))
    with jax.enable_x64(True):
        return linear(weight, bias), jnp.asarray(x), jnp.asarray((x @ weight.T + bias).argmax(1))


def to_half_space(item: np.ndarray, normal: np.ndarray, short: float, lower: float, upper: float) -> float:
    """The distance from `item` to `normal . x <= normal . item - short` in a box: infinite where they do not meet."""
    low, high = 0.0, 1e4
    moved = lambda m: np.clip(item - m * normal, lower, upper) - item  # noqa: E731
    if normal @ moved(high) > -short:
        return np.inf
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if normal @ moved(middle) > -short else (low, middle)
    return float(np.linalg.norm(moved(high)))


def exact_lengths(problem, lower: float, upper: float) -> np.ndarray:
    model, x, labels = problem
    weight, bias = np.asarray(model.weight), np.asarray(model.bias)
    lengths = []
    for item, label in zip(np.asarray(x), np.asarray(labels), strict=True):
        logits = weight @ item + bias
        others = [k for k in range(CLASSES) if k != label]
        lengths.append(
            min(
                to_half_space(item, weight[label] - weight[k], logits[label] - logits[k] + BEYOND, lower, upper)
                for k in others
            )
        )
    return np.array(lengths)


def pushed(problem, lower: float, upper: float, targets: int = 2) -> push.Pushes:
    model, x, labels = problem
    return push.minimal_pushes(model, x, labels, lower=lower, upper=upper, targets=targets)


def test_in_a_large_box_the_smallest_push_is_the_margin_over_its_slope(problem):
    model, x, labels = problem
    found = pushed(problem, -100.0, 100.0)
    weight, logits = model.weight, jax.vmap(model)(x)
    slopes = jnp.linalg.norm(weight[labels][:, None] - weight[None], axis=-1)
    short = jnp.take_along_axis(logits, labels[:, None], 1) - logits + BEYOND
    distances = jnp.where(jnp.arange(CLASSES) == labels[:, None], jnp.inf, short / slopes)
    # The relaxation stops at a force of 1e-6, and what it is off sideways enters the length in second order.
    np.testing.assert_allclose(found.norm, distances.min(1), rtol=1e-6)
    np.testing.assert_array_equal(found.target, distances.argmin(1))
    np.testing.assert_allclose(found.alignment, 1, atol=1e-9)
    assert found.success.all()


def test_in_a_tight_box_the_smallest_push_is_the_exact_projection(problem):
    model, _, labels = problem
    found, exact = pushed(problem, 0.0, 1.0), exact_lengths(problem, 0.0, 1.0)
    np.testing.assert_array_equal(found.success, np.isfinite(exact))
    reached = np.isfinite(exact)
    np.testing.assert_allclose(np.asarray(found.norm)[reached], exact[reached], rtol=1e-6)
    assert np.isinf(np.asarray(found.norm)[~reached]).all()
    inside = np.asarray(found.x)
    assert ((inside >= 0) & (inside <= 1)).all()
    # Some are held by walls, or this would be the test above.
    assert (exact[reached] > 1.001 * exact_lengths(problem, -100.0, 100.0)[reached]).sum() >= 2
    over = jax.vmap(lambda there, label: margin(model, there, label))(found.x, labels)
    assert (over[reached] <= -0.5 * BEYOND).all()
    assert (over[~reached] > 0).all()


def test_no_push_is_longer_than_the_straight_step(problem):
    model, x, labels = problem
    for lower, upper in ((-100.0, 100.0), (0.0, 1.0)):
        steps = push.steps_to_boundary(model, x, labels, lower=lower, upper=upper, targets=2)
        norms = pushed(problem, lower, upper).norm
        assert (norms <= steps * (1 + 1e-9)).all()  # a linear margin and no wall: the two are one, up to rounding
        assert np.isfinite(np.asarray(steps)).any()


def test_an_input_that_is_misclassified_already_is_refused(problem):
    model, x, labels = problem
    wrong = labels.at[3].set((labels[3] + 1) % CLASSES)
    for attack in (push.minimal_pushes, push.steps_to_boundary):
        with pytest.raises(InputError, match=r"^attack: input 3 is already misclassified: attack only inputs that"):
            attack(model, x, wrong, lower=0.0, upper=1.0)
    with pytest.raises(InputError, match="fewer than two classes"):
        push.minimal_pushes(lambda item: item[:1], x, labels, lower=0.0, upper=1.0)


def test_the_work_equals_the_energy_climbed_along_both_paths(problem):
    model, x, labels = problem
    ends = pushed(problem, -100.0, 100.0).x
    both = closure.work_of_pushes(model, x, labels, ends, key=jax.random.key(0))
    losses = [-jax.vmap(lambda item, k: jax.nn.log_softmax(model(item))[k])(at, labels) for at in (x, ends)]
    for found in both:
        np.testing.assert_allclose(found.fall, losses[0] - losses[1], atol=1e-13)
        assert (jnp.abs(found.fall) > 1e-3).any()
        assert (jnp.abs(found.gap) <= 1e-9).all()  # the bar of the room for smooth nets in float64
        assert (jnp.abs(found.gap) <= found.error).all()
        assert found.work.reached.all()
    # Two paths, not one twice.
    assert (jnp.abs(both[0].work.value - both[1].work.value) > 0).any()


# The trained net: as in the tour, with its shapes, so that both compile the same programs


@pytest.fixture(scope="module")
def digit_pushes(net) -> Iterator[tuple[Any, jax.Array, jax.Array, push.Pushes]]:
    """Twenty digits that the net reads correctly, pushed."""
    with jax.enable_x64(True):
        model, test = fit.in_double(net), data.digits()[1]
        x, labels = jnp.asarray(test.x), jnp.asarray(test.y)
        right = np.flatnonzero(np.asarray(fit.logits(model, x).argmax(1) == labels))[:20]
        x, labels = x[right], labels[right]
        yield model, x, labels, push.minimal_pushes(model, x, labels, lower=0.0, upper=1.0)


def test_digits_are_pushed_over_their_ridge_inside_the_box(digit_pushes):
    model, x, labels, found = digit_pushes
    assert found.success.all()
    assert ((found.x >= 0) & (found.x <= 1)).all()
    read = fit.logits(model, found.x).argmax(1)
    assert (read != labels).all()
    np.testing.assert_array_equal(read, found.target)
    np.testing.assert_allclose(found.norm, jnp.linalg.norm((found.x - x).reshape(20, -1), axis=1), rtol=1e-12)
    # A cosine of 1 - 1e-4 is an angle of 0.8 degrees: the first-order condition of a smallest push.
    assert (jnp.abs(found.alignment - 1) < 1e-4).all()


def test_digits_are_never_pushed_further_than_a_straight_step(digit_pushes):
    model, x, labels, found = digit_pushes
    steps = push.steps_to_boundary(model, x, labels, lower=0.0, upper=1.0)
    assert (found.norm <= steps).all()
    assert (found.norm < 0.999 * steps).any()  # the margin bends, so that some straight steps are longer


def test_the_evaluations_are_counted_and_few(digit_pushes):
    found = digit_pushes[3]
    assert (found.gradients > 0).all()
    assert (found.forwards > found.gradients).all()
    assert int(found.gradients.max()) < 3 * 20 * 61 + 14  # three targets, twenty stages of sixty steps and a start


def test_confidence_has_a_valley_on_either_side_of_the_ridge(digit_pushes):
    model, x, _, found = digit_pushes
    heights = jax.vmap(lambda t: Confidence(model)(x[0] + t * (found.x[0] - x[0])))(jnp.array([0.0, 1.0, 2.0]))
    assert heights[1] > heights[0]
    assert heights[1] > heights[2]
