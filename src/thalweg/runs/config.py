"""A run's configuration: plain values, written as TOML, compared by key and named by hash."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from thalweg.core.errors import InputError

ABSENT = "absent"


def plain(value: Any, key: str = "config") -> Any:
    """`value` as what TOML holds: booleans, numbers, text, lists and tables.

    A table's entries that are `None` are left out; paths and dates become text, NumPy scalars numbers.

    **Raises:** `InputError` naming the key of anything else.
    """
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _encodable(value, key)
    if isinstance(value, os.PathLike):
        return _encodable(str(value), key)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise InputError(f"{key} has the key {name!r}: keys are text.")
        return {
            _encodable(name, key): plain(entry, f"{key}.{name}") for name, entry in value.items() if entry is not None
        }
    if isinstance(value, list | tuple):
        return [plain(entry, f"{key}[{i}]") for i, entry in enumerate(value)]
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return plain(value.item(), key)
    raise InputError(f"{key} is a {type(value).__name__}, which a configuration cannot hold: give numbers or text.")


def _encodable(text: str, key: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{key} is {text!r}, which is no valid text: rename it.") from None
    return text


def canonical(value: Any) -> str:
    """The one spelling of a plain value: JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def config_hash(config: Mapping[str, Any]) -> str:
    """The SHA-256 of a configuration, the same for every order of its keys.

    It names the directory of a batch of work, so that asking for the same batch again finds it.

    **Raises:** `InputError` for a value that a configuration cannot hold.
    """
    return hashlib.sha256(canonical(plain(config)).encode()).hexdigest()


def first_difference(old: Any, new: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """The first key, in alphabetical order, whose values differ, with both values; `None` if all are the same."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            inner = f"{key}.{name}" if key else name
            if found := first_difference(old.get(name, ABSENT), new.get(name, ABSENT), inner):
                return found
        return None
    # By spelling, so that NaN equals itself and 1 is not True.
    return None if canonical(old) == canonical(new) else (key, old, new)
