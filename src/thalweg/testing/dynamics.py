"""What every dynamics promises."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key, PyTree

from thalweg.core.energy import AbstractEnergy
from thalweg.core.solution import Solution
from thalweg.core.space import Euclidean
from thalweg.methods.dynamics import AbstractDynamics, Motion, Setting, normal_like, spread_mass
from thalweg.methods.registry import named
from thalweg.testing.promises import check_like, equal, promise
from thalweg.verbs.simulate import simulate

_LANES = 256
_DT, _STEPS = 0.2, 20
_LEAST_ORDER = 3.0  # by how much a halved step shrinks an error: 2 to first order, 4 to second


class _Springs(AbstractEnergy):
    """A bowl over any pytree, with curvatures from 1 to 4."""

    stiffest: Float[Array, ""] = eqx.field(default=4.0, converter=jnp.asarray)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        flat = ravel_pytree(x)[0]
        stiffness = jnp.linspace(1.0, self.stiffest.astype(flat.dtype), flat.size, dtype=flat.dtype)
        return 0.5 * jnp.sum(stiffness * flat**2)


def check_dynamics(method: AbstractDynamics | str) -> None:
    """Hold a rule of motion to its promises, on a quadratic landscape over a dict of arrays with two masses.

    It cites its source; moves by the mean of its velocities times the time step; conserves the energy, less the heat
    of a thermostat, to second order in the time step (or to rounding); ends with the same bits whatever the chunks;
    and keeps structure, shapes and the dtype float32 where x64 is on. Frequencies are between 0.7 and 2, the time
    steps 0.2 and 0.1 over 4 units of time: settings of a thermostat must suit that (a friction of about one).

    The error of the energy is the root mean square over 256 trajectories. Halving the step divides it by four; with a
    thermostat's noise by 4.0 with a standard deviation of 0.11 (12 seeds of BAOAB), so that less than three, where the
    check fails, is nine standard deviations away: far less than 1 seed in 1000 is a false alarm, and the seed is fixed.

    **Arguments:** `method`, or its name where it needs no settings.

    **Raises:** `AssertionError` with a sentence about the promise that was broken.
    """
    with jax.enable_x64(True):
        chosen = named("simulate", method) if isinstance(method, str) else method
        cited = getattr(chosen, "bibtex", "")
        promise(isinstance(cited, str) and cited.lstrip().startswith("@"), "the dynamics carries no BibTeX entry.")
        _check_dtypes(chosen)
        _check_chunks(chosen)
        _check_motion(chosen)


def _start(dtype: Any) -> PyTree:
    return {"a": jnp.ones(3, dtype), "b": jnp.full((2, 2), -0.5, dtype)}


def _mass() -> PyTree:
    return {"a": 1.0, "b": 2.0}


def _check_dtypes(method: AbstractDynamics) -> None:
    """Without a compilation: a loop over steps of another type could not even begin."""
    start = _start(jnp.float32)
    setting = Setting(Euclidean(), spread_mass(_mass(), start), jnp.asarray(_DT, jnp.float32))
    zero = jnp.zeros((), jnp.float32)

    def step(x: PyTree, v: PyTree) -> Motion:
        memory = method.init(setting, x, v)
        now = Motion(x, v, zero, x, zero, zero, jnp.zeros((), jnp.int32), jax.random.key(0), memory)
        return method.finish(setting, method.move(setting, now))

    after = jax.eval_shape(step, start, start)
    check_like(after.x, start, "the configuration after a step")
    check_like(after.v, start, "the velocity after a step")


def _check_chunks(method: AbstractDynamics) -> None:
    start = _start(jnp.float32)
    go: dict[str, Any] = {"dt": _DT, "steps": 40, "mass": _mass(), "key": jax.random.key(0), "throw": False}
    # A hook makes the first chunks of one or two steps; without one they are of 64.
    ends = [simulate(_Springs(), start, start, method, **go, on_chunk=hooks) for hooks in ((), _nothing)]
    promise(ends[0].done, f"40 steps on a quadratic landscape fail: {ends[0].sentence}")
    bits = [(end.value, end.energy, end.stats["velocity"], end.stats["heat"]) for end in ends]
    promise(
        equal(*bits), "short chunks of steps end with other bits than one long chunk: the step is no pure function."
    )


def _nothing(report: Any) -> None:
    return None


def _check_motion(method: AbstractDynamics) -> None:
    keys = jax.random.split(jax.random.key(0), _LANES)
    one, coarse, fine = (
        _lanes(method, keys, jnp.asarray(dt), jnp.asarray(steps, jnp.int32))
        for dt, steps in ((_DT / 4, 1), (_DT, _STEPS), (_DT / 2, 2 * _STEPS))
    )
    # The two differ by dt^3 / 4 times the change of the acceleration: (2 * 0.05)^2 / 4 of the way, or 0.3 %; the noise
    # of a thermostat enters both alike.
    slip = _size(one.moved - one.carried) / _size(one.carried)
    promise(slip < 0.05, f"a step moves x by another way than velocity times dt: the two differ by {slip:.0%}.")
    lost, finer = _size(coarse.gained), _size(fine.gained)
    exact = lost < 1e-10 * _size(coarse.total)  # some rounding of 20 steps
    promise(
        exact or lost > _LEAST_ORDER * finer,
        f"the conserved energy is off by {lost:.1e} at dt = {_DT} and by {finer:.1e} at half of it: the method is not "
        "of second order, or a thermostat does not count its heat.",
    )


class _Lane(eqx.Module):
    """What one trajectory did: its way, what its velocities said of it, and its energy at the start and gained."""

    moved: Float[Array, " n"]
    carried: Float[Array, " n"]
    total: Float[Array, ""]
    gained: Float[Array, ""]


@eqx.filter_jit
@eqx.filter_vmap(in_axes=(None, 0, None, None))
def _lanes(method: AbstractDynamics, key: Key[Array, ""], dt: Float[Array, ""], steps: Int[Array, ""]) -> _Lane:
    key_x, key_v, key_walk = jax.random.split(key, 3)
    x0, v0 = (normal_like(one, _start(jnp.float64)) for one in (key_x, key_v))
    end: Solution = simulate(_Springs(), x0, v0, method, dt=dt, steps=steps, mass=_mass(), key=key_walk, throw=False)
    flat = lambda tree: ravel_pytree(tree)[0]  # noqa: E731
    carried = dt * (flat(v0) + flat(end.stats["velocity"])) / 2
    total = _Springs()(x0) + Setting(Euclidean(), spread_mass(_mass(), x0), dt).kinetic(v0)
    gained = end.energy + end.stats["kinetic"] - end.stats["heat"] - total
    return _Lane(flat(end.value) - flat(x0), carried, total, gained)


def _size(numbers: Float[Array, "..."]) -> float:
    return float(np.sqrt(np.mean(np.asarray(numbers) ** 2)))
