"""The shipped potential's errors, and a training of it from the shipped labels (`thalweg tour --full`)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.report.blocks import Block, Claim
from thalweg.report.chapter import Stopwatch, Telling

_MINUTES = 12.0
_WORSE = 1.5


def off(subject: Any, trained: Any, frames: list[Any]) -> tuple[float, float]:
    """The mean absolute errors of the energies in meV and of the forces in meV/A on frames of the same atoms."""
    from thalweg.atoms.tasks.prepare import bound

    field = subject.field(frames[0])
    zero = field.answer[0]
    values, forces = field.value_and_force_batch(np.stack([frame.positions for frame in frames]))
    wanted = np.array([bound(frame, trained.energies) for frame in frames])
    labels = np.stack([frame.forces for frame in frames])
    return float(1e3 * np.abs(values + zero - wanted).mean()), float(1e3 * np.abs(forces - labels).mean())


def again(telling: Telling, shipped: Any, frames: list[Any], watch: Stopwatch) -> Iterator[Block]:
    """Train the shipped potential anew from the shipped labels, for as long as the tour allows, and compare."""
    from thalweg.atoms.tasks.evaluate import evaluate
    from thalweg.atoms.tasks.plan import planned
    from thalweg.atoms.tasks.train import Recipe
    from thalweg.atoms.tasks.training import material, trained_potential

    told = shipped.card
    telling.note(f"training the shipped potential anew, {_MINUTES:.0f} minutes")
    given = material("ethanol", seed=told["random_seed"])
    shape, recipe = shipped.net.shape, Recipe(**told["recipe"])
    with tempfile.TemporaryDirectory() as folder:
        plan = planned(Path(folder), given, told["model"], shape, recipe, 60 * _MINUTES, note=telling.note)
    steps = min(plan.steps, recipe.steps)  # a fast machine learns no longer than it was done for the package
    recipe = Recipe(**{**told["recipe"], "steps": steps})
    found = trained_potential(given, kind=told["model"], shape=shape, recipe=recipe, members=1,
                              seed=told["random_seed"], hooks=lambda words, name: ())  # fmt: skip
    theirs, ours = (evaluate(each, frames)["force_mae_meV_A"] for each in (shipped, found))
    yield Claim(
        id="moving-again",
        system=f"The same network, {recipe.steps:,} of {told['recipe']['steps']:,} steps on {len(given.frames)} frames",
        statement="Trained anew from the shipped labels, the potential is as good as the shipped one, or nearly so.",
        measured=ours,
        expected=f"at most {_WORSE:g} times the {theirs:.2f} of the shipped one",
        tolerance="one-sided",
        holds=ours <= _WORSE * theirs,
        seconds=watch.lap(),
        source=f"Mean absolute error of forces on {len(frames)} frames that neither saw; fewer steps learn less",
        command="thalweg atoms train your_frames.xyz --minutes 30 --out your_potential",
        unit="meV/A",
    )
