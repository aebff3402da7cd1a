"""The spectrum of a Hessian too large to diagonalise: its density, its edges and both of its ends."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

from thalweg.core.checks import check_scalar, fits, floating, positive
from thalweg.core.energy import AbstractHostField, KeptCompiled, Landscape
from thalweg.core.errors import InputError
from thalweg.core.refresh import refreshing
from thalweg.core.space import AbstractSpace, Box, Euclidean, Signs
from thalweg.diagnostics.curvature import Modes, lowest_modes
from thalweg.methods.curvature import Product, product_at, projection_at
from thalweg.methods.descent import refuse_walls

_POINTS = 401  # of a density: five to a width where that is the default and krylov is 80


class Density(eqx.Module):
    """The eigenvalue density of a Hessian between the directions that can move, normalised to one.

    **Fields:** the quadrature's `nodes` and `weights` [probes, krylov], of each random vector; the `points` at which
    the `density` was taken with its standard `error` over the probes (`nan` for one probe), of Gaussians of standard
    deviation `width`; the support's edges `lowest` and `highest`, with residuals `|H v - c v|`: an eigenvalue lies
    within that of each; the number of coordinates `free` to move.
    """

    nodes: Float[Array, "probes krylov"]
    weights: Float[Array, "probes krylov"]
    points: Float[Array, " n"]
    density: Float[Array, " n"]
    error: Float[Array, " n"]
    width: Float[Array, ""]
    lowest: Float[Array, ""]
    lowest_residual: Float[Array, ""]
    highest: Float[Array, ""]
    highest_residual: Float[Array, ""]
    free: Float[Array, ""]

    def moment(self, order: int) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The mean of the eigenvalues to the power `order`, and its standard error.

        The quadrature itself is exact below the order `2 krylov`: `free` times the mean is a trace within that error.
        """
        return _mean_and_error(jnp.sum(self.weights * self.nodes**order, axis=1))

    def below(self, level: float) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The share of the eigenvalues below `level`, and its standard error."""
        return _mean_and_error(jnp.sum(jnp.where(self.nodes < level, self.weights, 0), axis=1))


class Ends(eqx.Module):
    """Both ends of a spectrum: `bottom`, ascending from the lowest, and `top`, descending from the highest."""

    bottom: Modes
    top: Modes


def spectral_density(
    energy: Landscape | AbstractHostField,
    x: PyTree,
    *,
    key: Key[Array, ""],
    probes: int = 10,
    krylov: int = 80,
    space: AbstractSpace | None = None,
    width: float | Float[Array, ""] | None = None,
) -> Density:
    """The eigenvalue density of the Hessian at `x`, by stochastic Lanczos quadrature.

    **Arguments:**

    - `energy`, `x`: a landscape or host field, and a pytree of floats.
    - `key`: of the random vectors, which are uniform on the sphere.
    - `probes`: random vectors; the error falls as one over the root of their number times that of the coordinates.
    - `krylov`: products with the Hessian for each, with full reorthogonalisation.
    - `space`: without walls; its frozen coordinates are left out.
    - `width`: of the Gaussians, in units of an eigenvalue; by default the range of the spectrum over `krylov`, finer
      than which the nodes would show one by one.

    **Returns:** a `Density`.

    **Raises:** `InputError` for an unusable `x`, space or number.

    **Source:** Lin, Saad & Yang, SIAM Review 58, 34 (2016); Ghorbani, Krishnan & Xiao, ICML 2019, 2232; Ubaru, Chen &
    Saad, SIAM J. Matrix Anal. Appl. 38, 1075 (2017).
    """
    x, space = _checked(energy, x, space, "spectral_density")
    if probes < 1 or krylov < 2:
        raise InputError(f"spectral_density: {probes} probes of {krylov} vectors: give at least 1 of 2.")
    if width is not None:
        positive(width, "width", "spectral_density")
        width = jnp.asarray(width)
    krylov = min(krylov, ravel_pytree(x)[0].size)
    keys = jax.random.split(key, probes)
    if isinstance(energy, AbstractHostField):
        with jax.disable_jit():  # loops in Python, where the program can be called
            return _density(KeptCompiled(energy), space, x, keys, krylov, width)
    check_scalar(energy, x, "spectral_density")
    return _density_compiled(energy, space, x, keys, krylov, width)


def extreme_modes(
    energy: Landscape | AbstractHostField,
    x: PyTree,
    *,
    top: int = 6,
    bottom: int = 6,
    space: AbstractSpace | None = None,
    **settings: Any,
) -> Ends:
    """The highest `top` and the lowest `bottom` eigenvalues of the Hessian at `x`, with their directions.

    **Arguments:** as in `lowest_modes`, to which the `settings` go (`key`, `dense`, `krylov`, `restarts`).

    **Raises:** as `lowest_modes`.
    """
    if isinstance(energy, AbstractHostField):
        raise InputError("extreme_modes: a host field has no opposite: ask lowest_modes, whose `highest` is the top.")
    upper = lowest_modes(eqx.Partial(_opposite, energy), x, count=top, space=space, **settings)
    lower = lowest_modes(energy, x, count=bottom, space=space, **settings)
    turned = eqx.tree_at(lambda modes: (modes.values, modes.highest), upper, (-upper.values, -upper.highest))
    return Ends(lower, turned)


def _opposite(energy: Landscape, x: PyTree) -> Float[Array, ""]:
    return -energy(x)


def _checked(energy: Any, x: PyTree, space: AbstractSpace | None, where: str) -> tuple[PyTree, AbstractSpace]:
    space = Euclidean() if space is None else space
    if refreshing(energy):
        raise InputError(f"{where}: an energy with lists keeps them for one point: pass it without lists.")
    x = floating(x, where)
    refuse_walls(space, where, (Box, Signs))
    fits(space, x, where)
    return x, space


def _mean_and_error(each: Float[Array, "probes *n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    count = each.shape[0]
    if count < 2:
        return each[0], jnp.full_like(each[0], jnp.nan)
    return jnp.mean(each, axis=0), jnp.std(each, axis=0, ddof=1) / count**0.5


def _density(
    energy: Any, space: AbstractSpace, x: PyTree, keys: Key[Array, " probes"], krylov: int, width: Any
) -> Density:
    project = projection_at(space, x)
    like = ravel_pytree(x)[0]
    apply = product_at(energy, space, x)

    def once(key: Key[Array, ""]) -> tuple[Array, Array, Array]:
        return _quadrature(apply, project(jax.random.normal(key, like.shape, like.dtype)), krylov)

    nodes, weights, residuals = jax.lax.map(once, keys)
    low, high = jnp.argmin(nodes), jnp.argmax(nodes)
    lowest, highest = nodes.ravel()[low], nodes.ravel()[high]
    span = highest - lowest
    tiny = jnp.finfo(like.dtype).eps * jnp.maximum(jnp.abs(lowest), jnp.abs(highest)) + jnp.finfo(like.dtype).tiny
    width = jnp.maximum(span / krylov, tiny) if width is None else width.astype(like.dtype)
    points = jnp.linspace(lowest - 4 * width, highest + 4 * width, _POINTS, dtype=like.dtype)
    heights = jax.lax.map(lambda pair: _smooth(pair[0], pair[1], points, width), (nodes, weights))
    density, error = _mean_and_error(heights)
    free = jnp.sum(jnp.abs(project(jnp.ones_like(like))))
    edges = (lowest, residuals.ravel()[low], highest, residuals.ravel()[high])
    return Density(nodes, weights, points, density, error, width, *edges, free)


_density_compiled = eqx.filter_jit(_density)


def _smooth(nodes: Array, weights: Array, points: Array, width: Array) -> Float[Array, " n"]:
    bumps = jnp.exp(-0.5 * ((points[:, None] - nodes) / width) ** 2) / (width * (2 * jnp.pi) ** 0.5)
    return bumps @ weights


def _quadrature(apply: Product, start: Float[Array, " n"], krylov: int) -> tuple[Array, Array, Array]:
    """The nodes, weights and residuals of the Gauss quadrature that a Lanczos run of `krylov` steps is."""
    dtype = start.dtype
    tiny = jnp.finfo(dtype).tiny
    basis = jnp.zeros((krylov + 1, start.size), dtype)
    basis = basis.at[0].set(start / jnp.maximum(jnp.linalg.norm(start), tiny))
    none = jnp.zeros(krylov, dtype)

    def grown(here: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        basis, diagonal, beside = carry
        vector = basis[here]
        image = apply(vector)
        # A run that has seen all of its invariant space ends: what is left has no weight, and must add no node.
        alive = jnp.any(vector != 0)
        own = jnp.where(alive, vector @ image, diagonal[0])
        for _ in range(2):  # twice is enough (Parlett)
            image = image - basis.T @ (basis @ image)
        length = jnp.linalg.norm(image)
        scale = jnp.max(jnp.abs(diagonal)) + jnp.max(beside) + jnp.abs(own)
        more = alive & (length > 10 * jnp.finfo(dtype).eps * scale)
        following = jnp.where(more, image / jnp.maximum(length, tiny), 0)
        beside = beside.at[here].set(jnp.where(more, length, 0))
        return basis.at[here + 1].set(following), diagonal.at[here].set(own), beside

    _, diagonal, beside = jax.lax.fori_loop(0, krylov, grown, (basis, none, none))
    chain = jnp.diag(diagonal) + jnp.diag(beside[:-1], 1) + jnp.diag(beside[:-1], -1)
    nodes, vectors = jnp.linalg.eigh(chain)
    return nodes, vectors[0] ** 2, beside[-1] * jnp.abs(vectors[-1])
