"""FIRE: descent with inertia that stops whenever it points uphill."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.space import AbstractSpace
from thalweg.methods.descent import AbstractDescent, AbstractDescentState, tree_dot, tree_norm


class FireState(AbstractDescentState):
    """The point, the velocity and the adaptive constants."""

    x: PyTree
    value: Float[Array, ""]
    force: PyTree
    trial: PyTree
    velocity: PyTree
    dt: Float[Array, ""]
    mixing: Float[Array, ""]
    downhill_steps: Int[Array, ""]


class Fire(AbstractDescent):
    """Fast inertial relaxation engine.

    **Arguments:** `dt` the first time step, `dt_max` the longest, in units in which mass is one;
    `stride`, the longest move of one step (Euclidean norm over all leaves).

    **Source:** Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), with its published constants.
    """

    dt: Float[Array, ""] = eqx.field(default=0.1, converter=jnp.asarray)
    dt_max: Float[Array, ""] = eqx.field(default=1.0, converter=jnp.asarray)
    stride: Float[Array, ""] = eqx.field(default=0.2, converter=jnp.asarray)

    bibtex: ClassVar[str] = """@article{bitzek2006structural,
  title={Structural relaxation made simple},
  author={Bitzek, Erik and Koskinen, Pekka and G{\\"a}hler, Franz and Moseler, Michael and Gumbsch, Peter},
  journal={Physical Review Letters}, volume={97}, pages={170201}, year={2006}}"""

    def init(self, space: AbstractSpace, x: PyTree, value: Float[Array, ""], force: PyTree) -> FireState:
        still = jax.tree.map(jnp.zeros_like, x)
        dt, mixing = self.dt.astype(value.dtype), jnp.asarray(0.1, value.dtype)
        return self._move(space, FireState(x, value, force, x, still, dt, mixing, jnp.array(0)))

    def tell(self, space: AbstractSpace, state: FireState, value: Float[Array, ""], force: PyTree) -> FireState:
        power = tree_dot(force, state.velocity)
        downhill = power > 0
        patient = downhill & (state.downhill_steps > 5)
        dt = jnp.where(patient, jnp.minimum(1.1 * state.dt, self.dt_max.astype(state.dt.dtype)), state.dt)
        dt = jnp.where(downhill, dt, 0.5 * state.dt)
        mixing = jnp.where(patient, 0.99 * state.mixing, state.mixing)
        mixing = jnp.where(downhill, mixing, jnp.asarray(0.1, mixing.dtype))
        velocity = self._steered(state, force, downhill)
        count = jnp.where(downhill, state.downhill_steps + 1, 0)
        return self._move(space, FireState(state.trial, value, force, state.trial, velocity, dt, mixing, count))

    def _steered(self, state: FireState, force: PyTree, downhill: Array) -> PyTree:
        """The velocity turned towards the force, or stopped where it points uphill."""
        push = tree_norm(force)
        steer = state.mixing * tree_norm(state.velocity) / jnp.maximum(push, jnp.finfo(push.dtype).tiny)
        keep = jnp.where(downhill, 1 - state.mixing, 0)
        steer = jnp.where(downhill, steer, 0)
        return jax.tree.map(lambda v, f: keep.astype(v.dtype) * v + steer.astype(v.dtype) * f, state.velocity, force)

    def _move(self, space: AbstractSpace, state: FireState) -> FireState:
        velocity = jax.tree.map(lambda v, f: v + state.dt.astype(v.dtype) * f, state.velocity, state.force)
        length = state.dt * tree_norm(velocity)
        bound = self.stride.astype(length.dtype)
        dt = state.dt * jnp.where(length > bound, bound / length, 1.0)
        step = jax.tree.map(lambda v: dt.astype(v.dtype) * v, velocity)
        return eqx.tree_at(lambda s: (s.velocity, s.trial), state, (velocity, space.shift(state.x, step)))
