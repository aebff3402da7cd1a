"""Newton's method on the stationary points of a family, robust against folds, branch points and zero modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree


class Stationary(eqx.Module):
    """The equations `dE/dx (x; value) = 0` of a family, over flat vectors `[x, value]`.

    **Arguments:** `family`, from a value to a landscape; `like`, an `x` whose structure and dtypes all others have.
    """

    family: Callable[[Any], Any]
    like: PyTree

    def x(self, point: Float[Array, " m"]) -> PyTree:
        """The configuration in a flat point, or the part of a flat direction that moves it."""
        return ravel_pytree(self.like)[1](point[:-1])

    def energy(self, point: Float[Array, " m"]) -> Float[Array, ""]:
        """The energy at a flat point."""
        return self.family(point[-1])(self.x(point))

    def slope(self, point: Float[Array, " m"]) -> Float[Array, " n"]:
        """The gradient in `x`: zero on the branch."""
        return jax.grad(self.energy)(point)[:-1]

    def jacobian(self, point: Float[Array, " m"]) -> Float[Array, "n m"]:
        """The Hessian in `x`, and as its last column the change of the gradient with the value."""
        return jax.jacfwd(self.slope)(point)


class Spectrum(NamedTuple):
    """The Hessian's eigenvalues, read: the Morse `index`, the number of zero modes, and the `lowest` of them."""

    index: Int[Array, ""]
    zeros: Int[Array, ""]
    lowest: Float[Array, ""]


class Corrected(NamedTuple):
    """Where Newton's method ended, whether it converged, and after how many iterations."""

    point: Float[Array, " m"]
    ok: Bool[Array, ""]
    iterations: Int[Array, ""]


def negligible(dtype: Any) -> float:
    """The relative size below which an eigenvalue of a Hessian counts as zero: sqrt(eps)."""
    return float(jnp.finfo(dtype).eps) ** 0.5


def spectrum(eigenvalues: Float[Array, " n"]) -> Spectrum:
    """What the sorted eigenvalues of a Hessian say about its stationary point."""
    floor = negligible(eigenvalues.dtype) * jnp.max(jnp.abs(eigenvalues))
    return Spectrum(
        jnp.sum(eigenvalues < -floor).astype(jnp.int32),
        jnp.sum(jnp.abs(eigenvalues) <= floor).astype(jnp.int32),
        eigenvalues[0],
    )


def least(matrix: Float[Array, "m m"], right: Float[Array, " m"]) -> Float[Array, " m"]:
    """The least-squares solution of the smallest norm: zero modes of a symmetry take no part in it.

    The cut is eps^(2/3) of the largest singular value: rounding noise along a zero mode is then at most eps^(1/3).
    """
    left, sizes, right_vectors = jnp.linalg.svd(matrix, full_matrices=False)
    cut = float(jnp.finfo(matrix.dtype).eps) ** (2 / 3) * sizes[0]
    inverse = jnp.where(sizes > cut, 1 / jnp.where(sizes > cut, sizes, 1), 0)
    return right_vectors.T @ (inverse * (left.T @ right))


def bordered(jacobian: Float[Array, "n m"], row: Float[Array, " m"]) -> tuple[Float[Array, "m m"], Float[Array, ""]]:
    """The Jacobian with one more row, which is scaled like the others; and that scale."""
    scale = jnp.max(jnp.abs(jacobian))
    scale = jnp.where(scale > 0, scale, 1)
    return jnp.concatenate([jacobian, scale * row[None]]), scale


def corrected(
    equations: Stationary,
    guess: Float[Array, " m"],
    row: Float[Array, " m"],
    tol: Float[Array, ""],
    iterations: int = 12,
) -> Corrected:
    """The stationary point nearest to `guess` in the plane through it with the normal `row`.

    **Arguments:** `tol`, bound on Newton's last step, times 1 + |point|; at most so many `iterations`.
    """

    def going(state):
        size, _, count, point = state
        finite = jnp.isfinite(size) | (count == 0)
        return (count < iterations) & finite & (size > tol * (1 + jnp.linalg.norm(point)))

    def once(state):
        _, _, count, point = state
        matrix, scale = bordered(equations.jacobian(point), row)
        right = -jnp.append(equations.slope(point), scale * row @ (point - guess))
        step = least(matrix, right)
        # A least-squares step may be nothing because it cannot help: a slope that no direction lowers is no rest.
        left_over = jnp.linalg.norm(matrix @ step - right) / scale
        return jnp.linalg.norm(step), left_over, count + 1, point + step

    far = jnp.full((), jnp.inf, guess.dtype)
    size, left_over, count, point = jax.lax.while_loop(going, once, (far, far, jnp.zeros((), jnp.int32), guess))
    room = 1 + jnp.linalg.norm(point)
    ok = (size <= tol * room) & (left_over <= negligible(guess.dtype) * room)
    return Corrected(point, ok, count)


def tangent(jacobian: Float[Array, "n m"], along: Float[Array, " m"]) -> Float[Array, " m"]:
    """The unit null vector of the Jacobian that is nearest to `along`."""
    matrix, scale = bordered(jacobian, along)
    direction = least(matrix, jnp.append(jnp.zeros(len(jacobian), along.dtype), scale))
    return direction / jnp.linalg.norm(direction)
