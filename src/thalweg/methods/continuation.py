"""Pseudo-arclength continuation: one step along a branch of stationary points, round its folds."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from thalweg.core.solution import Outcome
from thalweg.methods.corrector import Stationary, corrected, spectrum, tangent

_STRAIGHT = 0.99  # cosine of the angle between two tangents below which steps do not grow
_BENT = 0.95  # and below which a step is taken back: the walk might have jumped to another branch


class PseudoArclength(eqx.Module):
    """A predictor along the tangent and a corrector in the plane across it, with steps that fit the bend.

    **Arguments:** lengths along the branch, in the Euclidean norm of `x` and value together: `step`, the first one;
    `longest`; `shortest`, where the walk gives up. `tol`: bound on Newton's last step, relative to 1 + |point|; by
    default eps^0.75 of the dtype (2e-12 in float64, 6e-6 in float32).

    **Source:** Keller, Applications of Bifurcation Theory, 359 (1977); Allgower & Georg, Numerical Continuation
    Methods (1990).
    """

    step: Float[Array, ""] = eqx.field(default=0.02, converter=jnp.asarray)
    longest: Float[Array, ""] = eqx.field(default=0.1, converter=jnp.asarray)
    shortest: Float[Array, ""] = eqx.field(default=1e-6, converter=jnp.asarray)
    tol: Float[Array, ""] | None = eqx.field(
        default=None, converter=lambda tol: None if tol is None else jnp.asarray(tol)
    )

    bibtex: ClassVar[str] = """
        @incollection{keller1977numerical,
          title = {Numerical solution of bifurcation and nonlinear eigenvalue problems},
          author = {Keller, Herbert B.},
          booktitle = {Applications of Bifurcation Theory},
          pages = {359--384}, publisher = {Academic Press}, year = {1977}
        }
    """

    def precision(self, dtype: Any) -> Float[Array, ""]:
        """The tolerance in the dtype of a walk."""
        return jnp.asarray(float(jnp.finfo(dtype).eps) ** 0.75 if self.tol is None else self.tol, dtype)


class Arc(eqx.Module):
    """A walk along a branch: the flat `point` that it is at, the unit `tangent` there, and what they say.

    **Fields:** `start` and `heading`, the first point and tangent; `step`, the length to try next; `arclength` so far;
    `energy`, `index`, `zeros` and `lowest` of the point; `moved`, whether the last attempt was good; `closed`, whether
    the walk has come back to its start.
    """

    point: Float[Array, " m"]
    tangent: Float[Array, " m"]
    start: Float[Array, " m"]
    heading: Float[Array, " m"]
    step: Float[Array, ""]
    arclength: Float[Array, ""]
    energy: Float[Array, ""]
    index: Int[Array, ""]
    zeros: Int[Array, ""]
    lowest: Float[Array, ""]
    moved: Bool[Array, ""]
    closed: Bool[Array, ""]


@eqx.filter_jit
def begun(
    method: PseudoArclength, equations: Stationary, point: Float[Array, " m"], heading: Float[Array, " m"]
) -> Arc:
    """The walk at its start, a stationary point, in the direction `heading`."""
    jacobian = equations.jacobian(point)
    read = spectrum(jnp.linalg.eigvalsh(jacobian[:, :-1]))
    along = tangent(jacobian, heading)
    zero, energy = jnp.zeros((), point.dtype), equations.energy(point)
    no = jnp.array(False)
    step = method.step.astype(point.dtype)
    return Arc(point, along, point, along, step, zero, energy, read.index, read.zeros, read.lowest, ~no, no)


def advance(method: PseudoArclength, equations: Stationary, arc: Arc) -> Arc:
    """One attempt: the next point, or the same one and half the step."""
    guess = arc.point + arc.step * arc.tangent
    found = corrected(equations, guess, arc.tangent, method.precision(guess.dtype))
    jacobian = equations.jacobian(found.point)
    along = tangent(jacobian, arc.tangent)
    bend = along @ arc.tangent
    astray = jnp.linalg.norm(found.point - guess) > arc.step / 2
    ok = found.ok & (bend > _BENT) & ~astray & jnp.isfinite(bend)
    easy = (found.iterations <= 4) & (bend > _STRAIGHT)
    grown = jnp.minimum(jnp.where(easy, 1.5, 1.0) * arc.step, method.longest.astype(guess.dtype))
    read = spectrum(jnp.linalg.eigvalsh(jacobian[:, :-1]))
    moved = jnp.linalg.norm(found.point - arc.point)
    ahead = arc.heading @ (found.point - arc.start) >= 0
    near = jnp.linalg.norm(found.point - arc.start) <= moved
    closed = (arc.heading @ (arc.point - arc.start) < 0) & ahead & near & (along @ arc.heading > 0)
    new = Arc(
        found.point,
        along,
        arc.start,
        arc.heading,
        grown,
        arc.arclength + moved,
        equations.energy(found.point),
        read.index,
        read.zeros,
        read.lowest,
        jnp.array(True),
        closed,
    )
    old = eqx.tree_at(lambda a: (a.step, a.moved), arc, (arc.step / 2, jnp.array(False)))
    return jax.tree.map(lambda yes, no: jnp.where(ok, yes, no), new, old)


@eqx.filter_jit
def judge(low: Float[Array, ""], high: Float[Array, ""], shortest: Float[Array, ""], arc: Arc) -> Int[Array, ""]:
    """Arrived beyond a bound or back at the start; stalled where no step is short enough."""
    value = arc.point[-1]
    arrived = (value < low) | (value > high) | arc.closed
    stalled = jnp.where(arc.step < shortest, Outcome.STALLED.code, Outcome.WALKING.code)
    return jnp.where(arrived, Outcome.DONE.code, stalled).astype(jnp.int32)
