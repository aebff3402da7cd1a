"""Atoms in space that the reader turns with the mouse or the keyboard, frame after frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg.core.errors import InputError
from thalweg.report.slider import encode_array

MOST = 300  # frames: what a reader looks through, and a page holds


@dataclass(frozen=True, eq=False)
class Viewer:
    """A molecule or a crystal in three dimensions, and its motion if it has several frames.

    More than 300 frames are thinned to as many, evenly, and the page says so.

    **Arguments:**

    - `title`: names the widget, also for screen readers.
    - `symbols`: `[atoms]`, of the elements, as in `"C"`.
    - `frames`: `[frames, atoms, 3]` in A.
    - `labels`: one text for each frame, as in `"120 fs"`; by default their numbers.
    - `cell`: `[3, 3]`, vectors in rows in A, drawn as a box; `None` where there is none.
    - `loops`: whether playing begins anew at the end.

    **Raises:** `InputError` if a shape does not fit, or if anything is not finite.
    """

    title: str
    symbols: Sequence[str]
    frames: ArrayLike
    caption: str = ""
    labels: Sequence[str] = ()
    cell: ArrayLike | None = None
    loops: bool = True

    def __post_init__(self):
        frames = np.asarray(self.frames, np.float64)
        if frames.ndim != 3 or frames.shape[1:] != (len(self.symbols), 3) or frames.size == 0:
            raise _refuse(self, f"frames have the shape {frames.shape}: give [frames, {len(self.symbols)} atoms, 3].")
        if not np.isfinite(frames).all():
            raise _refuse(self, "a coordinate is not finite: leave such frames out.")
        if len(self.labels) not in (0, len(frames)):
            raise _refuse(self, f"there are {len(self.labels)} labels for {len(frames)} frames.")
        if self.cell is not None and np.shape(self.cell) != (3, 3):
            raise _refuse(self, f"the cell has the shape {np.shape(self.cell)}: give three vectors in rows.")

    @property
    def told(self) -> str:
        """The caption, and how many of the frames are shown where it is not all of them."""
        count = len(np.asarray(self.frames))
        thinned = f"Shown are {MOST} of {count:,} frames, evenly spaced." if count > MOST else ""
        return " ".join(part for part in (self.caption, thinned) if part)


def _refuse(viewer: Viewer, sentence: str) -> InputError:
    return InputError(f'Viewer "{viewer.title}": {sentence}')


def viewer_data(viewer: Viewer) -> dict[str, Any]:
    """Everything the widget in the page needs, as values that JSON can hold."""
    frames = np.asarray(viewer.frames, np.float64)
    shown = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), MOST)).round().astype(int))
    labels = viewer.labels or [f"frame {place}" for place in range(len(frames))]
    middle = (frames[shown[0]].min(axis=0) + frames[shown[0]].max(axis=0)) / 2
    return {
        "title": viewer.title,
        "symbols": list(viewer.symbols),
        "frames": encode_array(frames[shown] - middle, 4),
        "labels": [labels[place] for place in shown],
        "cell": None if viewer.cell is None else np.asarray(viewer.cell, np.float64).tolist(),
        "corner": (-middle).tolist(),
        "loops": viewer.loops,
    }
