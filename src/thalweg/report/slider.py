"""The signature picture: a ball on the energy profile with a slider, and beside it the thing itself."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from thalweg.core.errors import InputError

_SHAPES = {
    "image": "[frames, height, width]",
    "curves": "[frames, curves, points]",
    "signs": "[frames, height, width]",
    "points": "[frames, points, 2 or 3]",
}
_DIMENSIONS = 3  # all kinds: frames first, then two axes
_HEX_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Marker:
    """A named place on the profile, such as the ridge: `t` in the units of the profile."""

    name: str
    t: float


@dataclass(frozen=True, eq=False)
class Slider:
    """An energy profile that a ball walks along, and one frame of the thing itself for every point of it.

    **Arguments:**

    - `title`: names the widget, also for screen readers.
    - `t`: `[frames]`, strictly increasing, labelled `t_label`.
    - `energy`: `[frames]`, labelled `energy_label`; both labels carry their unit, as in `"Energy (eV)"`.
    - `kind`, `frames`: `"image"` grey levels `[frames, height, width]`; `"curves"` `[frames, curves, points]`;
      `"signs"` -1 or +1 `[frames, height, width]`; `"points"` coordinates `[frames, points, 2 or 3]`.
    - `markers`: named places on the profile. `start`: the frame shown first.
    - `x`: `[points]`, the abscissa of curves, labelled `x_label`, their value `y_label`.
    - `reference`: `[points]`, a fixed curve drawn dashed, named `reference_label`.
    - `labels`: one per curve or per point. `colours`: one `#rrggbb` per point. `radii`: one per point, relative to 1.
    - `bonds`: `[bonds, 2]`, pairs of points to join.
    - `limits`: the values shown as black and white; the extremes of all frames if not given.
    - `digits`: decimal digits kept of the span of each array; the energy keeps at least six.

    **Raises:** `InputError` if a shape or a value does not fit, or if anything is not finite.
    """

    title: str
    t: ArrayLike
    energy: ArrayLike
    kind: Literal["image", "curves", "signs", "points"]
    frames: ArrayLike
    caption: str = ""
    t_label: str = "t"
    energy_label: str = "Energy"
    markers: Sequence[Marker] = ()
    start: int = 0
    x: ArrayLike | None = None
    x_label: str = "x"
    y_label: str = ""
    reference: ArrayLike | None = None
    reference_label: str = "reference"
    labels: Sequence[str] = ()
    colours: Sequence[str] = ()
    radii: Sequence[float] = ()
    bonds: ArrayLike = ()
    limits: tuple[float, float] | None = None
    digits: int = 4

    def __post_init__(self):
        _check(self)


def _refuse(slider: Slider, sentence: str) -> InputError:
    return InputError(f'Slider "{slider.title}": {sentence}')


def _finite(slider: Slider, name: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise _refuse(slider, f"{name} is not an array of numbers.") from error
    if not np.isfinite(array).all():
        place = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise _refuse(slider, f"{name} is not finite at index {place}: leave such frames out.")
    return array


def _check(slider: Slider) -> None:
    if slider.kind not in _SHAPES:
        raise _refuse(slider, f"kind is {slider.kind!r}: choose one of {', '.join(_SHAPES)}.")
    t, energy = _finite(slider, "t", slider.t), _finite(slider, "energy", slider.energy)
    frames = _finite(slider, "frames", slider.frames)
    if t.ndim != 1 or t.size < 2 or energy.shape != t.shape or not (np.diff(t) > 0).all():
        raise _refuse(slider, "t and energy must be two lists of equal length, at least 2, with t strictly increasing.")
    if frames.ndim != _DIMENSIONS or len(frames) != len(t) or frames.size == 0:
        raise _refuse(
            slider, f"frames has shape {frames.shape}; {slider.kind} needs {_SHAPES[slider.kind]} with {len(t)} frames."
        )
    if not 0 <= slider.start < len(t):
        raise _refuse(slider, f"start is {slider.start}, but there are frames 0 to {len(t) - 1}.")
    for marker in slider.markers:
        if not t[0] <= marker.t <= t[-1]:
            raise _refuse(slider, f'marker "{marker.name}" lies at {marker.t}, outside {t[0]:g} to {t[-1]:g}.')
    _check_kind(slider, frames)


def _check_kind(slider: Slider, frames: np.ndarray) -> None:
    if slider.kind == "signs" and not (np.abs(frames) == 1).all():
        raise _refuse(slider, "signs must all be -1 or +1.")
    if slider.limits is not None and not slider.limits[0] < slider.limits[1]:
        raise _refuse(slider, "limits must be a lower and a higher value.")
    if slider.kind == "curves":
        for name, values in (("x", slider.x), ("reference", slider.reference)):
            if values is not None and _finite(slider, name, values).shape != frames.shape[2:]:
                raise _refuse(slider, f"{name} must have one value for each of the {frames.shape[2]} points.")
    if slider.kind == "points":
        if frames.shape[2] not in (2, 3):
            raise _refuse(slider, f"points have {frames.shape[2]} coordinates; give 2 or 3.")
        bonds = _finite(slider, "bonds", slider.bonds)
        inside = bonds.size == 0 or (bonds.ndim == 2 and bonds.min() >= 0 and bonds.max() < frames.shape[1])
        if not inside or (bonds.size and bonds.shape[1] != 2):
            raise _refuse(slider, f"bonds must be pairs of points, numbered 0 to {frames.shape[1] - 1}.")
    if slider.kind in ("curves", "points"):
        for name, values in (("labels", slider.labels), ("colours", slider.colours), ("radii", slider.radii)):
            if len(values) not in (0, frames.shape[1]):
                raise _refuse(slider, f"{name} has {len(values)} entries for {frames.shape[1]} {slider.kind}.")
    if not all(_HEX_COLOUR.fullmatch(colour) for colour in slider.colours):
        raise _refuse(slider, "colours must be written #rrggbb.")


def _rounded(array: np.ndarray, digits: int) -> np.ndarray:
    # Relative to the span, not to the size: -76.02341 matters in its last digits when the profile varies there.
    span = float(np.ptp(array)) or float(np.abs(array).max(initial=0.0)) or 1.0
    return np.round(array, digits - math.floor(math.log10(span)))


def encode_array(array: np.ndarray, digits: int) -> dict[str, Any]:
    """Pack numbers as the shorter of a JSON list rounded to `digits` of their span and base64 of float32.

    **Returns:** `{"shape", "encoding": "json" | "float32", "data"}`, C order, little-endian.
    """
    flat = [int(v) if v == int(v) else v for v in (_rounded(array, digits) + 0.0).ravel().tolist()]
    packed = base64.b64encode(array.astype("<f4").tobytes()).decode("ascii")
    # float32 keeps seven digits of the size, which may be none of the span.
    precise = float(np.abs(array).max()) * 2.0**-24 <= float(np.ptp(array)) * 10.0**-digits
    if precise and len(packed) < len(json.dumps(flat, separators=(",", ":"))):
        return {"shape": array.shape, "encoding": "float32", "data": packed}
    return {"shape": array.shape, "encoding": "json", "data": flat}


def encode_signs(array: np.ndarray) -> dict[str, Any]:
    """Pack -1 and +1 as one bit each (1 means +1, first sign in the highest bit), in base64."""
    packed = np.packbits(array.ravel() > 0).tobytes()
    return {"shape": array.shape, "encoding": "bits", "data": base64.b64encode(packed).decode("ascii")}


def slider_data(slider: Slider) -> dict[str, Any]:
    """Everything the widget in the page needs, as values that JSON can hold."""
    t, energy, frames = (np.asarray(v, dtype=np.float64) for v in (slider.t, slider.energy, slider.frames))
    optional = {"x": slider.x, "reference": slider.reference}
    return {
        "title": slider.title,
        "kind": slider.kind,
        "t": encode_array(t, max(slider.digits, 6)),
        "energy": encode_array(energy, max(slider.digits, 6)),
        "frames": encode_signs(frames) if slider.kind == "signs" else encode_array(frames, slider.digits),
        "tLabel": slider.t_label,
        "energyLabel": slider.energy_label,
        "xLabel": slider.x_label,
        "yLabel": slider.y_label,
        "referenceLabel": slider.reference_label,
        "markers": [{"name": marker.name, "t": float(marker.t)} for marker in slider.markers],
        "start": int(slider.start),
        "labels": list(slider.labels),
        "colours": list(slider.colours),
        "radii": [float(radius) for radius in slider.radii],
        "bonds": np.asarray(slider.bonds, dtype=int).reshape(-1, 2).tolist(),
        "limits": [float(v) for v in (slider.limits or (frames.min(), frames.max()))],
    } | {
        key: encode_array(np.asarray(v, dtype=np.float64), slider.digits)
        for key, v in optional.items()
        if v is not None
    }
