"""One reverse search on an image and on an economy, by two verbs, against grids and a closed form."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg
from thalweg.portfolio.energy import Shortfall
from thalweg.portfolio.model.footprint import Footprint
from thalweg.portfolio.model.forecaster import AbstractForecaster
from thalweg.portfolio.model.law import Law
from thalweg.portfolio.tasks.stress import reverse_stress
from thalweg.robust.energy import Margin, OverInputs
from thalweg.robust.model import SmallNet

pytestmark = pytest.mark.usefixtures("x64")


class Away(thalweg.AbstractEnergy):
    """Half the squared distance from a point."""

    at: jax.Array

    def __call__(self, x):
        return 0.5 * jnp.sum((x - self.at) ** 2)


def searched(landscape, origin) -> tuple[float, float]:
    """The distance to the nearest crossing by each of the two verbs."""
    near = thalweg.nearest_crossing(landscape, origin[None])
    slope = thalweg.force(landscape, origin)
    begin = origin + slope * landscape(origin) / jnp.sum(slope**2)
    rest = thalweg.relax_constrained(
        Away(origin), landscape, begin, stiffness=10 / float(jnp.sum(slope**2)), tol=1e-7, max_steps=500, stages=60,
        throw=False,
    )  # fmt: skip
    assert abs(landscape(rest.value)) < 1e-6
    return float(near.distance[0]), float(jnp.linalg.norm(rest.value - origin))


def by_grid(landscape, farthest: float, angles: int = 3600, rings: int = 64) -> float:
    """The distance from the origin of a plane to zero: the first change of sign in every direction, bisected."""
    heights = jax.jit(jax.vmap(landscape))
    turn = np.linspace(0, 2 * np.pi, angles, endpoint=False)
    ways = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    radii = np.linspace(0, farthest, rings + 1)
    below = np.stack([np.asarray(heights(radius * ways)) < 0 for radius in radii])
    crossed = below.any(axis=0)
    first, ways = below.argmax(axis=0)[crossed], ways[crossed]
    low, high = radii[first - 1], radii[first]
    for _ in range(50):
        middle = 0.5 * (low + high)
        over = np.asarray(heights(middle[:, None] * ways)) < 0
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return float(high.min())


def agree(landscape, origin, grid: float) -> None:
    near, rest = searched(landscape, origin)
    # A grid of 3600 directions is long by at most a few 1e-6; the crossing search stops a hair beyond, at most 1e-3.
    assert rest == pytest.approx(grid, rel=1e-5)
    assert grid * (1 - 1e-5) <= near <= grid * (1 + 1e-3)


def test_the_push_of_an_image_in_a_plane_is_what_a_grid_finds():
    net = SmallNet(16, 32, 4, key=jax.random.key(3), dtype=jnp.float64)
    net = eqx.tree_at(lambda one: one.layers[0].weight, net, 6 * net.layers[0].weight)  # bent, as trained ones are
    image = jax.random.uniform(jax.random.key(1), (4, 4))
    margin = OverInputs(Margin(jnp.argmax(net(image)), jnp.asarray(0.0)), net)
    frame = jnp.linalg.qr(jax.random.normal(jax.random.key(2), (16, 2)))[0].T.reshape(2, 4, 4)
    plane = thalweg.Restrict(margin, image, frame)
    agree(plane, jnp.zeros(2), by_grid(plane, 8.0))


class Answering(AbstractForecaster):
    """Log emissions that answer the drivers straight, or bent."""

    bend: jax.Array = eqx.field(converter=jnp.asarray)

    def __call__(self, history, known, drivers):
        pushed = drivers[history.size :] @ jnp.array([0.3, -0.2])
        return history[-1] + jnp.cumsum(pushed + self.bend * pushed**2)


LAW = lambda: Law([0.1, -0.2], [0.6, -0.3], [[0.8, 0.0], [0.3, 0.5]], [1.0, 0.4])  # noqa: E731


def shortfall(bend: float, horizon: int) -> tuple[Shortfall, float]:
    history = jnp.full((1, 8), 13.0)
    ours = Footprint(Answering(bend), history, jnp.ones((1, 8), bool), jnp.ones(1), jnp.zeros((8, 2)))
    expected = ours.logarithm(LAW().path(jnp.zeros((horizon, 2))))
    return Shortfall(ours, LAW(), expected + np.log(1.15)), float(1.15 * jnp.exp(expected))


def test_the_driver_path_that_breaks_a_limit_is_what_a_grid_finds():
    missing, limit = shortfall(0.5, 1)
    one = lambda x: missing(x[None])  # noqa: E731
    grid = by_grid(one, 8.0)
    agree(one, jnp.zeros(2), grid)
    assert reverse_stress(missing.footprint, missing.law, 1, limit).distance == pytest.approx(grid, rel=1e-5)


@pytest.mark.slow
def test_over_several_years_a_straight_answer_is_met_where_its_slope_says():
    missing, _ = shortfall(0.0, 4)
    slope = jax.grad(missing)(jnp.zeros((4, 2)))
    exact = float(missing(jnp.zeros((4, 2))) / jnp.linalg.norm(slope))
    near, rest = searched(missing, jnp.zeros((4, 2)))
    assert rest == pytest.approx(exact, rel=1e-6)
    assert near == pytest.approx(exact, rel=1e-3)
