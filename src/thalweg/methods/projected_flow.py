"""Gradient flow against walls: explicit steps of bounded error and length, with one force each."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.space import AbstractSpace
from thalweg.methods.descent import AbstractDescent, AbstractDescentState, tree_norm


class ProjectedFlowState(AbstractDescentState):
    """The point on the flow line, the time of the step under way, and how long nothing lower was seen."""

    x: PyTree
    value: Float[Array, ""]
    force: PyTree
    trial: PyTree
    time: Float[Array, ""]
    lowest: Float[Array, ""]
    since: Int[Array, ""]


class ProjectedFlow(AbstractDescent):
    """The solution of `dx/dt = F(x)`, with `F` the force that the walls of the space let act, by Euler's method.

    A step whose error (half the turn of the force times its time) is above twice the `accuracy` is taken back. Steps
    are short, so that the walk cannot leap over a ridge as a search for the minimum may: it ends in the basin of
    the start, to within `accuracy`. Near the minimum of a stiff valley, or on a kink, it hovers, and ends as stalled.

    **Arguments:** `accuracy`, the error of one step, and `stride`, the longest step (Euclidean norms over all leaves);
    `patience`, after how many steps without a lower point it ends.

    **Source:** Nagurney & Zhang, Projected Dynamical Systems and Variational Inequalities (1996), chapter 4.
    """

    accuracy: Float[Array, ""] = eqx.field(default=1e-3, converter=jnp.asarray)
    stride: Float[Array, ""] = eqx.field(default=1e-2, converter=jnp.asarray)
    patience: int = 20

    bibtex: ClassVar[str] = """@book{nagurney1996projected,
  title={Projected Dynamical Systems and Variational Inequalities with Applications},
  author={Nagurney, Anna and Zhang, Ding}, publisher={Springer}, year={1996}}"""

    def init(self, space: AbstractSpace, x: PyTree, value: Float[Array, ""], force: PyTree) -> ProjectedFlowState:
        time = self.accuracy.astype(value.dtype) / _positive(tree_norm(force))
        return self._aimed(space, ProjectedFlowState(x, value, force, x, time, value, jnp.zeros((), jnp.int32)))

    def tell(
        self, space: AbstractSpace, state: ProjectedFlowState, value: Float[Array, ""], force: PyTree
    ) -> ProjectedFlowState:
        error = 0.5 * state.time * tree_norm(self._turn(space, state, force))
        accuracy = self.accuracy.astype(error.dtype)
        # A NaN must be taken, not backed away from: the judge of the walk then names the step.
        accept = (error <= 2 * accuracy) | jnp.isnan(value + error)
        ratio = jnp.clip(0.9 * jnp.sqrt(accuracy / _positive(error)), 0.2, 3.0)
        lower = value < state.lowest
        taken = (state.trial, value, force, jnp.minimum(value, state.lowest), jnp.where(lower, 0, state.since + 1))
        held = (state.x, state.value, state.force, state.lowest, state.since + 1)
        x, value, force, lowest, since = jax.tree.map(lambda new, old: jnp.where(accept, new, old), taken, held)
        return self._aimed(space, ProjectedFlowState(x, value, force, x, ratio * state.time, lowest, since))

    def _turn(self, space: AbstractSpace, state: ProjectedFlowState, force: PyTree) -> PyTree:
        """By how much the force changed, but for what a wall stopped on the way, whose place is exact."""
        gone = space.displacement(state.x, state.trial)

        def change(old: Array, new: Array, moved: Array) -> Array:
            stopped = jnp.abs(moved) < 0.5 * state.time.astype(old.dtype) * jnp.abs(old)
            return jnp.where(stopped, jnp.zeros_like(old), new - old)

        return jax.tree.map(change, state.force, force, gone)

    def _aimed(self, space: AbstractSpace, state: ProjectedFlowState) -> ProjectedFlowState:
        longest = self.stride.astype(state.time.dtype) / _positive(tree_norm(state.force))
        time = jnp.where(state.since < self.patience, jnp.minimum(state.time, longest), 0)
        step = jax.tree.map(lambda push: time.astype(push.dtype) * push, state.force)
        return eqx.tree_at(lambda s: (s.trial, s.time), state, (space.shift(state.x, step), time))


def _positive(size: Array) -> Array:
    return jnp.maximum(size, jnp.finfo(size.dtype).tiny)
