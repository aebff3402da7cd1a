"""Every reader on damaged files: a result or one sentence of ours, in little memory; nothing else comes out."""

from __future__ import annotations

import pytest
from contract.fuzz import CORPUS, Parser, complaint, damaged, keep
from contract.fuzz_sciences import ATOMS, LEARNING, ROBUST, RUNS, SPINS
from contract.fuzz_tables import GENOME, PORTFOLIO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PARSERS = {parser.name: parser for parser in (*SPINS, *ATOMS, *ROBUST, *LEARNING, *GENOME, *PORTFOLIO, *RUNS)}
DEEP = 700  # as many as `make test-slow` tries, always others; the default run tries the same few each time


@pytest.fixture(params=PARSERS)
def parser(request) -> Parser:
    return PARSERS[request.param]


@pytest.mark.parametrize("examples", [12, pytest.param(DEEP, marks=pytest.mark.slow)])
def test_damaged_files_give_a_result_or_one_sentence(parser, examples, tmp_path):
    path, failed = parser.make(tmp_path), []
    sound = path.read_bytes()
    parser.read(path)

    @settings(
        max_examples=examples * len(parser.ways),
        deadline=None,
        database=None,
        derandomize=examples < DEEP,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large],
    )
    @given(st.sampled_from(parser.ways).flatmap(lambda way: st.tuples(st.just(way), damaged(way.open(sound)))))
    def fuzz(damage):
        way, inner = damage
        content = way.close(sound, inner)
        if found := complaint(parser, path, content):
            failed.append(content)
            raise AssertionError(found)

    try:
        fuzz()
    except AssertionError as error:
        # The last that failed is the least one; it stays, and is replayed from now on.
        raise AssertionError(f"{parser.name}, {keep(parser, failed[-1])}: {error}") from None


def test_what_once_failed_is_replayed(parser, tmp_path):
    path = parser.make(tmp_path)
    for known in sorted((CORPUS / parser.name).glob("*")):
        found = complaint(parser, path, known.read_bytes())
        assert found is None, f"{known}: {found}"


def test_the_corpus_belongs_to_readers_that_there_are():
    assert {folder.name for folder in CORPUS.iterdir()} <= set(PARSERS)
