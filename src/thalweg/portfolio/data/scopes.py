"""Scopes of the Greenhouse Gas Protocol as tables and options spell them, and which rows of a report are totals."""

from __future__ import annotations

import re

from thalweg.core.errors import InputError

SCOPES = ("s1", "s2", "s3", "s1s2", "s1s2s3")
_WHOLE = ("", "total", "combined", "all", "overall", "group", "global", "company", "net", "gross")
_BOUNDARIES = (*_WHOLE, "enlarged group", "own", "equity", "operated", "full", "operational control",
               "financial control", "operations-driven", "as indicated on the report", "corporate")  # fmt: skip


def scope(spelled: str) -> str | None:
    """A scope as `s1`, `s2`, `s3`, `s1s2` or `s1s2s3`; None for what is none of them.

    **Arguments:** `spelled`: `s1+s2`, `Scope 1`, `1+2`, `S1S2`.
    """
    plain = re.sub(r"scopes?|[\s+&_,]|and", "", spelled.lower())
    found = "".join(f"s{digit}" for digit in plain if digit.isdigit())
    return found if found in SCOPES and set(plain) <= set("s123") else None


def wanted_scope(spelled: str) -> str:
    """The scope that a user asks for. **Raises:** `InputError` for one that there is not."""
    found = scope(spelled)
    if found is None:
        raise InputError(f"there is no scope {spelled!r}: choose one of {', '.join(SCOPES)}.")
    return found


def rank(submetric: str, boundary: str, method: str) -> int | None:
    """How well a row stands for a whole company, 0 best; None for a row that breaks a total down.

    **Arguments:** `submetric` and `boundary` of the ITR template; `method`, `location` or `market`: which count of
    purchased electricity (scope 2) goes first; the other one goes last.
    """
    kind, edge = _plain(submetric), _plain(boundary)
    if edge not in _BOUNDARIES:
        return None
    outside = _BOUNDARIES.index(edge)
    based = re.fullmatch(r"(location|market)([ -]based)?\*?", kind)
    if based:
        return outside + (0 if based[1] == method else 2000)
    return outside + 1000 + _WHOLE.index(kind) if kind in _WHOLE else None


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip().lower())
