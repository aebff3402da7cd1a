"""Settings of a training from a TOML file: a table for each dataclass of settings."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from thalweg.core.errors import InputError


def read_settings(config: Path | None, kinds: dict[str, type], **told: Any) -> tuple[Any, ...]:
    """One object of each kind, from the table of its name in a TOML file, with what the command line says on top.

    **Arguments:** `config`, or `None` for the defaults; `kinds`, dataclasses by the name of their table; `told`, fields
    of any of them by name; `None` leaves them as they are.

    **Raises:** `InputError` for a file that is no TOML, unknown tables or names, and values of another kind than the
    default.
    """
    tables: dict[str, Any] = {}
    if config is not None:
        try:
            tables = tomllib.loads(config.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{config}: cannot be read as TOML ({error}): correct it.") from error
    if unknown := set(tables) - set(kinds):
        known = " and ".join(f"[{name}]" for name in kinds)
        raise InputError(f"{config}: has {min(unknown)}, which is unknown: use the tables {known}.")
    return tuple(_made(kind, name, tables.get(name, {}), told, config) for name, kind in kinds.items())


def _made(kind: Any, name: str, table: Any, told: dict[str, Any], config: Path | None) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if not isinstance(table, dict) or set(table) - set(fields):
        wrong = min(set(table) - set(fields)) if isinstance(table, dict) else "a table that is none"
        raise InputError(f"{config}: [{name}] has {wrong}: choose among {', '.join(fields)}.")
    for field, value in table.items():
        default = fields[field].default
        alike = isinstance(value, type(default)) or (isinstance(default, float) and isinstance(value, int))
        if default is not None and (not alike or isinstance(value, bool) != isinstance(default, bool)):
            raise InputError(f"{config}: {field} is {value!r}, but it must be of the kind of {default!r}.")
    above = {field: value for field, value in told.items() if field in fields and value is not None}
    try:
        return kind(**{**table, **above})
    except InputError as error:
        raise InputError(f"{config}: {error}" if table else str(error)) from None
