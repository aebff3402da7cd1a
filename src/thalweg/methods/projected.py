"""Spectral projected gradient: descent inside a convex space, wall by wall."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.space import AbstractSpace
from thalweg.methods.descent import AbstractDescent, AbstractDescentState, tree_dot, tree_norm


class ProjectedState(AbstractDescentState):
    """The accepted point, its move towards the trial, the spectral step and the last heights."""

    x: PyTree
    value: Float[Array, ""]
    force: PyTree
    trial: PyTree
    spectral: Float[Array, ""]
    fraction: Float[Array, ""]
    heights: Float[Array, " memory"]
    accepted: Int[Array, ""]


class Projected(AbstractDescent):
    """Projected descent with Barzilai-Borwein steps and a non-monotone Armijo rule.

    **Arguments:** `first`, the length of the first step along the force; `memory`, how many heights back a step may
    climb to; `decrease`, the Armijo constant.

    **Source:** Birgin, Martinez & Raydan, SIAM J. Optim. 10, 1196 (2000), algorithm SPG2.
    """

    first: Float[Array, ""] = eqx.field(default=1e-2, converter=jnp.asarray)
    memory: int = 10
    decrease: float = 1e-4

    bibtex: ClassVar[str] = """@article{birgin2000nonmonotone,
  title={Nonmonotone spectral projected gradient methods on convex sets},
  author={Birgin, Ernesto G and Mart{\\'\\i}nez, Jos{\\'e} Mario and Raydan, Marcos},
  journal={SIAM Journal on Optimization}, volume={10}, pages={1196--1211}, year={2000}}"""

    def init(self, space: AbstractSpace, x: PyTree, value: Float[Array, ""], force: PyTree) -> ProjectedState:
        push = tree_norm(force)
        spectral = self.first.astype(value.dtype) / jnp.maximum(push, jnp.finfo(push.dtype).tiny)
        heights = jnp.full(self.memory, value)
        start = ProjectedState(x, value, force, x, spectral, jnp.ones_like(value), heights, jnp.array(1))
        return self._aimed(space, start)

    def tell(
        self, space: AbstractSpace, state: ProjectedState, value: Float[Array, ""], force: PyTree
    ) -> ProjectedState:
        move = space.displacement(state.x, state.trial)
        slope = -tree_dot(state.force, move)
        allowed = jnp.max(state.heights) + self.decrease * slope
        # A NaN must be taken, not backed away from: the judge of the walk then names the step.
        accept = (value <= allowed) | jnp.isnan(value)
        taken = self._accepted(state, move, value, force)
        shorter = eqx.tree_at(lambda s: s.fraction, state, 0.5 * state.fraction)
        chosen = jax.tree.map(lambda yes, no: jnp.where(accept, yes, no), taken, shorter)
        return self._aimed(space, chosen)

    def _accepted(self, state: ProjectedState, move: PyTree, value: Float[Array, ""], force: PyTree) -> ProjectedState:
        turn = jax.tree.map(jnp.subtract, state.force, force)
        bend, length = tree_dot(move, turn), tree_dot(move, move)
        spectral = jnp.where(bend > 0, length / jnp.where(bend > 0, bend, 1), 1e10 * state.spectral)
        spectral = jnp.clip(spectral, 1e-10, 1e10).astype(state.spectral.dtype)
        heights = state.heights.at[state.accepted % self.memory].set(value)
        whole = jnp.ones_like(state.fraction)
        return ProjectedState(state.trial, value, force, state.trial, spectral, whole, heights, state.accepted + 1)

    def _aimed(self, space: AbstractSpace, state: ProjectedState) -> ProjectedState:
        far = space.shift(state.x, jax.tree.map(lambda f: state.spectral.astype(f.dtype) * f, state.force))
        move = space.displacement(state.x, far)
        step = jax.tree.map(lambda d: state.fraction.astype(d.dtype) * d, move)
        return eqx.tree_at(lambda s: s.trial, state, space.shift(state.x, step))
