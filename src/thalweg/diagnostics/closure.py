"""Closure: whether the work of a force field equals the energy that was lost, whatever the way."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.energy import AbstractHostField, Landscape, height
from thalweg.core.paths import AbstractPath
from thalweg.methods.line import Field, Work, line_integral


class Closure(eqx.Module):
    """The work of a field beside the fall of an energy along one path.

    **Fields:** the `work` with its error; the `fall`, E(start) - E(end); the `gap`, work minus fall; the `error` of the
    gap, which is that of the work plus the rounding of the two heights (50 eps each, as in the quadrature); and the gap
    `relative` to the fall. A field that is the force of the energy has a gap within the error.
    """

    work: Work
    fall: Float[Array, "*batch"]
    gap: Float[Array, "*batch"]
    error: Float[Array, "*batch"]
    relative: Float[Array, "*batch"]


def closure(
    energy: Landscape | AbstractHostField,
    path: AbstractPath,
    field: Field | None = None,
    *,
    tol: float | None = None,
    max_pieces: int = 200,
) -> Closure:
    """Compare the work along `path` with the fall of `energy` between its ends.

    **Arguments:** `field`, the force field that is under suspicion; by default the force of `energy` itself.

    **Raises:** `InputError` as `work` does.
    """
    done = line_integral(energy if field is None else field, path, tol, max_pieces, "closure")
    first, last = path(jnp.asarray(0.0, done.value.dtype)), path(jnp.asarray(1.0, done.value.dtype))
    above, below = height(energy, first), height(energy, last)
    fall = above - below
    gap = done.value - fall
    error = done.error + 50 * jnp.finfo(fall.dtype).eps * (jnp.abs(above) + jnp.abs(below))
    return Closure(done, fall, gap, error, jnp.abs(gap) / jnp.maximum(jnp.abs(fall), jnp.finfo(fall.dtype).tiny))


def loop(
    field: Field, there: AbstractPath, back: AbstractPath, *, tol: float | None = None, max_pieces: int = 200
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The work of `field` along `there` minus that along `back`, two paths with the same ends, and its error.

    It is zero for every conservative field; for any other it is the circulation around the loop.
    """
    out = line_integral(field, there, tol, max_pieces, "loop")
    home = line_integral(field, back, tol, max_pieces, "loop")
    return out.value - home.value, out.error + home.error
