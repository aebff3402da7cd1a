"""How long a training is to be: settings from a file, and steps that fit a given time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thalweg.atoms.model.build import Kind
from thalweg.atoms.model.gto import Shape
from thalweg.atoms.tasks.train import Recipe, fit, started
from thalweg.atoms.tasks.training import Material
from thalweg.core.hooks import Hook
from thalweg.runs.pace import paced
from thalweg.runs.settings import read_settings

_LEAST = 200  # steps


def settings(config: Path | None, **told: Any) -> tuple[Shape, Recipe]:
    """The shape and recipe of a TOML file, with what the command line says on top (see `read_settings`)."""
    shape, recipe = read_settings(config, {"shape": Shape, "recipe": Recipe}, **told)
    return shape, recipe


def planned(
    folder: Path,
    given: Material,
    kind: Kind,
    shape: Shape,
    recipe: Recipe,
    seconds: float,
    *,
    members: int = 1,
    note: Callable[[str], object],
) -> Recipe:
    """The recipe with as many steps as `members` trainings can take in some seconds on this machine."""

    def trial(watch: Hook) -> object:
        net = started(kind, shape, given.frames, given.energies, seed=0, turned=recipe.turned)
        endless = dataclasses.replace(recipe, steps=10**6)
        return fit(net, given.frames, given.energies, endless, seed=0, hooks=(watch,), throw=False)

    return dataclasses.replace(recipe, steps=paced(folder, trial, seconds, shares=members, least=_LEAST, note=note))
