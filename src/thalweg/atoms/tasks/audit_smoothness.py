"""Whether energy and forces are smooth where atoms leave each other's cutoff: a search for jumps along lines."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.tasks.subject import Subject

NEAR, FAR = 2.0, 12.0  # A: where a cutoff is looked for that is not known
_AROUND = 0.5  # A to both sides of one that is
_STEP = 0.02  # A
_DEEPEST = 3e-7  # A
_FINER = 4
_LEVELS = 5  # of which a power is made
_POINTS = 25  # of a site that is looked at more closely: six steps of before, each in four parts
_BLOCK = 0.4  # A: each such piece has its own site
_BINOMIAL = (1.0, -6.0, 15.0, -20.0, 15.0, -6.0, 1.0)
# What a sixth difference makes of a jump of one, and of a slope that jumps by one per step.
_OF_JUMP, _OF_CORNER = 10.0, 6.0
_PLACES = 8  # at which rounding is measured
_CRYSTAL = 0.6  # A that an atom among others can be moved without running into them

KINDS = ("energy_eV", "force_eV_A", "slope_eV_A2")
Line = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Smoothness(NamedTuple):
    """The largest jumps along a line, or what could have been hidden from the search.

    **Fields:** jumps of the energy in eV, of the force along the line in eV/A, and of its slope in eV/A^2, with the
    place `at` of each in A; whether each was `found`, or is a bound; the `line`: distance, energy, force.
    """

    jumps: Float[np.ndarray, "3"]
    at: Float[np.ndarray, "3"]
    found: np.ndarray
    line: Float[np.ndarray, "3 points"]

    def relative(self, force: float) -> float:
        """The largest jump relative to a force in eV/A, over an Angstrom."""
        return float(self.jumps.max() / force)


class _Site(NamedTuple):
    """One place under the lens: the last sixth differences above rounding and their steps, coarse to fine."""

    at: float
    sizes: list[float]
    steps: list[float]

    @property
    def power(self) -> float:
        """With which power of the step the difference falls: 0 at a jump, 1 at a corner, 6 where all is smooth.

        The median over pairs of levels: how much of a corner one level sees depends on where its points lie.
        """
        if len(self.sizes) < 2:
            return math.inf
        size, step = (np.log(np.array(each[-_LEVELS:])) for each in (self.sizes, self.steps))
        pairs = itertools.combinations(range(len(size)), 2)
        slopes = [(size[b] - size[a]) / (step[b] - step[a]) for a, b in pairs]
        return float(np.median(slopes))

    @property
    def corner(self) -> float:
        """By how much the slope jumps, if it is a corner."""
        return max(size / step for size, step in zip(self.sizes[-3:], self.steps[-3:], strict=True)) / _OF_CORNER


def search(line: Line, start: float, stop: float, eps: float, reach: float) -> Smoothness:
    """Look for jumps of an energy, its force and the slope of that between `start` and `stop`.

    The sixth difference of a smooth function falls with the sixth power of the step, at a corner with the first, and
    at a jump not at all. Each piece of the line is narrowed down to its largest sixth difference, until that is lost in
    rounding.

    **Arguments:** `line`, from places in A to energies in eV and forces along the line in eV/A; `eps`, the relative
    rounding; `reach`, the size of the coordinates in A.
    """
    t = np.arange(start, stop + 6 * _STEP, _STEP)
    values = line(t)
    deepest = max(_DEEPEST, 2**12 * eps * reach)
    lenses = [
        _Lens(lambda at, kind=kind: line(at)[kind], floor, eps, reach, deepest)
        for kind, floor in enumerate(_rounding(line, start, stop, deepest))
    ]
    energy, force = (lens.sites(t, each) for lens, each in zip(lenses, values, strict=True))
    floors = [max(lens.floor, 1024 * eps * np.median(np.abs(each))) for lens, each in zip(lenses, values, strict=True)]
    # What bends more gently than a corner is as smooth as a second derivative that is continuous.
    told = (
        _worst(energy, floors[0], lambda site: site.sizes[-1] / _OF_JUMP, lambda power: power < 0.5),
        _worst(force, floors[1], lambda site: site.sizes[-1] / _OF_JUMP, lambda power: power < 0.5),
        _worst(force, floors[1], lambda site: site.corner, lambda power: 0.5 <= power < 1.5),
    )  # fmt: skip
    jumps, at, found = (np.array(column) for column in zip(*told, strict=True))
    return Smoothness(jumps, at, found, np.stack([t, *values]))


def _rounding(line: Line, start: float, stop: float, step: float) -> tuple[float, float]:
    """The sixth differences of energy and force where no step is left but that of rounding, in the median of places."""
    middles = start + (stop - start) * (np.arange(_PLACES) + 0.37) / _PLACES
    t = middles[:, None] + step * np.arange(_POINTS)
    energies, forces = (np.abs(_differences(each.reshape(t.shape))).max(axis=1) for each in line(t.ravel()))
    return 10 * float(np.median(energies)), 10 * float(np.median(forces))


def _differences(values: Float[np.ndarray, "*batch points"]) -> Float[np.ndarray, "*batch fewer"]:
    return np.lib.stride_tricks.sliding_window_view(values, 7, axis=-1) @ np.array(_BINOMIAL)


class _Lens(NamedTuple):
    """How a function `of` a place is looked at: down to the `deepest` step, and to the rounding of its differences."""

    of: Callable[[np.ndarray], np.ndarray]
    floor: float
    eps: float
    reach: float
    deepest: float

    def sites(self, t: np.ndarray, values: np.ndarray) -> list[_Site]:
        """The sites of all pieces of a line, followed together so that each level is asked for at once."""
        sixth, length = np.abs(_differences(values)), round(_BLOCK / _STEP)
        middles = [int(np.argmax(sixth[at : at + length])) + at for at in range(0, len(sixth), length)]
        sites = [_Site(float(t[place + 3]), [float(sixth[place])], [_STEP]) for place in middles]
        hidden = [self.hidden(values[place : place + 7], _STEP) for place in middles]
        going = [number for number, site in enumerate(sites) if site.sizes[0] > hidden[number]]
        levels = math.floor(math.log(_STEP / self.deepest, _FINER))
        for level in range(1, levels + 1 if going else 0):
            step = _STEP / _FINER**level
            places = np.array([sites[number].at for number in going])[:, None] + step * (np.arange(_POINTS) - 12)
            found = self.of(places.ravel()).reshape(places.shape)
            sixth, left = np.abs(_differences(found)), []
            for row, number in enumerate(going):
                best, site = int(np.argmax(sixth[row])), sites[number]
                size = float(sixth[row, best])
                if size > self.hidden(found[row], step):
                    sites[number] = _Site(float(places[row, best + 3]), [*site.sizes, size], [*site.steps, step])
                    left.append(number)
            if not left:
                break
            going = left
        return sites

    def hidden(self, values: np.ndarray, step: float) -> float:
        """What rounding of values, and of places where they are steep, may make of a sixth difference."""
        size, slope = float(np.abs(values).max()), float(np.median(np.abs(np.diff(values)))) / step
        return max(self.floor, 1024 * self.eps * (size + slope * self.reach), 1e-300)


def _worst(
    sites: list[_Site], floor: float, jump: Callable[[_Site], float], meant: Callable[[float], bool]
) -> tuple[float, float, bool]:
    """The largest jump among the sites where one was found, and where; else what rounding could have hidden."""
    known = [(jump(site), site.at, True) for site in sites if meant(site.power)]
    if known:
        return max(known)
    first = sites[0]
    return jump(first._replace(sizes=[floor], steps=first.steps[-1:])), first.at, False


def pair_line(of: Subject, first: int, second: int) -> tuple[Line, float, float]:
    """The distance of two atoms of these elements, around the cutoff if it is known."""
    low, high = (NEAR, FAR) if of.cutoff is None else (of.cutoff - _AROUND, of.cutoff + _AROUND)
    along = np.array([0.48, 0.6, 0.64])  # of length one, along no axis
    positions = np.stack([np.zeros(3), high * along])
    frame = Frame(np.array([first, second]), positions, np.zeros((3, 3)), place=f"a pair of {first} and {second}")
    return _moved(of, frame, np.stack([np.zeros(3), along]), high), low, high


def atom_line(of: Subject, frame: Frame, *, fragment: bool) -> tuple[Line, float, float]:
    """An atom, or half of a molecule, drawn away from the others until it has left their cutoffs.

    In a periodic frame the atom is moved by part of an Angstrom, in which some others cross its cutoff.
    """
    centred = frame.positions - frame.positions.mean(axis=0)
    if any(frame.periodic):
        moving = np.arange(len(centred)) == 0
        return _moved(of, frame, moving[:, None] * np.array([0.48, 0.6, 0.64]), 0.0), 0.0, _CRYSTAL
    if fragment:
        axis = np.linalg.svd(centred)[2][0]
        moving = centred @ axis > np.median(centred @ axis)
    else:
        farthest = int(np.argmax(np.linalg.norm(centred, axis=1)))
        moving, axis = np.arange(len(centred)) == farthest, centred[farthest] / np.linalg.norm(centred[farthest])
    stop = FAR if of.cutoff is None else of.cutoff + _AROUND
    return _moved(of, frame, moving[:, None] * axis, 0.0), 0.2, stop


def _moved(of: Subject, frame: Frame, along: np.ndarray, origin: float) -> Line:
    field = of.field(frame)

    def line(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = frame.positions + (np.asarray(t, float) - origin)[:, None, None] * along
        values, forces = field.value_and_force_batch(points)
        return np.asarray(values, float), np.sum(np.asarray(forces, float) * along, axis=(1, 2))

    return line


def as_arrays(found: Smoothness) -> dict[str, Any]:
    """What is kept of it."""
    return {**found._asdict(), "found": found.found.astype(float)}
