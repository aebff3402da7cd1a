"""The primate splice junctions of the UCI repository, duplicates grouped."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int8

from thalweg.core.errors import InputError, shown
from thalweg.genome.data.labels import ACCEPTOR, DONOR, NONE
from thalweg.genome.data.sequence import to_codes
from thalweg.genome.data.text import Note, Source, lines, located, silent

LENGTH = 60
_LABELS = {"EI": DONOR, "IE": ACCEPTOR, "N": NONE}
_LETTERS = frozenset("ACGTNRYSWKMBDHV")


class Junctions(NamedTuple):
    """Windows of 60 bases, with or without a junction in their middle.

    **Fields:** `codes`; `labels`, 0 none, 1 donor (the last base of the exon is the 30th), 2 acceptor (the first base
    of the exon is the 31st); `names`; `groups`, the same number for rows of the same bases; `conflicting`, whether
    another row of its group has another label.
    """

    codes: Int8[np.ndarray, "rows 60"]
    labels: Int8[np.ndarray, " rows"]
    names: list[str]
    groups: Int[np.ndarray, " rows"]
    conflicting: Bool[np.ndarray, " rows"]


def read_junctions(source: Source = "splice-junctions", *, note: Note = silent) -> Junctions:
    """Every row of the splice-junction table, as UCI serves it or as a CSV file with a header.

    Nothing is left out: rows of the same bases share a group, so that folds can keep them together.

    **Arguments:** `source`, a file or the public data set; `note`, told of duplicates and conflicts.

    **Raises:** `InputError` in one sentence with the file and line.
    """
    path = located(source)
    labels, names, texts = [], [], []
    for number, line in enumerate(lines(path), 1):
        fields = [field.strip() for field in line.split(",")]
        if not line.strip() or (number == 1 and fields[0] == "class"):
            continue
        if len(fields) != 3 or fields[0] not in _LABELS:
            raise InputError(f"{path}, line {number}: is not a class (EI, IE or N), a name and bases, parted by "
                             "commas: name a file of such rows.")  # fmt: skip
        bases = fields[2].upper()
        if len(bases) != LENGTH or not _LETTERS.issuperset(bases):
            raise InputError(f"{path}, line {number}: holds no {LENGTH} bases but {shown(fields[2])}: correct the row.")
        labels.append(_LABELS[fields[0]])
        names.append(fields[1])
        texts.append(bases)
    if not texts:
        raise InputError(f"{path}: holds no rows: name a file of splice junctions.")
    kinds: dict[str, set[int]] = {}
    for text, label in zip(texts, labels, strict=True):
        kinds.setdefault(text, set()).add(label)
    numbers = {text: number for number, text in enumerate(kinds)}
    conflicting = np.array([len(kinds[text]) > 1 for text in texts])
    if len(kinds) < len(texts):
        note(f"{path}: {len(texts)} rows hold {len(kinds)} different sequences; {int(conflicting.sum())} rows have the "
             "bases of another row and not its class.")  # fmt: skip
    return Junctions(
        codes=to_codes("".join(texts)).reshape(-1, LENGTH),
        labels=np.array(labels, np.int8),
        names=names,
        groups=np.array([numbers[text] for text in texts]),
        conflicting=conflicting,
    )


def folds(junctions: Junctions, count: int = 10, *, seed: int = 0) -> Int[np.ndarray, " rows"]:
    """The fold of each row: rows of a group share one, and classes are about equally frequent in all."""
    from sklearn.model_selection import StratifiedGroupKFold

    found = np.zeros(junctions.labels.size, int)
    parts = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for fold, (_, rows) in enumerate(parts.split(junctions.codes, junctions.labels, junctions.groups)):
        found[rows] = fold
    return found
