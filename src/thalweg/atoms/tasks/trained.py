"""Trained potentials in files: a run's directory, a file, or the one that comes with the package."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from thalweg.atoms.data.check import symbol
from thalweg.atoms.model.build import Kind, network
from thalweg.atoms.model.committee import Committee
from thalweg.atoms.model.gto import Shape
from thalweg.atoms.model.network import AbstractNetwork
from thalweg.core.errors import InputError, PrecisionError
from thalweg.runs.checkpoint import damaged, load_built, read_tensors, save_state

FILE = "potential.safetensors"  # what a run directory calls its potential
SHIPPED = {"ethanol": "ethanol_gfn2_potential.safetensors"}


class Trained(NamedTuple):
    """A potential with all that is needed to use it.

    **Fields:** `net`; `energies` of the isolated atoms in eV, by atomic number; `card`, what is known of it: data,
    errors, versions; `name`, for messages.
    """

    net: AbstractNetwork
    energies: dict[int, float]
    card: dict[str, Any]
    name: str = "the potential"

    @property
    def dtype(self) -> np.dtype:
        """The precision of its network."""
        return np.dtype(jax.tree.leaves(eqx.filter(self.net, eqx.is_inexact_array))[0].dtype)

    def cast(self, dtype: Any) -> Trained:
        """The same potential in another precision.

        **Raises:** `PrecisionError` for float64 where the process computes in 32 bits.
        """
        if jax.dtypes.canonicalize_dtype(dtype) != np.dtype(dtype):
            raise PrecisionError(
                f"{self.name} is asked for in {np.dtype(dtype)}, but this process computes in 32 bits: call "
                "jax.config.update('jax_enable_x64', True) at its start."
            )
        floats, rest = eqx.partition(self.net, eqx.is_inexact_array)
        return self._replace(net=eqx.combine(jax.tree.map(lambda leaf: leaf.astype(dtype), floats), rest))


def save_trained(
    path: str | os.PathLike[str], trained: Trained, *, kind: Kind, shape: Shape, atoms: int | None = None
) -> Path:
    """Keep a potential in a safetensors file, bit for bit, written in one move.

    **Arguments:** `kind` and `shape` that its network (or every member of a committee) was built with; `atoms` per
    frame of a `naive` one.

    **Returns:** the path. **Raises:** `ThalwegError` if the file cannot be written.
    """
    net = trained.net
    told = {
        "kind": kind,
        "shape": dataclasses.asdict(shape),
        "elements": list(net.elements),
        "members": net.size if isinstance(net, Committee) else None,
        "atoms": atoms,
        "energies": {str(number): energy for number, energy in trained.energies.items()},
        "card": trained.card,
    }
    return save_state(path, net, 0, {"potential": told})


def load_trained(name: str | os.PathLike[str]) -> Trained:
    """The potential that a run's directory or a file holds, or that comes with the package (`ethanol`).

    **Raises:** `InputError` for what is missing, damaged, or holds something else.
    """
    path = _located(name)
    told = json.loads(read_tensors(path)[1]["extra"]).get("potential")
    if not isinstance(told, dict):
        raise InputError(f"{path}: holds no potential: name the directory of `thalweg atoms train`.")
    try:
        shape = Shape(**told["shape"])
        elements = tuple(int(number) for number in told["elements"])
        kind, atoms, members = told["kind"], told["atoms"], told["members"]
        energies = {int(number): float(energy) for number, energy in told["energies"].items()}
        card = dict(told["card"])
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise damaged(path, f"its description is not that of a potential: {error}") from error
    net = load_built(path, lambda: _built(kind, shape, elements, atoms, members), "a potential")
    return Trained(net, energies, card, str(name))


def _built(kind: Kind, shape: Shape, elements: tuple[int, ...], atoms: int | None, members: int | None):
    one: AbstractNetwork = network(kind, shape, elements, jax.random.key(0), np.float32, atoms=atoms)
    return one if members is None else Committee.of([one] * members)


def located(name: str | os.PathLike[str]) -> list[Path]:
    """The file of a potential, for the record of a run; none for one that comes with the package."""
    return [] if str(name) in SHIPPED and not Path(name).exists() else [_located(name)]


def _located(name: str | os.PathLike[str]) -> Path:
    path = Path(name)
    if path.is_dir():
        if not (path / FILE).is_file():
            raise InputError(f"{path}: holds no {FILE}: let `thalweg atoms train --out {path}` finish first.")
        return path / FILE
    if path.is_file():
        return path
    shipped = SHIPPED.get(str(name))
    if shipped is not None:
        return Path(str(importlib.resources.files("thalweg.samples") / shipped))
    raise InputError(
        f"{name}: there is no such file or directory: name a run of `thalweg atoms train`, a {FILE}, or "
        f"{' or '.join(SHIPPED)}, which comes with the package."
    )


def described(energies: Mapping[int, float]) -> dict[str, float]:
    """The energies of isolated atoms by symbol."""
    return {symbol(number): float(energy) for number, energy in energies.items()}
