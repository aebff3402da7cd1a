"""Curvature: the softest and stiffest directions at a point, and how many of them go down."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from thalweg.core.checks import check_scalar, fits, floating, positive, traced
from thalweg.core.energy import AbstractHostField, KeptCompiled, Landscape
from thalweg.core.errors import InputError
from thalweg.core.refresh import refreshing
from thalweg.core.space import AbstractSpace, Box, Euclidean, Signs
from thalweg.methods.curvature import (
    DENSE,
    Spectrum,
    dense_spectrum,
    hessian,
    lanczos_spectrum,
    product_at,
    projection_at,
    resolved,
    zero_curvature,
)
from thalweg.methods.descent import refuse_walls


class Modes(eqx.Module):
    """The lower end of the Hessian's spectrum, and its highest eigenvalue.

    **Fields:** the eigenvalues `values` [k], ascending; the unit `directions`, with the structure of `x` and a leading
    axis of modes; their `residuals` `|H v - c v|`: an eigenvalue lies within that of `c`; the eigenvalue `highest` with
    its `highest_residual`; `zero`, below which an eigenvalue counts as zero (the square root of eps times the largest
    one: rounding alone makes about eps times it); whether all residuals are `resolved`, below that or a tenth of
    their eigenvalue; the `products` with the Hessian that it took.
    """

    values: Float[Array, "*batch k"]
    directions: PyTree
    residuals: Float[Array, "*batch k"]
    highest: Float[Array, "*batch"]
    highest_residual: Float[Array, "*batch"]
    zero: Float[Array, "*batch"]
    resolved: Bool[Array, "*batch"]
    products: Int[Array, "*batch"]


class Index(eqx.Module):
    """How many directions go down at a point.

    **Fields:** the number of `negative` eigenvalues; of `zero` ones among those that were computed; the tolerance `tol`
    between them; whether the count is `trusted`: every residual tells the sign of its eigenvalue or that it is zero,
    and the last eigenvalue computed is not negative, or is the last there is.
    """

    negative: Int[Array, "*batch"]
    zero: Int[Array, "*batch"]
    tol: Float[Array, "*batch"]
    trusted: Bool[Array, "*batch"]


def lowest_modes(
    energy: Landscape | AbstractHostField,
    x: PyTree,
    *,
    count: int = 6,
    key: Key[Array, ""] | None = None,
    space: AbstractSpace | None = None,
    dense: bool | None = None,
    krylov: int = 60,
    restarts: int = 20,
) -> Modes:
    """The lowest eigenvalues of the Hessian at `x` between the directions that `space` lets move.

    **Arguments:**

    - `energy`, `x`: a landscape or host field, and a pytree of floats.
    - `count`: how many modes; at most as many as there are directions to move in.
    - `key`: of the random vectors that Lanczos runs start from; by default a fixed one.
    - `space`: without walls; its frozen coordinates are left out.
    - `dense`: build and diagonalise the whole Hessian, by default up to 128 coordinates; otherwise one Lanczos run per
      mode with full reorthogonalisation, so that degenerate modes are all found.
    - `krylov`, `restarts`: the largest Lanczos basis, and how often a run may begin anew at its best vector.

    **Raises:** `InputError` for an unusable `x` or `count`.

    **Source:** Golub & Van Loan, Matrix Computations, 4th edition, chapter 10.
    """
    space = Euclidean() if space is None else space
    if refreshing(energy):
        raise InputError("lowest_modes: an energy with lists keeps them for one point: pass it without lists.")
    x = floating(x, "lowest_modes")
    refuse_walls(space, "lowest_modes", (Box, Signs))
    fits(space, x, "lowest_modes")
    size = ravel_pytree(x)[0].size
    if not 1 <= count <= size:
        raise InputError(f"lowest_modes: count is {count}, but x has {size} coordinates: ask for 1 to {size}.")
    key = jax.random.key(0) if key is None else key
    dense = size <= DENSE if dense is None else dense
    if isinstance(energy, AbstractHostField):
        with jax.disable_jit():  # loops in Python, where the program can be called
            found = _found(KeptCompiled(energy), space, x, count, key, dense, krylov, restarts)
    else:
        found = _found_compiled(energy, space, x, count, key, dense, krylov, restarts)
    if not traced(found) and count > int(found.free):
        raise InputError(f"lowest_modes: count is {count}, but {int(found.free)} directions can move: ask for fewer.")
    zero = zero_curvature(found)
    directions = jax.vmap(ravel_pytree(x)[1])(found.vectors)
    sure = jnp.all(resolved(found))
    return Modes(
        found.values, directions, found.residuals, found.highest, found.highest_residual, zero, sure, found.products
    )


def _found(energy: Any, space: AbstractSpace, x: PyTree, count: int, key, dense: bool, krylov, restarts) -> Spectrum:
    if not isinstance(energy, AbstractHostField):
        check_scalar(energy, x, "lowest_modes")
    project = projection_at(space, x)
    if dense:
        return dense_spectrum(hessian(energy, space, x), project, count)
    return lanczos_spectrum(product_at(energy, space, x), project, ravel_pytree(x)[0], count, key, krylov, restarts)


_found_compiled = eqx.filter_jit(_found)


def index(
    energy: Landscape | AbstractHostField,
    x: PyTree,
    *,
    tol: float | None = None,
    count: int | None = None,
    key: Key[Array, ""] | None = None,
    space: AbstractSpace | None = None,
) -> Index:
    """The number of negative eigenvalues of the Hessian at `x`: 0 at a minimum, 1 at a saddle.

    **Arguments:** `tol`, the size below which an eigenvalue counts as zero (a translation, a rotation, an orbit of some
    other symmetry); by default `Modes.zero`. Where a force is left, it bends a rotation by up to itself over the size
    of `x`: relax further, or pass that. `count`, how many modes to look at: by default all up to 128 coordinates,
    and 8 beyond. The rest as in `lowest_modes`.

    **Raises:** as `lowest_modes`.
    """
    if tol is not None:
        positive(tol, "tol", "index")
    size = ravel_pytree(floating(x, "index"))[0].size
    inside = Euclidean() if space is None else space
    free = jnp.sum(jnp.abs(projection_at(inside, x)(jnp.ones_like(ravel_pytree(x)[0]))))
    free = size if traced(free) else int(jnp.round(free))
    if count is None:
        count = free if size <= DENSE else min(8, free)
    modes = lowest_modes(energy, x, count=count, key=key, space=space)
    bound = modes.zero if tol is None else jnp.asarray(tol, modes.zero.dtype)
    negative = jnp.sum(modes.values < -bound).astype(jnp.int32)
    zero = jnp.sum(jnp.abs(modes.values) <= bound).astype(jnp.int32)
    sure = jnp.all(modes.residuals < jnp.maximum(bound, 0.1 * jnp.abs(modes.values)))
    complete = (modes.values[-1] >= -bound) | (count >= free)
    return Index(negative, zero, bound, sure & complete)
