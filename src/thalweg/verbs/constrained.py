"""`relax_constrained`: walk downhill to rest without crossing a second landscape's zero level."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.checks import check_scalar, fits, floating, positive, traced
from thalweg.core.energy import AbstractEnergy, Landscape
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.core.solution import Outcome, Solution
from thalweg.core.space import AbstractSpace, Euclidean
from thalweg.methods.drive import drive
from thalweg.verbs.ending import concluded
from thalweg.verbs.relax import Method, reachable, relax


class Augmented(AbstractEnergy):
    """The augmented Lagrangian of `energy` under `constraint(x) <= 0`.

    `E(x) + (max(0, multiplier + stiffness c(x))^2 - multiplier^2) / (2 stiffness)`: its minimum is the constrained one
    once the multiplier is right, at a finite stiffness.

    **Source:** Hestenes, J. Optim. Theory Appl. 4, 303 (1969); Rockafellar, J. Optim. Theory Appl. 12, 555 (1973).
    """

    energy: Landscape
    constraint: Landscape
    multiplier: Float[Array, ""]
    stiffness: Float[Array, ""]

    def pressed(self, x: PyTree) -> Float[Array, ""]:
        """The multiplier that `x` asks for next."""
        return jnp.maximum(self.multiplier + self.stiffness * self.constraint(x), 0)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        wall = (self.pressed(x) ** 2 - self.multiplier**2) / (2 * self.stiffness)
        return self.energy(x) + wall


class Pressing(eqx.Module):
    """A constrained relaxation between two of its stages."""

    x: PyTree
    energy: Float[Array, ""]
    multiplier: Float[Array, ""]
    breach: Float[Array, ""]
    steps: Int[Array, ""]
    descent: Int[Array, ""]  # how the last stage's own relaxation ended


def relax_constrained(
    energy: Landscape,
    constraint: Landscape,
    x0: PyTree,
    method: Method | str | None = None,
    *,
    stiffness: float | Float[Array, ""],
    space: AbstractSpace | None = None,
    tol: float | None = None,
    max_steps: int = 200,
    stages: int = 20,
    throw: bool = True,
    on_chunk: tuple[Hook, ...] | Hook = (),
) -> Solution:
    """Relax `x0` on `energy` subject to `constraint(x) <= 0`, by the method of multipliers.

    **Arguments:**

    - `energy`, `constraint`: callables from a pytree to a scalar.
    - `stiffness`: how steep the wall is, in units of energy over the constraint squared; a few times the curvature of
      `energy` over the squared slope of `constraint` is a good value.
    - `method`, `space`, `tol`: as in `relax`; `tol` also bounds the error of the constraint times the slope that it
      takes to hold it.
    - `max_steps`: steps of descent within one stage; `stages`: at most so many updates of the multiplier.

    **Returns:** a `Solution` with `stats` `multiplier`, `breach` (the constraint's error), `stages` and `steps`.

    **Raises:** `InputError` for unusable arguments; `WalkError` where the constraint could not be met in time.
    """
    space = Euclidean() if space is None else space
    x = floating(x0, "relax_constrained")
    fits(space, x, "relax_constrained")
    x = space.wrap(x)
    check_scalar(energy, x, "relax_constrained")
    check_scalar(constraint, x, "relax_constrained: constraint")
    positive(jnp.asarray(stiffness), "stiffness", "relax_constrained")
    if throw and traced(x, energy, constraint):
        raise InputError("relax_constrained: nothing can be raised inside jit or vmap: pass throw=False.")
    tol = reachable(x) if tol is None else tol
    height = _value(energy, x)
    pressed = Augmented(energy, constraint, jnp.zeros_like(height), jnp.asarray(stiffness, height.dtype))
    start = Pressing(
        x, height, pressed.multiplier, jnp.full_like(height, jnp.inf), jnp.array(0), _code(Outcome.WALKING)
    )
    advance: Any = eqx.Partial(_stage, pressed, method, space, tol, max_steps)
    judge = eqx.Partial(_judge, jnp.asarray(tol, height.dtype))
    hooks = on_chunk if isinstance(on_chunk, tuple) else (on_chunk,)
    end = drive(advance, start, stages, judge=judge, hooks=hooks)
    state: Pressing = end.state
    stats = {"multiplier": state.multiplier, "breach": state.breach, "stages": end.step, "steps": state.steps}
    solution = Solution(state.x, state.energy, end.outcome, None, stats | {"seconds": end.seconds})
    return concluded(solution, end, "relax_constrained", hooks, throw)


@eqx.filter_jit
def _value(energy: Landscape, x: PyTree) -> Float[Array, ""]:
    return energy(x)


def _stage(
    pressed: Augmented, method: Any, space: AbstractSpace, tol: float, max_steps: int, now: Pressing
) -> Pressing:
    posed = eqx.tree_at(lambda wall: wall.multiplier, pressed, now.multiplier)
    rest = relax(posed, now.x, method, space=space, tol=tol, max_steps=max_steps, throw=False)
    multiplier = posed.pressed(rest.value)
    # Zero where the constraint holds with a multiplier that fits: either c = 0, or c < 0 and no multiplier.
    breach = jnp.abs(multiplier - now.multiplier) / posed.stiffness
    return Pressing(
        rest.value, posed.energy(rest.value), multiplier, breach, now.steps + rest.stats["steps"], rest.outcome
    )


def _code(outcome: Outcome) -> Int[Array, ""]:
    return jnp.asarray(outcome.code, jnp.int32)


def _judge(tol: Float[Array, ""], now: Pressing) -> Int[Array, ""]:
    broken = now.descent == Outcome.NONFINITE.code
    finite = jnp.isfinite(now.energy) & jnp.isfinite(now.multiplier) & ~broken
    # A stage that was cut short is no rest, whatever the constraint says.
    rested = (now.descent == Outcome.DONE.code) | (now.descent == Outcome.STALLED.code)
    met = rested & (now.breach * jnp.maximum(now.multiplier, 1) < tol)
    going = jnp.where(met, Outcome.DONE.code, Outcome.WALKING.code)
    return jnp.where(finite, going, Outcome.NONFINITE.code)
