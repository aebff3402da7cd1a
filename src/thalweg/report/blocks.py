"""What a page is made of: sections of blocks, each a frozen value that knows nothing of HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from thalweg.core.errors import InputError
from thalweg.report.slider import Slider
from thalweg.report.viewer import Viewer

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyGraph

Cell: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Prose:
    """Plain text: a blank line starts a paragraph, `backticks` mark code."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table with a CSV download; numbers are right-aligned, `None` is shown as a dash.

    **Arguments:** `columns`, the headings, units included; `rows`, one sequence of cells per row.

    **Raises:** `InputError` if a row has not one cell per column.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""

    def __post_init__(self):
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise InputError(
                    f'Table "{self.caption}": row {i} has {len(row)} cells for {len(self.columns)} columns.'
                )


@dataclass(frozen=True, eq=False)
class PlotlyFigure:
    """An interactive figure (`plotly.graph_objects.Figure`); the page follows the reader's light or dark theme."""

    figure: PlotlyGraph
    caption: str = ""


@dataclass(frozen=True)
class PaperFigure:
    """A figure for print: the text of an SVG (see `as_svg`), shown on white and offered for download as `name`."""

    svg: str
    caption: str = ""
    name: str = "figure.svg"


@dataclass(frozen=True)
class Claim:
    """A statement, the number that was measured for it, and whether it holds.

    **Arguments:**

    - `id`: short and unique on the page, the target of links to the card (`"C4"`).
    - `system`: what it was measured on. `statement`: the claim, one sentence.
    - `measured`, `expected`: numbers in `unit`, or text where one number does not say it.
    - `tolerance`: the half-width of the accepted interval around `expected` in `unit`, or text for any other rule.
    - `holds`: the verdict. The caller decides, the card only shows it.
    - `seconds`: wall-clock time of the measurement.
    - `source`: where the expectation comes from, with a link in `source_url`.
    - `command`: one line that repeats the measurement on the reader's own data.
    """

    id: str
    system: str
    statement: str
    measured: float | str
    expected: float | str | None
    tolerance: float | str | None
    holds: bool
    seconds: float
    source: str
    command: str
    unit: str = ""
    source_url: str = ""

    def __post_init__(self):
        if self.source_url and not self.source_url.startswith(("https://", "http://")):
            raise InputError(f"Claim {self.id}: source_url must start with https://, not {self.source_url!r}.")


@dataclass(frozen=True)
class Citations:
    """The methods that were used, as BibTeX entries (one or more per string); repeated entries are shown once."""

    bibtex: Sequence[str]


Block: TypeAlias = Prose | Table | PlotlyFigure | PaperFigure | Claim | Slider | Viewer | Citations


@dataclass(frozen=True)
class Section:
    """A chapter. `waiting` and `running` ones are placeholders that a later write of the page fills."""

    title: str
    blocks: Sequence[Block] = ()
    status: Literal["waiting", "running", "done"] = "done"


@dataclass(frozen=True)
class Progress:
    """How far a run is: chapters done of all, the step it is in, and an estimate of the seconds left."""

    done: int
    total: int
    step: str = ""
    seconds_left: float | None = None


@dataclass(frozen=True)
class Page:
    """One run as one page.

    **Arguments:**

    - `title`, `summary`: what it is, and its result in one line.
    - `sections`: the chapters in reading order.
    - `status`: a `running` page reloads itself until it is `done` (or `stopped` before its end).
    - `provenance`: the manifest: versions, seed, dtype, device, date; values may be mappings or sequences.
    - `progress`: shown while the page is not `done`.
    """

    title: str
    summary: str
    sections: Sequence[Section] = ()
    status: Literal["running", "done", "stopped"] = "done"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress | None = None

    def __post_init__(self):
        if self.status not in ("running", "done", "stopped"):
            raise InputError(f"Page status must be running, done or stopped, not {self.status!r}.")
