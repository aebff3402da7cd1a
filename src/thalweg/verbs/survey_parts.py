"""The searches that a survey is made of, each compiled once: relaxing starts, climbing to a saddle, joining a pair."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key, PyTree

from thalweg.core.energy import Landscape
from thalweg.core.solution import Outcome
from thalweg.core.space import AbstractSpace
from thalweg.methods.band import AbstractBand, asked, begin, flat_rows, gaps, go_on, whole_chain
from thalweg.methods.curvature import (
    dense_spectrum,
    hessian,
    lanczos_spectrum,
    product_at,
    projection_at,
    resolved,
    zero_curvature,
)
from thalweg.methods.descent import AbstractDescent
from thalweg.methods.drive import drive
from thalweg.methods.saddle import AbstractSaddleSearch
from thalweg.verbs.relax import relax
from thalweg.verbs.saddle import find_saddle

BATCH = 8  # relaxations in one call: the ways down on both sides of the tops of one band
SMALL = 48  # coordinates up to which a Hessian as a matrix costs less than iterations
_TOPS = 4  # of the tops of a band, so many are searched, the highest first
_UNEVEN = 0.02  # random displacement of a first path, as a share of its length: it leaves planes of symmetry


class Tools(eqx.Module):
    """What all searches of a survey share.

    **Fields:** the landscape and its `space`; a configuration `like` all others; the methods `search`, `descent` and
    `band`; the bound `tol` on forces at rest; the distance `aside` from a saddle at which the ways down begin; the
    budgets in steps, the number of `images`, and how many `lanes` of a batch of relaxations run abreast.
    """

    energy: Landscape
    space: AbstractSpace
    like: PyTree
    search: AbstractSaddleSearch
    descent: AbstractDescent
    band: AbstractBand
    tol: Float[Array, ""]
    aside: Float[Array, ""]
    max_steps: int = eqx.field(static=True)
    climb_steps: int = eqx.field(static=True)
    band_steps: int = eqx.field(static=True)
    images: int = eqx.field(static=True)
    lanes: int = eqx.field(static=True)

    def unravel(self, row: Any) -> PyTree:
        """The configuration of a flat row."""
        return ravel_pytree(self.like)[1](jnp.asarray(row))


@eqx.filter_jit
def _relaxed(tools: Tools, rows: Float[Array, "batch n"], budgets: Int[Array, " batch"]) -> tuple[Array, Array, Array]:
    def one(lane: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        row, steps = lane
        end = relax(
            tools.energy,
            tools.unravel(row),
            tools.descent,
            space=tools.space,
            tol=tools.tol,  # pyright: ignore[reportArgumentType]
            max_steps=steps,  # pyright: ignore[reportArgumentType]  # a budget of none costs nothing
            throw=False,
        )
        return ravel_pytree(end.value)[0], end.energy, end.outcome == Outcome.DONE.code

    return jax.lax.map(one, (rows, budgets), batch_size=tools.lanes)


def relaxed(tools: Tools, rows: Float[np.ndarray, "rows n"]) -> dict[str, np.ndarray]:
    """Where each row comes to rest, its energy there, and whether it did, in batches of one compiled shape."""
    parts = []
    for first in range(0, len(rows), BATCH):
        batch = rows[first : first + BATCH]
        spare = BATCH - len(batch)
        budgets = np.repeat([tools.max_steps, 0], [len(batch), spare])
        batch = np.concatenate([batch, np.repeat(batch[:1], spare, axis=0)])
        found = _relaxed(tools, jnp.asarray(batch), jnp.asarray(budgets))
        parts.append([np.asarray(each)[: BATCH - spare] for each in found])
    names = ("rows", "energies", "landed")
    return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}


@eqx.filter_jit
def is_minimum(tools: Tools, row: Float[Array, " n"]) -> Array:
    """Whether no direction goes down at a point of rest."""
    x = tools.unravel(row)
    project = projection_at(tools.space, x)
    if row.size <= SMALL:
        found = dense_spectrum(hessian(tools.energy, tools.space, x), project, 1)
    else:
        apply = product_at(tools.energy, tools.space, x)
        found = lanczos_spectrum(apply, project, row, 1, jax.random.key(0), krylov=60, restarts=20)
    return (found.values[0] > -zero_curvature(found)) & resolved(found)[0]


@eqx.filter_jit
def _climbed(tools: Tools, row: Float[Array, " n"], along: Float[Array, " n"], key: Key[Array, ""]) -> dict[str, Array]:
    """A saddle search that climbs `along` first, and the two points a little downhill of what it found."""
    top = find_saddle(
        tools.energy,
        tools.unravel(row),
        tools.search,
        space=tools.space,
        tol=tools.tol,  # pyright: ignore[reportArgumentType]
        max_steps=tools.climb_steps,
        key=key,
        along=tools.unravel(along),
        throw=False,
    )
    bend, mode = top.stats["eigenvalue"], top.stats["mode"]
    # Far enough for a force that the descent does not take for rest.
    length = jnp.maximum(tools.aside, 10 * tools.tol / jnp.maximum(jnp.abs(bend), jnp.finfo(bend.dtype).tiny))

    def side(way: float) -> Array:
        step = jax.tree.map(lambda leaf: (way * length).astype(leaf.dtype) * leaf, mode)
        return ravel_pytree(tools.space.shift(top.value, step))[0]

    return {
        "arrived": top.outcome == Outcome.DONE.code,
        "saddle": ravel_pytree(top.value)[0],
        "energy": top.energy,
        "eigenvalue": bend,
        "sides": jnp.stack([side(-1.0), side(1.0)]),
        "steps": top.stats["steps"],
    }


@eqx.filter_jit
def _banded(
    tools: Tools, a: Float[Array, " n"], b: Float[Array, " n"], key: Key[Array, ""]
) -> tuple[Array, Array, Array]:
    """Images, energies and tangents of a band between two points, relaxed as far as its budget goes.

    It need not arrive: its tops are where saddle searches begin.
    """
    first, last = tools.unravel(a), tools.unravel(b)
    way = tools.space.displacement(first, last)
    shares = jnp.linspace(0, 1, tools.images, dtype=a.dtype)[1:-1]
    flat = ravel_pytree(way)[0]
    noise = jax.random.normal(key, (len(shares), a.size), a.dtype) * _UNEVEN * jnp.linalg.norm(flat) / a.size**0.5

    def placed(share: Array, shaken: Array) -> PyTree:
        step = ravel_pytree(first)[1](share * flat + jnp.sin(jnp.pi * share) * shaken)
        return tools.space.shift(first, tools.space.project(first, step))

    inner = jax.vmap(placed)(shares, noise)
    ends = (first, last)
    heights = asked(tools.energy, jax.tree.map(lambda *two: jnp.stack(two), *ends))[0]
    start = begin(tools.band, tools.space, ends, heights, inner, asked(tools.energy, inner))
    step = eqx.Partial(_band_step, tools, ends, heights)
    walk = drive(step, start, tools.band_steps, judge=_band_judge).state
    whole = whole_chain(ends, walk.state.x)
    steps = gaps(tools.space, whole)
    tangents = jnp.concatenate([steps[:1], 0.5 * (steps[1:] + steps[:-1]), steps[-1:]])
    return flat_rows(whole), walk.values, tangents


def _band_step(tools: Tools, ends, heights, walk: Any) -> Any:
    known = asked(tools.energy, walk.state.trial)
    return go_on(tools.band, tools.space, ends, heights, walk, known)


def _band_judge(walk: Any) -> Array:
    finite = jnp.isfinite(walk.residual) & jnp.all(jnp.isfinite(walk.values))
    return jnp.where(finite, Outcome.WALKING.code, Outcome.NONFINITE.code)


def joined(tools: Tools, a: np.ndarray, b: np.ndarray, key: Key[Array, ""]) -> dict[str, np.ndarray]:
    """The saddles found from the tops of a band between two rows, as `climbed` gives them."""
    rows, values, tangents = (np.asarray(each) for each in _banded(tools, jnp.asarray(a), jnp.asarray(b), key))
    tops = [i for i in range(1, len(values) - 1) if values[i - 1] < values[i] >= values[i + 1]]
    tops = sorted(tops, key=lambda i: (-values[i], i))[:_TOPS]
    return climbed(tools, rows[tops], tangents[tops], key)


def climbed(tools: Tools, rows: np.ndarray, along: np.ndarray, key: Key[Array, ""]) -> dict[str, np.ndarray]:
    """Saddle searches from some rows, each climbing `along` first: those that arrived, and where both sides lead.

    **Returns:** `saddle` [s, n], `energy` [s], `eigenvalue` [s], `sides` [s, 2, n] and `side_energies` [s, 2], and the
    numbers of `searches` and of their `steps`.
    """
    keys = jax.random.split(key, max(1, len(rows)))
    # One after another: lanes of one batch would wait for the slowest, and take both branches of every choice.
    searches = [_climbed(tools, row, way, own) for row, way, own in zip(rows, along, keys, strict=False)]
    hosted = [{name: np.asarray(value) for name, value in each.items()} for each in searches]
    tops = [each for each in hosted if each["arrived"]]
    counts = {"searches": np.asarray(len(hosted)), "steps": np.asarray(sum(int(each["steps"]) for each in hosted))}
    size, dtype = rows.shape[1], rows.dtype
    if not tops:
        shapes = {"saddle": (size,), "energy": (), "eigenvalue": (), "sides": (2, size), "side_energies": (2,)}
        return {name: np.zeros((0, *shape), dtype) for name, shape in shapes.items()} | counts
    ends = relaxed(tools, np.concatenate([each["sides"] for each in tops]))
    landed = ends["landed"].reshape(-1, 2).all(axis=1)
    arrays = {name: np.stack([each[name] for each in tops])[landed] for name in ("saddle", "energy", "eigenvalue")}
    sides, heights = ends["rows"].reshape(-1, 2, size)[landed], ends["energies"].reshape(-1, 2)[landed]
    return arrays | {"sides": sides, "side_energies": heights} | counts
