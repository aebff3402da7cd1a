"""Second derivatives: products with a direction, the Hessian where it is small, and its extreme modes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from thalweg.core.checks import positive
from thalweg.core.energy import AbstractHostField, Landscape
from thalweg.core.space import AbstractSpace
from thalweg.methods.descent import tree_norm

Product = Callable[[Float[Array, " n"]], Float[Array, " n"]]

DENSE = 128  # up to so many coordinates the whole Hessian is cheaper than several Lanczos runs


def hessian_vector_product(
    energy: Landscape | AbstractHostField, x: PyTree, v: PyTree, step: float | None = None
) -> PyTree:
    """The second derivative of an energy along `v`.

    **Arguments:** `x` and the direction `v`, of one structure; `step`, for a host field only, as in
    `numerical_hessian_vector_product`.

    **Returns:** `H v`, with the structure of `x`: exact for a landscape (the derivative of its gradient, at two to
    three times the cost of one), a difference of two forces for a host field.

    **Source:** Pearlmutter, Neural Computation 6, 147 (1994).
    """
    if isinstance(energy, AbstractHostField):
        return numerical_hessian_vector_product(energy, x, v, step)
    return jax.jvp(jax.grad(energy), (x,), (v,))[1]


def numerical_hessian_vector_product(
    field: AbstractHostField, x: PyTree, v: PyTree, step: float | Float[Array, ""] | None = None
) -> PyTree:
    """The second derivative of a host field along `v`, by the central difference of its forces.

    `H v = (g(x + h v) - g(x - h v)) / 2h`, with an error of `h^2/6` times the third derivative of the gradient along
    `v`, and of about `eps |g| / h` from rounding: the two balance at `h |v|` near `eps^(1/3)` times the length on which
    the landscape bends (6e-6 in float64, 5e-3 in float32). Across a kink it is a difference of slopes, not a
    derivative.

    **Arguments:** `x` and the direction `v`, of one structure; `step`, the number `h`; by default `h |v|` is
    `eps^(1/3)` times the largest coordinate of `x` or one, whichever is larger.

    **Returns:** `H v`, with the structure of `x`, from one call of the field on a batch of two.
    """
    if step is None:
        step = difference_step(x, v)
    else:
        positive(step, "step", "numerical_hessian_vector_product")
    # In the width of each leaf: a float64 step must not widen float32 leaves where x64 is on.
    h = jnp.asarray(step)
    pair = jax.tree.map(
        lambda here, along: jnp.stack([here + h.astype(here.dtype) * along, here - h.astype(here.dtype) * along]), x, v
    )
    _, forces = field.value_and_force_batch(pair)
    return jax.tree.map(lambda push: (push[1] - push[0]) / (2 * h.astype(push.dtype)), forces)


def difference_step(x: PyTree, v: PyTree) -> Float[Array, ""]:
    """The step `h` of a central difference of forces along `v`, for coordinates of the size of `x`."""
    dtype = jnp.result_type(*jax.tree.leaves(x))
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)).astype(dtype) for leaf in jax.tree.leaves(x)]))
    length = tree_norm(v).astype(dtype)
    return jnp.finfo(dtype).eps ** (1 / 3) * jnp.maximum(largest, 1) / jnp.where(length > 0, length, 1)


def product_at(energy: Landscape | AbstractHostField, space: AbstractSpace, x: PyTree) -> Product:
    """The product of the Hessian at `x` with flat vectors, between the directions that the space lets move."""
    _, unravel = ravel_pytree(x)
    if isinstance(energy, AbstractHostField):
        along: Any = lambda v: hessian_vector_product(energy, x, v)  # noqa: E731
    else:
        _, along = jax.linearize(jax.grad(energy), x)  # the primal part once for all directions
    project = projection_at(space, x)
    return lambda v: project(ravel_pytree(along(unravel(project(v))))[0])


def projection_at(space: AbstractSpace, x: PyTree) -> Product:
    """The projection of flat vectors on the directions in which the space lets `x` move."""
    _, unravel = ravel_pytree(x)
    return lambda v: ravel_pytree(space.project(x, unravel(v)))[0]


def hessian(energy: Landscape | AbstractHostField, space: AbstractSpace, x: PyTree) -> Float[Array, "n n"]:
    """The whole Hessian at `x`, symmetrised; a host field is asked once, for a batch of `2 n`."""
    flat, unravel = ravel_pytree(x)
    directions = jnp.eye(flat.size, dtype=flat.dtype)
    if isinstance(energy, AbstractHostField):
        h = difference_step(x, unravel(directions[0]))
        points = jnp.concatenate([flat + h * directions, flat - h * directions])
        forces = energy.value_and_force_batch(jax.vmap(unravel)(points))[1]
        rows = jax.vmap(lambda push: ravel_pytree(push)[0])(forces)
        rows = jax.vmap(projection_at(space, x))((rows[flat.size :] - rows[: flat.size]) / (2 * h))
        rows = jax.vmap(projection_at(space, x))(rows.T)
    else:
        rows = jax.vmap(product_at(energy, space, x))(directions)
    return 0.5 * (rows + rows.T)


class Spectrum(NamedTuple):
    """Modes at the lower end of a Hessian.

    **Fields:** the eigenvalues `values`, ascending, their flat unit `vectors` [k, n] and `residuals` `|H v - c v|` (an
    eigenvalue lies within that of `c`); the eigenvalue `highest` at the other end and its `highest_residual`; the
    number of coordinates `free` to move; the `products` with the Hessian that it took.
    """

    values: Float[Array, " k"]
    vectors: Float[Array, "k n"]
    residuals: Float[Array, " k"]
    highest: Float[Array, ""]
    highest_residual: Float[Array, ""]
    free: Int[Array, ""]
    products: Int[Array, ""]


def resolved(found: Spectrum) -> Bool[Array, " k"]:
    """Whether each eigenvalue is known well enough to tell its sign, or that it counts as zero."""
    return found.residuals < jnp.maximum(zero_curvature(found), 0.1 * jnp.abs(found.values))


def lanczos_spectrum(
    apply: Product,
    project: Product,
    like: Float[Array, " n"],
    count: int,
    key: Key[Array, ""],
    krylov: int,
    restarts: int,
) -> Spectrum:
    """The `count` lowest modes of `apply` between the directions that `project` lets move, shaped `like`.

    Each mode has a Lanczos run of its own, orthogonal to those before it, so that equal eigenvalues are all found. A
    run has a basis of at most `krylov` vectors and restarts up to `restarts` times from its best one.
    """
    none = jnp.zeros((0, like.size), like.dtype)
    # Exact where coordinates are frozen whole.
    free = jnp.round(jnp.sum(jnp.abs(project(jnp.ones_like(like))))).astype(jnp.int32)
    run = partial(_converged, project=project, krylov=krylov, restarts=restarts)
    upper = run(lambda v: -apply(v), locked=none, key=key, scale=jnp.ones((), like.dtype))
    scale, products = jnp.abs(upper.value), upper.products
    locked, values, residuals = none, [], []
    for number in range(count):
        pair = run(apply, locked=locked, key=jax.random.fold_in(key, number + 1), scale=scale)
        locked = jnp.concatenate([locked, pair.vector[None]])
        values, residuals, products = [*values, pair.value], [*residuals, pair.residual], products + pair.products
    found, errors = jnp.stack(values), jnp.stack(residuals)
    order = jnp.argsort(found)
    return Spectrum(found[order], locked[order], errors[order], -upper.value, upper.residual, free, products)


def dense_spectrum(matrix: Float[Array, "n n"], project: Product, count: int) -> Spectrum:
    """The `count` lowest modes of a Hessian between the directions that `project` lets move."""
    n = matrix.shape[0]
    eye = jnp.eye(n, dtype=matrix.dtype)
    projector = jax.vmap(project)(eye)
    free = jnp.round(jnp.trace(projector)).astype(jnp.int32)
    # What cannot move is put above the spectrum, where it is never among the lowest.
    above = 2 * jnp.linalg.norm(matrix) + 1
    values, vectors = jnp.linalg.eigh(matrix + above * (eye - projector))
    errors = jnp.linalg.norm(matrix @ vectors + above * (vectors - projector @ vectors) - vectors * values, axis=0)
    top, products = jnp.maximum(free - 1, 0), jnp.asarray(n, jnp.int32)
    return Spectrum(values[:count], vectors.T[:count], errors[:count], values[top], errors[top], free, products)


def zero_curvature(found: Spectrum) -> Float[Array, ""]:
    """The size below which an eigenvalue counts as zero: the square root of eps times the largest.

    Rounding alone makes a zero mode about eps times the largest eigenvalue, and a rotation at a point with a small
    force left is bent by that force over its lever: the square root lies between these and a bend that is meant.
    """
    largest = jnp.maximum(jnp.abs(found.highest), jnp.abs(found.values[0]))
    return jnp.finfo(largest.dtype).eps ** 0.5 * largest


class Pair(NamedTuple):
    """An eigenvalue, its unit vector, the residual, and the products with the matrix that it took."""

    value: Float[Array, ""]
    vector: Float[Array, " n"]
    residual: Float[Array, ""]
    products: Int[Array, ""]


class _Basis(NamedTuple):
    vectors: Float[Array, "m n"]
    diagonal: Float[Array, " m"]
    beside: Float[Array, " m"]
    size: Int[Array, ""]
    value: Float[Array, ""]
    weights: Float[Array, " m"]
    residual: Float[Array, ""]
    done: Bool[Array, ""]


def lowest_pair(
    apply: Product,
    start: Float[Array, " n"],
    krylov: int,
    tolerance: float | Array,
    *,
    floor: float | Array = 0.0,
    allowed: Callable[[Array, Array], Array] | None = None,
) -> Pair:
    """The lowest eigenpair that a Lanczos run from `start` sees, with full reorthogonalisation.

    **Arguments:** `apply`, the product with a symmetric matrix; `krylov`, the largest basis; the run ends once the
    residual is below `tolerance` times the eigenvalue, or below `floor`; `allowed`, from values [m] and
    unit vectors [m, n] to those that may be the answer (by default all); where none is, the lowest is taken.

    **Source:** Paige, J. Inst. Maths Applics 10, 373 (1972); Golub & Van Loan, Matrix Computations, section 10.3.
    """
    size, dtype = min(krylov, start.size), start.dtype
    length = jnp.linalg.norm(start)
    tiny = jnp.finfo(dtype).tiny
    zero = jnp.zeros((), dtype)
    vectors = jnp.zeros((size, start.size), dtype).at[0].set(start / jnp.maximum(length, tiny))
    begun = _Basis(
        vectors,
        jnp.zeros(size, dtype),
        jnp.zeros(size, dtype),
        jnp.array(0),
        zero,
        jnp.zeros(size, dtype),
        zero,
        jnp.array(False),
    )

    def grown(basis: _Basis) -> _Basis:
        here = basis.size
        image = apply(basis.vectors[here])
        diagonal = basis.diagonal.at[here].set(basis.vectors[here] @ image)
        for _ in range(2):  # twice is enough (Parlett): the second sweep removes what the first one's rounding left
            image = image - basis.vectors.T @ (basis.vectors @ image)
        beside = jnp.linalg.norm(image)
        value, weights, scale = _ritz(diagonal, basis.beside, here + 1, basis.vectors, allowed)
        residual = beside * jnp.abs(weights[here])
        exhausted = beside <= 10 * jnp.finfo(dtype).eps * scale
        close = residual <= jnp.maximum(tolerance * jnp.abs(value), floor)
        last = here + 1 >= size
        following = jnp.where(exhausted, 0, image / jnp.maximum(beside, tiny))
        room = jnp.minimum(here + 1, size - 1)
        vectors = basis.vectors.at[room].set(jnp.where(last, basis.vectors[room], following))
        chain = basis.beside.at[here].set(beside)
        return _Basis(vectors, diagonal, chain, here + 1, value, weights, residual, exhausted | close | last)

    end = jax.lax.while_loop(lambda basis: ~basis.done, grown, begun)
    vector = end.weights @ end.vectors
    vector = vector / jnp.maximum(jnp.linalg.norm(vector), tiny)
    return Pair(end.value, vector, end.residual, end.size.astype(jnp.int32))


def lowest_allowed(values: Float[Array, " n"], allowed: Bool[Array, " n"]) -> Int[Array, ""]:
    """The place of the lowest value among those that are allowed, or among all where none is."""
    return jnp.argmin(jnp.where(allowed | ~jnp.any(allowed), values, jnp.inf))


def _ritz(
    diagonal: Array, beside: Array, size: Array, vectors: Array, allowed: Callable | None
) -> tuple[Array, Array, Array]:
    """The lowest eigenpair of the tridiagonal matrix of the first `size` rows, and the matrix's scale."""
    used = jnp.arange(diagonal.size) < size
    scale = jnp.max(jnp.where(used, jnp.abs(diagonal), 0)) + jnp.max(jnp.where(used, jnp.abs(beside), 0))
    coupling = jnp.where(used[1:], beside[:-1], 0)
    # Rows that are not there yet sit above the spectrum of the others (Gershgorin).
    matrix = jnp.diag(jnp.where(used, diagonal, 4 * scale + 1)) + jnp.diag(coupling, 1) + jnp.diag(coupling, -1)
    values, weights = jnp.linalg.eigh(matrix)
    if allowed is None:
        return values[0], weights[:, 0], scale
    best = lowest_allowed(values, allowed(values, weights.T @ vectors) & used)  # the unused ones come last
    return values[best], weights[:, best], scale


def _converged(
    apply: Product, *, project: Product, locked: Array, key: Array, krylov: int, restarts: int, scale: Array
) -> Pair:
    """The lowest pair orthogonal to the `locked` vectors, by restarted Lanczos from a random start."""

    def outside(v: Array) -> Array:
        v = project(v)
        return v - locked.T @ (locked @ v)

    def inner(v: Array) -> Array:
        return outside(apply(outside(v)))

    start = outside(jax.random.normal(key, locked.shape[1:], locked.dtype))
    accuracy = 0.01 * jnp.finfo(locked.dtype).eps ** 0.5 * scale  # a hundredth of what counts as zero
    zero = jnp.zeros((), locked.dtype)
    nothing = Pair(zero, start, zero + jnp.inf, jnp.zeros((), jnp.int32))

    def again(carry):
        pair, count = carry
        new = lowest_pair(inner, pair.vector, krylov, 1e-6, floor=accuracy)
        return new._replace(products=new.products + pair.products), count + 1

    def short(carry):
        pair, count = carry
        return (pair.residual > jnp.maximum(1e-6 * jnp.abs(pair.value), accuracy)) & (count <= restarts)

    pair, _ = jax.lax.while_loop(short, again, (nothing, jnp.array(0)))
    vector = outside(pair.vector)
    vector = vector / jnp.maximum(jnp.linalg.norm(vector), jnp.finfo(vector.dtype).tiny)
    # Of the matrix itself, not of what is left of it outside of the locked vectors.
    residual = jnp.linalg.norm(project(apply(project(vector))) - pair.value * vector)
    return Pair(pair.value, vector, residual, pair.products + 1)
