"""The tour: every claim measured once in earnest, and how it tells of what fails, breaks or is still to come."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command_line import call, isolate

from thalweg import tour
from thalweg.core.errors import InputError, ThalwegError
from thalweg.report.blocks import Claim, Prose
from thalweg.report.chapter import Chapter, Telling

pytestmark = pytest.mark.timeout(600)  # nine chapters, each compiled without optimisation

KEYS = {"id", "system", "statement", "measured", "expected", "tolerance", "holds", "seconds", "source"}


# The real one, once


class Tour(NamedTuple):
    exit_code: int
    answer: dict[str, Any]
    notes: str
    page: str


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> Iterator[Tour]:
    with pytest.MonkeyPatch.context() as patch:
        isolate(tmp_path_factory.mktemp("tour"), patch)
        ran = call("tour", "--quick", "--json")
        answer = json.loads(ran.stdout)
        assert "error" not in answer, ran.output
        yield Tour(ran.exit_code, answer, ran.stderr, Path(answer["report"]).read_text(encoding="utf-8"))


def test_every_claim_is_stated_in_full_and_holds(quick):
    claims = quick.answer["claims"]
    for claim in claims:
        assert claim.keys() >= KEYS
        assert claim["holds"] is True, claim
        assert claim["seconds"] >= 0
        assert all(claim[key] not in ("", None) for key in KEYS)
    assert len({claim["id"] for claim in claims}) == len(claims)
    assert quick.answer["holds"] is True
    assert quick.exit_code == 0


def test_the_rooms_tell_what_they_claim(quick):
    claims = {claim["id"]: claim for claim in quick.answer["claims"]}
    assert {claim["system"] for claim in claims.values()} == set(range(1, 10))
    assert set(claims) == set(
        "symmetry-rate symmetry-better symmetry-bits transition-first transition-spinodal push-success "
        "push-smallest push-baseline work-straight work-bent audit-quantiser audit-steep glass-mapping glass-ground "
        "glass-bound glass-learning glass-correlation glass-critical moving-drift moving-forces moving-symmetry "
        "moving-errors turning-energy turning-naive turning-wigner turning-directions reading-donors reading-acceptors "
        "reading-slope reading-pieces plastic-off plastic-on plastic-before plastic-law plastic-drift "
        "forecasting-jacobian forecasting-driven forecasting-slopes forecasting-stress forecasting-work "
        "forecasting-real".split()
    )
    close = "symmetry-rate transition-first transition-spinodal push-smallest work-straight work-bent"
    close += " moving-drift moving-forces moving-symmetry moving-errors turning-energy turning-wigner"
    close += " reading-slope reading-pieces plastic-on plastic-law"
    close += " forecasting-jacobian forecasting-slopes forecasting-work"
    for id in f"{close} turning-directions glass-correlation glass-critical".split():
        claim = claims[id]
        assert abs(claim["measured"] - claim["expected"]) <= claim["tolerance"]  # not merely said to hold
    assert claims["push-success"]["measured"] == 1
    assert claims["push-baseline"]["measured"] <= 1 + 1e-5
    assert claims["audit-quantiser"]["measured"] == 1
    assert claims["audit-steep"]["measured"] == 0
    assert claims["symmetry-better"]["measured"] < 0.5
    assert claims["glass-mapping"]["measured"] == 0
    assert claims["glass-ground"]["measured"] == -198
    assert claims["glass-bound"]["measured"] <= -198
    assert claims["glass-learning"]["measured"] > -20.5
    assert claims["turning-naive"]["measured"] > 1e-3


def test_the_report_holds_all_chapters_and_is_done(quick):
    for chapter in tour.chapters():
        assert chapter.title in quick.page
        assert chapter.title in quick.notes  # and it was told while it went on
    for claim in quick.answer["claims"]:
        assert claim["id"] in quick.page
    assert f"{len(quick.answer['claims'])} of {len(quick.answer['claims'])} claims hold" in quick.page
    assert "@inproceedings{pintor2021fast" in quick.page
    assert 0 < quick.answer["first_figure_seconds"] <= quick.answer["seconds"]


class Elements(HTMLParser):
    """Every element with its attributes."""

    def __init__(self, html: str):
        HTMLParser.__init__(self)
        self.found: list[tuple[str, str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.extend((tag, name, value or "") for name, value in attrs)


LOADING = ("src", "href", "srcset", "xlink:href", "action", "data", "poster")


def test_the_report_opens_offline(quick):
    found = Elements(quick.page).found
    outside = {
        (tag, name) for tag, name, value in found if name in LOADING and not value.startswith(("data:", "#", "blob:"))
    }
    assert outside <= {("a", "href")}  # links to sources, which load nothing until they are followed
    policy = [value for tag, name, value in found if (tag, name) == ("meta", "content") and "default-src" in value]
    assert policy
    assert policy[0].startswith("default-src 'none'")
    assert "http" not in policy[0]
    styles = "".join(re.findall(r"<style>(.*?)</style>", quick.page, re.DOTALL))
    assert styles
    assert "url(" not in styles
    assert "@import" not in styles


# Chapters of our own


@pytest.fixture
def telling(tmp_path, monkeypatch) -> Callable[..., Any]:
    """The tour of the chapters that it is given: each a function of the telling that yields blocks."""
    isolate(tmp_path, monkeypatch)

    def go(*tells: Callable[[Telling], Iterator[Any]], words: tuple[str, ...] = ("--json",)):
        found = [Chapter(f"c{i}", i + 1, f"Chapter {i}", "thalweg", 1.0, tell) for i, tell in enumerate(tells)]
        monkeypatch.setattr(tour, "chapters", lambda: found)
        return call("tour", *words, *(() if "--out" in words else ("--out", "run")))

    return go


def claim(id: str = "one", *, holds: bool = True, measured: float = 1.0) -> Claim:
    return Claim(id, "a toy", "It is one.", measured, 1.0, 0.1, holds, 0.0, "Definition", "thalweg")


def holding(_: Telling):
    yield claim("holding")


def test_a_claim_that_fails_fails_the_tour(telling, tmp_path):
    def failing(_: Telling):
        yield claim("failing", holds=False, measured=2.0)

    ran = telling(holding, failing)
    assert ran.exit_code == 1
    answer = json.loads(ran.stdout)
    assert [row["holds"] for row in answer["claims"]] == [True, False]
    assert answer["holds"] is False
    assert "1 of 2 claims hold" in (tmp_path / "run" / "report.html").read_text()
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "failed"
    assert "FAILS" in ran.stderr


def test_a_tour_without_claims_has_shown_nothing(telling):
    def silent(_: Telling):
        yield Prose("Nothing to see.")

    ran = telling(silent)
    assert ran.exit_code == 1
    assert json.loads(ran.stdout)["claims"] == []


BREAKS = [
    ThalwegError("the walk broke."),
    InputError("there are no digits."),
    ValueError("shapes do not match\nand more of it"),
    ZeroDivisionError(),
    KeyError("missing"),
    OSError(28, "No space left on device"),
    AssertionError("a library's own check"),
    ImportError("no module named sklearn"),
]


@pytest.mark.parametrize("error", BREAKS, ids=lambda error: type(error).__name__)
def test_a_chapter_that_breaks_leaves_a_failed_claim_and_the_others_go_on(telling, error):
    def breaking(_: Telling):
        yield claim("before")
        raise error

    ran = telling(breaking, holding)
    assert ran.exit_code == 1, ran.output
    answer = json.loads(ran.stdout)
    assert [(row["id"], row["holds"]) for row in answer["claims"]] == [
        ("before", True), ("c0-ran", False), ("holding", True)
    ]  # fmt: skip
    broken = answer["claims"][1]
    assert broken.keys() >= KEYS
    assert broken["measured"].startswith(type(error).__name__)
    assert "\n" not in broken["measured"]
    assert "Traceback" not in ran.output


def test_the_page_fills_while_the_chapters_are_told(telling, tmp_path):
    report, seen = tmp_path / "run" / "report.html", []

    def look() -> None:
        seen.append(report.read_text())

    def first(teller: Telling):
        look()
        yield claim("first-claim")
        look()
        teller.note("at the second step")
        look()

    def second(_: Telling):
        look()
        yield claim("second-claim")

    assert telling(first, second).exit_code == 0
    before, after, noted, between = seen
    final = report.read_text()
    assert "Chapter 0" in before  # there from the first moment, the later chapter announced
    assert "Chapter 1" in before
    assert "first-claim" not in before
    assert "first-claim" in after
    assert "1 of 1 claims hold" in after
    assert "at the second step" in noted
    assert "second-claim" not in between
    assert "2 of 2 claims hold" in final
    pages = [re.findall(r'<html [^>]*data-status="(\w+)"', page) for page in (*seen, final)]
    assert pages == [["running"], ["running"], ["running"], ["running"], ["done"]]
    sections = [re.findall(r'class="chapter (\w+)"', page) for page in (*seen, final)]
    early, middle = ["running", "waiting"], ["done", "running"]
    assert sections == [early, early, early, middle, ["done", "done"]]


def test_effort_is_passed_on(telling):
    seen = []

    def asking(teller: Telling):
        seen.append(teller.effort)
        yield claim()

    for words in ((), ("--quick",), ("--full",)):
        assert telling(asking, words=(*words, "--quiet", "--no-open", "--out", f"run{len(seen)}")).exit_code == 0
    assert seen == ["default", "quick", "full"]
