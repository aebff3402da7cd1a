"""The report page keeps its promises: complete in one file, honest about its claims, and escaped."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from thalweg.report import (
    Citations,
    Claim,
    Marker,
    Page,
    PaperFigure,
    PlotlyFigure,
    Progress,
    Prose,
    Section,
    Slider,
    Table,
    as_svg,
    paper_figure,
    plotly_lines,
    render_page,
)
from thalweg.report.slider import slider_data

BIBTEX = "@article{k, author={A, B}, title={On k}, journal={J}, year=2006, doi={10.1000/x}}"
CLAIM = Claim(
    "C1", "a net", "It splits.", 0.498, 0.5, 0.01, True, 12.3, "a paper", "thalweg learning symmetry --json",
    source_url="https://doi.org/10.1000/x",
)  # fmt: skip


def paper_svg() -> str:
    figure, axes = paper_figure("single")
    axes.plot([0, 1, 2], [1.0, 0.2, 0.4])
    axes.set_xlabel("time (ps)")
    return as_svg(figure)


def slider(kind: Any = "image", frames=None, **other) -> Slider:
    frames = np.random.default_rng(0).random((3, 4, 5)) if frames is None else frames
    return Slider("over the ridge", [0.0, 0.5, 1.0], [1.0, 3.0, 2.0], kind, frames, **other)


def full_page(status: Any = "done") -> Page:
    plotted = plotly_lines([0, 1], {"a": [1, 2], "b": [2, 1]}, x_title="t", y_title="E")
    blocks = [
        Prose("One.\n\nRun `thalweg tour`."),
        CLAIM,
        PlotlyFigure(plotted, "first"),
        PlotlyFigure(plotted, "second"),
        PaperFigure(paper_svg(), "on paper", "loss.svg"),
        Table(["name", "E (eV)"], [["a", -1.5], ["b", None]], "energies"),
        slider(markers=[Marker("ridge", 0.5)]),
        slider("signs", np.where(np.arange(60).reshape(3, 4, 5) % 3, 1, -1)),
        Citations([BIBTEX]),
    ]
    provenance = {"versions": {"thalweg": "0.1"}, "seed": 0, "devices": ["cpu"]}
    return Page(
        "A run", "It went well.", [Section("Chapter", blocks), Section("Next", (), "waiting")], status, provenance
    )


class Elements(HTMLParser):
    """Every element with its attributes, and the text of each script by its type."""

    def __init__(self, html: str):
        HTMLParser.__init__(self)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        tag, attributes = self.found[-1] if self.found else ("", {})
        if tag == "script" and self.cdata_elem == "script":
            self.scripts.append((attributes.get("type"), data))
        self.text += data


def test_the_page_asks_nothing_of_any_other_machine():
    page = render_page(full_page())
    elements = Elements(page)
    assert [tag for tag, _ in elements.found if tag in ("iframe", "object", "embed", "base", "audio", "video")] == []
    outside = [
        (tag, name, value)
        for tag, attributes in elements.found
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "xlink:href", "action", "data", "poster") and value
        if not value.startswith(("data:", "#"))
    ]
    assert outside, "the page should at least link its sources"
    assert {(tag, name) for tag, name, _ in outside} == {("a", "href")}
    styles = "".join(re.findall(r"<style>(.*?)</style>", page, re.DOTALL))
    assert len(styles) > 1000
    assert "url(" not in styles
    assert "@import" not in styles


def test_the_browser_is_told_to_load_nothing():
    elements = Elements(render_page(full_page()))
    policies = [a["content"] for tag, a in elements.found if tag == "meta" and "http-equiv" in a]
    assert len(policies) == 1
    policy = policies[0]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_plotly_comes_once_and_only_where_it_is_needed():
    from plotly.offline import get_plotlyjs

    library = get_plotlyjs()
    assert render_page(full_page()).count(library) == 1
    without = render_page(Page("t", "s", [Section("a", [CLAIM, slider()])]))
    assert library[:200] not in without
    assert len(without) < 100_000  # a page of text and one slider is small: nothing large rides along


JSON = "application/json"
CLAIM_TEXTS = ("id", "system", "statement", "measured", "expected", "tolerance", "source", "command", "unit")
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.mark.parametrize(
    "page",
    [
        Page(HOSTILE, HOSTILE, [Section(HOSTILE, [Prose(f"{HOSTILE} `{HOSTILE}`")])], provenance={HOSTILE: HOSTILE}),
        Page("t", "s", [Section("a", [dataclasses.replace(CLAIM, **dict.fromkeys(CLAIM_TEXTS, HOSTILE))])]),
        Page("t", "s", [Section("a", [Table([HOSTILE], [[HOSTILE]], HOSTILE)])]),
        Page("t", "s", [Section("a", [dataclasses.replace(slider(markers=[Marker(HOSTILE, 0.5)]), title=HOSTILE)])]),
        Page("t", "s", [Section("a", [PaperFigure(HOSTILE, HOSTILE, HOSTILE)])]),
        Page("t", "s", [Section("a", [Citations(["@misc{k, title={" + HOSTILE + "}, url={javascript:alert(1)}}"])])]),
        Page("t", "s", [Section("a")], "running", progress=Progress(0, 1, HOSTILE)),
    ],
)  # fmt: skip
def test_text_stays_text(page):
    html = render_page(page)
    elements = Elements(html)
    assert [a for tag, a in elements.found if tag == "img" and not (a.get("src") or "").startswith("data:")] == []
    assert [a for _, a in elements.found if "onerror" in a or (a.get("href") or "").startswith("javascript:")] == []
    assert not any(text.strip() == "alert(1)" for _, text in elements.scripts)
    assert HOSTILE not in html
    embedded(html)  # asserts that no text ends its script early


def embedded(html: str) -> list[Any]:
    """The data in a page's scripts, read more strictly than a browser: not one `<` before the end of the element."""
    pieces = html.split(f'<script type="{JSON}">')[1:]
    data = [piece.partition("<") for piece in pieces]
    assert all(rest.startswith("/script>") for _, _, rest in data)
    return [json.loads(text) for text, _, _ in data]


def test_a_hostile_plotly_title_stays_in_its_script():
    figure = plotly_lines([0, 1], {"a": [1, 2]}, x_title=HOSTILE, y_title="E")
    html = render_page(Page("t", "s", [Section("a", [PlotlyFigure(figure)])]))
    assert HOSTILE not in html
    (data,) = embedded(html)
    assert data["layout"]["xaxis"]["title"]["text"] == HOSTILE  # the figure itself is unchanged


def test_a_running_page_reloads_and_a_finished_one_does_not():
    def reload(status):
        (root,) = [a for tag, a in Elements(render_page(full_page(status))).found if tag == "html"]
        return root.get("data-reload")

    assert reload("running") == "3"
    assert reload("done") is None
    assert reload("stopped") is None


def test_a_running_page_says_where_it_is():
    chapters = [Section("First", [CLAIM]), Section("Second", (), "running"), Section("Third", (), "waiting")]
    html = render_page(Page("t", "s", chapters, "running", progress=Progress(1, 3, "compiling the relaxation", 95.0)))
    text = " ".join(Elements(html).text.split())
    assert "Running: chapter 2 of 3, compiling the relaxation. About 95 s left." in text
    assert "Working on it." in text
    assert "Waits for its turn." in text
    assert "1 of 1 claim holds so far" in text


def test_verdicts_are_words():
    failed = dataclasses.replace(CLAIM, id="C2", holds=np.bool_(False), measured=float("nan"))
    html = render_page(Page("t", "s", [Section("a", [CLAIM]), Section("b", [failed])]))
    text = " ".join(Elements(html).text.split())
    assert "✓ holds C1" in text
    assert "✗ fails C2" in text
    assert "1 of 2 claims hold" in text
    assert "not a number" in text


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({}, True),
        ({"measured": 0.6, "holds": False}, True),
        ({"measured": 0.6}, False),
        ({"tolerance": "exact"}, False),
    ],
)
def test_the_gauge_never_contradicts_the_verdict(change, shown):
    html = render_page(Page("t", "s", [Section("a", [dataclasses.replace(CLAIM, **change)])]))
    assert ("measured against tolerance" in html) == shown


def test_the_page_holds_the_slider_s_data():
    shown = slider(
        "points", np.arange(18.0).reshape(3, 3, 2), bonds=[[0, 1], [1, 2]], labels=["a", "b", "<c>"], start=1
    )
    html = render_page(Page("t", "s", [Section("a", [shown, shown])]))
    found = embedded(html)
    assert len(found) == 2
    assert found[0] == found[1] == json.loads(json.dumps(slider_data(shown)))
    assert found[0]["frames"] == {"shape": [3, 3, 2], "encoding": "json", "data": list(range(18))}
    assert found[0]["labels"] == ["a", "b", "<c>"]
    assert html.count("thalweg.things = {") == 1  # one copy of the widget's code serves both


def test_a_report_loads_neither_jax_nor_the_plotting_libraries():
    code = (
        "import sys\n"
        "from thalweg.report import Page, Prose, Section, render_page\n"
        "render_page(Page('t', 's', [Section('a', [Prose('x')])]))\n"
        "print([m for m in ('jax', 'matplotlib', 'plotly', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
