"""No file is ever code: pickles and worse, under every name that a reader might fall for."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from contract.fuzz import Parser, complaint
from contract.fuzz_sciences import ATOMS, LEARNING, ROBUST, RUNS, SPINS
from contract.fuzz_tables import GENOME, PORTFOLIO

PARSERS = {parser.name: parser for parser in (*SPINS, *ATOMS, *ROBUST, *LEARNING, *GENOME, *PORTFOLIO, *RUNS)}


class Bomb:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def bombs(mark: Path) -> dict[str, bytes]:
    """Files that run code in whoever loads pickles or evaluates text."""
    objects = np.array([Bomb(mark)], dtype=object)
    array, archive, torch = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(array, objects, allow_pickle=True)
    np.savez(archive, x=objects, y=np.zeros(1, int), samples=objects, data=objects, allow_pickle=True)
    with zipfile.ZipFile(torch, "w") as packed:
        packed.writestr("archive/data.pkl", pickle.dumps(Bomb(mark)))
    text = f"__import__('os').mkdir({str(mark)!r})"
    return {
        "a pickle": pickle.dumps(Bomb(mark)),
        "an old pickle": pickle.dumps(Bomb(mark), protocol=0),
        "an array of objects": array.getvalue(),
        "an archive of objects": archive.getvalue(),
        "weights of PyTorch": torch.getvalue(),
        "a program": f"{text}\n".encode(),
        "an array's header": b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode(),
        "a formula": f"a,b\n={text},2\n3,4\n".encode(),
        "an attribute": f'2\nProperties=species:S:1:pos:R:3 x="{text}"\nH 0 0 0\nH 0 0 1\n'.encode(),
    }


def test_the_bombs_go_off_where_they_may(tmp_path):
    pickle.loads(bombs(tmp_path / "mark")["a pickle"])
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", PARSERS)
def test_nothing_in_a_file_is_run(name, tmp_path):
    parser: Parser = PARSERS[name]
    (tmp_path / "work").mkdir()
    path, mark = parser.make(tmp_path / "work"), tmp_path / "mark"
    for what, content in bombs(mark).items():
        found = complaint(parser, path, content)
        assert not mark.exists(), f"{name} ran {what}."
        assert found is None, f"{name}, {what}: {found}"
