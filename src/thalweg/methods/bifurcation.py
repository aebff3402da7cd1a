"""Where branches turn and meet: folds and branch points between two points of a walk, located and told apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree
from scipy.optimize import brentq

from thalweg.methods.corrector import Stationary, corrected, negligible, tangent


class SpecialPoint(eqx.Module):
    """A point where a branch turns back in its value (`fold`) or another one meets it.

    **Fields:**

    - `kind`: `fold`, `pitchfork` (one of the two branches leaves at a constant value, to both sides) or `transcritical`
      (both cross the value).
    - `value`, `x`, `energy`, and `arclength` from the start of the branch (negative on the part that leads to it).
    - `index_before`, `index_after`: the Morse indices beside it, along the branch.
    - `multiplicity`: how many eigenvalues cross zero there (more than one where a symmetry asks for it).
    - `null`: the critical direction, a pytree like `x` of unit norm.
    - `emanating_x`, `emanating_value`: the unit tangent of the other branch; at a fold, that of the branch itself.
    """

    kind: str = eqx.field(static=True)
    value: Float[Array, ""]
    x: PyTree
    energy: Float[Array, ""]
    arclength: Float[Array, ""]
    index_before: Int[Array, ""]
    index_after: Int[Array, ""]
    multiplicity: int = eqx.field(static=True)
    null: PyTree
    emanating_x: PyTree
    emanating_value: Float[Array, ""]


class Segment(NamedTuple):
    """Two neighbouring points of a walk, with their tangents and what is known of them."""

    start: Float[Array, " m"]
    end: Float[Array, " m"]
    leaving: Float[Array, " m"]
    arriving: Float[Array, " m"]
    index: tuple[int, int]
    zeros: tuple[int, int]
    arclength: float


class Probe(NamedTuple):
    """A point of the branch within a segment, corrected anew: with its tangent and its Hessian's modes."""

    point: Float[Array, " m"]
    tangent: Float[Array, " m"]
    eigenvalues: Float[Array, " n"]
    modes: Float[Array, "n n"]
    ok: Any


@eqx.filter_jit
def _probed(equations: Stationary, tol: Any, start: Any, end: Any, leaving: Any, arriving: Any, part: Any) -> Probe:
    # Hermite's cubic: beside a branch point, a straight line would be nearer to the other branch.
    rest, length = 1 - part, jnp.linalg.norm(end - start)
    ends = rest**2 * (1 + 2 * part) * start + part**2 * (1 + 2 * rest) * end
    guess = ends + part * rest * length * (rest * leaving - part * arriving)
    row = rest * leaving + part * arriving
    row = row / jnp.linalg.norm(row)
    found = corrected(equations, guess, row, tol, iterations=20)
    jacobian = equations.jacobian(found.point)
    eigenvalues, modes = jnp.linalg.eigh(jacobian[:, :-1])
    return Probe(found.point, tangent(jacobian, row), eigenvalues, modes, found.ok)


@eqx.filter_jit
def _emanating(equations: Stationary, point: Any, along: Any, across: Any, null: Any) -> Any:
    """The tangent of the second branch, from the quadratic form of the equations on the plane of both.

    With `along` a solution of the form, the other one is `a11 along - 2 a01 across`. **Source:** Keller (1977).
    """

    def form(two: Any) -> Any:
        return null @ equations.slope(point + two[0] * along + two[1] * across)

    bent = jax.hessian(form)(jnp.zeros(2, point.dtype))
    other = bent[1, 1] * along - 2 * bent[0, 1] * across
    size = jnp.linalg.norm(other)
    other = jnp.where(size > 0, other / jnp.where(size > 0, size, 1), across)
    return jnp.where(other @ across < 0, -1, 1) * other


@eqx.filter_jit
def _described(equations: Stationary, point: Any) -> tuple[Any, Any]:
    return equations.energy(point), equations.jacobian(point)


class Locator(NamedTuple):
    """Finds the special points within segments of a walk."""

    equations: Stationary
    tol: Float[Array, ""]

    @property
    def apart(self) -> float:
        """How far beside an event, in parts of the segment, its neighbourhood is looked at: 7e-4 in float64."""
        return float(jnp.finfo(self.tol.dtype).eps) ** 0.2

    def at(self, segment: Segment, part: float) -> Probe:
        """The point of the branch in the plane that cuts the segment at `part`."""
        return _probed(self.equations, self.tol, *segment[:4], jnp.asarray(part, segment.start.dtype))

    def root(self, segment: Segment, measure: Callable[[Probe], Any], low: float = 0.0, high: float = 1.0) -> float:
        """Where in the segment `measure` is zero, to the last bits; the end that is nearer to it if it has one sign."""
        ends = [float(measure(self.at(segment, part))) for part in (low, high)]
        if ends[0] * ends[1] > 0:
            return low if abs(ends[0]) < abs(ends[1]) else high
        tiny: Any = 4 * float(jnp.finfo(segment.start.dtype).eps)
        found: Any = brentq(lambda part: float(measure(self.at(segment, part))), low, high, xtol=tiny, rtol=tiny)
        return float(found)

    def found(self, segment: Segment) -> list[SpecialPoint]:
        """All special points in the segment, in their order; two crossings that undo each other stay unseen."""
        spared, parts, index = min(segment.zeros), [0.0, 1.0], list(segment.index)
        special = []
        if float(segment.leaving[-1] * segment.arriving[-1]) < 0:
            turn = self.root(segment, lambda probe: probe.tangent[-1])
            sides = [self.at(segment, turn + way * self.apart) for way in (-1, 1)]
            beside = [_index(side.eigenvalues, spared) for side in sides]
            parts, index = [0.0, turn - self.apart, turn + self.apart, 1.0], [index[0], *beside, index[1]]
            special.append((turn, self._turning(segment, turn, sides, beside)))
        for place in range(0, len(parts), 2):
            special += self._crossings(segment, parts[place : place + 2], index[place : place + 2], spared)
        return [point for _, point in sorted(special, key=lambda pair: pair[0])]

    def _crossings(
        self, segment: Segment, ends: list[float], index: list[int], spared: int
    ) -> list[tuple[float, SpecialPoint]]:
        if ends[1] <= ends[0]:
            return []
        roots = [
            self.root(segment, lambda probe, rank=rank: _spared(probe.eigenvalues, spared)[rank], *ends)
            for rank in range(min(index), max(index))
        ]
        apart: list[list[float]] = []
        for root in sorted(roots):
            if apart and root - apart[-1][0] < self.apart:
                apart[-1].append(root)
            else:
                apart.append([root])
        sign, before, special = (1 if index[1] > index[0] else -1), index[0], []
        for group in apart:
            after = before + sign * len(group)
            special.append((group[0], self._crossing(segment, group[0], spared, len(group), (before, after))))
            before = after
        return special

    def _crossing(
        self, segment: Segment, part: float, spared: int, multiplicity: int, index: tuple[int, int]
    ) -> SpecialPoint:
        """The branch point where `multiplicity` eigenvalues cross zero on the way."""
        here, sides = self.at(segment, part), [self.at(segment, part + way * self.apart) for way in (-1, 1)]
        _, jacobian = _described(self.equations, here.point)
        # Zero modes and critical ones cannot be told apart where both are zero: beside it they can.
        order = np.argsort(np.abs(np.asarray(sides[0].eigenvalues)))
        aside = np.asarray(sides[0].modes)[:, order[spared]]
        flat = np.argsort(np.abs(np.asarray(here.eigenvalues)))[: spared + multiplicity]
        basis = np.asarray(here.modes)[:, flat]
        null = jnp.asarray(_unit(basis @ (basis.T @ aside)))
        level = jnp.append(null, jnp.zeros((), null.dtype))
        along = tangent(jacobian, jnp.asarray(_unit(np.asarray(sides[0].tangent + sides[1].tangent))))
        along = _unit(along - _leaked(along, basis, level))
        across = jnp.asarray(_unit(level - (level @ along) * along))
        return self._special(segment, part, here, null, along, across, multiplicity, index)

    def _turning(self, segment: Segment, part: float, sides: list[Probe], index: list[int]) -> SpecialPoint:
        """A fold, or the branch point of a pitchfork that is walked through from prong to prong."""
        here = self.at(segment, part)
        _, jacobian = _described(self.equations, here.point)
        along = jnp.asarray(_unit(sides[0].tangent + sides[1].tangent))
        null = jnp.asarray(_unit(along[:-1]))
        pull = jnp.abs(null @ jacobian[:, -1])
        # At a fold the value pushes along the critical direction; where it does not, another branch comes in.
        rate = jnp.max(jnp.abs(_described(self.equations, segment.start)[1]))  # here all of it may vanish
        if float(pull) > negligible(null.dtype) ** 0.5 * float(rate):
            return self._built("fold", segment, part, here, null, along, 1, tuple(index))
        up = jnp.zeros_like(along).at[-1].set(1)
        across = tangent(jacobian, up)
        across = jnp.asarray(_unit(across - (across @ along) * along))
        return self._special(segment, part, here, null, along, across, 1, tuple(index))

    def _special(self, segment, part, here, null, along, across, multiplicity, index) -> SpecialPoint:
        other = _emanating(self.equations, here.point, jnp.asarray(along), across, null)
        level = float(jnp.finfo(null.dtype).eps) ** (1 / 3)
        flat = min(abs(float(other[-1])), abs(float(along[-1]))) < level
        kind = "pitchfork" if flat else "transcritical"
        return self._built(kind, segment, part, here, null, other, multiplicity, index)

    def _built(self, kind, segment, part, here, null, other, multiplicity, index) -> SpecialPoint:
        equations, point = self.equations, here.point
        length = segment.arclength + float(jnp.linalg.norm(point - segment.start))
        null = equations.x(jnp.append(null, jnp.zeros((), null.dtype)))
        before, after = (jnp.asarray(count, jnp.int32) for count in index)
        return SpecialPoint(
            kind=kind,
            value=point[-1],
            x=equations.x(point),
            energy=_described(equations, point)[0],
            arclength=jnp.asarray(length, point.dtype),
            index_before=before,
            index_after=after,
            multiplicity=multiplicity,
            null=null,
            emanating_x=equations.x(jnp.asarray(other)),
            emanating_value=jnp.asarray(other)[-1],
        )


def _leaked(along: Any, basis: Any, level: Any) -> Any:
    """The part of a tangent that lies in zero modes other than the critical one."""
    flat = jnp.asarray(basis)
    inside = flat @ (flat.T @ along[:-1])
    critical = (level[:-1] @ along[:-1]) * level[:-1]
    return jnp.append(inside - critical, jnp.zeros((), along.dtype))


def _spared(eigenvalues: Any, zeros: int) -> np.ndarray:
    """The eigenvalues in order, without the `zeros` that are nearest to zero: those of the symmetry."""
    values = np.asarray(eigenvalues)
    return np.sort(values[np.argsort(np.abs(values))[zeros:]])


def _index(eigenvalues: Any, zeros: int) -> int:
    values = _spared(eigenvalues, zeros)
    return int((values < -negligible(values.dtype) * np.abs(values).max()).sum())


def _unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)
