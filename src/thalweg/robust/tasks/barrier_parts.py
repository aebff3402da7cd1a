"""What is measured at one input and its adversarial partner, as arrays that are kept, and as a row of numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from thalweg.core.energy import AbstractHostField, Landscape
from thalweg.core.mirror import Mirrored
from thalweg.core.paths import Polygon
from thalweg.methods.parts import Arrays
from thalweg.robust.classifier import AbstractClassifier
from thalweg.robust.energy import Ambiguity, LogOdds, Overtaking
from thalweg.robust.tasks.basins import Basin, basin
from thalweg.robust.tasks.bring import Posed
from thalweg.robust.tasks.ridge import (
    Profile,
    Saddle,
    box_of,
    free_force,
    log_odds,
    path_between,
    polygon_profile,
    ridge_normal,
    saddle_from,
)
from thalweg.robust.tasks.smoothness import kinked
from thalweg.verbs.work import work

# An input whose minimum lies nearer than this share of the way to its ridge counts as being at the bottom.
_BOTTOM = 0.1
# Pieces of the quadrature for each image: where there are kinks, more would halve the error only, at twice the cost.
_SMOOTH, _KINKS = 10, 3
_KINKED = "The net has kinks, so that its ridge has no Hessian: the ridge point is given."
_BASIN = Basin._fields[1:]
_SADDLE = Saddle._fields[2:8]


class Effort(NamedTuple):
    """How much to spend on each input: images of the path, steps of the flows, of the path and of the saddle search."""

    images: int = 11
    flow: int = 400
    path: int = 150
    saddle: int = 40


class Tools(NamedTuple):
    """What all inputs are measured with: the classifier, its two landscapes asked from the host, and its walls."""

    classifier: AbstractClassifier
    odds: AbstractHostField
    smooth: AbstractHostField
    compiled: Landscape | AbstractHostField
    walls: Mirrored

    @classmethod
    def of(cls, posed: Posed) -> Tools:
        """The tools for some inputs."""
        dtype = posed.classifier.dtype
        walls = Mirrored(jnp.asarray(posed.lower, dtype), jnp.asarray(posed.upper, dtype))
        one = posed.classifier
        odds, smooth = one.field(LogOdds(), each=False), one.field(Ambiguity(), each=False)
        return cls(one, odds, smooth, one.landscape(Ambiguity()), walls)


def measured(on: Tools, x: Array, label: int, partner: Array, effort: Effort) -> Arrays:
    """All that is measured between the input `x`, read as `label`, and its `partner`."""
    scale = float(jnp.linalg.norm((partner - x).ravel()))
    space = box_of(on.walls)
    below = [basin(on.classifier, on.odds, start, space, scale, max_steps=effort.flow) for start in (x, partner)]
    a, b = below[0].x, below[1].x
    pair = on.classifier.field(_against(label, below[1].label, x.dtype), each=False)
    smooth = not (kinked(pair, x, partner) or kinked(pair, a, b))
    images, told = path_between(on.smooth, on.walls, a, b, images=effort.images, max_steps=effort.path)
    line = a + jnp.linspace(0, 1, len(images), dtype=a.dtype).reshape(-1, *[1] * a.ndim) * (b - a)
    way, straight = polygon_profile(on.classifier, images), polygon_profile(on.classifier, line)
    clean_force, _ = free_force(on.odds, on.walls, x)
    energies = on.smooth.value_and_force_batch(images)[0]
    numbers = {
        "scale": scale,
        "gradient": float(jnp.linalg.norm(clean_force.ravel())),
        "energy": float(log_odds(on.classifier.logits(x[None]))[0]),
        "smooth": smooth,
        "straight_length": float(jnp.linalg.norm((b - a).ravel())),
        **told,
    }
    found = {
        "images": np.asarray(images),
        "energies": np.asarray(energies),
        "minima": np.stack([np.asarray(a), np.asarray(b)]),
        "basins": np.array([list(one[1:]) for one in below], np.float64),
        "profile_arc": way.arc,
        "profile_heights": way.heights,
        "visited": np.array(way.visited),
        "straight_arc": straight.arc,
        "straight_heights": straight.heights,
        "straight_visited": np.array(straight.visited),
        **_at_the_ridge(on, way, x, scale, smooth, effort),
        **_works(on, images, line, energies, pieces=(_SMOOTH if smooth else _KINKS) * len(images)),
    }
    return found | {f"number_{name}": np.asarray(value, np.float64) for name, value in numbers.items()}


def _against(before: int, after: int, dtype: Any) -> Overtaking:
    return Overtaking(jnp.asarray(after), jnp.asarray(before), jnp.zeros((), dtype))


def _at_the_ridge(on: Tools, way: Profile, x: Array, scale: float, smooth: bool, effort: Effort) -> dict[str, Any]:
    """The highest crossing of the decision boundary, and the saddle next to it."""
    nothing = np.full(x.shape, np.nan, x.dtype)
    if way.ridge is None:
        reason = "Both minima are of one class: there is no ridge between them."
        return {"ridge": nothing, "saddle": nothing, "mode": nothing, "reason": _text(reason)}
    ridge, sides = jnp.asarray(way.x[way.ridge], x.dtype), way.sides[way.ridge]
    normal = ridge_normal(on.classifier, ridge, (int(sides[0]), int(sides[1])))
    push, free = free_force(on.smooth, on.walls, ridge)
    across = jnp.where(free, normal, 0)
    across = across / jnp.maximum(jnp.linalg.norm(across.ravel()), jnp.finfo(across.dtype).tiny)
    tangential = push - jnp.sum(push * across) * across
    ordered = np.sort(_shares(on.classifier.logits(ridge[None])[0]))
    told: dict[str, Any] = {
        "ridge": np.asarray(ridge),
        "sides": np.asarray(sides),
        "ridge_numbers": np.array(
            [
                way.arc[way.crossings[way.ridge]],
                way.heights[way.crossings[way.ridge]],
                float(jnp.linalg.norm(tangential.ravel())),
                float(jnp.linalg.norm(normal.ravel())),
                1 - ordered[-2:].sum(),
            ]
        ),
    }
    if not smooth:
        return told | {"saddle": nothing, "mode": nothing, "reason": _text(_KINKED)}
    saddle = saddle_from(on.compiled, on.walls, ridge, normal, scale, max_steps=effort.saddle)
    return told | _saddle_arrays(saddle, nothing)


def _saddle_arrays(saddle: Saddle, nothing: np.ndarray) -> dict[str, Any]:
    if not saddle.found:
        return {"saddle": nothing, "mode": nothing, "reason": _text(saddle.reason)}
    numbers = np.array([saddle.energy, saddle.index, saddle.along, saddle.across, saddle.force, saddle.level])
    return {"saddle": saddle.x, "mode": saddle.mode, "reason": _text(""), "saddle_numbers": numbers}


def _works(on: Tools, images: Array, line: Array, energies: Array, *, pieces: int) -> dict[str, Any]:
    """The work along the path and along the straight line, their errors, and the fall of the energy."""
    works = [work(on.compiled, Polygon(corners), max_pieces=pieces) for corners in (images, line)]
    fall = float(energies[0] - energies[-1])
    return {"works": np.array([fall, *(float(value) for one in works for value in (one.value, one.error))])}


def _shares(logits: Any) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def _text(sentence: str) -> np.ndarray:
    return np.frombuffer(sentence.encode(), np.uint8)


def row_of(posed: Posed, row: int, one: Arrays) -> dict[str, Any]:
    """The numbers of one input in plain form, from its part; heights in logits, lengths Euclidean."""
    number = {name.removeprefix("number_"): float(value) for name, value in one.items() if name.startswith("number_")}
    clean, partner = ({name: float(v) for name, v in zip(_BASIN, b, strict=True)} for b in one["basins"])
    label, energy, scale = int(posed.labels[row]), number["energy"], number["scale"]
    top, straight = float(one["profile_heights"].max()), float(one["straight_heights"].max())
    fall, along, along_error, line, line_error = map(float, one["works"])
    reason = bytes(one["reason"]).decode()
    told = {
        "place": int(posed.places[row]),
        "label": label,
        "push": scale,
        "clean_energy": energy,
        "clean_gradient": number["gradient"],
        "clean_class": int(clean["label"]),
        "clean_minimum": clean["energy"],
        "clean_distance": clean["distance"],
        "clean_resting": bool(clean["resting"]),
        "at_bottom": bool(clean["kept"]) and clean["distance"] <= _BOTTOM * scale,
        "same_class": int(clean["label"]) == label,
        "partner_class": int(partner["label"]),
        "partner_minimum": partner["energy"],
        "partner_distance": partner["distance"],
        "partner_resting": bool(partner["resting"]),
        "partner_class_kept": bool(partner["kept"]),
        "ridge_height": top - energy,
        "ridge_height_of_partner": top - partner["energy"],
        "straight_height": straight - energy,
        "lowering": straight - top,
        "arc_length": float(one["profile_arc"][-1]),
        "straight_length": number["straight_length"],
        "classes_on_path": [int(c) for c in one["visited"]],
        "classes_on_line": [int(c) for c in one["straight_visited"]],
        "path_steps": int(number["steps"]),
        "path_residual": number["residual"],
        "ridge": _ridge_row(one),
        "smooth": bool(number["smooth"]),
        "saddle": None,
        "saddle_reason": reason or None,
        "fall": fall,
        "work": along,
        "work_error": along_error,
        "straight_work": line,
        "straight_work_error": line_error,
        "work_gap": max(abs(along - fall), abs(line - fall)),
    }
    if "saddle_numbers" in one:
        values = dict(zip(_SADDLE, map(_plain, one["saddle_numbers"]), strict=True))
        told["saddle"] = values | {"index": int(one["saddle_numbers"][1]), "level": bool(values["level"])}
    return told


def _plain(value: Any) -> Any:
    return float(value) if np.isfinite(value) else None


def _ridge_row(one: Arrays) -> dict[str, Any] | None:
    if "ridge_numbers" not in one:
        return None
    names = ("arc", "energy", "tangential_force", "steepness", "third_share")
    values = dict(zip(names, map(float, one["ridge_numbers"]), strict=True))
    return values | {"before": int(one["sides"][0]), "after": int(one["sides"][1])}
