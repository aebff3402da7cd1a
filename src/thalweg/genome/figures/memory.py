"""The report on memory: how far back the error travels, and whether what lies there is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.genome.figures.train import SPLICEAI
from thalweg.genome.tasks.evaluate import SITES
from thalweg.genome.tasks.shuffled_flanks import WHOLE
from thalweg.methods.recurrence_cut import Cut
from thalweg.report import Block, Citations, Page, PaperFigure, Prose, Section, Table, as_svg, paper_figure, paper_style

_COLOURS = {"donor": "C0", "acceptor": "C1"}
SHUFFLE = """@article{altschul1985significance,
  title={Significance of nucleotide sequence alignments: a method for random sequence permutation that preserves
  dinucleotide and codon usage}, author={Altschul, Stephen F and Erickson, Bruce W},
  journal={Molecular Biology and Evolution}, volume={2}, pages={526--538}, year={1985}}"""
_LAG = (
    "For every site the slope of its score (the log-odds of the site against none) by what the network's stem says of "
    "each base around it: one back-propagation through all recurrences, both ways. Shown is the norm of this slope "
    "over the channels, averaged over sites and over the bases that their genes have. The stem itself reads {margin} "
    "bases to either side, so that a distance in bases of the sequence may be so much longer or shorter. A slope says "
    "that the score would move, not that moving it helps."
)
_FLANKS = (
    "Every site, and a weighted sample of other bases of the same genes, was looked at in a copy of its gene in which "
    "all bases farther away than a distance are shuffled, each side for itself, with the same dinucleotides. Top-k is "
    "the estimated share of sites among as many of the highest probabilities of all bases as there are sites. The "
    "network was not trained on shuffled flanks: a loss is what it uses from there, or what shuffled bases confuse."
)
_TRAINED = (
    "Networks of the same shape, from the same starts, on the same crops in the same order for the same number of "
    "steps. All read their crops whole, both ways; what differs is that errors stop at every so many bases, in both "
    "directions and in all blocks, so that at a base they come on average from half as far. Held-out genes are read "
    "whole. Without memory every recurrence forgets at once: the same parameters and arithmetic, and nothing is seen "
    "but the {window} bases of the stem."
)
_CARRIED = (
    "Carried: trained as `genome train --bptt` does, in the order of the genome, on windows over which forward states "
    "are carried. The recurrences from right to left begin anew at the end of each window, so that these networks also "
    "see less to their right; where it says anew, held-out genes were read in the same way."
)


def memory_page(name: str, result: Mapping[str, Any], *, margin: int) -> Page:
    """The report of one network, and of the trainings where there were some."""
    lag, flanks = result["lag"], result["shuffled_flanks"]
    sections = [
        Section("How far back the error travels", [
            Prose(_LAG.format(margin=margin)), lag_figure(lag), lag_table(lag), Prose(_floor(lag))]),
        Section("Whether it is used", [Prose(_FLANKS), horizon_figure(flanks, result.get("trained", ())),
                                       flanks_table(flanks)]),
    ]  # fmt: skip
    if trained := result.get("trained"):
        words: list[Block] = [Prose(_TRAINED.format(window=2 * margin + 1))]
        words += [Prose(_CARRIED)] if any(arm["kind"] == "carried" for arm in trained) else []
        sections.append(Section("Trained with shorter errors", [*words, trained_table(trained)]))
    sections.append(Section("Sources", [Citations([SPLICEAI, SHUFFLE, Cut.bibtex])]))
    return Page(f"The memory of {name}", _summary(lag, flanks), sections)


def lag_figure(lag: Mapping[str, Any]) -> PaperFigure:
    """The mean slope over the distance, upstream and downstream."""
    with paper_style():
        figure, axes = paper_figure("double", 0.42)
        for name in SITES:
            for side, dash in (("upstream", "-"), ("downstream", "--")):
                of = lag[name]
                at, value = np.array(of[f"{side}_distance"]), np.array(of[side])
                low, high = np.array(of[f"{side}_interval"], float).T
                kept = value > lag["floor"]
                axes.plot(at[kept], value[kept], dash, color=_COLOURS[name], label=f"{name}s, {side}")
                axes.fill_between(at[kept], np.maximum(low[kept], lag["floor"]), high[kept], color=_COLOURS[name],
                                  alpha=0.15, linewidth=0)  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("distance from the site (bases)")
        axes.set_ylabel("slope of the log-odds")
        axes.legend()
        caption = "The slope of a site's log-odds over the distance, with intervals of 95 % over genes."
        return PaperFigure(as_svg(figure), caption, "gradient_lag.svg")


def horizon_figure(flanks: Mapping[str, Any], trained: Sequence[Mapping[str, Any]] = ()) -> PaperFigure:
    """Top-k over the distance that is left as it is, and over the horizon of the error in training."""
    with paper_style():
        figure, axes = paper_figure("double", 0.42)
        distances = np.array(flanks["distances"], float)
        for place, name in enumerate(SITES):
            of, colour = flanks[name], _COLOURS[name]
            keys = [str(int(distance)) for distance in distances]
            axes.errorbar(distances, [of["topk"][key] for key in keys], _bars(of["topk"], of["topk_interval"], keys),
                          fmt="o-", color=colour, capsize=2, label=f"{name}s, flanks shuffled")  # fmt: skip
            axes.axhline(of["exact"], color=colour, linewidth=1.0, linestyle=":")
            for kind, mark in (("cut", "s"), ("carried", "^")):
                some = [arm for arm in trained if arm["kind"] == kind]
                if some:
                    told = {arm["name"]: arm[name] for arm in some}
                    bars = _bars({key: one["topk"] for key, one in told.items()},
                                 {key: one["interval"] for key, one in told.items()}, list(told))  # fmt: skip
                    at = np.array([arm["horizon"] for arm in some]) * (1.03 + 0.03 * place)
                    axes.errorbar(at, [one["topk"] for one in told.values()], bars, fmt=mark + "--", color=colour,
                                  capsize=2, markerfacecolor="white", label=f"{name}s, errors {kind}")  # fmt: skip
            for arm in trained:
                if arm["kind"] == "memoryless":
                    axes.axhline(arm[name]["topk"], color=colour, linewidth=0.7, linestyle=(0, (6, 4)))
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("bases left as they are on either side; horizon of errors in training (bases)")
        axes.set_ylabel("top-k")
        axes.legend(ncols=2 if trained else 1)
        caption = "Top-k with intervals of 95 % over genes. Dotted: the network with its whole genes."
        if trained:
            caption += " Dashed without marks: trained without memory."
        return PaperFigure(as_svg(figure), caption, "horizon.svg")


def _bars(value: Mapping[str, float], spread: Mapping[str, Any], keys: Sequence[str]) -> np.ndarray:
    rows = np.array([[value[key] - spread[key][0], spread[key][1] - value[key]] for key in keys])
    return np.maximum(rows.T, 0)


def lag_table(lag: Mapping[str, Any]) -> Table:
    """Shares of the slope that lie farther away than some distances."""
    far = list(lag["donor"]["beyond"])
    columns = ("sites", "number", "genes", *(f"beyond {key} bases" for key in far), "90 % within (bases)")
    rows = []
    for name in SITES:
        of = lag[name]
        shares = [_with(of["beyond"][key]["share"], of["beyond"][key]["share_interval"], "{:.3f}") for key in far]
        rows.append((f"{name}s", of["sites"], of["genes"], *shares,
                     _with(of["within"], of["within_interval"], "{:.0f}")))  # fmt: skip
    return Table(columns, rows, "The share of the sum of all slopes, the site's own base included (95 % over genes).")


def flanks_table(flanks: Mapping[str, Any]) -> Table:
    """Top-k for every distance beyond which all is shuffled."""
    rows = [
        (
            key,
            *(
                _with(flanks[name][what][key], flanks[name][f"{what}_interval"][key], form)
                for name in SITES
                for what, form in (("topk", "{:.3f}"), ("lost", "{:+.3f}"))
            ),
        )
        for key in [*map(str, flanks["distances"]), WHOLE]
    ]
    exact = [f"{flanks[name]['exact']:.3f}" for name in SITES]
    rows.append(("whole, all bases counted", exact[0], "", exact[1], ""))
    others = sum(flanks[name]["others"] for name in SITES)
    caption = (
        f"{flanks['donor']['sites']} donors, {flanks['acceptor']['sites']} acceptors and {others} other bases of "
        f"{flanks['genes']} genes."
    )
    columns = ("bases left as they are", "donors: top-k (95 %)", "lost", "acceptors: top-k (95 %)", "lost")
    return Table(columns, rows, caption)


def trained_table(trained: Sequence[Mapping[str, Any]]) -> Table:
    """Top-k of every arm, and what it lost."""
    rows = []
    for arm in trained:
        cells: list[Any] = [arm["name"], arm["steps"], round(arm["seconds"])]
        for name in SITES:
            of = arm[name]
            cells += [_with(of["topk"], of["interval"], "{:.3f}"), " ".join(f"{one:.3f}" for one in of["seeds"]),
                      _with(of["lost"], of["lost_interval"], "{:+.3f}")]  # fmt: skip
        rows.append(cells)
        if arm["kind"] == "carried":
            both = [_with(arm[name]["anew_topk"], arm[name]["anew_interval"], "{:.3f}") for name in SITES]
            rows.append([f"{arm['name']}, anew", "", "", both[0], "", "", both[1], "", ""])
    columns = ("errors", "steps", "seconds", "donors: top-k (95 %)", "each seed", "lost",
               "acceptors: top-k (95 %)", "each seed", "lost")  # fmt: skip
    return Table(columns, rows, "Means over seeds, intervals over genes; lost against the longest cut.")


def _with(value: float, spread: Sequence[float], form: str) -> str:
    return f"{form.format(value)} ({form.format(spread[0])} to {form.format(spread[1])})"


def _floor(lag: Mapping[str, Any]) -> str:
    zeros = " and ".join(f"{lag[name]['zero_share']:.2g} for {name}s" for name in SITES)
    return f"Slopes below {lag['floor']:.2g} become zero in float32: the share of such bases is {zeros}."


def _summary(lag: Mapping[str, Any], flanks: Mapping[str, Any]) -> str:
    said = []
    for name in SITES:
        of, within = flanks[name], lag[name]["within"]
        costly = [far for far in flanks["distances"] if of["lost_interval"][str(far)][0] > 0]
        free = [far for far in flanks["distances"] if far > max(costly, default=-1)]
        words = f"shuffling all beyond {min(free)} bases costs no top-k that this sample shows" if free else (
            f"shuffling all beyond {max(costly)} bases still costs top-k")  # fmt: skip
        said.append(f"For {name}s 90 % of the slope lies within {within} bases; {words}.")
    return " ".join(said)
