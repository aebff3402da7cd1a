"""How long a training is to be: settings from a file, and steps that fit a given time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thalweg.core.hooks import Hook
from thalweg.genome.model.build import Shape
from thalweg.genome.tasks.prepare import packed
from thalweg.genome.tasks.train import Recipe, learnt
from thalweg.genome.tasks.trained import Trained
from thalweg.genome.tasks.training import Material, begun
from thalweg.runs.pace import paced
from thalweg.runs.settings import read_settings

_LEAST = 100  # steps
_READINGS = 8  # of all training genes: measured, at twice as many the genes held out are told worse
_ALWAYS = 10_000  # steps that even a small genome may have


def settings(config: Path | None, **told: Any) -> tuple[Shape, Recipe]:
    """The shape and recipe of a TOML file, with what the command line says on top (see `read_settings`)."""
    shape, recipe = read_settings(config, {"shape": Shape, "recipe": Recipe}, **told)
    return shape, recipe


def planned(
    folder: Path,
    given: Material,
    shape: Shape,
    recipe: Recipe,
    seconds: float,
    *,
    init: Trained | None = None,
    note: Callable[[str], object],
) -> Recipe:
    """The recipe with as many steps as fit into some seconds on this machine, and read no gene too often."""

    def trial(watch: Hook) -> object:
        net, _ = begun(given, shape, seed=0, init=init)
        genes, endless = packed(given.training, net.margin), dataclasses.replace(recipe, steps=10**6)
        return learnt(net, genes, endless, seed=0, hooks=(watch,), throw=False)

    bases = sum(gene.codes.size for gene in given.training)
    most = max(_ALWAYS, _READINGS * bases // (recipe.batch * recipe.length))
    return dataclasses.replace(recipe, steps=paced(folder, trial, seconds, least=_LEAST, most=most, note=note))
