"""A method: the simplest there is, to show what one consists of."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from thalweg.core.space import AbstractSpace
from thalweg.methods.descent import AbstractDescent, AbstractDescentState


class SteepestState(AbstractDescentState):
    """The point, and where to look next."""

    x: PyTree
    value: Array
    force: PyTree
    trial: PyTree


class Steepest(AbstractDescent):
    """Steps of a fixed `rate` along the force.

    **Source:** Cauchy, C. R. Acad. Sci. Paris 25, 536 (1847).
    """

    rate: Float[Array, ""] = eqx.field(default=5e-4, converter=jnp.asarray)

    bibtex: ClassVar[str] = """@article{cauchy1847methode,
  title={M{\\'e}thode g{\\'e}n{\\'e}rale pour la r{\\'e}solution des syst{\\`e}mes d'{\\'e}quations simultan{\\'e}es},
  author={Cauchy, Augustin}, journal={Comptes Rendus}, volume={25}, pages={536--538}, year={1847}}"""

    def init(self, space: AbstractSpace, x: PyTree, value: Any, force: PyTree) -> SteepestState:
        step = jax.tree.map(lambda push: self.rate.astype(push.dtype) * push, force)
        return SteepestState(x, value, force, space.shift(x, step))

    def tell(self, space: AbstractSpace, state: SteepestState, value: Any, force: PyTree) -> SteepestState:
        return self.init(space, state.trial, value, force)
