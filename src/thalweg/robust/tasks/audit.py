"""The inconsistent-gradient alarm: whether what a model calls its gradient is the slope of what it computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from thalweg.core.atomic import write_arrays
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook, Store
from thalweg.diagnostics.refinement import refine
from thalweg.diagnostics.segments import Curves
from thalweg.methods.parts import Arrays, in_parts, part_name
from thalweg.robust.tasks.subject import Subject

BIBTEX = """@inproceedings{athalye2018obfuscated,
  title = {Obfuscated Gradients Give a False Sense of Security: Circumventing Defenses to Adversarial Examples},
  author = {Athalye, Anish and Carlini, Nicholas and Wagner, David},
  booktitle = {International Conference on Machine Learning},
  year = {2018}
}"""

WAYS = ("straight", "bent", "short")
MISMATCH = 1e-3  # above it a path is inconsistent; honest ones come out below 1e-4 and broken ones above 1e-2
SHARE = 0.1  # of the inputs that must be inconsistent for the verdict
_SHORT = 0.1  # of the way to a random point of the box
_GROUP = 4


class Audit(NamedTuple):
    """What an audit found, in arrays over the energies, the ways (straight, bent, short) and the inputs.

    **Fields:** the `subject`; `gradients` per path [levels] and the `closure` |W - dE| / |dE| [levels, energies, ways,
    n] after so many; its `error`, by how much the last refinement and rounding move it; `work` and `fall`, in units of
    the energy; `mismatch`, the part of the climb that the work misses at the smallest scale, with the median deviation
    `spread` of its estimates; `loop`, |W straight - W bent| / |dE| [energies, n]; `rounding`, of the closure; `flat`,
    where the energy does not change; `asked`, all gradients.
    """

    subject: Subject
    gradients: Int[np.ndarray, " levels"]
    closure: Float[np.ndarray, "levels energies 3 n"]
    error: Float[np.ndarray, "energies 3 n"]
    work: Float[np.ndarray, "energies 3 n"]
    fall: Float[np.ndarray, "energies 3 n"]
    mismatch: Float[np.ndarray, "energies 3 n"]
    spread: Float[np.ndarray, "energies 3 n"]
    loop: Float[np.ndarray, "energies n"]
    rounding: Float[np.ndarray, "energies 3 n"]
    flat: Bool[np.ndarray, "energies 3 n"]
    asked: int

    @property
    def flagged(self) -> Bool[np.ndarray, " n"]:
        """The inputs with a path on which the work misses more than `MISMATCH` of the climb, however short the way."""
        return np.any(self.mismatch > MISMATCH, axis=(0, 1))

    @property
    def by_input(self) -> Float[np.ndarray, "levels n"]:
        """The worst closure of each input after so many gradients."""
        return np.nanmax(self.closure, axis=(1, 2))

    @property
    def _levels(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of gradients at which at least one path was refined, and the closure of the inputs there."""
        new = np.flatnonzero(np.diff(self.gradients, prepend=0))
        return self.gradients[new], self.by_input[new]

    @property
    def result(self) -> dict[str, Any]:
        """The answer in plain numbers."""
        last, subject = self.by_input[-1], self.subject
        return {
            "verdict": "inconsistent" if self.flagged.mean() >= SHARE else "consistent",
            "flagged": float(self.flagged.mean()),
            "closure_median": float(np.median(last)),
            "closure_max": float(last.max()),
            "loop_median": float(np.nanmedian(self.loop)),
            "mismatch_median": float(np.median(self.mismatch.max(axis=(0, 1)))),
            "refinement": [
                {"gradients": int(count), "median": float(np.median(row)), "max": float(row.max())}
                for count, row in zip(*self._levels, strict=True)
            ],
            "rounding_floor": float(np.nanmedian(self.rounding)),
            "n": len(last),
            "passed_over": subject.passed_over,
            "gradients": self.asked,
            "energies": list(subject.energies),
            "flat": int(self.flat.sum()),
            "dtype": str(subject.dtype),
            "notes": list(subject.notes),
            "inputs": self.rows(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row for each input: what its worst path says."""
        count, flagged, table = len(self.subject.pairs.x), self.flagged, []
        values = (self.mismatch, self.spread, self.closure[-1], self.error, self.work, self.fall)
        for i in range(count):
            ranked = np.where(self.flat[..., i], -1, np.maximum(self.mismatch[..., i], 1e-9 * self.closure[-1, ..., i]))
            energy, way = np.unravel_index(int(np.nanargmax(ranked)), ranked.shape)
            mismatch, spread, closure, error, work, fall = (float(array[energy, way, i]) for array in values)
            table.append(
                {
                    "input": int(self.subject.pairs.places[i]),
                    "label": int(self.subject.pairs.labels[i]),
                    "verdict": "inconsistent" if flagged[i] else "consistent",
                    "mismatch": mismatch,
                    "mismatch_spread": spread,
                    "closure": closure,
                    "closure_error": error,
                    "work": work,
                    "fall": fall,
                    "energy": list(self.subject.energies)[int(energy)],
                    "way": WAYS[int(way)],
                }
            )
        return table

    def save(self, path: Path) -> None:
        """Write the arrays to an .npz file, whole or not at all."""
        arrays: dict[str, Any] = {k: v for k, v in self._asdict().items() if isinstance(v, np.ndarray)}
        arrays |= self.subject.pairs._asdict() | {"flagged": self.flagged, "ways": np.array(WAYS)}
        write_arrays(path, {**arrays, "energies": np.array(list(self.subject.energies))})


def audit(
    of: Subject, *, gradients: int = 256, seed: int = 0, done: Store | None = None, hooks: tuple[Hook, ...] = ()
) -> Audit:
    """Compare the work of a model's gradient along paths with the change of its energy, under refinement.

    From each input three paths inside the box: straight and bent to an input of another label, and a short one in a
    random direction. A path is inconsistent if the mismatch of work and energy stays above `MISMATCH` of the climb down
    to the scale of rounding; the verdict, if at least `SHARE` of the inputs have such a path.

    **Arguments:** `gradients` per path, before the descents; `done`, where finished inputs are kept.

    **Raises:** `InputError` for a field that is not finite, or an energy that changes along no path.

    **Source:** A. Athalye, N. Carlini & D. Wagner, ICML (2018), for what such gradients hide.
    """
    groups = [np.arange(i, min(i + _GROUP, len(of.pairs.x))) for i in range(0, len(of.pairs.x), _GROUP)]
    named = {
        part_name("audit", model=of.name, gradients=gradients, seed=seed,
                  bounds=[of.lower, of.upper], **{k: v[g] for k, v in of.pairs._asdict().items()}): g
        for g in groups
    }  # fmt: skip
    parts = in_parts(
        list(named), lambda name: _of_group(of, named[name], gradients, seed), done=done, hooks=hooks, task="audit"
    )
    return _judged(of, list(parts.values()))


def _curves(of: Subject, group: np.ndarray, seed: int) -> Curves:
    """The straight, then the bent, then the short ways of a group of inputs."""
    start, end = of.pairs.x[group].astype(float), of.pairs.partner[group].astype(float)
    width = of.upper - of.lower
    draws = [np.random.default_rng([seed, place, 1]) for place in of.pairs.places[group]]
    middle = 0.5 * (start + end)
    aside = np.stack([one.uniform(-width, width, start.shape[1:]) for one in draws])
    # The curve stays in the hull of its ends and this point, and that in the box, rounding included.
    corner = np.clip(middle + aside, of.lower + 0.01 * width, of.upper - 0.01 * width)
    near = start + _SHORT * (np.stack([one.uniform(of.lower, of.upper, start.shape[1:]) for one in draws]) - start)
    still = np.zeros_like(start)
    starts, ends, bulges = [start] * 3, [end, end, near], [still, 0.5 * (corner - middle), still]
    return Curves(*(np.concatenate(leaves).astype(of.dtype) for leaves in (starts, ends, bulges)))


def _of_group(of: Subject, group: np.ndarray, gradients: int, seed: int) -> Arrays:
    curves, found = _curves(of, group, seed), {}
    labels, others = np.tile(of.pairs.labels[group], len(WAYS)), np.tile(of.pairs.others[group], len(WAYS))
    seeds = [(seed, int(place), 2 + way) for way in range(len(WAYS)) for place in of.pairs.places[group]]
    names = [f"from input {place} ({way}) of {of.name}" for way in WAYS for place in of.pairs.places[group]]
    for name, energy in of.energies.items():
        refined = refine(
            lambda which, energy=energy: energy(labels[which], others[which]),
            curves, gradients=gradients, closed=MISMATCH, negligible=0.01 * MISMATCH, batch=of.batch, seeds=seeds,
            names=names,
        )  # fmt: skip
        for key, value in refined._asdict().items():
            found[f"{name}-{key}"] = (
                np.asarray(value).reshape(*np.shape(value)[:-1], len(WAYS), -1) if np.ndim(value) else np.asarray(value)
            )
    return found


def _judged(of: Subject, parts: list[Arrays]) -> Audit:
    deepest = max(part[f"{name}-gaps"].shape[0] for part in parts for name in of.energies)

    def stacked(key: str) -> np.ndarray:
        """An array over energies, ways and inputs; levels first, the last one repeated where others went further."""

        def level(array: np.ndarray) -> np.ndarray:
            return np.pad(array, [(0, deepest - len(array)), (0, 0), (0, 0)], mode="edge") if array.ndim == 3 else array

        return np.stack(
            [np.concatenate([level(part[f"{name}-{key}"]) for part in parts], axis=-1) for name in of.energies], axis=-3
        )

    work, fall, climb, rounding = (stacked(key) for key in ("work", "fall", "climb", "rounding"))
    # A way on which hardly anything happens is measured by what happens on the straight one.
    reach = np.maximum(climb, 0.1 * climb[:, :1])
    flat = reach <= 10 * rounding
    if flat.all():
        raise InputError(f"{of.name}: its output changes along no path, so that there is nothing to compare: is it "
                         "constant, or saturated?")  # fmt: skip
    reach = np.where(flat, np.nan, reach)
    fallen = np.maximum(np.abs(fall), 0.1 * reach)
    spent = stacked("gradients").max(axis=(1, 2, 3))
    return Audit(
        of, spent, np.abs(stacked("gaps")) / fallen, (stacked("error") + rounding) / fallen, work, fall,
        np.nan_to_num(stacked("mismatch") / reach), np.nan_to_num(stacked("spread") / reach),
        np.abs(work[:, 0] - work[:, 1]) / fallen[:, 0], rounding / fallen, flat,
        int(sum(part[f"{name}-asked"] for part in parts for name in of.energies)),
    )  # fmt: skip
