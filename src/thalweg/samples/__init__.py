"""Small licensed real inputs that the tour and the docs run on, offline."""

from __future__ import annotations

import copy
import functools
import importlib.resources
import tomllib
from pathlib import Path
from typing import Any

from thalweg.core.errors import InputError


@functools.cache
def _folder() -> Path:
    return Path(str(importlib.resources.files(__name__)))


@functools.cache
def _cards() -> dict[str, dict[str, Any]]:
    return tomllib.loads((_folder() / "cards.toml").read_text(encoding="utf-8"))


def names() -> list[str]:
    """The samples that come as files, in alphabetical order."""
    return [name for name, entry in _cards().items() if entry["files"]]


def path(name: str) -> Path:
    """Where a sample lies on disk.

    **Arguments:** `name` of a sample (its main file, the first on its card) or of one of its files.

    **Raises:** `InputError` for an unknown name; the message lists the known ones.
    """
    for sample, entry in _cards().items():
        files = list(entry["files"])
        if name in files:
            return _folder() / name
        if name == sample and files:
            return _folder() / files[0]
    if name in _cards():
        raise InputError(f"the sample {name!r} is not a file: it is {_cards()[name]['origin']}.")
    raise InputError(
        f"there is no sample {name!r}: choose one of {', '.join(names())}, or a file on one of their cards."
    )


def card(name: str) -> dict[str, Any]:
    """What a sample is, where it comes from, its licence, how it was made, its units, and a checksum for each file.

    **Arguments:** `name` of a sample.

    **Raises:** `InputError` for an unknown name; the message lists the known ones.
    """
    if name not in _cards():
        raise InputError(f"there is no card for a sample {name!r}: choose one of {', '.join(_cards())}.")
    return copy.deepcopy(_cards()[name])
