"""The plan and the laboratory of an experiment, from what a user says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from thalweg.genome.data.text import Note
from thalweg.genome.model.build import Shape
from thalweg.genome.tasks.plan import planned
from thalweg.genome.tasks.plasticity.arms import ARMS
from thalweg.genome.tasks.plasticity.lab import Plan
from thalweg.genome.tasks.plasticity.species import Species, Two
from thalweg.genome.tasks.train import Recipe
from thalweg.genome.tasks.training import Material

_WEAKEST, _STRONGEST = 1e-3, 1.0  # springs
_APART = 1000  # seeds of experiments with neighbouring seeds


def plan_of(
    seeds: int,
    arms: tuple[str, ...] | None = None,
    betas: tuple[float, ...] | None = None,
    penalties: tuple[float, ...] | None = None,
    *,
    ranked: bool = False,
    seed: int = 0,
) -> Plan:
    """A plan in which what is not said is as it was fixed before; there are as many penalties as strengths of maps.

    **Arguments:** `seed`, of the whole experiment: another one begins at other seeds.
    """
    betas = betas or Plan().betas
    springs = penalties or tuple(float(f"{one:.3g}") for one in np.geomspace(_WEAKEST, _STRONGEST, len(betas)))
    return Plan(seeds, arms or ARMS, betas, springs, springs, ranked, start=_APART * seed)


def laboratory(
    two: Two, shape: Shape, recipe: Recipe, *, tune_steps: int, minutes: float | None, folder: Path, note: Note
) -> Species:
    """A pair of species with its recipes.

    **Arguments:** `recipe` of the pretraining, and but for its steps of the fine-tuning; `minutes`, if steps are to be
    planned for so much time (see `planned`, which keeps its plan in the `folder`).
    """
    if minutes is not None:
        material = Material(list(two.learnt), [], [], {})
        recipe = planned(folder, material, shape, recipe, 60 * minutes, note=note)
    # A short fine-tuning must not be lost in a long average.
    average = min(recipe.average, 1 - 10 / (tune_steps + 10))
    return Species(two, shape, recipe, dataclasses.replace(recipe, steps=tune_steps, average=average))
