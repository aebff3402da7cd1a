"""`simulate`: follow the motion of a configuration on a landscape in time."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from thalweg.core.checks import check_scalar, fits, floating, positive, traced
from thalweg.core.energy import AbstractHostField, Landscape
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.core.refresh import Lists, Mend, have_room, renewed, split
from thalweg.core.solution import Outcome, Solution
from thalweg.core.space import AbstractSpace, Box, Euclidean, Signs, innermost
from thalweg.diagnostics.drift import Drift, Running, running
from thalweg.methods.descent import look
from thalweg.methods.drive import Walk, drive
from thalweg.methods.dynamics import AbstractDynamics, Motion, Setting, inertial, spread_mass
from thalweg.methods.registry import named
from thalweg.methods.trace import Trace
from thalweg.methods.verlet import Verlet
from thalweg.verbs.ending import concluded


class Simulating(eqx.Module):
    """A trajectory under way.

    **Fields:** the `motion`; the `kinetic` energy and the `time` since the start; `line`, the least-squares line
    through the conserved quantity, and `mean_kinetic`, over the start and every step; the `lists` of a landscape that
    has some.
    """

    motion: Motion
    kinetic: Float[Array, ""]
    time: Float[Array, ""]
    line: Running
    mean_kinetic: Float[Array, ""]
    lists: Lists | None

    @property
    def x(self) -> PyTree:
        """The configuration."""
        return self.motion.x

    @property
    def v(self) -> PyTree:
        """The velocity."""
        return self.motion.v

    @property
    def force(self) -> PyTree:
        """The force that can move `x`."""
        return self.motion.force

    @property
    def value(self) -> Float[Array, ""]:
        """The potential energy."""
        return self.motion.value

    @property
    def heat(self) -> Float[Array, ""]:
        """The energy that a thermostat has put in."""
        return self.motion.heat

    @property
    def conserved(self) -> Float[Array, ""]:
        """Potential plus kinetic energy minus heat: constant but for the error of the time step."""
        return self.motion.value + self.kinetic - self.motion.heat


def simulate(
    energy: Landscape | AbstractHostField,
    x0: PyTree,
    v0: PyTree | None = None,
    method: AbstractDynamics | str | None = None,
    *,
    dt: float | Float[Array, ""],
    steps: int | Int[Array, ""],
    mass: PyTree = 1.0,
    space: AbstractSpace | None = None,
    key: Key[Array, ""] | None = None,
    trace: Trace | None = None,
    throw: bool = True,
    on_chunk: tuple[Hook, ...] | Hook = (),
) -> Solution:
    """Move `x0` with the velocity `v0` on `energy` for `steps` time steps.

    Boltzmann's constant is one: temperatures are energies. Units are those of `energy`, `x` and `mass`, which fix that
    of time.

    **Arguments:**

    - `energy`: any callable from a pytree to a scalar, or a host field, which is then asked once per step. Lists of
      fixed size (`AbstractRefreshing`) are kept fresh, and grow where they overflow.
    - `x0`: the start, a pytree of floating arrays; `v0`: the velocity, like `x0` (`maxwell_velocities` draws one), or
      `None` for a start at rest. Frozen coordinates have none.
    - `method`: `Verlet()` (the default), `Baoab(...)`, `CellRescaling(...)` (pressure on a `Celled`), or a name.
    - `dt`: the time step.
    - `mass`: a number or a prefix of the pytree `x0`; an array has the leading axes of its leaf (one mass per row).
    - `space`: where `x` lives: unbounded by default, `Periodic` or `Frozen`. Velocities are never wrapped.
    - `key`: the source of a thermostat's noise; the same key gives the same bits.
    - `trace`: what to record of the `Simulating` (`walk.x`, `.v`, `.force`, `.value`, `.kinetic`, `.time`, `.heat`,
      `.conserved`).
    - `throw`: raise on a walk that broke; otherwise the last good point comes back with its outcome. Inside `jit` and
      `vmap` nothing can be raised, and lists cannot grow: pass `throw=False` there and read the outcome.
    - `on_chunk`: hooks; a checkpoint among them resumes the trajectory to the same bits.

    **Returns:** a `Solution` with the last configuration and its potential energy; `stats` has `velocity`, `kinetic`,
    `heat`, `time`, `temperature` (twice the mean kinetic energy per coordinate that has a velocity; a conserved total
    momentum is counted as moving), `drift` (of the conserved quantity: a `Drift`), `steps`, `seconds`, and `rebuilds`
    where the landscape has lists.

    **Raises:** `InputError` for unusable arguments; `WalkError` where a value stopped being finite, naming the step,
    the leaf and the last good checkpoint, or where lists cannot grow any more.
    """
    space = Euclidean() if space is None else space
    method = _chosen(method, key)
    x, v = _checked(method, x0, v0, space, dt, steps)
    if throw and traced(x, v, energy, dt, steps, mass, method, space, key):
        raise InputError("simulate: nothing can be raised inside jit or vmap: pass throw=False and read `outcome`.")
    setting = _setting(space, mass, dt, x)
    host = isinstance(energy, AbstractHostField)
    lists, rest = split(energy, x, "simulate")
    chosen: Any = (_begun_on_host, _advance_on_host) if host else (_begun, _advance)
    budget: Any = steps  # inside a transformation it may be an array
    state: Simulating = chosen[0](method, setting, rest, lists, x, v, *_noise(method, key, budget))
    advance: Any = eqx.Partial(chosen[1], method, setting, rest)
    hooks = on_chunk if isinstance(on_chunk, tuple) else (on_chunk,)
    end = _aimed(drive(advance, state, budget, judge=_judge, host=host, hooks=hooks, trace=trace, mend=Mend(rest)))
    return concluded(_solution(method, setting, end), end, "simulate", hooks, throw)


def _aimed(end: Walk) -> Walk:
    """The budget of steps is the aim of a simulation, not its failure."""
    return end._replace(outcome=jnp.where(end.outcome == Outcome.STEPS.code, Outcome.DONE.code, end.outcome))


def _noise(method: AbstractDynamics, key: Any, steps: Any) -> tuple[Any, Any]:
    """The key of a random method, and the stretch of steps over which the random walk of its energy is judged."""
    return (key, jnp.maximum(jnp.asarray(steps, jnp.int32) // 32, 1)) if method.random else (None, None)


def _solution(method: AbstractDynamics, setting: Setting, end: Walk) -> Solution:
    walk: Simulating = end.state
    temperature, line = _measured(method, setting, walk)
    stats = {
        "steps": end.step,
        "seconds": end.seconds,
        "time": walk.time,
        "velocity": walk.v,
        "kinetic": walk.kinetic,
        "heat": walk.heat,
        "temperature": temperature,
        "drift": line,
    }
    if walk.lists is not None:
        stats["rebuilds"] = walk.lists.rebuilds
    return Solution(walk.x, walk.value, end.outcome, end.records, stats)


# Small things are compiled together too: single operations cost a compilation each.
@eqx.filter_jit
def _measured(method: AbstractDynamics, setting: Setting, walk: Simulating) -> tuple[Float[Array, ""], Drift]:
    free = inertial(method, setting.space.project(walk.x, jax.tree.map(jnp.ones_like, walk.x)))
    coordinates = jnp.sum(jnp.stack([jnp.sum(leaf != 0) for leaf in jax.tree.leaves(free)]))
    mean = walk.mean_kinetic
    return 2 * mean / jnp.maximum(coordinates, 1).astype(mean.dtype), walk.line.drift(setting.dt)


@eqx.filter_jit
def _placed(method: AbstractDynamics, space: AbstractSpace, x: PyTree, v: PyTree) -> tuple[PyTree, PyTree]:
    return space.wrap(x), inertial(method, space.project(x, v))


def _chosen(method: AbstractDynamics | str | None, key: Key[Array, ""] | None) -> AbstractDynamics:
    if isinstance(method, str):
        try:
            method = named("simulate", method)
        except TypeError:
            raise InputError(
                f"simulate: {method!r} cannot be had by its name alone: pass the method with its settings, as in "
                "Baoab(temperature=1.0, friction=1.0)."
            ) from None
    chosen = Verlet() if method is None else method
    if not isinstance(chosen, AbstractDynamics):
        raise InputError(f"simulate: method is a {type(chosen).__name__}: pass Verlet(), Baoab(...) or a name.")
    if chosen.random and key is None:
        raise InputError(f"simulate: {type(chosen).__name__} draws random numbers: pass key=jax.random.key(seed).")
    is_key = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ()
    if chosen.random and not is_key:
        raise InputError("simulate: key must be one random key: pass jax.random.key(0), say.")
    return chosen


def _checked(method: AbstractDynamics, x0: Any, v0: Any, space: AbstractSpace, dt: Any, steps: Any) -> tuple[Any, Any]:
    walls = innermost(space)
    if isinstance(walls, Signs):
        raise InputError("simulate: signs have no velocity: use sample to walk on them.")
    if isinstance(walls, Box):
        raise InputError("simulate: a step of time cannot end at the walls of a Box: put the walls into the energy.")
    x = floating(x0, "simulate")
    fits(space, x, "simulate")
    v = (
        jax.tree.map(lambda leaf: jnp.asarray(np.zeros(leaf.shape, leaf.dtype)), x)
        if v0 is None
        else floating(v0, "simulate", "v0")
    )
    shapes = [[(leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(tree)] for tree in (x, v)]
    if jax.tree.structure(x) != jax.tree.structure(v) or shapes[0] != shapes[1]:
        raise InputError(f"simulate: v0 is {shapes[1]}, but x0 is {shapes[0]}: give each coordinate a velocity.")
    positive(dt, "dt", "simulate")
    if not traced(dt) and not np.isfinite(dt):
        raise InputError(f"simulate: dt is {dt}, but it must be finite.")
    if not traced(steps) and not (jnp.issubdtype(jnp.result_type(steps), jnp.integer) and steps >= 0):
        raise InputError(f"simulate: steps is {steps}, but it must be a whole number that is not negative.")
    return _placed(method, space, x, v)


def _setting(space: AbstractSpace, mass: PyTree, dt: Any, x: PyTree) -> Setting:
    try:
        spread = spread_mass(mass, x)
    except (TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"simulate: mass does not fit x0 ({reason}): give a number, or one mass per row.") from error
    for leaf in jax.tree.leaves(spread):
        if not traced(leaf) and not (np.all(np.asarray(leaf) > 0) and np.all(np.isfinite(leaf))):
            raise InputError("simulate: a mass is not positive and finite: freeze what must not move (Frozen).")
    return Setting(space, spread, jnp.asarray(dt, jnp.result_type(*jax.tree.leaves(x))))


@eqx.filter_jit
def _begun(
    method: AbstractDynamics, setting: Setting, rest: Any, lists: Lists | None, x: Any, v: Any, key: Any, stretch
):
    energy = rest if lists is None else eqx.combine(lists.parts, rest)
    check_scalar(energy, x, "simulate")  # while tracing, so that it costs nothing in later calls
    return _first(method, setting, lists, x, v, key, stretch, *look(energy, setting.space, x))


def _begun_on_host(method: Any, setting: Setting, field: AbstractHostField, lists: None, x, v, key, stretch):
    return _initial(method, setting, x, v, key, stretch, *look(field, Euclidean(), x))


@eqx.filter_jit
def _initial(method: AbstractDynamics, setting: Setting, x: Any, v: Any, key: Any, stretch, value: Array, push: Any):
    return _first(method, setting, None, x, v, key, stretch, value, setting.space.project(x, push))


def _first(
    method: AbstractDynamics, setting: Setting, lists: Lists | None, x, v, key: Any, stretch, value: Array, push: Any
) -> Simulating:
    kinetic = setting.kinetic(v)
    zero = jnp.zeros((), jnp.result_type(value, kinetic))
    motion = Motion(x, v, value, push, zero, zero, jnp.zeros((), jnp.int32), key, method.init(setting, x, v))
    line = running(value + kinetic - zero, stretch)
    return Simulating(motion, kinetic, jnp.zeros_like(setting.dt), line, kinetic, lists)


def _advance(method: AbstractDynamics, setting: Setting, rest: Any, walk: Simulating) -> Simulating:
    moved = method.move(setting, walk.motion)
    energy, lists = renewed(walk.lists, rest, moved.x)
    return _arrived(method, setting, walk, moved, lists, *look(energy, setting.space, moved.x))


def _advance_on_host(method: AbstractDynamics, setting: Setting, field: AbstractHostField, walk: Simulating):
    moved = _moved(method, setting, walk.motion)
    return _told(method, setting, walk, moved, *look(field, Euclidean(), moved.x))


@eqx.filter_jit
def _moved(method: AbstractDynamics, setting: Setting, now: Motion) -> Motion:
    return method.move(setting, now)


@eqx.filter_jit
def _told(method: AbstractDynamics, setting: Setting, walk: Simulating, moved: Motion, value: Array, push: Any):
    return _arrived(method, setting, walk, moved, None, value, setting.space.project(moved.x, push))


def _arrived(
    method: AbstractDynamics, setting: Setting, walk: Simulating, moved: Motion, lists: Any, value: Array, push: Any
) -> Simulating:
    """The trajectory at the end of a step, now that energy and force at its new point are known."""
    told = eqx.tree_at(lambda to: (to.value, to.force, to.step), moved, (value, push, moved.step + 1))
    motion = method.finish(setting, told)
    kinetic = setting.kinetic(motion.v)
    line = walk.line.saw(motion.value + kinetic - motion.heat)
    mean = walk.mean_kinetic + (kinetic - walk.mean_kinetic) / line.count.astype(kinetic.dtype)
    return Simulating(motion, kinetic, motion.step.astype(setting.dt.dtype) * setting.dt, line, mean, lists)


@eqx.filter_jit
def _judge(walk: Simulating) -> Int[Array, ""]:
    watched = jax.tree.leaves((walk.value, walk.kinetic, walk.motion.heat, walk.x, walk.v, walk.force))
    finite = jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in watched]))
    room = jnp.where(have_room(walk.lists), Outcome.WALKING.code, Outcome.CAPACITY.code)
    return jnp.where(finite, room, Outcome.NONFINITE.code)
