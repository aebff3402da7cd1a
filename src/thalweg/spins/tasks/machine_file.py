"""Learnt machines in files, and as problems that every other task of the room understands."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from thalweg.core.atomic import write_atomic
from thalweg.core.errors import InputError
from thalweg.spins.data.problem import Problem, problem
from thalweg.spins.energy import AbstractMachine, BoltzmannMachine, RestrictedBoltzmann

_FORMAT = "thalweg-machine-1"
_FIELDS = {
    "boltzmann": ("first", "second", "coupling", "bias"),
    "rbm": ("weights", "visible_bias", "hidden_bias"),
}


def save_machine(path: str | Path, machine: AbstractMachine) -> Path:
    """Write a machine as safetensors: its arrays under the names of its fields, its kind in the metadata."""
    from safetensors.numpy import save

    kind = "rbm" if isinstance(machine, RestrictedBoltzmann) else "boltzmann"
    tensors = {name: np.ascontiguousarray(getattr(machine, name)) for name in _FIELDS[kind]}
    return write_atomic(path, save(tensors, {"format": _FORMAT, "kind": kind}))


def load_machine(path: str | Path) -> BoltzmannMachine | RestrictedBoltzmann:
    """The machine that `save_machine` wrote.

    **Raises:** `InputError` for a file that is missing, damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file: name a model that `spins learn` wrote.")
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: cannot be read as safetensors ({reason}): restore it from a copy.") from error
    kind = metadata.get("kind", "")
    if metadata.get("format") != _FORMAT or set(tensors) != set(_FIELDS.get(kind, ())):
        raise InputError(f"{path}: is no Boltzmann machine: name a model that `spins learn` wrote.")
    if not all(np.isfinite(array).all() for array in tensors.values()):
        raise InputError(f"{path}: holds NaN or infinity: restore it from a copy.")
    return RestrictedBoltzmann(**tensors) if kind == "rbm" else BoltzmannMachine(**tensors)


def problem_of(machine: AbstractMachine, kind: Literal["ising", "boltzmann"] = "boltzmann") -> Problem:
    """A machine as couplings and fields of spins `s = 2v - 1`; of a restricted one, over visible and hidden units.

    As `boltzmann` the energy is that of the machine, offset included; as `ising` the offset is left out.
    """
    whole = machine.whole() if isinstance(machine, RestrictedBoltzmann) else machine
    if not isinstance(whole, BoltzmannMachine):
        raise InputError(f"{type(machine).__name__} is no Boltzmann machine: only those are couplings of pairs.")
    first, second = np.asarray(whole.first), np.asarray(whole.second)
    coupling, bias = np.asarray(whole.coupling, np.float64) / 4, np.asarray(whole.bias, np.float64) / 2
    field = bias.copy()
    np.add.at(field, first, coupling)
    np.add.at(field, second, coupling)
    offset = -float(coupling.sum() + bias.sum()) if kind == "boltzmann" else 0.0
    return problem(first, second, coupling, field, offset=offset, kind=kind, source="a learnt machine")
