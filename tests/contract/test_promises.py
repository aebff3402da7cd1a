"""The table of promises is whole: every room, every promise, and tests that there are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from contract.promises import CASES, PROMISES, ROOMS
from contract.test_fuzz_readers import PARSERS
from contract.test_promises_landscapes import POSED

TESTS = Path(__file__).parents[1]
SOURCE = TESTS.parent / "src" / "thalweg"


def functions(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_rooms_are_those_of_the_package():
    assert {path.parent.name for path in SOURCE.glob("*/tasks")} == set(ROOMS)
    assert set(CASES) == set(POSED) == set(ROOMS)


@pytest.mark.parametrize("promise", PROMISES)
def test_no_room_lacks_a_promise(promise):
    assert set(PROMISES[promise]) == set(ROOMS)
    for room, tests in PROMISES[promise].items():
        assert tests, f"{room}: nothing holds it to: {promise}."
        for file, name in tests:
            assert name in functions(file), f"{room}: {file} has no {name}."


def test_every_room_has_a_reader_that_is_fuzzed():
    assert {name.partition("-")[0] for name in PARSERS} == {*ROOMS, "runs"}
    # A new module that opens files, among a room's readers, has to be thought of here.
    for room, modules in READERS.items():
        found = {path.stem for path in (SOURCE / room / "data").glob("*.py") if opens(path)}
        assert found <= modules, f"{room}: {', '.join(sorted(found - modules))} reads files and is fuzzed nowhere."


READERS = {
    "spins": {"text", "samples", "arrays"},
    "atoms": {"extxyz", "read", "deepmd", "write"},
    "genome": {"text"},
    "portfolio": {"tables"},
}


def opens(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return any(word in text for word in ("open(", "read_text(", "read_bytes(", "np.load(", "load_npz(", ".iread("))


def test_docs_tell_every_promise():
    text = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
    for promise in PROMISES:
        assert promise in text, f"docs/reliability.md does not tell: {promise}."
