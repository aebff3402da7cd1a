"""How long a training is to be: settings from a file, and steps that fit a given time."""

from __future__ import annotations

import dataclasses
import json
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thalweg.atoms.model.build import Kind
from thalweg.atoms.model.gto import Shape
from thalweg.atoms.tasks.train import Recipe, fit, started
from thalweg.atoms.tasks.training import Material
from thalweg.core.atomic import write_atomic
from thalweg.core.errors import InputError
from thalweg.core.hooks import Report
from thalweg.core.solution import Outcome

_TRIED = 6.0  # seconds of stepping from which the rate is read
_LEAST = 200  # steps


def settings(config: Path | None, *, radial: str | None = None, steps: int | None = None) -> tuple[Shape, Recipe]:
    """The shape and recipe of a TOML file, with what the command line says on top.

    **Raises:** `InputError` for a file that is no TOML, or that has unknown tables or names.
    """
    told: dict[str, Any] = {}
    if config is not None:
        try:
            told = tomllib.loads(config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"{config}: cannot be read as TOML ({error}): correct it.") from error
    if unknown := set(told) - {"shape", "recipe"}:
        raise InputError(f"{config}: has {min(unknown)}, which is unknown: use the tables [shape] and [recipe].")
    shape = _made(Shape, told.get("shape", {}), {"radial": radial}, config)
    return shape, _made(Recipe, told.get("recipe", {}), {"steps": steps}, config)


def _made(kind: Any, table: Any, more: dict[str, Any], config: Path | None) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if not isinstance(table, dict) or set(table) - set(fields):
        wrong = min(set(table) - set(fields)) if isinstance(table, dict) else "a table that is none"
        raise InputError(f"{config}: [{kind.__name__.lower()}] has {wrong}: choose among {', '.join(fields)}.")
    for name, value in table.items():
        default = fields[name].default
        alike = isinstance(value, type(default)) or (isinstance(default, float) and isinstance(value, int))
        if default is not None and (not alike or isinstance(value, bool) != isinstance(default, bool)):
            raise InputError(f"{config}: {name} is {value!r}, but it must be of the kind of {default!r}.")
    return kind(**{**table, **{name: value for name, value in more.items() if value is not None}})


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
    """The recipe with as many steps as fit into some seconds on this machine, found by trying for a few of them.

    The trial and the compilation of the training itself, which takes as long as that of the trial, count too.

    The plan is kept in the run's directory: a run that goes on keeps the schedule that it began with.
    """
    place = folder / "plan.json"
    if place.exists():
        return dataclasses.replace(recipe, steps=int(json.loads(place.read_text(encoding="utf-8"))["steps"]))
    watch, began = _Watch(), time.perf_counter()
    note("Compiling, and trying for a few seconds how fast steps are.")
    net = started(kind, shape, given.frames, given.energies, seed=0, turned=recipe.turned)
    fit(
        net, given.frames, given.energies, dataclasses.replace(recipe, steps=10**6), seed=0, hooks=(watch,), throw=False
    )
    tried = time.perf_counter() - began
    left = seconds - tried - max(tried - _TRIED, 0.0)
    steps = int(left * watch.rate / members)
    if steps < _LEAST:
        steps = _LEAST
        note(f"Compiling takes most of that time: the training will take longer, for it has at least {_LEAST} steps.")
    note(f"{watch.rate:.0f} steps per second: {steps:,} steps are planned.")
    write_atomic(place, json.dumps({"steps": steps, "steps_per_second": watch.rate}))
    return dataclasses.replace(recipe, steps=steps)


class _Watch:
    """Reads the rate of steps once they are compiled, and stops the walk."""

    def __init__(self) -> None:
        self.rate = 1.0
        self._first: tuple[int, float] | None = None

    def __call__(self, report: Report) -> Outcome | None:
        now = time.perf_counter()
        if self._first is None:
            self._first = report.step, now
            return None
        step, began = self._first
        if now - began < _TRIED:
            return None
        self.rate = (report.step - step) / (now - began)
        return Outcome.TIME
