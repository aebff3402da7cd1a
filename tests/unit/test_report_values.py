"""Files, JSON, tables, figures and references: whole, exact, repeatable, or refused with one sentence."""

from __future__ import annotations

import dataclasses
import enum
import io
import json
import os

import numpy as np
import pytest

from thalweg.core.errors import InputError, ThalwegError
from thalweg.report import (
    Page,
    Section,
    Table,
    as_svg,
    jsonable,
    paper_figure,
    print_table,
    save_figure,
    to_json,
    write_page,
)
from thalweg.report.citations import references
from thalweg.report.page import duration
from thalweg.report.tables import number

BIBTEX = r"""@article{bitzek2006,
  author = {Bitzek, Erik and G{\"a}hler, Franz}, title = {Structural {R}elaxation Made Simple},
  journal = "Phys. Rev. Lett.", volume = 97, pages = {170201}, year = 2006, doi = {10.1103/PhysRevLett.97.170201}}"""


def paper_svg() -> str:
    figure, axes = paper_figure("single")
    axes.plot([0, 1, 2], [1.0, 0.2, 0.4])
    axes.set_xlabel("time (ps)")
    return as_svg(figure)


def test_writing_is_atomic_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "new" / "report.html"
    write_page(Page("old", "s"), path)
    before = path.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(ThalwegError, match="No space left"):
            write_page(Page("new", "s"), path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]

    write_page(Page("new", "s"), path)
    assert b"<h1>new</h1>" in path.read_bytes()


def test_a_page_is_refused_whole_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="cannot show a str"):
        write_page(Page("t", "s", [Section("a", ["text"])]), tmp_path / "report.html")  # type: ignore[list-item]
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ThalwegError, match="choose another place"):
        write_page(Page("t", "s"), tmp_path / "file" / "report.html")


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Result:
    energy: np.ndarray
    colour: Colour = Colour.RED


def test_jsonable_turns_results_into_plain_values():
    result = {"walk": Result(np.array([1.0, 2.5])), "ok": np.bool_(True), "n": np.int64(3), 4: (None, "x")}
    plain = {"walk": {"energy": [1.0, 2.5], "colour": "RED"}, "ok": True, "n": 3, "4": [None, "x"]}
    assert jsonable(result) == plain
    assert json.loads(to_json(result)) == plain


@pytest.mark.parametrize(
    ("result", "key"),
    [
        ({"loss": float("nan")}, r"result\.loss is nan"),
        ({"trace": {"energy": np.array([[0.0, 1.0], [np.inf, 0.0]])}}, r"result\.trace\.energy\[1, 0\] is inf"),
        (Result(np.array(np.nan)), r"result\.energy is nan"),
        ({"steps": [1.0, -np.inf]}, r"result\.steps\[1\] is -inf"),
        ({"z": np.array(1j)}, r"result\.z is an array of complex128"),
        ({"f": len}, r"result\.f is a builtin"),
        ({1.5: 0}, r"result has the key 1\.5"),
    ],
)
def test_jsonable_refuses_what_json_lacks_and_names_it(result, key):
    with pytest.raises(InputError, match=key):
        jsonable(result)


def test_the_same_figure_is_the_same_svg():
    assert paper_svg() == paper_svg()
    assert "dc:date" not in paper_svg()


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_saved_figures_repeat_byte_for_byte(tmp_path, suffix):
    figure, axes = paper_figure("double")
    axes.plot([0, 1], [0, 1])
    first = save_figure(figure, tmp_path / f"a{suffix}").read_bytes()
    assert save_figure(figure, tmp_path / f"b{suffix}").read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


def test_paper_figures_have_the_width_of_a_column_and_leave_no_global_state():
    import matplotlib

    before = dict(matplotlib.rcParams)
    figure, _ = paper_figure("single")
    as_svg(figure)
    assert figure.get_figwidth() * 25.4 == pytest.approx(89.0)
    assert dict(matplotlib.rcParams) == before
    with pytest.raises(InputError, match="single or double"):
        paper_figure("triple")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"\.svg, \.pdf or \.png"):
        save_figure(figure, "figure.gif")


def test_bibtex_reads_as_people_write_it():
    (reference,) = references([BIBTEX, BIBTEX])
    assert reference.authors == "Erik Bitzek and Franz Gähler"
    assert reference.title == "Structural Relaxation Made Simple"
    assert reference.where == "Phys. Rev. Lett. 97, 170201"
    assert reference.url == "https://doi.org/10.1103/PhysRevLett.97.170201"
    assert reference.bibtex == BIBTEX


@pytest.mark.parametrize(
    ("tex", "plain"),
    [(r"Erd{\H{o}}s", "Erdős"), (r"{\o}rsted", "ørsted"), (r"Pad\'e", "Padé"), (r"\v{C}ern\'{y}", "Černý")],
)
def test_accents_survive(tex, plain):
    assert references([f"@misc{{k, title={{{tex}}}}}"])[0].title == plain


@pytest.mark.parametrize("text", ["no entry", "@article{k}", "@misc{k, title={open}", "@misc{k, title={a} oops}"])
def test_broken_bibtex_is_one_sentence(text):
    with pytest.raises(InputError, match="BibTeX"):
        references([text])


def test_tables_say_which_row_is_wrong_and_print_for_the_terminal():
    with pytest.raises(InputError, match="row 1 has 1 cells for 2 columns"):
        Table(["a", "b"], [[1, 2], [3]])
    out = io.StringIO()
    print_table(Table(["name", "E [eV]"], [["[red]x", -1.5e-7]]), file=out)
    assert "[red]x" in out.getvalue()
    assert "E [eV]" in out.getvalue()
    assert "\u22121.5 \u00d7 10⁻⁷" in out.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.3"),
        (-1, "\u22121"),
        (True, "yes"),
        (None, "\u2013"),
        (np.float32(2.5), "2.5"),
        (1e9, "1 \u00d7 10⁹"),
        ("a-b", "a-b"),
    ],
)
def test_numbers_as_people_read_them(value, text):
    assert number(value) == text


def test_durations_as_people_say_them():
    said = [duration(seconds) for seconds in (0.123, 12.3, 95, 600, 9000, None)]
    assert said == ["0.12 s", "12 s", "95 s", "10 min", "2.5 h", "unknown"]
