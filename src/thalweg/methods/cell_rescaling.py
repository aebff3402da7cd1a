"""Stochastic cell rescaling: constant temperature and pressure, with a volume that has the right fluctuations."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.cell import Celled, pressure
from thalweg.core.checks import traced
from thalweg.core.errors import InputError
from thalweg.core.space import Euclidean
from thalweg.methods.dynamics import AbstractMixedDynamics, Motion, Schedule, Setting, heat_bath, scheduled


class CellRescaling(AbstractMixedDynamics):
    """Langevin dynamics of points in a cell whose volume diffuses until the pressures are equal.

    The cell keeps its shape; points and cell are stretched alike, about the origin, and velocities by the inverse. The
    square root of the volume then has constant noise: it is moved as by BAOAB at infinite friction, whose averaged
    noise makes the law of the volume right to second order in `dt / relaxation`, and the points by BAOAB between the
    halves of that. Configurations have the density `exp(-(E + pressure V) / temperature)` over points and volume,
    momenta that of Maxwell (all of them: the total momentum is not conserved).

    The configuration is a `Celled`, in unbounded space: the landscape finds the nearest images by itself. The velocity
    of the cell is zero and its mass is not used (`mass=Celled(masses, 1.0)`, or one number). The heat counts what
    thermostat and barostat put in, less the work against `pressure`, so that the conserved quantity tells whether `dt`
    is short enough.

    **Arguments:** `temperature`, in units of energy (Boltzmann's constant is one), a number or a schedule from the
    step to a number; `pressure`, in energy over volume; `friction`, the rate at which the points' velocities are
    forgotten; `relaxation`, the time in which the volume does, if `compressibility` (in volume over energy) is about
    that of what is simulated: only the ratio of the two matters, and only for the speed.

    **Source:** Bernetti & Bussi, J. Chem. Phys. 153, 114107 (2020), equation 7; Leimkuhler & Matthews, Appl. Math. Res.
    Express 2013, 34 (2013), for the averaged noise.
    """

    temperature: Float[Array, ""] | Schedule = eqx.field(converter=scheduled)
    pressure: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    friction: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    relaxation: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    compressibility: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    random: ClassVar[bool] = True
    bibtex: ClassVar[str] = """@article{bernetti2020pressure,
  title={Pressure control using stochastic cell rescaling},
  author={Bernetti, Mattia and Bussi, Giovanni},
  journal={The Journal of Chemical Physics}, volume={153}, pages={114107}, year={2020}}"""

    def __check_init__(self):
        named = {"temperature": self.temperature, "friction": self.friction}
        for name, value in named.items():
            if callable(value) or traced(value):
                continue
            if not (np.all(np.asarray(value) >= 0) and np.all(np.isfinite(value))):
                raise InputError(f"simulate: the {name} of CellRescaling is {value}: make it finite and not negative.")
        for name, value in (("relaxation", self.relaxation), ("compressibility", self.compressibility)):
            if not traced(value) and not (np.all(np.asarray(value) > 0) and np.all(np.isfinite(value))):
                raise InputError(f"simulate: the {name} of CellRescaling is {value}: make it finite and positive.")
        if not traced(self.pressure) and not np.all(np.isfinite(self.pressure)):
            raise InputError(f"simulate: the pressure of CellRescaling is {self.pressure}, but it must be finite.")

    def init(self, setting: Setting, x: PyTree, v: PyTree) -> None:
        if not isinstance(setting.space, Euclidean):
            raise InputError(
                f"simulate: CellRescaling stretches all of space, but the space is {type(setting.space).__name__}: "
                "leave it out, and let the landscape find the nearest images."
            )

    def inertial(self, v: PyTree) -> PyTree:
        if not isinstance(v, Celled):
            raise InputError(f"simulate: CellRescaling moves a cell, but x0 is a {type(v).__name__}: pass a Celled.")
        shapes = (jnp.shape(v.points), jnp.shape(v.cell))
        if len(shapes[0]) != 2 or shapes[0][1] != 3 or shapes[1] != (3, 3):
            raise InputError(
                f"simulate: points of shape {[*shapes[0]]} in a cell of shape {[*shapes[1]]}: CellRescaling needs "
                "[n, 3] and [3, 3]."
            )
        return Celled(v.points, jnp.zeros_like(v.cell))

    def move(self, setting: Setting, now: Motion) -> Motion:
        points, speed = _of_points(setting), self._speed(setting)
        # Both halves of the kick that the two steps around this point share, the first of which ended the last step.
        push = self._push(setting, now)
        before, after = (self._noise(setting, now, step) for step in (now.step, now.step + 1))
        gain = -push * (before + 0.75 * speed * push)
        v = eqx.tree_at(lambda to: to.points, now.v, points.kick(now.v.points, now.force.points, 0.5))
        x, v, work = self._stretched(now, now.x, v, before + speed * push)
        half = points.drift(x.points, v.points, 0.5)
        assert now.key is not None, "a random method is never begun without a key"
        key = jax.random.split(jax.random.fold_in(now.key, now.step))[0]
        bath = heat_bath(self.temperature, now.step)
        shaken, warmth = points.shaken(key, half, v.points, self.friction, bath)
        x = Celled(points.drift(half, shaken, 0.5), x.cell)
        x, v, again = self._stretched(now, x, Celled(shaken, v.cell), after)
        warmer = now.warmed(gain + work + warmth + again)
        return eqx.tree_at(lambda to: (to.x, to.v), warmer, (x, v))

    def finish(self, setting: Setting, now: Motion) -> Motion:
        v = Celled(_of_points(setting).kick(now.v.points, now.force.points, 0.5), now.v.cell)
        now = eqx.tree_at(lambda to: to.v, now, v)
        push = self._push(setting, now)
        noise = self._noise(setting, now, now.step)
        return now.warmed(-push * (noise + 0.25 * self._speed(setting) * push))

    # In what follows the coordinate is the root of the volume.

    def _speed(self, setting: Setting) -> Float[Array, ""]:
        """How far a unit of force moves the root of the volume in one step."""
        return setting.dt * (self.compressibility / (4 * self.relaxation)).astype(setting.dt.dtype)

    def _noise(self, setting: Setting, now: Motion, step: Int[Array, ""]) -> Float[Array, ""]:
        """One of the two halves of a step's noise; the other half is that of the next step."""
        assert now.key is not None, "a random method is never begun without a key"
        key = jax.random.split(jax.random.fold_in(now.key, step))[1]
        variance = heat_bath(self.temperature, step).astype(setting.dt.dtype) * self._speed(setting) / 2
        return jnp.sqrt(variance) * jax.random.normal(key, (), setting.dt.dtype)

    def _push(self, setting: Setting, now: Motion) -> Float[Array, ""]:
        """The force on the root of the volume, that of its own measure included."""
        root = jnp.sqrt(now.x.volume)
        excess = pressure(now.x, now.force, setting.kinetic(now.v)) - self.pressure.astype(root.dtype)
        return 2 * root * excess + heat_bath(self.temperature, now.step).astype(root.dtype) / root

    def _stretched(
        self, now: Motion, x: Celled, v: Celled, change: Float[Array, ""]
    ) -> tuple[Celled, Celled, Float[Array, ""]]:
        """The motion after a change of the root of the volume, and minus the work that this did on the pressure."""
        root = jnp.sqrt(x.volume)
        grown = jnp.log1p(change / root)
        factor = jnp.exp(2 * grown / 3)
        gain = heat_bath(self.temperature, now.step).astype(root.dtype) * grown
        gain = gain - self.pressure.astype(root.dtype) * change * (2 * root + change)
        stretched: Any = jax.tree.map(lambda leaf: factor * leaf, x)
        return stretched, Celled(v.points / factor, v.cell), gain


def _of_points(setting: Setting) -> Setting:
    return Setting(Euclidean(), setting.mass.points, setting.dt)
