"""Paths of least energy: published barriers, verified chains of saddles and minima, spaces, programs and refusals."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.energy import AbstractHostField
from thalweg.core.errors import InputError, WalkError
from thalweg.core.space import Box, Frozen, Periodic
from thalweg.landscapes import LennardJones, MullerBrown
from thalweg.verbs.path import find_path
from thalweg.verbs.relax import relax
from thalweg.verbs.saddle import find_saddle

A, B = (-0.55822363, 1.44172584), (0.62349940, 0.02803776)  # the published minima; their forces are below 1e-5
HEIGHTS = (-146.699517, -108.166724)
SADDLES = (-40.664844, -72.248940)


@pytest.mark.parametrize("method", ["band", "string"])
def test_muller_brown_barriers(method, x64):
    path = find_path(MullerBrown(), jnp.array(A), jnp.array(B), method, images=15)
    assert path.done
    assert path.connected
    assert [top.index for top in path.saddles] == [1, 1]
    # Six published decimals in each of two heights.
    np.testing.assert_allclose([top.energy for top in path.saddles], SADDLES, atol=1e-6)
    assert float(path.barrier) == pytest.approx(SADDLES[0] - HEIGHTS[0], abs=2e-6)
    assert float(path.reverse_barrier) == pytest.approx(SADDLES[0] - HEIGHTS[1], abs=2e-6)
    # The climber's force is below 7e-4 at a curvature of 700: its height is within 1e-9.
    assert float(path.band_barrier) == pytest.approx(float(path.barrier), abs=1e-8)
    middle = [side for side in (path.saddles[0].forward, path.saddles[1].backward) if side is not None]
    assert [float(side.energy) for side in middle] == pytest.approx([-80.767818] * 2, abs=1e-6)
    # Every image on the way is where the force has no part across the path; the gaps are even between the tops.
    assert float(path.stats["residual"]) < 1e-3
    np.testing.assert_array_equal(path.images[0], A)
    assert float(path.arc[-1]) > float(jnp.linalg.norm(path.images[-1] - path.images[0]))


def icosahedron():
    ratio = (1 + 5**0.5) / 2
    corners = np.array([(0, a, b * ratio) for a in (-1, 1) for b in (-1, 1)], float)
    around = np.vstack([corners, np.roll(corners, 1, 1), np.roll(corners, 2, 1)])
    return 1.08 * np.vstack([np.zeros(3), around / np.linalg.norm(around[0])])


@pytest.mark.slow
def test_a_path_between_two_clusters(x64):
    energy = LennardJones()
    bottom = relax(energy, jnp.asarray(icosahedron()), tol=1e-8).value
    # Saddles are all around: the first one that has the icosahedron on one side gives the two ends.
    for key in jax.random.split(jax.random.key(3), 24):
        saddle = find_saddle(energy, bottom + 0.1 * jax.random.normal(key, (13, 3)))
        sides = [relax(energy, saddle.value + way * 0.02 * saddle.stats["mode"], tol=1e-7) for way in (-1, 1)]
        low, high = sorted(sides, key=lambda side: float(side.energy))
        if float(low.energy) < -44.3 and float(high.energy) > -44.3:
            break
    # Wales & Doye, J. Phys. Chem. A 101, 5111 (1997): the icosahedron, to six decimals.
    assert float(low.energy) == pytest.approx(-44.326801, abs=1e-6)
    path = find_path(energy, low.value, high.value, images=11)
    assert path.connected
    top = max(path.saddles, key=lambda one: float(one.energy))
    values = np.linalg.eigvalsh(jax.hessian(energy)(top.value).reshape(39, 39))
    assert np.sum(values < -1e-4) == 1  # zero modes are 1e-7 at the force left
    assert float(path.barrier) == pytest.approx(float(top.energy) + 44.326801, abs=1e-6)
    assert float(path.reverse_barrier) == pytest.approx(float(top.energy - high.energy), abs=1e-9)
    assert float(path.band_barrier) == pytest.approx(float(path.barrier), abs=1e-6)


class Twins:
    """A net of two tanh units with weight decay, which may exchange their parts: two minima of one height."""

    def __call__(self, x):
        inputs = jnp.linspace(-1, 1.5, 8).astype(x["b"].dtype)
        out = jnp.tanh(inputs[:, None] * x["w"] + x["b"]) @ x["v"]
        decay = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(x))
        return jnp.mean((out - jnp.cos(3 * inputs)) ** 2) + 1e-2 * decay


@pytest.mark.slow
def test_two_minima_of_a_net_are_joined(x64):
    net = Twins()
    weights = {"w": jnp.array([2.0, -1.0]), "b": jnp.array([-1.0, 0.5]), "v": jnp.array([-1.0, 0.8])}
    one = relax(net, weights, tol=1e-8).value
    other = jax.tree.map(lambda leaf: leaf[::-1], one)
    # The straight way leads over the ridge where both units are equal: a first path around it.
    shares = jnp.linspace(0, 1, 41)
    bend = {"w": jnp.array([0.3, 0.2]), "b": jnp.array([0.1, -0.2]), "v": jnp.array([0.1, 0.3])}
    initial = jax.tree.map(
        lambda a, b, c: a + shares[:, None] * (b - a) + jnp.sin(jnp.pi * shares)[:, None] * c, one, other, bend
    )
    path = find_path(net, one, other, initial=initial)
    assert path.connected
    assert jax.tree.structure(path.images) == jax.tree.structure(one)
    # The exchange maps the path on itself: two saddles of one height, with a shallow minimum between them.
    assert [top.index for top in path.saddles] == [1, 1]
    heights = [float(top.energy) for top in path.saddles]
    assert heights[0] == pytest.approx(heights[1], abs=1e-10)  # a force of 5e-7 at a curvature of 7e-3: 2e-11
    # Too few images see one of the two tops only, and the path says so instead of closing the gap.
    coarse = find_path(net, one, other, initial=jax.tree.map(lambda leaf: leaf[::10], initial), images=5)
    assert len(coarse.saddles) == 1
    assert not coarse.connected
    assert "unbroken chain" in coarse.sentence


class Programme(AbstractHostField):
    """The landscape in somebody else's program; keeps the sizes of what it is asked."""

    def __init__(self):
        self.evaluate, self.sizes = jax.jit(jax.vmap(jax.value_and_grad(MullerBrown()))), []

    def value_and_force_batch(self, x):
        self.sizes.append(len(x))
        values, slopes = self.evaluate(x)
        return np.asarray(values), -np.asarray(slopes)


@pytest.mark.slow
def test_a_host_field_is_asked_for_all_images_at_once(x64):
    field = Programme()
    theirs = find_path(field, jnp.array(A), jnp.array(B), "string", images=15)
    assert field.sizes[1 : int(theirs.stats["steps"]) + 2] == [13] * (int(theirs.stats["steps"]) + 1)
    assert theirs.connected
    assert float(theirs.barrier) == pytest.approx(SADDLES[0] - HEIGHTS[0], abs=1e-5)


def wave(x):
    """Minima where x[0] is a whole number, with a barrier of 2 between them."""
    return -jnp.cos(2 * jnp.pi * x[0]) - 0.1 * jnp.cos(4 * jnp.pi * x[0]) + 2 * x[1] ** 2


@pytest.mark.slow
def test_a_path_goes_the_short_way_round(x64):
    a, b = jnp.array([0.0, 0.0]), jnp.array([2.0, 0.0])
    path = find_path(wave, a, b, images=9, space=Periodic(jnp.array([3.0, 100.0])))
    assert path.connected
    assert float(path.arc[-1]) == pytest.approx(1, abs=1e-6)
    inner = np.asarray(path.images)[1:-1, 0]
    assert np.all((inner > 2) & (inner < 3))
    assert float(path.barrier) == pytest.approx(2.0, abs=1e-9)


@pytest.mark.slow
def test_frozen_coordinates_stay(x64):
    a, b = jnp.array([0.0, 0.3]), jnp.array([1.0, 0.3])
    path = find_path(wave, a, b, images=7, space=Frozen(jnp.array([True, False])))
    np.testing.assert_array_equal(path.images[:, 1], [0.3] * 7)
    assert path.connected
    with pytest.raises(InputError, match="differ in coordinates that are frozen"):
        find_path(wave, a, b.at[1].set(0.0), space=Frozen(jnp.array([True, False])))


@pytest.mark.slow
def test_ends_off_rest_are_told_and_relaxed_on_request(x64):
    near, far = jnp.array([0.05, 0.0]), jnp.array([1.0, 0.0])
    as_given = find_path(wave, near, far, images=7)
    assert float(as_given.stats["force_norms"][0]) > 1
    assert as_given.connected  # through the minimum below the end
    relaxed = find_path(wave, near, far, images=7, relax_ends=True)
    assert float(jnp.max(relaxed.stats["force_norms"])) < 1e-6
    assert float(as_given.barrier) < float(relaxed.barrier) == pytest.approx(2.0, abs=1e-9)


def test_a_slope_has_no_saddle_and_says_so(x64):
    path = find_path(wave, jnp.array([0.0, 0.0]), jnp.array([0.4, 0.0]), images=7)
    assert path.saddles == ()
    assert not path.connected
    assert "No image is higher" in path.sentence


def test_float32_paths_stay_in_float32():
    path = find_path(wave, jnp.array([0.0, 0.0]), jnp.array([1.0, 0.1]), images=7)
    assert path.images.dtype == path.barrier.dtype == jnp.float32
    assert float(path.barrier) == pytest.approx(2, abs=1e-5)  # float32 at a height of 2


def test_a_planted_nan_is_named():
    hole = lambda x: jnp.where(jnp.abs(x[0] - 0.45) > 0.1, wave(x), jnp.nan)  # noqa: E731
    with pytest.raises(WalkError, match=r"find_path: .*non-finite"):
        find_path(hole, jnp.array([0.0, 0.0]), jnp.array([1.0, 0.0]), images=10)
    with pytest.raises(WalkError, match="find_path: The step budget ran out"):
        find_path(wave, jnp.array([0.0, 0.0]), jnp.array([1.0, 0.0]), images=7, max_steps=2)


BAD = [
    ({"b": jnp.array([0.0, 0.0])}, "the same point"),
    ({"b": jnp.array([0.0, 0.0, 1.0])}, "differ in structure"),
    ({"images": 2}, "at least 3"),
    ({"space": lambda: Box(-1.0, 1.0)}, "walls of Box"),
    ({"method": "spline"}, "choose one of band, string"),
    ({"initial": jnp.zeros((5, 3))}, "images like a"),
    ({"tol": -1.0}, "must be positive"),
    ({"max_steps": -1}, "must not be negative"),
]


@pytest.mark.parametrize(("change", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_bad_arguments_are_one_sentence(change, sentence):
    plain = {"a": jnp.array([0.0, 0.0]), "b": jnp.array([1.0, 0.0])} | change
    if callable(plain.get("space")):
        plain["space"] = plain["space"]()
    with pytest.raises(InputError, match=sentence):
        find_path(wave, **plain)


def test_inside_a_transformation_it_is_refused():
    with pytest.raises(InputError, match="call it outside of jit and vmap"):
        jax.vmap(lambda a: find_path(wave, a, a + 1.0))(jnp.zeros((2, 2)))
