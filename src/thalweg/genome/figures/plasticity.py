"""The report of the experiment on plasticity: verdict, frontiers, differences, maps, and what was fixed beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.genome.tasks.plasticity.analysis import MARGIN, PRIMARY, PRIMARY_MEASURE
from thalweg.genome.tasks.plasticity.arms import ARMS
from thalweg.genome.tasks.plasticity.species import METHYLATED, UNMETHYLATED
from thalweg.methods.anchoring import BIBTEX
from thalweg.report import Citations, Page, PlotlyFigure, Prose, Section, Table, plotly_lines
from thalweg.report.figures import PALETTE

_MEASURES = {
    "retained_methylated": "methylated genes",
    "retained_unmethylated": "unmethylated genes",
    "retained": "all held-out genes",
}
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross")
_WORDS = {
    "supported": "Supported: methylation tells which connections to hold.",
    "opposed": "Opposed: to hold what methylation marks is worse than the controls.",
    "null": "A null result: no difference from both controls.",
    "uninformative": "Uninformative: there was no trade-off to look at.",
}
_FIXED = (
    "Fixed before the data were seen: the arms; their strengths, equally many for each; the measures; and the rules. "
    "The claim is supported only if the area under the frontier of gain against loss on methylated genes is larger for "
    f"`methylation` than for {' and '.join(f'`{arm}`' for arm in PRIMARY)}, with both 95 % intervals, paired by seed, "
    "above zero; opposed if both lie below; anything else is a null result. It excludes an effect that matters if "
    f"both lie within {MARGIN} of the box, which is as high and wide as the mean gain and loss of the plain arm. "
    "Without gain and loss there nothing can be told. All other contrasts are secondary, with Holm's correction.\n\n"
    f"Genes with more than {METHYLATED:.0%} of CG methylated are methylated, with less than {UNMETHYLATED:.0%} "
    "unmethylated. Gain and retention are changes since pretraining of the mean top-k of donors and acceptors on genes "
    "in which neither network nor map has learnt anything. Maps are measured once on the pretrained network, then "
    "frozen: `1 - beta m` is then a constant mobility, which leaves critical points where they are. Running averages "
    "would make it depend on history. Networks, orders of batches and permutations follow from the seed alone."
)
_REPEATED = (
    "Repeatability is the correlation over connections of two maps, each measured in one half of the genes: where it "
    "is low, the pattern of a map is mostly noise of its measurement. Likeness is the correlation with the map of "
    "methylation: where that of the permuted map is as high as the repeatability, the pattern does not come from "
    "methylation. A narrow map is almost a smaller learning rate."
)


def plasticity_page(result: Mapping[str, Any]) -> Page:
    """The report of an experiment, from its result."""
    ranked = " Maps were replaced by their ranks: an exploratory run." if result["ranked"] else ""
    changed = _changed(result)
    sections = [
        Section("Verdict", [Prose(f"{_WORDS[result['verdict']]} {result['reason']}{ranked}{changed}"),
                            frontier_figure(result, PRIMARY_MEASURE), contrast_table(result)]),
        Section("Other genes", [frontier_figure(result, name) for name in _MEASURES if name != PRIMARY_MEASURE]),
        Section("Maps", [Prose(_REPEATED), maps_figure(result), maps_table(result)]),
        Section("What was fixed beforehand", [Prose(_FIXED), genes_table(result)]),
        Section("Sources", [Citations([BIBTEX])]),
    ]  # fmt: skip
    return Page("Plasticity by methylation", f"{_WORDS[result['verdict']]} {result['seeds']} seeds.", sections)


def _changed(result: Mapping[str, Any]) -> str:
    """What of the plan is not as it was fixed."""
    missing = [arm for arm in ARMS if arm not in result["curves"]]
    said = [f"the arms {', '.join(missing)} were left out"] if missing else []
    said += [f"there are {result['seeds']} seeds, fewer than ten"] if result["seeds"] < 10 else []
    said += ["levels were permuted among genes with as many introns"] if result["strata"] else []
    return f" Other than fixed beforehand, {' and '.join(said)}." if said else ""


def frontier_figure(result: Mapping[str, Any], measure: str) -> PlotlyFigure:
    """Gain against retention: a point for each arm and strength, with 95 % intervals."""
    title = f"change on {_MEASURES[measure]} of the first species (top-k)"
    figure = plotly_lines([], {}, x_title=title, y_title="change on the second species (top-k)")
    for place, (arm, points) in enumerate(result["curves"].items()):
        colour = "gray" if arm == "plain" else PALETTE[place % len(PALETTE)]
        figure.add_scatter(
            x=[point[measure]["mean"] for point in points], y=[point["gain"]["mean"] for point in points],
            error_x=_bars(points, measure), error_y=_bars(points, "gain"), name=arm, mode="lines+markers",
            text=[f"{arm} {point['strength']:g}" for point in points], hoverinfo="text+x+y",
            line={"color": colour, "width": 1, "dash": "dot"},
            marker={"symbol": _SYMBOLS[place % len(_SYMBOLS)], "size": 9, "color": colour},
        )  # fmt: skip
    figure.update_layout(showlegend=True)
    caption = (f"Retention on {_MEASURES[measure]} against gain: up and right is better. Means over seeds with 95 % "
               "intervals; points of an arm are joined from its weakest strength to its strongest.")  # fmt: skip
    return PlotlyFigure(figure, caption)


def _bars(points: Any, name: str) -> dict[str, Any]:
    return {"type": "data", "symmetric": False, "thickness": 1, "width": 3,
            "array": [point[name]["high"] - point[name]["mean"] for point in points],
            "arrayminus": [point[name]["mean"] - point[name]["low"] for point in points]}  # fmt: skip


def contrast_table(result: Mapping[str, Any]) -> Table:
    """Differences of areas, paired by seed, and what each says."""
    rows = []
    for measure, words in _MEASURES.items():
        for arm, one in result["contrasts"][measure].items():
            says = "more" if one["low"] > 0 else "less" if one["high"] < 0 else "no difference told"
            rows.append((words, arm, "yes" if one["primary"] else "no", one["mean"], one["low"], one["high"],
                         one["p"] if one["adjusted"] is None else one["adjusted"], says))  # fmt: skip
    columns = ("retained on", "methylation less", "primary", "mean", "from", "to", "p", "methylation has")
    caption = ("Differences of the area under the frontier, in units of the box, paired by seed, with 95 % intervals; "
               "p by sign flips, adjusted by Holm where not primary.")  # fmt: skip
    return Table(columns, rows, caption)


def maps_figure(result: Mapping[str, Any]) -> PlotlyFigure:
    """The histogram of each map over connections."""
    figure = plotly_lines([], {}, x_title="m, how far a connection is held", y_title="share of the connections")
    highest = 0.0
    for place, (arm, seen) in enumerate(result["maps"].items()):
        counts = np.asarray(seen["histogram"], float)
        edges = np.linspace(0, 1, len(counts) + 1)
        highest = max(highest, edges[1:][counts > 0].max(initial=0.0))
        if arm in ("methylation", "permuted"):
            figure.add_scatter(x=(edges[1:] + edges[:-1]) / 2, y=counts / max(counts.sum(), 1), name=arm, mode="lines",
                               line={"shape": "hvh", "color": PALETTE[place], "width": 2})  # fmt: skip
    figure.add_vline(x=result["maps"]["methylation"]["mean"], line={"dash": "dot", "width": 1, "color": "gray"})
    figure.update_xaxes(range=[0, min(1.0, 1.05 * highest + 0.01)])
    figure.update_layout(showlegend=True)
    return PlotlyFigure(figure, "Maps over all connections and seeds; dotted, the mean, which the uniform arm has.")


def maps_table(result: Mapping[str, Any]) -> Table:
    """Mean, spread, repeatability and likeness of each map."""
    rows = [
        (arm, seen["mean"], seen["sd"], seen["repeatability"]["mean"], seen["likeness"]["mean"])
        for arm, seen in result["maps"].items()
    ]
    return Table(("map", "mean", "sd", "repeatability", "likeness"), rows, "Means over seeds.")


def genes_table(result: Mapping[str, Any]) -> Table:
    """How many genes have which part."""
    words = {"learnt": "pretrained on", "measured": "of these, maps measured in", "retained": "retention scored on",
             "retained_methylated": "of these methylated", "retained_unmethylated": "of these unmethylated",
             "second": "fine-tuned on", "gained": "gain scored on"}  # fmt: skip
    rows: list[tuple[str, Any]] = [(words[name], many) for name, many in result["genes"].items()]
    rows += [("region of retention", result["retain"]), ("region of gain", result["gain"]),
             ("mean level of measured genes", result["level"]), ("steps of pretraining", result["pretrain_steps"]),
             ("steps of fine-tuning", result["tune_steps"])]  # fmt: skip
    return Table(("genes and settings", ""), rows, "What was used.")
