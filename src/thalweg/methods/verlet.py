"""Velocity Verlet: Newton's equations, reversible and symplectic."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
from jaxtyping import PyTree

from thalweg.methods.dynamics import AbstractDynamics, Motion, Setting


class Verlet(AbstractDynamics):
    """Half a kick, a drift, half a kick; the energy is conserved up to an oscillation of order `dt^2`.

    A coordinate of curvature `k` and mass `m` needs `dt < 2 sqrt(m / k)`, and a tenth of that to be followed well.

    **Source:** Swope et al., J. Chem. Phys. 76, 637 (1982); Hairer, Lubich & Wanner, Acta Numerica 12, 399 (2003).
    """

    random: ClassVar[bool] = False
    bibtex: ClassVar[str] = """@article{hairer2003geometric,
  title={Geometric numerical integration illustrated by the {S}t{\\"o}rmer--{V}erlet method},
  author={Hairer, Ernst and Lubich, Christian and Wanner, Gerhard},
  journal={Acta Numerica}, volume={12}, pages={399--450}, year={2003}}"""

    def init(self, setting: Setting, x: PyTree, v: PyTree) -> None:
        return None

    def move(self, setting: Setting, now: Motion) -> Motion:
        v = setting.kick(now.v, now.force, 0.5)
        return eqx.tree_at(lambda to: (to.x, to.v), now, (setting.drift(now.x, v, 1.0), v))

    def finish(self, setting: Setting, now: Motion) -> Motion:
        return eqx.tree_at(lambda to: to.v, now, setting.kick(now.v, now.force, 0.5))
