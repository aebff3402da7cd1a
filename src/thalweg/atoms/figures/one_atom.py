"""Pictures of one atom in the field of others, and of clouds that distances cannot tell apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.tasks.one_atom import SEES, Example, table
from thalweg.atoms.tasks.same_distances import CLOUDS, ENVIRONMENTS, distances_seen, triangles, two_clouds
from thalweg.report import (
    Citations,
    PaperFigure,
    PlotlyFigure,
    Prose,
    Section,
    Table,
    as_svg,
    paper_figure,
    paper_style,
    plotly_lines,
)
from thalweg.report.figures import PALETTE

_STORY = (
    "A probe is moved around a rigid molecule of {atoms} atoms; its energy is a sum of Lennard-Jones and screened "
    "Coulomb terms, one for each atom. The same network, with the same number of parameters and of steps and a rate "
    "chosen for each, is shown the distances from the probe to the atoms, or the probe's coordinates, or the "
    "coordinates of probe and atoms turned at random. The energies of the test places vary by {spread:.3g} meV."
)
_FINDING = (
    "With {most} places the error is {distances:.3g} meV from distances and {coordinates:.3g} meV from coordinates. "
    "When probe and molecule are turned together it is {turned_distances:.3g} from distances and "
    "{turned_coordinates:.3g} from coordinates; a network that is shown turned coordinates reaches {taught:.3g}."
)
_BLIND = (
    "Distances are not everything. One centre: two neighbours at the same distance, at an angle or opposite, look "
    "alike to any model of the distances to their centre; GFN2-xTB puts them {one} eV apart. The `radial` network of "
    "this room sees the distances of every atom to its neighbours, hydrogen to hydrogen too, and tells these two "
    "apart.\n\n"
    "All centres: in the two clouds of C4H4 below every atom has the same distances to all others, to rounding, and "
    "so has every neighbour of it: `radial` gives both one energy with any weights, however many layers it has. "
    "GFN2-xTB puts them {all} eV apart, so that every model of these distances is off by at least {floor} eV on one "
    "of them. Their triangles differ, and `gto`, which has angular orbitals, tells them apart."
)


def example_sections(example: Example, blind: dict[str, Any]) -> list[Section]:
    """One atom in the field of others, and what distances cannot tell apart."""
    result = example.result
    most = str(max(int(size) for size in result["distances"]["mae_meV"]))

    def error(kind: str, turned: str = "") -> float:
        return result[kind][f"{turned}mae_meV"][most]["mean"]

    finding = _FINDING.format(
        most=most, distances=error("distances"), coordinates=error("coordinates"),
        turned_distances=error("distances", "turned_"), turned_coordinates=error("coordinates", "turned_"),
        taught=error("coordinates_turned", "turned_"),
    )  # fmt: skip
    columns = ("the network sees", "parameters", "places learnt", "error (meV)", "error, all turned (meV)")
    story = _STORY.format(atoms=result["atoms"], spread=result["spread_meV"])
    one, every = blind["one_centre"], blind["all_centres"]
    told = _BLIND.format(one=_eV(one["gfn2_eV"]), all=_eV(every["gfn2_eV"]), floor=_eV(every["floor_eV"]))
    return [
        Section("One atom in the field of others",
                [Prose(f"{story}\n\n{finding}"), places_figure(result), Table(columns, table(result))]),
        Section("What distances cannot tell apart",
                [Prose(told), clouds_figure(), _blind_table(blind), Citations([ENVIRONMENTS, CLOUDS])]),
    ]  # fmt: skip


def places_figure(result: dict[str, Any]) -> PlotlyFigure:
    """The error over the number of places that were learnt from, as they are and turned."""
    import plotly.graph_objects as go

    figure = plotly_lines([], {}, x_title="places learnt from", y_title="mean absolute error (meV)", log=(True, True))
    for number, kind in enumerate(SEES):
        told = result[kind.replace(", ", "_")]
        for key, dash, words in (("mae_meV", "solid", ""), ("turned_mae_meV", "dot", ", all turned")):
            sizes, mean, bars = curve(told[key])
            figure.add_trace(go.Scatter(x=sizes, y=mean, error_y=bars, name=kind + words, mode="lines+markers",
                                        line={"color": PALETTE[number], "dash": dash, "width": 2}))  # fmt: skip
    figure.update_layout(showlegend=True)
    return PlotlyFigure(
        figure, "Energy of one atom in the field of others; dotted where molecule and probe are turned."
    )


def curve(told: dict[str, Any]) -> tuple[list[int], list[float], dict[str, Any] | None]:
    """Sizes, means and error bars (standard deviations over seeds) of a learning curve."""
    mean = [each["mean"] for each in told.values()]
    spread = [each["sd"] for each in told.values()]
    bars = None if None in spread else {"type": "data", "array": spread, "thickness": 1, "width": 3}
    return [int(size) for size in told], mean, bars


def clouds_figure() -> PaperFigure:
    """The two clouds, the distances that each atom of them sees, and the sides of their triangles."""
    pair = two_clouds()
    with paper_style():
        figure, _ = paper_figure("double", 0.3)
        figure.clear()
        panels = figure.subplots(1, 4)
        for axes, frame in zip(panels, pair, strict=False):
            _cloud(axes, frame)
        _beside(panels[2], [distances_seen(frame) for frame in pair], "distances of each atom (A)")
        _beside(panels[3], [triangles(frame).sum(axis=1) for frame in pair], "triangles' perimeters (A)")
        caption = "Two clouds of C4H4 seen along an axis; all distances of each atom; perimeters of all triangles."
        return PaperFigure(as_svg(figure), caption, "same_distances.svg")


def _cloud(axes: Any, frame: Frame) -> None:
    at = frame.positions
    for first in range(len(at)):
        for second in range(first):
            if np.linalg.norm(at[first] - at[second]) < 1.5:
                axes.plot(*at[[first, second], :2].T, color="0.7", linewidth=0.8, zorder=0)
    for number, colour, name in ((6, "0.25", "C"), (1, PALETTE[5], "H")):
        here = at[frame.numbers == number]
        axes.scatter(here[:, 0], here[:, 1], s=28 * (1 + 0.25 * here[:, 2]), color=colour, label=name)
    axes.set_aspect("equal")
    axes.set_title(frame.place.partition(", ")[2])
    axes.set_xlabel("x (A)")
    axes.set_ylabel("y (A)")


def _beside(axes: Any, values: list[np.ndarray], title: str) -> None:
    first, second = (np.sort(each[each > 0]) for each in values)
    axes.plot(first, "o", markersize=4, markerfacecolor="none", label="first")
    axes.plot(second, ".", markersize=2.5, label="second")
    axes.set_xlabel("in rising order")
    axes.set_ylabel(title)
    axes.legend()


def _blind_table(blind: dict[str, Any]) -> Table:
    one, every = blind["one_centre"], blind["all_centres"]
    rows = [
        ("distances seen (A)", one["distances_A"], every["distances_A"]),
        ("sides of triangles (A)", one["triangles_A"], every["triangles_A"]),
        ("distances to the centre, as invariants (relative)", one["radial_centre_relative"], None),
        ("invariants of gto at the centre (relative)", one["gto_centre_relative"], None),
        ("energy of radial, random weights (relative)", one["radial_relative"], every["radial_relative"]),
        ("energy of gto, random weights (relative)", one["gto_relative"], every["gto_relative"]),
        ("energy by GFN2-xTB (eV)", one["gfn2_eV"], every["gfn2_eV"]),
    ]
    return Table(("largest difference of", "bent and straight water", "two clouds of C4H4"), rows, "In float64.")


def _eV(value: float | None) -> str:
    return "(tblite is not installed)" if value is None else f"{abs(value):.3g}"
