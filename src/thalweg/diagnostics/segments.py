"""Curves cut into segments, and a field asked for energies and powers along them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from thalweg.core.energy import AbstractHostField
from thalweg.core.errors import InputError

FieldOf = Callable[[Int[np.ndarray, " n"]], AbstractHostField]

FIRST = 8  # segments of the coarsest partition
DEEPEST = 2.0**-32  # of a curve: no honest step is narrower


class Curves(NamedTuple):
    """Parabolas `start + t (end - start) + 4 t (1 - t) bulge` for t in [0, 1], straight where `bulge` is zero.

    **Fields:** arrays of one shape `[n, ...]`, in the dtype that the field computes in.
    """

    start: Float[np.ndarray, "n ..."]
    end: Float[np.ndarray, "n ..."]
    bulge: Float[np.ndarray, "n ..."]

    def at(self, which: Int[np.ndarray, " m"], t: Float[np.ndarray, " m"]) -> Float[np.ndarray, "m ..."]:
        """The points at `t` of the curves `which`, in float64."""
        t = t.reshape(-1, *[1] * (self.start.ndim - 1)).astype(float)
        start, end, bulge = (leaf[which].astype(float) for leaf in self)
        return start + t * (end - start) + 4 * t * (1 - t) * bulge

    def velocity(self, which: Int[np.ndarray, " m"], t: Float[np.ndarray, " m"]) -> Float[np.ndarray, "m ..."]:
        """The derivatives by `t` at `t` of the curves `which`, in float64."""
        t = t.reshape(-1, *[1] * (self.start.ndim - 1)).astype(float)
        start, end, bulge = (leaf[which].astype(float) for leaf in self)
        return end - start + 4 * (1 - 2 * t) * bulge


class Segments(NamedTuple):
    """Segments `[a, a + width]` of curves, with what the field says at both ends and in the middle of each.

    **Fields:** there the `energy`, the `power` F . dx/dt, and the `blur`, by how much the energy would move if every
    coordinate moved by a unit in its last place; and Richardson's `correction` of the rule on the
    segment.
    """

    curve: np.ndarray
    a: np.ndarray
    width: np.ndarray
    energy: np.ndarray
    power: np.ndarray
    blur: np.ndarray
    correction: np.ndarray

    @property
    def simpson(self) -> np.ndarray:
        return self.width / 6 * (self.power @ np.array([1.0, 4.0, 1.0]))

    @property
    def work(self) -> np.ndarray:
        return self.simpson + self.correction

    @property
    def fall(self) -> np.ndarray:
        return self.energy[:, 0] - self.energy[:, 2]

    @property
    def gap(self) -> np.ndarray:
        return np.abs(self.work - self.fall)

    def open(self, floor: np.ndarray) -> np.ndarray:
        """The gaps, zero where rounding may have made them: `floor` of each curve, and what steepness amplifies."""
        gap = self.gap
        return np.where(gap > floor[self.curve] + 4 * self.blur.max(axis=1), gap, 0.0)

    def total(self, part: np.ndarray, count: int) -> np.ndarray:
        """The sum of `part` over the segments of each curve."""
        return np.bincount(self.curve, part, count)

    def take(self, chosen: np.ndarray) -> Segments:
        return Segments(*(leaf[chosen] for leaf in self))


class Asking:
    """A field asked for energies and powers along curves, in batches of one size, so that it is compiled once."""

    def __init__(
        self, field: AbstractHostField | FieldOf, curves: Curves, batch: int | None, names: Sequence[str] | None = None
    ):
        self.field, self.curves, self.batch, self.names, self.asked = field, curves, batch, names, 0

    def __call__(self, curve: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energies, powers and blurs at `t` on the curves `curve`."""
        points = self.curves.at(curve, t).astype(self.curves.start.dtype)
        energy, force = self.answers(curve, points)
        force, velocity = force.reshape(len(t), -1), self.curves.velocity(curve, t).reshape(len(t), -1)
        last_place = np.finfo(points.dtype).eps * np.abs(points.reshape(len(t), -1))
        return energy, np.sum(force * velocity, axis=1), np.sum(np.abs(force) * last_place, axis=1)

    def answers(self, curve: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = self.batch or len(points)
        parts = [self._batch(curve[i : i + size], points[i : i + size], size) for i in range(0, len(points), size)]
        energy, force = (np.concatenate(part) for part in zip(*parts, strict=True))
        self.asked += len(points)
        bad = np.flatnonzero(~(np.isfinite(energy) & np.isfinite(force.reshape(len(force), -1)).all(axis=1)))
        if len(bad):
            at = int(curve[bad[0]])
            label = at if self.names is None else self.names[at]
            raise InputError(f"closure: the energy or its gradient is not finite on the curve {label}: mend them, or "
                             "keep to a region where they are.")  # fmt: skip
        return energy, force

    def _batch(self, curve: np.ndarray, points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        n = len(points)
        full = np.minimum(np.arange(size), n - 1)
        field = self.field if isinstance(self.field, AbstractHostField) else self.field(curve[full])
        energy, force = field.value_and_force_batch(points[full])
        return np.asarray(energy, float)[:n], np.asarray(force, float)[:n]


def coarsest(asking: Asking, count: int) -> Segments:
    """The first segments of `count` curves, all of one width."""
    t = np.linspace(0, 1, 2 * FIRST + 1)
    nodes = [part.reshape(count, -1) for part in asking(np.repeat(np.arange(count), len(t)), np.tile(t, count))]
    window = 2 * np.arange(FIRST)[:, None] + np.arange(3)
    curve = np.repeat(np.arange(count), FIRST)
    width = np.full(count * FIRST, 1 / FIRST)
    at_nodes = [part[:, window].reshape(-1, 3) for part in nodes]
    return Segments(curve, np.tile(t[:-1:2], count), width, at_nodes[0], at_nodes[1], at_nodes[2], 0 * width)


def halves_of(asking: Asking, of: Segments) -> tuple[Segments, Segments]:
    """The left and the right halves of some segments."""
    n = len(of.a)
    quarters = np.concatenate([of.a + 0.25 * of.width, of.a + 0.75 * of.width])
    middles = asking(np.tile(of.curve, 2), quarters)

    def half(k: int) -> Segments:
        new = slice(k * n, (k + 1) * n)
        parts = [
            np.stack([ends[:, k], middle[new], ends[:, k + 1]], axis=1)
            for ends, middle in zip((of.energy, of.power, of.blur), middles, strict=True)
        ]
        return Segments(of.curve, of.a + 0.5 * k * of.width, 0.5 * of.width, parts[0], parts[1], parts[2], 0 * of.width)

    left, right = half(0), half(1)
    # Both halves together become Boole's rule, which is exact two degrees further.
    correction = (left.simpson + right.simpson - of.simpson) / 30
    return left._replace(correction=correction), right._replace(correction=correction)


def rounding_of(asking: Asking, random: list[np.random.Generator], segments: Segments) -> np.ndarray:
    """How far rounding moves the difference of two energies: measured by moving points by their last place."""
    count, nodes, copies = len(random), 4, 3
    t = np.stack([one.uniform(0.05, 0.95, nodes) for one in random]).ravel()
    curve = np.repeat(np.arange(count), nodes)
    points = asking.curves.at(curve, t).astype(asking.curves.start.dtype)
    shape = (count, copies, nodes, *points.shape[1:])
    signs = np.stack([one.choice([-1, 1], shape[1:]).astype(points.dtype) for one in random])
    near = np.nextafter(points.reshape(count, 1, nodes, *points.shape[1:]), np.inf * signs)
    # A value of zero has neighbours that are no numbers to compute with, and that lie next to it in no useful sense.
    near = np.where(points.reshape(count, 1, nodes, *points.shape[1:]) == 0, 0, near).astype(points.dtype)
    here = asking.answers(curve, points)[0].reshape(count, 1, nodes)
    there = asking.answers(np.repeat(np.arange(count), copies * nodes), near.reshape(-1, *points.shape[1:]))[0]
    moved = np.abs(there.reshape(count, copies, nodes) - here).max(axis=(1, 2))
    return 4 * np.maximum(moved, np.finfo(points.dtype).eps * np.abs(segments.energy).reshape(count, -1).max(axis=1))


def shortest(curves: Curves) -> np.ndarray:
    """The part of each curve on which its points move by some units in their last place."""
    across = (1, *range(2, curves.start.ndim))
    largest = np.maximum(np.abs(curves.start), np.abs(curves.end)).max(axis=across)
    moved = np.maximum(np.abs(curves.end - curves.start), 4 * np.abs(curves.bulge)).max(axis=across)
    return np.maximum(16 * np.finfo(curves.start.dtype).eps * largest / np.maximum(moved, 1e-300), DEEPEST)
