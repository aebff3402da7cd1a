"""The string method: images fall freely and are put back at equal arc length."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from thalweg.methods.band import AbstractBand, Chain, climbed, uphill_tangents
from thalweg.methods.descent import AbstractDescent
from thalweg.methods.fire import Fire


class String(AbstractBand):
    """The simplified string method with a climbing image.

    After every step the images are put at equal arc length on the polygon through them, on both sides of the one that
    climbs. The forces along the path, which that undoes, are left out from the start, so that a descent with
    inertia gathers no speed from them.

    **Arguments:** `settle`, the steps before the highest image begins to climb; `descent`, what moves the images.

    **Source:** E, Ren & Vanden-Eijnden, J. Chem. Phys. 126, 164103 (2007); climbing: Ren & Vanden-Eijnden, J. Chem.
    Phys. 138, 134105 (2013).
    """

    settle: int = 50
    descent: AbstractDescent = eqx.field(default_factory=Fire)

    bibtex: ClassVar[str] = """@article{e2007simplified,
  title={Simplified and improved string method for computing the minimum energy paths in barrier-crossing events},
  author={E, Weinan and Ren, Weiqing and Vanden-Eijnden, Eric},
  journal={The Journal of Chemical Physics}, volume={126}, pages={164103}, year={2007}}"""

    def push(self, chain: Chain, climber: Int[Array, ""]) -> tuple[Float[Array, "inner n"], Float[Array, "inner n"]]:
        across = climbed(chain.forces, uphill_tangents(chain), climber)
        return across, across

    def spread(self, steps: Float[Array, "gaps n"], climber: Int[Array, ""]) -> Float[Array, "inner n"]:
        lengths = jnp.linalg.norm(steps, axis=1)
        arc = jnp.concatenate([jnp.zeros_like(lengths[:1]), jnp.cumsum(lengths)])
        last = lengths.size
        place, held = jnp.arange(1, last), climber + 1
        even = arc[-1] * place / last
        before, after = held, jnp.maximum(last - held, 1)
        halves = jnp.where(
            place <= held,
            arc[held] * place / jnp.maximum(before, 1),
            arc[held] + (arc[-1] - arc[held]) * (place - held) / after,
        )
        wanted = jnp.where(climber >= 0, halves, even).astype(arc.dtype)
        # Along the displacements from the first end, which stay whole where the space wraps positions.
        away = jnp.concatenate([jnp.zeros_like(steps[:1]), jnp.cumsum(steps, axis=0)])
        there = jax.vmap(lambda column: jnp.interp(wanted, arc, column), in_axes=1, out_axes=1)(away)
        return there - away[1:-1]
