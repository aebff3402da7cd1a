"""Methods by name: ours, and those that other packages announce under the entry point group `thalweg.methods`."""

from __future__ import annotations

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


def named(verb: str, name: str) -> Any:
    """The method of a verb with this name, at its default settings.

    **Raises:** `InputError` listing the names that exist.
    """
    known = _OURS.get(verb, {}) | {
        point.name.removeprefix(f"{verb}."): point.value
        for point in entry_points(group="thalweg.methods")
        if point.name.startswith(f"{verb}.")
    }
    if name not in known:
        raise InputError(f"{verb}: there is no method {name!r}: choose one of {', '.join(sorted(known))}.")
    module, _, attribute = known[name].partition(":")
    return getattr(import_module(module), attribute)()
