"""The tour: the claims, one chapter each, measured on real input while their report fills."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import click

from thalweg.console import Console, common

if TYPE_CHECKING:
    from pathlib import Path

    from thalweg.report import Page
    from thalweg.report.blocks import Block, Claim
    from thalweg.report.chapter import Chapter, Effort

# The order of the telling: what shows the idea at a glance comes first, what trains for long last.
_ROOMS = ("learning", "robust", "spins", "atoms", "portfolio", "genome")
_TITLE = "thalweg: the tour"


@dataclass
class Told:
    """One chapter as far as it has been told."""

    chapter: Chapter
    status: Literal["waiting", "running", "done"] = "waiting"
    blocks: list[Block] = field(default_factory=list)


class Tour:
    """Tells the chapters one by one, and writes the page after every block."""

    def __init__(self, chapters: list[Chapter], effort: Effort, path: Path, console: Console):
        self._told = [Told(chapter) for chapter in chapters]
        self._effort: Effort = effort
        self._path, self._console = path, console
        self._step, self._began, self.first_figure = "", time.perf_counter(), None

    def tell(self) -> None:
        """Measure every chapter; one that breaks leaves a claim that does not hold, and the others go on."""
        self._write()
        for told in self._told:
            told.status = "running"
            for block in self._blocks(told.chapter):
                told.blocks.append(block)
                self._write()
                self._look(block)
            told.status = "done"
            self._write()

    def claims(self) -> list[tuple[Chapter, Claim]]:
        """Every claim with its chapter."""
        from thalweg.report.chapter import claims_of

        return [(told.chapter, claim) for told in self._told for claim in claims_of(told.blocks)]

    def page(self, *, done: bool) -> Page:
        """The page as it stands."""
        from thalweg.report import Page, Progress, Section

        sections = [Section(told.chapter.title, tuple(told.blocks), told.status) for told in self._told]
        finished = sum(told.status == "done" for told in self._told)
        claims = self.claims()
        held = sum(claim.holds for _, claim in claims)
        systems = len({told.chapter.system for told in self._told})
        summary = f"{held} of {len(claims)} claims hold, measured on this machine; {systems} of the nine systems."
        progress = None if done else Progress(finished, len(sections), self._step, self._seconds_left())
        return Page(_TITLE, summary, sections, "done" if done else "running", progress=progress)

    def _blocks(self, chapter: Chapter) -> Iterator[Block]:
        from thalweg.report.chapter import Telling

        self._note(chapter.title)
        try:
            yield from chapter.tell(Telling(self._effort, self._note))
        except Exception as error:  # whatever breaks a chapter is a claim that fails, and the page says so
            yield _broken(chapter, error)

    def _look(self, block: Block) -> None:
        from thalweg.report import Claim, PaperFigure, PlotlyFigure, Slider

        if self.first_figure is None and isinstance(block, Slider | PaperFigure | PlotlyFigure):
            self.first_figure = time.perf_counter() - self._began
        if isinstance(block, Claim):
            self._console.note(f"  {'holds' if block.holds else 'FAILS'}  {block.statement}")

    def _note(self, step: str) -> None:
        self._step = step
        self._console.note(f"[{time.perf_counter() - self._began:5.1f} s] {step}")
        self._write()

    def _seconds_left(self) -> float:
        return sum(told.chapter.seconds for told in self._told if told.status != "done")

    def _write(self) -> None:
        from thalweg.report import write_page

        write_page(self.page(done=False), self._path)


def _broken(chapter: Chapter, error: Exception) -> Claim:
    from thalweg.report import Claim

    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return Claim(
        id=f"{chapter.id}-ran",
        system=chapter.title,
        statement="The chapter runs to its end.",
        measured=f"{type(error).__name__}: {reason}",
        expected="no error",
        tolerance="exact",
        holds=False,
        seconds=0.0,
        source="This tour",
        command=chapter.command,
    )


def chapters() -> list[Chapter]:
    """The chapters of all rooms, in the order of the telling."""
    return [chapter for room in _ROOMS for chapter in import_module(f"thalweg.{room}.chapter").chapters()]


def _answer(tour: Tour, report: Path) -> dict[str, Any]:
    keys = ("id", "statement", "measured", "expected", "tolerance", "unit", "holds", "seconds", "source", "command")
    rows = [{"system": chapter.system} | {key: getattr(claim, key) for key in keys} for chapter, claim in tour.claims()]
    holds = bool(rows) and all(row["holds"] for row in rows)
    first = None if tour.first_figure is None else round(tour.first_figure, 1)
    return {"claims": rows, "holds": holds, "report": str(report), "first_figure_seconds": first}


@click.command()
@click.option("--quick", "effort", flag_value="quick", help="Fewer steps and items: what the tests run.")
@click.option("--full", "effort", flag_value="full", help="Retrain the models that the default loads, too.")
@click.option("--open/--no-open", "opens", default=None, help="Open the report; by default where there is a terminal.")
@common
def command(console: Console, effort: Effort | None, opens: bool | None) -> None:
    """Measure every claim on real input, and tell it in one page that opens at once and fills.

    A claim that does not hold makes the exit code 1.

    \b
    Example:
      thalweg tour
      thalweg tour --quick --json
    """
    import sys

    chosen: Effort = effort or "default"
    with console.run({"effort": chosen}, dtype="float64") as run:
        path = run.directory.report_path
        tour = Tour(chapters(), chosen, path, console)
        console.note(f"The report fills at {path}")
        if opens or (opens is None and sys.stdout.isatty() and not console.json):
            tour._write()
            click.launch(str(path))
        tour.tell()
        answer = _answer(tour, path)
        run.finish(answer, tour.page(done=True), ok=answer["holds"])
