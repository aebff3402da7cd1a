"""How long a training is to be: settings from a file, and steps that fit a given time."""

from __future__ import annotations

import dataclasses
import json
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thalweg.core.atomic import write_atomic
from thalweg.core.errors import InputError
from thalweg.core.hooks import Report
from thalweg.core.solution import Outcome
from thalweg.genome.model.build import Shape
from thalweg.genome.tasks.prepare import packed
from thalweg.genome.tasks.train import Recipe, learnt
from thalweg.genome.tasks.trained import Trained
from thalweg.genome.tasks.training import Material, begun

_TRIED = 6.0  # seconds of stepping from which the rate is read
_LEAST = 100  # steps


def settings(config: Path | None, **told: Any) -> tuple[Shape, Recipe]:
    """The shape and recipe of a TOML file, with what the command line says on top.

    **Arguments:** `told`, fields of either by name; `None` leaves them as they are.

    **Raises:** `InputError` for a file that is no TOML, or that has unknown tables or names.
    """
    tables: dict[str, Any] = {}
    if config is not None:
        try:
            tables = tomllib.loads(config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"{config}: cannot be read as TOML ({error}): correct it.") from error
    if unknown := set(tables) - {"shape", "recipe"}:
        raise InputError(f"{config}: has {min(unknown)}, which is unknown: use the tables [shape] and [recipe].")
    return _made(Shape, tables.get("shape", {}), told, config), _made(Recipe, tables.get("recipe", {}), told, config)


def _made(kind: Any, table: Any, told: dict[str, Any], config: Path | None) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if not isinstance(table, dict) or set(table) - set(fields):
        wrong = min(set(table) - set(fields)) if isinstance(table, dict) else "a table that is none"
        raise InputError(f"{config}: [{kind.__name__.lower()}] has {wrong}: choose among {', '.join(fields)}.")
    for name, value in table.items():
        default = fields[name].default
        alike = isinstance(value, type(default)) or (isinstance(default, float) and isinstance(value, int))
        if not alike or isinstance(value, bool) != isinstance(default, bool):
            raise InputError(f"{config}: {name} is {value!r}, but it must be of the kind of {default!r}.")
    return kind(**{**table, **{name: value for name, value in told.items() if name in fields and value is not None}})


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
    """The recipe with as many steps as fit into some seconds on this machine, found by trying for a few of them.

    The trial and the compilation of the training itself, which takes as long as that of the trial, count too.

    The plan is kept in the run's directory: a run that goes on keeps the schedule that it began with.
    """
    place = folder / "plan.json"
    if place.exists():
        return dataclasses.replace(recipe, steps=int(json.loads(place.read_text(encoding="utf-8"))["steps"]))
    watch, began = _Watch(), time.perf_counter()
    note("Compiling, and trying for a few seconds how fast steps are.")
    net, _ = begun(given, shape, seed=0, init=init)
    trial = dataclasses.replace(recipe, steps=10**6)
    learnt(net, packed(given.training, net.margin), trial, seed=0, hooks=(watch,), throw=False)
    tried = time.perf_counter() - began
    left = seconds - tried - max(tried - _TRIED, 0.0)
    steps = int(left * watch.rate)
    if steps < _LEAST:
        steps = _LEAST
        note(f"Compiling takes most of that time: the training will take longer, for it has at least {_LEAST} steps.")
    note(f"{watch.rate:.3g} steps per second: {steps:,} steps are planned.")
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
