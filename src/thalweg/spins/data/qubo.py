"""The `.qubo` text of qbsolv: `p qubo target nodes diagonals couplers`, then `i j number`, counted from zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from thalweg.core.errors import InputError
from thalweg.spins.data.problem import Kind, Problem
from thalweg.spins.data.rudy import mark, marked, numbered, statement
from thalweg.spins.data.statement import Statement
from thalweg.spins.data.text import MOST_SPINS, fault, header, page, rows, whole_number

_MOST_LINES = 10**10


def parse(path: Path, content: bytes, kind: Kind | None = None) -> Problem:
    """The problem of a `.qubo` text.

    **Raises:** `InputError` with the file, the line, what was expected and what was found.

    **Source:** M. Booth, S. P. Reinhardt & A. Roy, Partitioning optimization problems for hybrid classical/quantum
    execution, D-Wave Technical Report (2017).
    """
    if kind not in (None, "qubo"):
        raise InputError(f"{path}: a .qubo file is a QUBO, not {kind}: leave the kind out.")
    _, offset, denominator = marked(path, content, "qubo") or ("qubo", 0, 1)
    words, line, rest = header(page(path, content))
    expected = "the header `p qubo 0 nodes diagonals couplers`"
    if len(words) != 6 or words[:2] != ["p", "qubo"]:
        fault(path, line, expected, " ".join(words))
    limits = (MOST_SPINS, _MOST_LINES, _MOST_LINES)
    size, diagonals, couplers = (
        whole_number(path, line, word, expected, most) for word, most in zip(words[3:], limits, strict=True)
    )
    table = rows(rest, (3,), "`i i number` or `i j number`")
    single = int((table.numbers[:, 0] == table.numbers[:, 1]).sum())
    found = single, len(table.lines) - single
    if found != (diagonals, couplers):
        fault(path, line, f"{diagonals} diagonals and {couplers} couplers below", f"{found[0]} and {found[1]}")
    return statement(rest, table, size, 0, "qubo", offset, denominator).problem()


def composed(stated: Statement) -> str:
    """The text of a QUBO."""
    lines, single = numbered(stated, 0), int(np.count_nonzero(stated.linear))
    head = f"p qubo 0 {stated.size} {single} {len(lines) - single}"
    return f"c {mark(stated)}\n{head}\n" + "".join(lines)
