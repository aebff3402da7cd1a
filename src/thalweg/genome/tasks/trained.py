"""Trained networks in files: a run's directory, a file, or the one that comes with the package."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from thalweg.core.atomic import write_atomic
from thalweg.core.errors import InputError
from thalweg.genome.model.build import Shape, network
from thalweg.genome.model.network import SpliceNetwork
from thalweg.runs.checkpoint import damaged, load_built, read_tensors, save_state

FILE = "splice_network.safetensors"  # what a run directory calls its network
SHIPPED = {"arabidopsis": "arabidopsis_splice_network.safetensors"}  # name -> file among the samples


class Trained(NamedTuple):
    """A network with all that is known of it.

    **Fields:** `net`, which holds the prior of the genes that it was trained on; `shape` that it was built with;
    `card`: data, recipe, figures, versions; `name`, for messages.
    """

    net: SpliceNetwork
    shape: Shape
    card: dict[str, Any]
    name: str = "the network"


def save_trained(path: str | os.PathLike[str], trained: Trained) -> Path:
    """Keep a network in a safetensors file, bit for bit, and its card as JSON beside it.

    **Returns:** the path. **Raises:** `ThalwegError` if a file cannot be written.
    """
    told = {"shape": dataclasses.asdict(trained.shape), "card": trained.card}
    written = save_state(path, trained.net, 0, {"splice_network": told})
    write_atomic(Path(path).with_suffix(".json"), json.dumps(told, indent=1, allow_nan=False) + "\n")
    return written


def load_trained(name: str | os.PathLike[str]) -> Trained:
    """The network that a run's directory or a file holds, or that comes with the package.

    **Raises:** `InputError` for what is missing, damaged, or holds something else.
    """
    path = _located(name)
    told = json.loads(read_tensors(path)[1]["extra"]).get("splice_network")
    if not isinstance(told, dict):
        raise InputError(f"{path}: holds no network for splice sites: name the directory of `thalweg genome train`.")
    try:
        shape, card = Shape(**told["shape"]), dict(told["card"])
    except (KeyError, OverflowError, TypeError, ValueError, InputError) as error:
        raise damaged(path, f"its description is not that of a network: {error}") from error
    return Trained(load_built(path, lambda: _built(shape), "a network"), shape, card, str(name))


def _built(shape: Shape) -> SpliceNetwork:
    return network(shape, np.zeros((2, 25)), jax.random.key(0))


def located(name: str | os.PathLike[str]) -> list[Path]:
    """The file of a network, for the record of a run; none for one that comes with the package."""
    return [] if str(name) in SHIPPED and not Path(name).exists() else [_located(name)]


def _located(name: str | os.PathLike[str]) -> Path:
    path = Path(name)
    if path.is_dir():
        if not (path / FILE).is_file():
            raise InputError(f"{path}: holds no {FILE}: let `thalweg genome train --out {path}` finish first.")
        return path / FILE
    if path.is_file():
        return path
    shipped = SHIPPED.get(str(name))
    if shipped is not None:
        return Path(str(importlib.resources.files("thalweg.samples") / shipped))
    known = "".join(f", or {one}, which comes with the package" for one in SHIPPED)
    raise InputError(
        f"{name}: there is no such file or directory: name a run of `thalweg genome train` or a {FILE}{known}."
    )
