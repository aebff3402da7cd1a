"""Descent by any Optax optimiser."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from thalweg.core.space import AbstractSpace
from thalweg.methods.descent import AbstractDescent, AbstractDescentState


class GradientState(AbstractDescentState):
    """The point and the optimiser's own state."""

    x: PyTree
    value: Float[Array, ""]
    force: PyTree
    trial: PyTree
    optimiser: Any


class Gradient(AbstractDescent):
    """First-order descent whose update rule is an Optax transformation (`optax.adam(1e-2)`, a chain, a schedule)."""

    optimiser: optax.GradientTransformation

    bibtex: ClassVar[str] = """@software{deepmind2020jax,
  title={The {D}eep{M}ind {JAX} Ecosystem}, author={{DeepMind}}, year={2020}, url={https://github.com/google-deepmind/optax}}"""

    def init(self, space: AbstractSpace, x: PyTree, value: Float[Array, ""], force: PyTree) -> GradientState:
        return self._moved(space, GradientState(x, value, force, x, self.optimiser.init(x)))

    def tell(self, space: AbstractSpace, state: GradientState, value: Float[Array, ""], force: PyTree) -> GradientState:
        return self._moved(space, GradientState(state.trial, value, force, state.trial, state.optimiser))

    def _moved(self, space: AbstractSpace, state: GradientState) -> GradientState:
        slope = jax.tree.map(jnp.negative, state.force)
        step, optimiser = self.optimiser.update(slope, state.optimiser, state.x)
        return GradientState(state.x, state.value, state.force, space.shift(state.x, step), optimiser)
