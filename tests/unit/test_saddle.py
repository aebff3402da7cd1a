"""Saddle searches: published saddles with a verified index, host programs, spaces, and every way to end or refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from thalweg.core.energy import AbstractHostField
from thalweg.core.errors import InputError, WalkError
from thalweg.core.space import Box, Frozen, Periodic
from thalweg.landscapes import DoubleWell, LennardJones, MullerBrown
from thalweg.methods.saddle import EigenvectorFollowing
from thalweg.verbs.relax import relax
from thalweg.verbs.saddle import find_saddle

# Published to six decimals: Muller & Brown 1979; positions as in the usual tables.
SADDLES = [((-0.822002, 0.624313), -40.664844), ((0.212487, 0.292988), -72.248940)]
STARTS = [(-0.6, 1.0), (0.3, 0.2)]
MINIMA = [(-0.558224, 1.441726), (0.623499, 0.028038), (-0.050011, 0.466694)]


def newton(x):
    """The stationary point that Newton's method reaches from nearby: an answer that owes nothing to our methods."""
    for _ in range(20):
        x = x - np.linalg.solve(jax.hessian(MullerBrown())(x), jax.grad(MullerBrown())(x))
    return x


@pytest.mark.parametrize(("start", "saddle"), [*zip(STARTS, SADDLES, strict=True)])
def test_muller_brown_saddles(start, saddle, x64):
    found = find_saddle(MullerBrown(), jnp.array(start), tol=1e-9)
    place, height = saddle
    np.testing.assert_allclose(found.value, newton(jnp.array(place)), atol=1e-10)  # a force of 1e-9, curvatures of 700
    np.testing.assert_allclose(found.value, place, atol=1e-6)
    assert abs(float(found.energy) - height) < 1e-6
    assert int(found.stats["index"]) == 1
    values, vectors = np.linalg.eigh(jax.hessian(MullerBrown())(found.value))
    assert float(found.stats["eigenvalue"]) == pytest.approx(values[0], rel=1e-6)
    assert abs(float(vectors[:, 0] @ np.asarray(found.stats["mode"]))) == pytest.approx(1, abs=1e-6)
    assert int(found.stats["steps"]) < 20  # it is Newton's method


@pytest.mark.parametrize("minimum", MINIMA)
def test_a_minimum_is_left_behind(minimum, x64):
    bottom = newton(jnp.array(minimum))
    assert np.linalg.eigvalsh(jax.hessian(MullerBrown())(bottom))[0] > 0
    found = find_saddle(MullerBrown(), bottom)
    heights = [height for _, height in SADDLES]
    assert min(abs(float(found.energy) - height) for height in heights) < 1e-6


def test_a_point_of_higher_index_is_left_behind(x64):
    found = find_saddle(DoubleWell(), jnp.zeros(2))
    assert int(found.stats["index"]) == 1
    np.testing.assert_allclose(np.sort(np.abs(np.asarray(found.value))), [0, 1], atol=1e-6)


def icosahedron():
    ratio = (1 + 5**0.5) / 2
    corners = np.array([(0, a, b * ratio) for a in (-1, 1) for b in (-1, 1)], float)
    around = np.vstack([corners, np.roll(corners, 1, 1), np.roll(corners, 2, 1)])
    return 1.08 * np.vstack([np.zeros(3), around / np.linalg.norm(around[0])])


@pytest.mark.slow
def test_thirteen_points_leave_the_icosahedron(x64):
    bottom, heights = relax(LennardJones(), jnp.asarray(icosahedron()), tol=1e-8).value, []
    for key in jax.random.split(jax.random.key(3), 24):
        start = bottom + 0.1 * jax.random.normal(key, (13, 3))
        found = find_saddle(LennardJones(), start, max_steps=300, throw=False)
        if not found.done:
            continue
        values = np.linalg.eigvalsh(jax.hessian(LennardJones())(found.value).reshape(39, 39))
        assert np.sum(values < -1e-4) == 1  # zero modes are 1e-7 at the force left, the softest others of order one
        assert np.sum(np.abs(values) < 1e-4) == 6
        heights.append(float(found.energy))
    assert len(heights) >= 20
    assert len(np.unique(np.round(heights, 4))) >= 5


class Net:
    """The squared error of a small tanh net with weight decay, as a plain callable."""

    def __call__(self, x):
        inputs = jnp.linspace(-1, 1, 8).astype(x["b"].dtype)
        out = jnp.tanh(inputs[:, None] * x["w"] + x["b"]) @ x["v"]
        decay = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(x))
        return jnp.mean((out - jnp.sin(3 * inputs)) ** 2) + 1e-2 * decay


@pytest.mark.slow
@pytest.mark.parametrize("dense", [0, 128])
def test_the_weights_of_a_net_have_saddles(dense, x64):
    weights = {"w": jnp.array([1.0, 0.8]), "b": jnp.array([0.1, -0.1]), "v": jnp.array([0.7, 0.6])}
    net = Net()
    found = find_saddle(net, weights, EigenvectorFollowing(dense=dense), tol=1e-8)
    flat, unravel = ravel_pytree(found.value)
    values = np.linalg.eigvalsh(jax.hessian(lambda z: net(unravel(z)))(flat))
    assert np.sum(values < 0) == 1
    assert float(found.stats["eigenvalue"]) == pytest.approx(values[0], rel=1e-4)
    assert jax.tree.structure(found.stats["mode"]) == jax.tree.structure(weights)


class Programme(AbstractHostField):
    """The landscape in somebody else's program, which itself uses JAX; counts what it is asked."""

    def __init__(self):
        self.evaluate, self.asked = jax.jit(jax.vmap(jax.value_and_grad(MullerBrown()))), 0

    def value_and_force_batch(self, x):
        self.asked += len(x)
        values, slopes = self.evaluate(x)
        return np.asarray(values), -np.asarray(slopes)


@pytest.mark.slow
def test_a_host_field_has_the_same_saddle(x64):
    field = Programme()
    theirs = find_saddle(field, jnp.array(STARTS[0]), tol=1e-6)
    np.testing.assert_allclose(theirs.value, SADDLES[0][0], atol=1e-6)
    assert int(theirs.stats["index"]) == 1
    # Two evaluations per product with the Hessian, and one per step and start.
    assert field.asked == 2 * int(theirs.stats["hvps"]) + int(theirs.stats["steps"]) + 1


def test_spaces_hold(x64):
    wave = lambda x: -jnp.sum(jnp.cos(2 * jnp.pi * x)) + 0.1 * jnp.sin(2 * jnp.pi * x[0])  # noqa: E731
    found = find_saddle(wave, jnp.array([0.6, 0.95]), space=Periodic(1.0), tol=1e-8)
    assert float(jnp.max(found.value)) < 1
    assert int(found.stats["index"]) == 1
    kept = find_saddle(MullerBrown(), jnp.array([-0.8, 0.6]), space=Frozen(jnp.array([True, False])))
    assert float(kept.value[1]) == 0.6
    assert abs(float(jax.grad(MullerBrown())(kept.value)[0])) < 1e-6
    with pytest.raises(InputError, match="does not know the walls of Box"):
        find_saddle(MullerBrown(), jnp.zeros(2), space=Box(-1.0, 1.0))


def test_a_batch_ends_lane_by_lane_and_like_single_walks(x64):
    starts = jnp.array([*STARTS, MINIMA[0]])
    batch = jax.vmap(lambda x: find_saddle(MullerBrown(), x, tol=1e-9, throw=False))(starts)
    assert batch.done
    assert batch.stats["index"].tolist() == [1, 1, 1]
    for lane, start in enumerate(starts):
        alone = find_saddle(MullerBrown(), start, tol=1e-9)
        np.testing.assert_allclose(batch.value[lane], alone.value, atol=1e-10)
    with pytest.raises(InputError, match="pass throw=False"):
        jax.vmap(lambda x: find_saddle(MullerBrown(), x))(starts)


def test_float32_walks_arrive_in_float32():
    found = find_saddle(MullerBrown(), jnp.array(STARTS[0]), tol=1e-2)
    assert found.value.dtype == jnp.float32
    np.testing.assert_allclose(found.value, SADDLES[0][0], atol=1e-4)  # a force of 1e-2 at curvatures of 700


def test_endings_are_sentences(x64):
    with pytest.raises(WalkError, match="find_saddle: The step budget ran out"):
        find_saddle(MullerBrown(), jnp.array(STARTS[0]), max_steps=2)
    bowl = lambda x: jnp.sum(x**2)  # noqa: E731
    with pytest.raises(WalkError, match=r"rested last at a point of index 0, not 1"):
        find_saddle(bowl, jnp.zeros(2), max_steps=3)
    # A NaN that lies off the way does no harm.
    gone = find_saddle(lambda x: jnp.where(x[0] < 0.5, x[0] ** 2 - x[1] ** 2, jnp.nan), jnp.array([0.4, 3.0]))
    assert int(gone.stats["index"]) == 1
    with pytest.raises(InputError, match="no method 'newton': choose one of following"):
        find_saddle(bowl, jnp.zeros(2), "newton")


def test_a_planted_nan_is_named():
    hole = lambda x: jnp.where(x[0] > -0.7, MullerBrown()(x), jnp.nan)  # noqa: E731
    with pytest.raises(WalkError, match=r"find_saddle: step \d+ made .* non-finite"):
        find_saddle(hole, jnp.array(STARTS[0]), tol=1e-2)
