"""Methods by name: ours, and those that other packages announce under the entry point group `thalweg.methods`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from thalweg.core.errors import InputError

_OURS = {
    "relax": {
        "fire": "thalweg.methods.fire:Fire",
        "lbfgs": "thalweg.methods.lbfgs:Lbfgs",
        "projected": "thalweg.methods.projected:Projected",
        "flow": "thalweg.methods.flow:GradientFlow",
    }
}


@cache
def _known(verb: str) -> dict[str, str]:
    announced = entry_points(group="thalweg.methods")
    theirs = {point.name: point.value for point in announced if point.name.startswith(f"{verb}.")}
    return _OURS.get(verb, {}) | {name.removeprefix(f"{verb}."): value for name, value in theirs.items()}


def named(verb: str, name: str) -> Any:
    """The method of a verb with this name, at its default settings.

    **Raises:** `InputError` listing the names that exist.
    """
    known = _known(verb)
    if name not in known:
        raise InputError(f"{verb}: there is no method {name!r}: choose one of {', '.join(sorted(known))}.")
    module, _, attribute = known[name].partition(":")
    return getattr(import_module(module), attribute)()
