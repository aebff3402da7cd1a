"""Methods by name: ours, and those that other packages announce under the entry point group `thalweg.methods`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from thalweg.core.errors import InputError

_OURS = {
    "find_path": {"band": "thalweg.methods.elastic_band:ElasticBand", "string": "thalweg.methods.string:String"},
    "find_saddle": {"following": "thalweg.methods.saddle:EigenvectorFollowing"},
    "relax": {
        "fire": "thalweg.methods.fire:Fire",
        "lbfgs": "thalweg.methods.lbfgs:Lbfgs",
        "projected": "thalweg.methods.projected:Projected",
        "flow": "thalweg.methods.flow:GradientFlow",
        "annealing": "thalweg.methods.signs.annealing:Annealing",
        "exhaustive": "thalweg.methods.signs.exhaustive:Exhaustive",
        "chromatic": "thalweg.methods.signs.chromatic:Chromatic",
        "exchange": "thalweg.methods.signs.exchange:Exchange",
        "memetic": "thalweg.methods.signs.memetic:Memetic",
    },
    "sample": {
        "heat_bath": "thalweg.methods.heat_bath:HeatBath",
        "hmc": "thalweg.methods.hamiltonian:Hmc",
        "mala": "thalweg.methods.hamiltonian:Mala",
        "metropolis": "thalweg.methods.metropolis:Metropolis",
        "nuts": "thalweg.methods.hamiltonian:Nuts",
        "overdamped": "thalweg.methods.overdamped:Overdamped",
        "sweeps": "thalweg.methods.signs.sweeps:Sweeps",
        "swendsen_wang": "thalweg.methods.cluster:SwendsenWang",
        "wolff": "thalweg.methods.cluster:Wolff",
    },
    "simulate": {
        "verlet": "thalweg.methods.verlet:Verlet",
        "baoab": "thalweg.methods.baoab:Baoab",
        "cell_rescaling": "thalweg.methods.cell_rescaling:CellRescaling",
    },
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
