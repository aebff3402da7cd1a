"""A branch of stationary points, and the walk to both of its ends that makes one."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.errors import WalkError
from thalweg.core.hooks import Hook
from thalweg.core.solution import Outcome, Solution
from thalweg.methods.bifurcation import Locator, Segment, SpecialPoint
from thalweg.methods.continuation import Arc, PseudoArclength, advance, begun, judge
from thalweg.methods.corrector import Stationary
from thalweg.methods.drive import drive
from thalweg.methods.trace import Trace


class Branch(eqx.Module):
    """A curve of stationary points, in the order in which one walks along it.

    **Fields:**

    - `value` `[points]`, `x` (every leaf with that leading axis), `energy` `[points]`.
    - `index`: the Morse index, the number of eigenvalues of the Hessian below -sqrt(eps) of the largest one;
      `lowest`: the lowest eigenvalue.
    - `tangent_x`, `tangent_value`: the unit tangent; `arclength` from the start, negative on the part that leads to it.
    - `points`: the folds and branch points on it, in order.
    - `outcome`: `Outcome.code` of each end that was walked to; `endings`, each end's `bound`, `loop`, `steps` or
      `stalled`.
    """

    value: Float[Array, " points"]
    x: PyTree
    energy: Float[Array, " points"]
    index: Int[Array, " points"]
    lowest: Float[Array, " points"]
    tangent_x: PyTree
    tangent_value: Float[Array, " points"]
    arclength: Float[Array, " points"]
    points: tuple[SpecialPoint, ...]
    outcome: Int[Array, " ends"]
    endings: tuple[str, ...] = eqx.field(static=True)

    @property
    def done(self) -> bool:
        """Whether every end is at a bound or closes a loop."""
        return bool((np.asarray(self.outcome) == Outcome.DONE.code).all())


class Record(NamedTuple):
    """What is kept of each attempt of a walk."""

    point: Any
    tangent: Any
    energy: Any
    index: Any
    zeros: Any
    lowest: Any
    arclength: Any
    moved: Any
    closed: Any


def _recorded(arc: Arc) -> Record:
    return Record(*(getattr(arc, name) for name in Record._fields))


class _Side(NamedTuple):
    """One direction's walk on the host: its records, its special points, how it ended."""

    records: Record
    points: list[SpecialPoint]
    outcome: Outcome
    ending: str


class BranchWalk(NamedTuple):
    """All that a walk along a branch needs besides its start; fields as in `follow_branch`."""

    method: PseudoArclength
    equations: Stationary
    bounds: tuple[float, float]
    max_steps: int
    hooks: tuple[Hook, ...]
    throw: bool
    verb: str

    def joined(self, starts: list[tuple[Any, Any]]) -> Branch:
        """The branch from one start, or from two through both: the walk from the first one is turned round.

        **Raises:** `WalkError`.
        """
        sides = [self._walked(*starts[0])]
        if len(starts) == 2 and sides[0].ending != "loop":
            sides.append(self._walked(*starts[1]))
        if len(sides) == 1:
            return self._concluded(sides[0].records, sides[0].points, sides)
        back, forth = _turned(sides[0].records), sides[1].records
        if np.array_equal(back.point[-1], forth.point[0]):
            back = Record(*(field[:-1] for field in back))
        records = Record(*(np.concatenate(fields) for fields in zip(back, forth, strict=True)))
        return self._concluded(records, [_mirrored(one) for one in sides[0].points[::-1]] + sides[1].points, sides)

    def _walked(self, start: Any, heading: Any) -> _Side:
        arc = begun(self.method, self.equations, start, heading)
        low, high = (jnp.asarray(bound, start.dtype) for bound in self.bounds)
        step: Any = eqx.Partial(advance, self.method, self.equations)
        judged = eqx.Partial(judge, low, high, self.method.shortest.astype(start.dtype))
        end = drive(step, arc, self.max_steps, judge=judged, hooks=self.hooks, trace=Trace(_recorded))
        moved = np.asarray(end.records.moved)
        records = Record(*(np.asarray(field)[moved] for field in end.records))
        outcome, ending = Outcome.of(end.outcome), Outcome.of(end.outcome).name.lower()
        if outcome is Outcome.DONE:
            ending = "loop" if records.closed[-1] else "bound"
            records = _with_last(records, self._last(records, arc))
        return _Side(records, self._special(records), outcome, ending)

    def _last(self, records: Record, first: Arc) -> Record:
        """The last point of a walk that has gone a little too far: the start of a loop, or the point at the bound."""
        segment, locator = _segment(records, len(records.point) - 2), self._locator()
        if records.closed[-1]:
            length = segment.arclength + np.linalg.norm(first.start - segment.start)
            return _recorded(first)._replace(arclength=length, tangent=first.tangent)
        low, high = (jnp.asarray(bound, first.point.dtype) for bound in self.bounds)
        bound = low if records.point[-1, -1] < low else high
        part = locator.root(segment, lambda probe: probe.point[-1] - bound)
        point = locator.at(segment, part).point.at[-1].set(bound)  # from there by an ulp or two
        last = _recorded(begun(self.method, self.equations, point, segment.leaving))
        return last._replace(arclength=segment.arclength + np.linalg.norm(point - segment.start))

    def _special(self, records: Record) -> list[SpecialPoint]:
        found, turns, index = [], records.tangent[:, -1], records.index
        for place in np.flatnonzero((turns[1:] * turns[:-1] < 0) | (index[1:] != index[:-1])):
            found += self._locator().found(_segment(records, int(place)))
        return found

    def _locator(self) -> Locator:
        return Locator(self.equations, self.method.precision(jnp.result_type(*jax.tree.leaves(self.equations.like))))

    def _concluded(self, records: Record, points: list[SpecialPoint], sides: list[_Side]) -> Branch:
        flat, tangent = jnp.asarray(records.point), jnp.asarray(records.tangent)
        spread = jax.vmap(self.equations.x)
        branch = Branch(
            flat[:, -1],
            spread(flat),
            jnp.asarray(records.energy),
            jnp.asarray(records.index),
            jnp.asarray(records.lowest),
            spread(tangent),
            tangent[:, -1],
            jnp.asarray(records.arclength),
            tuple(points),
            jnp.array([side.outcome.code for side in sides]),
            tuple(side.ending for side in sides),
        )
        bad = [side for side in sides if side.outcome is not Outcome.DONE]
        if not bad or not self.throw:
            return branch
        where = f"{self.verb}: at the value {float(bad[0].records.point[-1, -1]):.6g}, after {len(flat)} points"
        remedy = {
            Outcome.STEPS: "the step budget ran out before a bound was reached: raise `max_steps` or `longest`.",
            Outcome.STALLED: "no step is short enough for Newton's method: look at the landscape there, or end before.",
        }.get(bad[0].outcome, bad[0].outcome.value)
        raise WalkError(f"{where}: {remedy}", Solution(branch, branch.energy, branch.outcome))


def _segment(records: Record, place: int) -> Segment:
    pair = slice(place, place + 2)
    index, zeros = records.index[pair], records.zeros[pair]
    points, tangents = records.point[pair], records.tangent[pair]
    return Segment(
        jnp.asarray(points[0]),
        jnp.asarray(points[1]),
        jnp.asarray(tangents[0]),
        jnp.asarray(tangents[1]),
        (int(index[0]), int(index[1])),
        (int(zeros[0]), int(zeros[1])),
        float(records.arclength[place]),
    )


def _with_last(records: Record, last: Record) -> Record:
    pairs = zip(records, last, strict=True)
    return Record(*(np.concatenate([field[:-1], np.asarray(new, field.dtype)[None]]) for field, new in pairs))


def _turned(records: Record) -> Record:
    """The walk in the other direction."""
    back = Record(*(field[::-1] for field in records))
    return back._replace(tangent=-back.tangent, arclength=-back.arclength)


def _mirrored(point: SpecialPoint) -> SpecialPoint:
    return eqx.tree_at(
        lambda p: (p.arclength, p.index_before, p.index_after),
        point,
        (-point.arclength, point.index_after, point.index_before),
    )
