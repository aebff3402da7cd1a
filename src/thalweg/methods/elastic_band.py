"""The nudged elastic band: springs along the path, forces across it."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from thalweg.methods.band import AbstractBand, Chain, climbed, uphill_tangents
from thalweg.methods.descent import AbstractDescent
from thalweg.methods.fire import Fire


class ElasticBand(AbstractBand):
    """Nudged elastic band with the improved tangent and a climbing image.

    **Arguments:** `spring`, the stiffness of the springs, in units of the band's height over the mean distance of
    its images squared; `settle`, the steps before the
    highest image begins to climb; `descent`, what moves the images.

    **Source:** Henkelman & Jonsson, J. Chem. Phys. 113, 9978 (2000); climbing: Henkelman, Uberuaga & Jonsson, J. Chem.
    Phys. 113, 9901 (2000).
    """

    spring: Float[Array, ""] = eqx.field(default=0.2, converter=jnp.asarray)
    settle: int = 50
    descent: AbstractDescent = eqx.field(default_factory=Fire)

    bibtex: ClassVar[str] = """@article{henkelman2000improved,
  title={Improved tangent estimate in the nudged elastic band method for finding minimum energy paths and
    saddle points},
  author={Henkelman, Graeme and J{\\'o}nsson, Hannes},
  journal={The Journal of Chemical Physics}, volume={113}, pages={9978--9985}, year={2000}}"""

    def push(self, chain: Chain, climber: Int[Array, ""]) -> tuple[Float[Array, "inner n"], Float[Array, "inner n"]]:
        tangents = uphill_tangents(chain)
        across = climbed(chain.forces, tangents, climber)
        lengths = jnp.linalg.norm(chain.steps, axis=1)
        # In the landscape's own units: a band of fixed stiffness is slack on a steep landscape and rigid on a flat one.
        height = jnp.max(chain.values) - jnp.min(chain.values)
        stiffness = self.spring.astype(lengths.dtype) * height / jnp.mean(lengths) ** 2
        pull = stiffness * (lengths[1:] - lengths[:-1])
        free = jnp.where(jnp.arange(pull.size) == climber, 0, pull)
        return across + free[:, None] * tangents, across

    def spread(self, steps: Float[Array, "gaps n"], climber: Int[Array, ""]) -> Float[Array, "inner n"]:
        return jnp.zeros_like(steps[1:])
