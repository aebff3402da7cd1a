"""What `config.toml` holds: the command words, seed, dtype and options, and whether two of them are the same run."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thalweg.core.errors import InputError
from thalweg.runs.config import canonical, first_difference, plain

Record = dict[str, Any]


def make_record(config: Mapping[str, Any], command: Sequence[str] | None, seed: int | None, dtype: Any) -> Record:
    """The record of a run that was asked for.

    **Raises:** `InputError` for an option that TOML cannot hold.
    """
    dtype = None if dtype is None else str(getattr(dtype, "__name__", dtype))
    words = None if command is None else list(command)
    return plain({"command": words, "seed": seed, "dtype": dtype, "options": plain(config, "options")})


def identity(record: Record, free: Sequence[str] = ()) -> Record:
    """What makes a run this run and no other: all but the spelling of its command, and the options named in `free`."""
    options = {key: value for key, value in record["options"].items() if key not in free}
    return {key: value for key, value in record.items() if key != "command"} | {"options": options}


def read_record(path: Path) -> Record:
    """The record in the file `path`.

    **Raises:** `InputError` if it cannot be read or is not what `make_record` makes.
    """
    remedy = "restore it from a copy or choose another --out."
    try:
        record = plain(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not TOML ({error}): {remedy}") from error
    words = record.get("command", [])
    if not isinstance(record.get("options"), dict):
        raise InputError(f"{path} has no table of options: {remedy}")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f"{path} has a command that is no list of words: {remedy}")
    return record


def check_same(folder: Path, found: Record, asked: Record, free: Sequence[str]) -> None:
    """Refuse to go on in `folder` with a record that differs from the one found there.

    **Raises:** `InputError` naming the first key that differs.
    """
    difference = first_difference(identity(found, free), identity(asked, free))
    if difference:
        key, old, new = difference
        raise InputError(
            f"{folder} holds a run with {key.removeprefix('options.')} = {canonical(old)}, not {canonical(new)}: "
            "choose another --out, or repeat its own options to go on with it."
        )
