"""Eigenvector following: up along one mode of the Hessian, down along all others."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from thalweg.core.energy import AbstractHostField
from thalweg.core.space import AbstractSpace, Box, Signs
from thalweg.methods.curvature import (
    DENSE,
    Product,
    Spectrum,
    dense_spectrum,
    hessian,
    lanczos_spectrum,
    lowest_pair,
    product_at,
    projection_at,
    resolved,
    zero_curvature,
)
from thalweg.methods.descent import look, refuse_walls, tree_norm
from thalweg.methods.trust import trust_region_step

# The least part (squared) of a gradient that counts as one: orbits and modes mix by less where the force is small.
_SHARE = 1e-3


class AbstractSaddleState(eqx.Module):
    """Where a saddle search stands.

    **Fields:** the point `x`, its `value` and projected `force`; the unit vector `mode` that is climbed, flat, and its
    curvature `eigenvalue`; `index`, the number of negative eigenvalues where the walk last rested (-1 before it ever
    did) and whether that was `verified` to be one; `stuck`, whether no step changes `x` any more; `hvps`, the products
    with the Hessian so far.
    """

    x: eqx.AbstractVar[PyTree]
    value: eqx.AbstractVar[Float[Array, ""]]
    force: eqx.AbstractVar[PyTree]
    mode: eqx.AbstractVar[Float[Array, " n"]]
    eigenvalue: eqx.AbstractVar[Float[Array, ""]]
    index: eqx.AbstractVar[Int[Array, ""]]
    verified: eqx.AbstractVar[Bool[Array, ""]]
    stuck: eqx.AbstractVar[Bool[Array, ""]]
    hvps: eqx.AbstractVar[Int[Array, ""]]


class AbstractSaddleSearch(eqx.Module):
    """A walk to a stationary point with one downhill direction, on a compiled landscape or a host field.

    On a host field it runs operation by operation (`jax.disable_jit`), so that its loops call the field from Python.
    """

    bibtex: eqx.AbstractClassVar[str]

    @abc.abstractmethod
    def init(self, energy: Any, space: AbstractSpace, x: PyTree, tol: Float[Array, ""], key: Key[Array, ""]) -> Any:
        """The state at the start."""

    @abc.abstractmethod
    def step(self, energy: Any, space: AbstractSpace, state: Any) -> Any:
        """The state after one step; where the force is below `tol`, the step is the check of the index."""


class FollowingState(AbstractSaddleState):
    """The point, the mode, the trust radius, the random key of the kicks; where the last one began, and steps since."""

    x: PyTree
    value: Float[Array, ""]
    force: PyTree
    mode: Float[Array, " n"]
    eigenvalue: Float[Array, ""]
    index: Int[Array, ""]
    verified: Bool[Array, ""]
    stuck: Bool[Array, ""]
    hvps: Int[Array, ""]
    radius: Float[Array, ""]
    tol: Float[Array, ""]
    key: Key[Array, ""]
    home: PyTree
    since: Int[Array, ""]


class _Proposal(NamedTuple):
    step: Float[Array, " n"]
    image: Float[Array, " n"]
    mode: Float[Array, " n"]
    eigenvalue: Float[Array, ""]
    index: Int[Array, ""]
    verified: Bool[Array, ""]
    key: Key[Array, ""]
    products: Int[Array, ""]


class EigenvectorFollowing(AbstractSaddleSearch):
    """Newton's method with one mode turned upside down, without a matrix.

    The mode `v` comes from a short Lanczos run that starts at the last one (at the first step: at the gradient, which
    has no part along the orbits of a symmetry). With `c = v.Hv` the reflected gradient `g - 2 (g.v) v` and the model
    Hessian `H - 2 c v v^T` (where `c > 0`, in a valley, climbing is negative curvature) go to a truncated conjugate
    gradient with a trust radius. Zero modes do no harm, because the gradient is orthogonal to them.
    At rest the lowest eigenvalues are computed anew, and where the index is not one the walk is kicked at random and
    goes on: so it leaves a minimum, and a point of higher index.

    **Arguments:** `stride`, the longest step (Euclidean norm over all leaves); `kick`, the length of a kick as a share
    of it; `krylov`, the largest Lanczos basis of a step; `solves`, the most conjugate gradient iterations of a step;
    `dense`, up to how many coordinates the Hessian is built as a matrix (of a host field: at rest only); `patience`,
    after how many steps without rest (up a wall without end, or to and fro) the walk goes back to where it was last
    kicked, and another way from there.

    **Source:** Cerjan & Miller, J. Chem. Phys. 75, 2800 (1981); with iterative modes: Munro & Wales, Phys. Rev. B 59,
    3969 (1999).
    """

    stride: Float[Array, ""] = eqx.field(default=0.2, converter=jnp.asarray)
    kick: Float[Array, ""] = eqx.field(default=1.0, converter=jnp.asarray)
    krylov: int = 20
    solves: int = 100
    dense: int = DENSE
    patience: int = 100

    bibtex: ClassVar[str] = """@article{munro1999defect,
  title={Defect migration in crystalline silicon},
  author={Munro, Lindsey J and Wales, David J},
  journal={Physical Review B}, volume={59}, pages={3969--3980}, year={1999}}"""

    def init(
        self, energy: Any, space: AbstractSpace, x: PyTree, tol: Float[Array, ""], key: Key[Array, ""]
    ) -> FollowingState:
        refuse_walls(space, "following", (Box, Signs))
        value, force = look(energy, space, x)
        mode = ravel_pytree(force)[0]
        stride = self.stride.astype(mode.dtype)
        none, no = jnp.zeros((), mode.dtype), jnp.array(False)
        count = jnp.zeros((), jnp.int32)
        return FollowingState(x, value, force, mode, none, count - 1, no, no, count, stride, tol, key, x, count)

    def step(self, energy: Any, space: AbstractSpace, state: FollowingState) -> FollowingState:
        resting = tree_norm(state.force) < state.tol
        # Drawn once for both kinds of kick, also where there is none: it costs little, and its program is large.
        key, kick_key = jax.random.split(state.key)
        flat = ravel_pytree(state.x)[0]
        away = jax.random.normal(kick_key, flat.shape, flat.dtype)
        small = flat.size <= self.dense
        # One product costs a host program two evaluations, so there the matrix is built at rest only.
        if small and not isinstance(energy, AbstractHostField):
            matrix = hessian(energy, space, state.x)
            found = self._modes(space, state, matrix)
            apply: Product = lambda v: matrix @ v  # noqa: E731
            modes = lambda s: found  # noqa: E731
        else:
            found, apply = None, product_at(energy, space, state.x)
            modes = lambda s: self._modes(space, s, hessian(energy, space, s.x) if small else apply)  # noqa: E731
        proposal = jax.lax.cond(
            resting,
            lambda s: self._inspected(space, s, modes(s), away)._replace(key=key),
            lambda s: self._climbing(s, apply, found),
            state,
        )
        lost = ~resting & (state.since >= self.patience)
        proposal = jax.lax.cond(
            lost, lambda p: self._sent_home(space, state, p, away)._replace(key=key), lambda p: p, proposal
        )
        return self._moved(energy, space, state, proposal, resting | lost)

    def _sent_home(self, space: AbstractSpace, state: FollowingState, proposal: _Proposal, away: Array) -> _Proposal:
        """Back to where the last kick began, or the start, and from there another way."""
        back = ravel_pytree(space.displacement(state.x, state.home))[0]
        return proposal._replace(step=back + self._kick(space, state, away), mode=jnp.zeros_like(back))

    def _kick(self, space: AbstractSpace, state: FollowingState, away: Array) -> Array:
        away = projection_at(space, state.x)(away)
        length = (self.kick * self.stride).astype(away.dtype)
        return away * length / jnp.maximum(jnp.linalg.norm(away), jnp.finfo(away.dtype).tiny)

    def _modes(self, space: AbstractSpace, state: FollowingState, matrix: Array | Product) -> Spectrum:
        flat, project = ravel_pytree(state.x)[0], projection_at(space, state.x)
        if isinstance(matrix, jax.Array):
            return dense_spectrum(matrix, project, flat.size)
        return lanczos_spectrum(matrix, project, flat, min(2, flat.size), state.key, krylov=60, restarts=20)

    def _climbing(self, state: FollowingState, apply: Product, found: Spectrum | None) -> _Proposal:
        slope = -ravel_pytree(state.force)[0]
        push, stride = jnp.linalg.norm(slope), self.stride.astype(slope.dtype)

        def sharpness(curvature: Array) -> Array:
            # How far the saddle is in strides: the closer, the sharper the mode and the solve, as Newton's method asks.
            return jnp.clip(push / jnp.maximum(jnp.abs(curvature) * stride, jnp.finfo(push.dtype).tiny), 1e-4, 0.1)

        lever = jnp.linalg.norm(ravel_pytree(state.x)[0] - jnp.mean(ravel_pytree(state.x)[0]))

        def climbable(values: Array, vectors: Array) -> Array:
            # Away from rest the orbit of a symmetry (a rotation) has a curvature of up to the force over its lever, and
            # no part in the gradient: who follows it climbs nothing and slides back into the valley.
            return (jnp.abs(values) * lever > 2 * push) | ((vectors @ slope) ** 2 > _SHARE * push**2)

        # By Lanczos where there is a matrix too: it starts at the last mode and does not jump to a distant one, which
        # would throw the walk to and fro where two modes change places.
        pair = lowest_pair(apply, state.mode, self.krylov, sharpness(state.eigenvalue), allowed=climbable)
        v, c, products = pair.vector, pair.value, pair.products
        turned = slope - 2 * (slope @ v) * v
        reflected: Product = lambda s: apply(s) - 2 * c * (v @ s) * v  # noqa: E731
        step, image, solves = trust_region_step(reflected, turned, state.radius, sharpness(c), self.solves)
        image = image + 2 * c * (v @ step) * v
        products = products + solves if found is None else found.products  # products with a matrix are free
        return _Proposal(step, image, v, c, state.index, state.verified, state.key, products)

    def _inspected(self, space: AbstractSpace, state: FollowingState, found: Spectrum, away: Array) -> _Proposal:
        """The index at rest, and a kick where it is not one."""
        negative = jnp.sum(found.values < -zero_curvature(found)).astype(jnp.int32)
        verified = (negative == 1) & jnp.all(resolved(found)[:2])
        whole = found.values.size == away.size
        if whole:
            # As heat would: far along soft modes, little along stiff ones, and nothing along zero modes.
            moving = jnp.abs(found.values) > zero_curvature(found)
            away = (away * jnp.where(moving, jnp.abs(found.values), jnp.inf) ** -0.5) @ found.vectors
        step = jnp.where(verified, 0, self._kick(space, state, away))
        # After a kick the search for a mode begins anew: at its direction, or at the gradient where that is not clean.
        mode = jnp.where(verified, found.vectors[0], step if whole else 0)
        return _Proposal(step, step, mode, found.values[0], negative, verified, state.key, found.products)

    def _moved(
        self, energy: Any, space: AbstractSpace, state: FollowingState, proposal: _Proposal, kicked: Array
    ) -> FollowingState:
        """The state after a proposal, which is taken only if the gradient changed about as the Hessian said."""
        slope, unravel = -ravel_pytree(state.force)[0], ravel_pytree(state.x)[1]
        trial = space.shift(state.x, unravel(proposal.step))
        value, force = look(energy, space, trial)
        pushed = ravel_pytree(force)[0]
        scale = jnp.maximum(jnp.linalg.norm(proposal.image), jnp.linalg.norm(slope))
        surprise = jnp.linalg.norm(-pushed - slope - proposal.image) / scale
        # A NaN is not a step to back away from: it must stand, so that the judge of the walk names it.
        taken = (surprise < 0.7) | jnp.isnan(value + tree_norm(force)) | kicked
        stride = self.stride.astype(slope.dtype)
        radius = jnp.where(surprise < 0.1, jnp.minimum(2 * state.radius, stride), state.radius)
        radius = jnp.where(surprise > 0.3, 0.5 * jnp.linalg.norm(proposal.step), radius)
        # Where two modes change places, the walk would jump to and fro between them at full stride.
        turned = (proposal.mode @ state.mode) ** 2 < 0.5 * (state.mode @ state.mode)
        radius = jnp.where(turned & (state.eigenvalue != 0), 0.5 * jnp.linalg.norm(proposal.step), radius)
        radius = jnp.where(kicked, stride, radius)
        x, value, force = jax.tree.map(
            lambda new, old: jnp.where(taken, new, old), (trial, value, force), (state.x, state.value, state.force)
        )
        stuck = ~kicked & jnp.all(ravel_pytree(trial)[0] == ravel_pytree(state.x)[0])
        mode = jnp.where(jnp.any(proposal.mode != 0), proposal.mode, pushed)
        spent = state.hvps + proposal.products
        # A kick from rest makes that place the home; a walk that was sent home keeps it.
        home_now = tree_norm(state.force) < state.tol
        home = jax.tree.map(lambda here, old: jnp.where(home_now, here, old), state.x, state.home)
        since = jnp.where(kicked, 0, state.since + 1)
        rest = (proposal.index, proposal.verified, stuck, spent, radius, state.tol, proposal.key, home, since)
        return FollowingState(x, value, force, mode, proposal.eigenvalue, *rest)
