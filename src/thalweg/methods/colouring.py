"""Which coordinates see each other, and classes of those that do not: found on the host, from derivatives."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from thalweg.core.energy import Landscape
from thalweg.core.errors import InputError

_ROWS = 64  # rows of second derivatives taken at a time: memory is this many times the size of x
_LOOKED_AT = 32  # coordinates on which an energy is compared with flips


def colour_classes(energy: Landscape, x: PyTree) -> Int[Array, " n"]:
    """A colour for every coordinate of the raveled `x`, such that coordinates of one colour do not see each other.

    Two coordinates see each other where the second derivative at a random point is not zero; colours are given
    greedily, the coordinates with the most neighbours first.

    **Arguments:** `energy`; `x`, a configuration, for its structure only.

    **Source:** Welsh & Powell, Comput. J. 10, 85 (1967).
    """
    return jnp.asarray(greedy_colours(_neighbours(energy, x)))


def greedy_colours(neighbours: Sequence[np.ndarray]) -> Int[np.ndarray, " n"]:
    """A colour for every vertex such that neighbours differ, those with the most neighbours first.

    **Arguments:** `neighbours`, those of each vertex.
    """
    colours = np.full(len(neighbours), -1, np.int32)
    for here in sorted(range(len(neighbours)), key=lambda i: -len(neighbours[i])):
        taken = set(colours[neighbours[here]].tolist())
        colours[here] = next(colour for colour in range(len(taken) + 1) if colour not in taken)
    return colours


def refuse_improper(energy: Landscape, x: PyTree, colours: np.ndarray) -> None:
    """Refuse colours that are no whole numbers from zero, or are shared by coordinates that see each other.

    Looked for by one random direction in each class: as exact as knowing all neighbours, at a gradient per class.

    **Raises:** `InputError` naming the colour.
    """
    if not (colours == np.round(colours)).all() or colours.min() < 0 or colours.max() >= colours.size:
        raise InputError(f"sample: colours must be whole numbers from 0 to {colours.size - 1}: number the classes.")
    for colour in np.unique(colours):
        inside = colours == colour
        if np.any(np.asarray(_felt(energy, x, jnp.asarray(inside)))[inside] != 0):
            raise InputError(
                f"sample: some of the coordinates of the same colour {int(colour)} see each other: leave colours out, "
                "and they are found."
            )


def _neighbours(energy: Landscape, x: PyTree) -> list[np.ndarray]:
    flat, _ = ravel_pytree(x)
    # Away from the signs, where couplings of several signs could cancel in a second derivative.
    point = jax.random.uniform(jax.random.key(0), flat.shape, flat.dtype, 0.5, 1.5)
    found = []
    for begin in range(0, flat.size, _ROWS):
        rows = np.asarray(_second(energy, x, point, jnp.asarray(begin)))[: flat.size - begin]
        if not np.isfinite(rows).all():
            raise InputError("sample: the energy has no second derivatives: pass HeatBath(colours=...).")
        found += [np.flatnonzero(row) for row in rows]
    return [there[there != here] for here, there in enumerate(found)]


@eqx.filter_jit
def _second(energy: Landscape, x: PyTree, point: Float[Array, " n"], begin: Int[Array, ""]) -> Float[Array, "rows n"]:
    unravel = ravel_pytree(x)[1]
    slope = jax.grad(lambda flat: energy(unravel(flat)))
    directions = (begin + jnp.arange(_ROWS)[:, None] == jnp.arange(point.size)).astype(point.dtype)
    return jax.vmap(lambda along: jax.jvp(slope, (point,), (along,))[1])(directions)


@eqx.filter_jit
def _felt(energy: Landscape, x: PyTree, inside: Bool[Array, " n"]) -> Float[Array, " n"]:
    """The second derivative along a random direction within a class: not zero where a member sees another."""
    flat, unravel = ravel_pytree(x)
    key_point, key_along = jax.random.split(jax.random.key(2))
    point = jax.random.uniform(key_point, flat.shape, flat.dtype, 0.5, 1.5)
    along = inside * jax.random.uniform(key_along, flat.shape, flat.dtype, 0.5, 1.5)
    slope = jax.grad(lambda flat: energy(unravel(flat)))
    return jax.jvp(slope, (point,), (along,))[1]


def refuse_crooked(energy: Landscape, x: PyTree) -> None:
    """Refuse an energy whose force is not its local field: one that is not linear in every coordinate alone.

    Looked for at random signs, on some of the coordinates, by flipping them.

    **Raises:** `InputError` naming a coordinate.
    """
    size = ravel_pytree(x)[0].size
    which = np.unique(np.linspace(0, size - 1, min(size, _LOOKED_AT)).astype(int))
    gaps, scale = (np.asarray(part) for part in _flipped(energy, x, jnp.asarray(which)))
    # Rounding of two heights and of two slopes; sums over many terms gather some of it.
    allowed = 1e3 * float(jnp.finfo(gaps.dtype).eps) * np.maximum(scale, 1e-30)
    worst = int(np.argmax(np.nan_to_num(gaps - allowed, nan=np.inf)))
    if not gaps[worst] <= allowed[worst]:
        raise InputError(
            f"sample: HeatBath needs an energy that is linear in each sign, but flipping coordinate {which[worst]} "
            f"of x and its force differ by {gaps[worst]:.3g}: drop powers of one sign (x_i^2 = 1), or use Metropolis."
        )


@eqx.filter_jit
def _flipped(energy: Landscape, x: PyTree, which: Int[Array, " k"]) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    flat, unravel = ravel_pytree(x)
    signs = jax.random.rademacher(jax.random.key(1), flat.shape, flat.dtype)
    look = jax.value_and_grad(lambda point: energy(unravel(point)))

    def gap(coordinate):
        high, slope_high = look(signs.at[coordinate].set(1))
        low, slope_low = look(signs.at[coordinate].set(-1))
        rise = (high - low) / 2
        apart = jnp.maximum(jnp.abs(slope_high[coordinate] - rise), jnp.abs(slope_low[coordinate] - rise))
        size = jnp.abs(high) + jnp.abs(low) + jnp.max(jnp.abs(slope_high)) + jnp.max(jnp.abs(slope_low))
        return apart, size.astype(apart.dtype)

    return jax.lax.map(gap, which)
