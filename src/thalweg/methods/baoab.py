"""BAOAB: Langevin dynamics whose configurations are right far beyond the accuracy of its velocities."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from thalweg.core.checks import traced
from thalweg.core.errors import InputError
from thalweg.methods.dynamics import AbstractDynamics, Motion, Schedule, Setting, heat_bath, scheduled


class Baoab(AbstractDynamics):
    """Langevin dynamics by the splitting kick, drift, Ornstein-Uhlenbeck, drift, kick.

    On a quadratic landscape the configurations have exactly the variance `temperature / k` at every stable time step,
    while `m <v^2>` is `temperature (1 - k dt^2 / 4m)`.

    **Arguments:** `temperature`, in units of energy (Boltzmann's constant is one), a number or a schedule from the
    step to a number (keep one schedule for all calls: a new function compiles anew); `friction`, the rate at which
    velocities are forgotten, in units of 1 / time.

    **Source:** Leimkuhler & Matthews, Appl. Math. Res. Express 2013, 34 (2013); J. Chem. Phys. 138, 174102 (2013).
    """

    temperature: Float[Array, ""] | Schedule = eqx.field(converter=scheduled)
    friction: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    random: ClassVar[bool] = True
    bibtex: ClassVar[str] = """@article{leimkuhler2013rational,
  title={Rational construction of stochastic numerical methods for molecular sampling},
  author={Leimkuhler, Benedict and Matthews, Charles},
  journal={Applied Mathematics Research eXpress}, volume={2013}, pages={34--56}, year={2013}}"""

    def __check_init__(self):
        for value, name in ((self.temperature, "temperature"), (self.friction, "friction")):
            if callable(value) or traced(value):
                continue
            if not (np.all(np.asarray(value) >= 0) and np.all(np.isfinite(value))):
                raise InputError(f"simulate: the {name} of Baoab is {value}, but it must be finite and not negative.")

    def init(self, setting: Setting, x: PyTree, v: PyTree) -> None:
        return None

    def move(self, setting: Setting, now: Motion) -> Motion:
        v = setting.kick(now.v, now.force, 0.5)
        x = setting.drift(now.x, v, 0.5)
        assert now.key is not None, "a random method is never begun without a key"
        key = jax.random.fold_in(now.key, now.step)
        v, gain = setting.shaken(key, x, v, self.friction, heat_bath(self.temperature, now.step))
        return eqx.tree_at(lambda to: (to.x, to.v), now.warmed(gain), (setting.drift(x, v, 0.5), v))

    def finish(self, setting: Setting, now: Motion) -> Motion:
        return eqx.tree_at(lambda to: to.v, now, setting.kick(now.v, now.force, 0.5))
