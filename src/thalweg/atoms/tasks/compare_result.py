"""What a comparison says: numbers over seeds, and a verdict made of them alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.atoms.tasks.compare import Effort, Job, Posed
from thalweg.atoms.tasks.compare_training import MODELS, WATCHED
from thalweg.atoms.tasks.over_seeds import exponent, over_seeds

ERRORS = ("force_mae_meV_A", "energy_mae_meV", "turned_force_mae_meV_A", "turned_energy_mae_meV")


class Course(NamedTuple):
    """What was watched along the trainings of one model on one number of frames, in the mean over seeds.

    **Fields:** `steps`; `seconds` without compilation, `None` where the trainings were gone on with after their end;
    `watched`, in the order of `WATCHED`.
    """

    steps: Float[np.ndarray, " records"]
    seconds: Float[np.ndarray, " records"] | None
    watched: Float[np.ndarray, "records watched"]


def numbers(of: Posed, effort: Effort, jobs: Sequence[Job]) -> dict[str, Any]:
    """For each model: what it sees, its errors by number of frames, and the exponents of its learning curves."""
    found: dict[str, Any] = {}
    for who in of.models:
        sizes = {}
        for size in effort.sizes:
            mine = _of(jobs, who.name, size)
            errors = np.stack([job.part["errors"].ravel() for job in mine])
            row: dict[str, Any] = {name: over_seeds(each) for name, each in zip(ERRORS, errors.T, strict=True)}
            seconds = np.array([float(job.part["seconds"]) for job in mine])
            last = np.array([job.part["watched"][-1, WATCHED.index("rotation_meV")] for job in mine])
            ready = mine[0].who
            sizes[str(size)] = row | {
                "rotation_meV": over_seeds(last),
                "seconds": float(seconds.mean()) if (seconds > 0).all() else None,
                "steps": ready.recipe.steps,
                "parameters": int(mine[0].part["parameters"]),
                "rate": ready.recipe.rate,
                "batch": ready.recipe.batch,
                "hidden": ready.shape.hidden,
            }
        told = {name: {int(size): row[name]["values"] for size, row in sizes.items()} for name in ERRORS[:2]}
        found[who.name] = {
            "sees": MODELS[who.name][1],
            "tuned": who.name in effort.tuned,
            "sizes": sizes,
            "force_exponent": exponent(told["force_mae_meV_A"]),
            "energy_exponent": exponent(told["energy_mae_meV"]),
        }
    return found


def course(jobs: Sequence[Job], name: str, size: int) -> Course:
    """What was watched along the trainings of a model."""
    mine = _of(jobs, name, size)
    steps = mine[0].part["steps"].astype(float)
    seconds = np.array([float(job.part["seconds"]) for job in mine])
    along = None if not (seconds > 0).all() else steps / mine[0].who.recipe.steps * seconds.mean()
    return Course(steps, along, np.mean([job.part["watched"] for job in mine], axis=0))


def overtaken(jobs: Sequence[Job], fast: str, slow: str, size: int) -> dict[str, float | None]:
    """When the training of `fast` first fell below where that of `slow` ended, by the watched errors of forces.

    **Returns:** `share` of the steps of `fast`, and `seconds`; `None` where it never did.
    """
    one, other = course(jobs, fast, size), course(jobs, slow, size)
    below = np.flatnonzero(one.watched[1:, 0] < other.watched[-1, 0]) + 1
    if not len(below):
        return {"share": None, "seconds": None}
    at = int(below[0])
    share = float(one.steps[at] / one.steps[-1])
    return {"share": share, "seconds": None if one.seconds is None else float(one.seconds[at])}


def verdict(found: dict[str, Any], jobs: Sequence[Job], effort: Effort) -> dict[str, Any]:
    """What was measured of the claim, in numbers and sentences.

    **Returns:** `generalises`, whether the network of distances has the smaller error of forces, on frames as they are,
    with every number of frames; `faster`, whether it passed the final error of the best network of coordinates within
    its own training, with every number of frames; both `None` without such networks; `sentences`.
    """
    told: dict[str, Any] = {"generalises": None, "faster": None, "sentences": []}
    plain = [name for name in ("naive", "unturned") if name in found]
    if plain and "radial" in found:
        told |= _claim(found, jobs, effort, plain)
    most = str(max(effort.sizes))
    for name in plain:
        row = found[name]["sizes"][most]
        told["sentences"].append(
            f"Turned test frames: {name} is off by {_si(row['turned_force_mae_meV_A'])} meV/A instead of "
            f"{_si(row['force_mae_meV_A'])}, and one frame's energy varies by {_si(row['rotation_meV'])} meV with its "
            f"orientation, after {most} frames."
        )
    pairs = (("gto", "radial", "angular orbitals"), ("gto", "bessel", "Gaussians in place of Bessel functions"))
    for one, other, what in pairs:
        if one in found and other in found:
            ratio = _mean(found, other, most) / _mean(found, one, most)
            told["sentences"].append(
                f"With {most} frames {what} make the error of forces {_times(ratio)} ({one} "
                f"{_si(found[one]['sizes'][most]['force_mae_meV_A'])}, {other} "
                f"{_si(found[other]['sizes'][most]['force_mae_meV_A'])} meV/A)."
            )
    return told


def _claim(found: dict[str, Any], jobs: Sequence[Job], effort: Effort, plain: Sequence[str]) -> dict[str, Any]:
    sizes = [str(size) for size in effort.sizes]
    best = {size: min(plain, key=lambda name: _mean(found, name, size)) for size in sizes}
    won = [size for size in sizes if _mean(found, "radial", size) < _mean(found, best[size], size)]
    passed = {size: overtaken(jobs, "radial", best[size], int(size)) for size in sizes}
    early = [size for size in sizes if (passed[size]["share"] or 1.0) < 1]
    most = sizes[-1]
    ratio = _mean(found, best[most], most) / _mean(found, "radial", most)
    sentences = [
        f"Shown {most} frames, the network of distances is off by {_si(found['radial']['sizes'][most][ERRORS[0]])} "
        f"meV/A on frames that it never saw, the better network of coordinates ({best[most]}) by "
        f"{_si(found[best[most]]['sizes'][most][ERRORS[0]])}: {ratio:.3g} times as much. Its error is the smaller one "
        f"with {len(won)} of {len(sizes)} numbers of frames."
    ]
    enough = [size for size in sizes if _mean(found, "radial", size) < _mean(found, best[most], most)]
    if enough:
        sentences.append(
            f"With {enough[0]} frames it is already nearer than the network of coordinates with {most}."
        )  # fmt: skip
    share, seconds = passed[most]["share"], passed[most]["seconds"]
    if share is not None:
        after = "" if seconds is None else f", {seconds:.3g} s,"
        sentences.append(
            f"Its training on {most} frames passed the final error of the other after "
            f"{100 * share:.3g} % of its steps{after} at the resolution of the record."
        )
    generalises, faster = len(won) == len(sizes), len(early) == len(sizes)
    words = {True: "holds here", False: "does not hold here"}
    sentences.append(
        f"That distances generalise better {words[generalises]}; that they are learnt faster {words[faster]}."
    )
    return {"generalises": generalises, "faster": faster, "passed": passed, "sentences": sentences}


def _of(jobs: Sequence[Job], name: str, size: int) -> list[Job]:
    return [job for job in jobs if job.who.name == name and job.size == size]


def _mean(found: dict[str, Any], name: str, size: str) -> float:
    return found[name]["sizes"][size][ERRORS[0]]["mean"]


def _si(told: dict[str, Any]) -> str:
    return f"{told['mean']:.3g}" + ("" if told["sd"] is None else f" +- {told['sd']:.2g}")


def _times(ratio: float) -> str:
    return f"{ratio:.3g} times smaller" if ratio >= 1 else f"{1 / ratio:.3g} times larger"
