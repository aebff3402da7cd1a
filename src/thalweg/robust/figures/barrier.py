"""Pictures of the way over the ridge between an input and its adversarial partner."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.methods.parts import Arrays
from thalweg.report import Marker, Page, PaperFigure, Prose, Section, Slider, Table, as_svg, paper_figure, paper_style
from thalweg.robust.tasks.barrier import Barrier

_SHOWN = 3  # inputs with a picture of their path
_ROWS = 50  # of the table; the file has all
_COLOURS = (1, 3, 4)  # sizes of an axis of channels
_LEVEL = 1e-9


def barrier_page(found: Barrier) -> Page:
    """The report of the barriers of some inputs."""
    result = found.result
    blocks: list[Any] = [Prose(_story(result)), _summary(result), heights_figure(found)]
    paths: list[Any] = []
    for place in range(min(_SHOWN, len(found.rows))):
        paths.append(path_figure(found, place))
    if greys(found.arrays[0]["images"]) is not None:
        paths.insert(0, path_slider(found, 0))
    sections = [Section("Barrier", blocks), Section("Over the ridge", paths), Section("Basins", [_basins(found)])]
    median = result["ridge_height_median"]
    summary = (
        f"Ridges of {median:.3g} logits (median of {result['n']}); {result['at_bottom']:.0%} of the inputs lie at "
    )
    return Page("Barriers between inputs and their adversarial partners", summary + "the bottom of a valley.", sections)


def greys(x: Any) -> np.ndarray | None:
    """Inputs `[n, ...]` as grey pictures `[n, height, width]`, or `None` where they are no pictures."""
    x = np.asarray(x)
    if x.ndim == 4 and x.shape[1] in _COLOURS:
        x = x.mean(axis=1)
    elif x.ndim == 4 and x.shape[3] in _COLOURS:
        x = x.mean(axis=3)
    return x if x.ndim == 3 and min(x.shape[1:]) > 1 else None


def path_slider(found: Barrier, place: int) -> Slider:
    """The input on its way over the ridge: the log odds against the class it is read as, and the input itself."""
    row, one = found.rows[place], found.arrays[place]
    arc, heights = _rising(one)
    frames = greys(_between(one, arc))
    ends = f"read as {row['clean_class']}", f"read as {row['partner_class']}"
    marks = [Marker(ends[0], float(arc[0])), Marker(ends[1], float(arc[-1]))]
    if row["ridge"] is not None:
        marks.insert(1, Marker("ridge", row["ridge"]["arc"]))
    return Slider(
        title=f"From the valley of {row['clean_class']} into that of {row['partner_class']}",
        t=arc,
        energy=heights,
        kind="image",
        frames=frames if frames is not None else [],
        limits=(found.posed.lower, found.posed.upper),
        t_label="way along the path (Euclidean length)",
        energy_label="log odds against the class (logit)",
        markers=marks,
        caption=f"The path of least energy between the two minima. The input itself lies at {row['clean_energy']:.3g} "
        f"logits, {row['clean_distance']:.3g} from its minimum; its smallest push over the ridge is {row['push']:.3g}.",
    )


def path_figure(found: Barrier, place: int) -> PaperFigure:
    """The images along one path in a row, with the profile of the path and of the straight line under them."""
    row, one = found.rows[place], found.arrays[place]
    clean, pushed = (np.asarray(x)[place : place + 1] for x in (found.posed.x, found.partners))
    pictures = greys(np.concatenate([clean, one["images"], pushed]))
    arc, heights = _rising(one)
    with paper_style():
        figure, axes = paper_figure("double", 0.42 if pictures is not None else 0.34)
        if pictures is not None:
            axes.set_position((0.08, 0.13, 0.9, 0.58))
            _row_of_pictures(figure, pictures, found.posed.lower, found.posed.upper)
        axes.plot(arc / arc[-1], heights, label="path of least energy")
        straight = one["straight_heights"]
        shares = one["straight_arc"] / one["straight_arc"][-1]
        axes.plot(shares, straight, "--", label="straight line")
        axes.axhline(row["clean_energy"], color="0.5", linewidth=0.6, linestyle=":")
        axes.annotate("the input", (0, row["clean_energy"]), (2, 2), textcoords="offset points", color="0.35")
        if row["ridge"] is not None:
            axes.plot(row["ridge"]["arc"] / arc[-1], row["ridge"]["energy"], "o", color="0.2", label="ridge point")
        axes.set_xlabel("share of the way")
        axes.set_ylabel("log odds (logit)")
        axes.legend(loc="lower center")
        caption = (
            f"Input {row['place']}, read as {row['label']}: from its minimum (class {row['clean_class']}) to that "
            f"below its partner (class {row['partner_class']}). Dotted: the height of the input itself."
        )
        return PaperFigure(as_svg(figure), caption, f"path-{row['place']}.svg")


def heights_figure(found: Barrier) -> PaperFigure:
    """How high the ridges are over the inputs, along the paths and along the straight lines."""
    path = np.array([row["ridge_height"] for row in found.rows])
    line = np.array([row["straight_height"] for row in found.rows])
    with paper_style():
        figure, axes = paper_figure("single")
        edges = np.histogram_bin_edges(np.concatenate([path, line]), bins="auto" if len(path) > 1 else 1).tolist()
        axes.hist(path, edges, alpha=0.6, label="path of least energy")
        axes.hist(line, edges, histtype="step", color="0.2", label="straight line")
        axes.set_xlabel("height over the input (logit)")
        axes.set_ylabel("inputs")
        axes.legend()
        return PaperFigure(as_svg(figure), "Height of the ridge over the inputs.", "heights.svg")


def _story(result: dict[str, Any]) -> str:
    told = [
        f"From {result['n']} inputs and from their adversarial partners the gradient flow was followed downhill: "
        f"{result['same_class']:.0%} of the inputs and {result['partner_class_kept']:.0%} of the partners kept their "
        f"class. The floor of a valley is {_number(result['clean_distance_median'])} away from its input, where the "
        f"smallest push over the ridge is {_number(result['push_median'])} long (medians).",
        "Heights are log odds against the class that an input is read as. Between two classes that share all "
        "probability the ridge is level, at zero; third classes lift it, which the path avoids and the line may not.",
    ]
    if result["smooth"]:
        level = f", {result['level']} of them where the ridge is level" if result["level"] else ""
        told.append(f"The net is smooth; {result['saddles']} saddles of index one were verified{level}.")
    else:
        told.append("The net has kinks, so that ridge points stand in for saddles.")
    return " ".join(told)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _summary(result: dict[str, Any]) -> Table:
    rows = [(name.replace("_", " "), value) for name, value in result.items() if name != "inputs"]
    return Table(("quantity", "value"), rows)


def _basins(found: Barrier) -> Table:
    names = ("place", "label", "push", "clean_energy", "clean_gradient", "clean_distance", "clean_minimum")
    names += ("partner_class", "partner_minimum", "ridge_height", "straight_height", "work_gap")
    rows = [tuple(row[name] for name in names) for row in found.rows[:_ROWS]]
    return Table(tuple(name.replace("_", " ") for name in names), rows, "Heights in logits, lengths as the inputs.")


def _row_of_pictures(figure: Any, pictures: np.ndarray, lower: float, upper: float) -> None:
    """The input, the images of its path and its partner, the first and the last a little apart."""
    width = 0.9 / (len(pictures) + 1)
    for place, picture in enumerate(pictures):
        apart = 0.5 * width * (int(place > 0) + int(place == len(pictures) - 1))
        inset = figure.add_axes((0.08 + place * width + apart, 0.75, 0.94 * width, 0.2))
        inset.imshow(picture, cmap="gray", vmin=lower, vmax=upper, interpolation="nearest")
        inset.set_axis_off()
        name = {0: "input", 1: "minimum", len(pictures) - 2: "minimum", len(pictures) - 1: "partner"}.get(place)
        if name is not None:
            inset.set_title(name, pad=2, fontsize=6)


def _rising(one: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Arc lengths and heights of a profile, without points that are as good as the one before."""
    arc = one["profile_arc"]
    keep = np.concatenate([[True], np.diff(arc) > _LEVEL * arc[-1]])
    return arc[keep], one["profile_heights"][keep]


def _between(one: Arrays, arc: np.ndarray) -> np.ndarray:
    """The inputs on the polygon of the path at some arc lengths."""
    images = one["images"]
    flat = images.reshape(len(images), -1)
    at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(flat, axis=0), axis=1))])
    piece = np.clip(np.searchsorted(at, arc, side="right") - 1, 0, len(images) - 2)
    share = (arc - at[piece]) / np.maximum(at[piece + 1] - at[piece], np.finfo(flat.dtype).tiny)
    share = np.clip(share, 0, 1).reshape(-1, *[1] * (images.ndim - 1))
    return images[piece] + share * (images[piece + 1] - images[piece])
