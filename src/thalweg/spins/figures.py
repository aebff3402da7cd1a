"""Pictures of searches, samples, crossings and learning."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.report import Marker, Page, PaperFigure, Prose, Section, Slider, Table, as_svg, paper_figure, paper_style
from thalweg.spins.tasks.critical import curves
from thalweg.spins.tasks.family import Studied
from thalweg.spins.tasks.learn import Learnt
from thalweg.spins.tasks.sample import Drawn
from thalweg.spins.tasks.solve import Solved, TimeToSolution

_SHOWN = 400  # draws of a chain in a figure


def _table(result: dict[str, Any]) -> Table:
    rows = [(name.replace("_", " "), value) for name, value in result.items() if not isinstance(value, list | dict)]
    return Table(("quantity", "value"), rows)


def solve_page(found: Solved) -> Page:
    """The report of one search."""
    result = found.result
    goal = f"a cut of {result['cut']:.10g}" if result["cut"] is not None else f"an energy of {result['energy']:.10g}"
    limit = (
        f"cut is above {result['upper_bound']:.10g}"
        if result["cut"] is not None
        else (f"energy is below {result['energy_lower_bound']:.10g}")
    )
    proof = "It is proven to be optimal." if result["proven_optimal"] else f"No {limit}."
    blocks: list[Any] = [Prose(f"The best of {found.problem.source} has {goal}. {proof} Method: {found.method}.")]
    if len(found.history) > 1:
        blocks.append(energies_figure(found.history))
    return Page("Ground state", f"Found {goal}.", [Section("Search", [*blocks, _table(result)])])


def energies_figure(history: np.ndarray) -> PaperFigure:
    """The best energy over the seconds of a search."""
    with paper_style():
        figure, axes = paper_figure("single")
        axes.step(history[:, 0], history[:, 1], where="post")
        axes.set_xlabel("seconds")
        axes.set_ylabel("best energy")
        if history[-1, 0] > 100 * max(history[0, 0], 1e-3):
            axes.set_xscale("log")
        return PaperFigure(as_svg(figure), "The best energy over the time of the search.", "search.svg")


def cooling_slider(temperatures: np.ndarray, energies: np.ndarray, spins: np.ndarray) -> Slider:
    """A glass on its way down: its energy while it cools, and the spins themselves."""
    t = np.arange(len(energies), dtype=float)
    order = int(np.argmax(temperatures < 1.0))
    return Slider(
        title="A glass cools down",
        t=t,
        energy=energies,
        kind="signs",
        frames=spins,
        t_label="sweeps / 10",
        energy_label="Energy (|J|)",
        markers=(Marker("hot", 0.0), Marker("T = 1", float(order)), Marker("frozen", float(t[-1]))),
        caption="Couplings of both signs on a torus: the spins find no pattern that the eye would know, and still this "
        "one is low. Slow cooling ends near the ground state, not in it.",
    )


def times_page(found: TimeToSolution, target: float) -> Page:
    """The report of a time to solution."""
    result = found.result
    told = "never" if found.tts99 is None else f"{found.tts99:.3g} s"
    summary = f"{result['successes']} of {result['runs']} runs met {target}; TTS99 {told}."
    rows = [
        (place, float(each), bool(met)) for place, (each, met) in enumerate(zip(found.seconds, found.met, strict=True))
    ]
    table = Table(("run", "seconds", "met"), rows, "Compilation is left out.")
    return Page("Time to solution", summary, [Section("Runs", [_table(result), table])])


def sample_page(found: Drawn) -> Page:
    """The report of equilibrium samples."""
    result = found.result
    size = "unknown" if result["ess_min"] is None else f"{result['ess_min']:.0f}"
    summary = (
        f"{result['draws']} draws of {result['chains']} chains at T = {result['temperature']:g}; least ESS {size}."
    )
    return Page("Equilibrium samples", summary, [Section("Samples", [draws_figure(found), _table(result)])])


def draws_figure(found: Drawn) -> PaperFigure:
    """The energy of each chain over its draws, thinned."""
    with paper_style():
        figure, axes = paper_figure("single")
        shown = np.unique(np.linspace(0, len(found.energy) - 1, _SHOWN).astype(int))
        for chain in range(found.energy.shape[1]):
            axes.plot(shown, found.energy[shown, chain] / found.problem.size, linewidth=0.6)
        exact = found.result["energy_exact"]
        if exact is not None:
            axes.axhline(exact / found.problem.size, color="black", linestyle="--", label="exact mean")
            axes.legend()
        axes.set_xlabel("draw")
        axes.set_ylabel("energy per spin")
        return PaperFigure(as_svg(figure), "Energies of the chains.", "energies.svg")


def learn_page(found: Learnt) -> Page:
    """The report of a learnt machine."""
    result = found.result
    known = result["log_likelihood"]
    told = "" if known is None else f", {known:.4g} nats per sample"
    summary = f"{result['model']} of {result['n']} units learnt from {result['samples']} samples{told}."
    blocks: list[Any] = [couplings_figure(found), _table(result)]
    return Page("A learnt machine", summary, [Section("Learning", blocks)])


def couplings_figure(found: Learnt) -> PaperFigure:
    """How the learnt couplings are spread."""
    with paper_style():
        figure, axes = paper_figure("single")
        axes.hist(found.problem.coupling / found.problem.denominator, bins=60)
        axes.set_xlabel("coupling of two spins")
        axes.set_ylabel("pairs")
        return PaperFigure(as_svg(figure), "The learnt couplings, as those of an Ising glass.", "couplings.svg")


def critical_page(found: Studied) -> Page:
    """The report of a critical study."""
    result = found.result
    low, high = result["t_c_interval"]
    summary = f"T_c = {result['t_c']:.5f} ({low:.5f} to {high:.5f}), cumulant {result['binder']:.4f}."
    pairs = Table(("smaller size", "larger size", "crossing at T", "cumulant there"), result["pairs"])
    return Page("Critical temperature", summary, [Section("Crossings", [binder_figure(found), pairs, _table(result)])])


def binder_figure(found: Studied) -> PaperFigure:
    """The Binder cumulant over the temperature, one curve for each size."""
    with paper_style():
        figure, axes = paper_figure("single")
        for size, curve in curves(found.found).items():
            axes.plot(curve["temperature"], curve["binder"], label=f"L = {size}")
        low, high = found.result["t_c_interval"]
        axes.axvspan(low, high, color="0.85", label="T_c, 95 %")
        axes.set_xlabel("temperature")
        axes.set_ylabel("Binder cumulant")
        axes.legend()
        return PaperFigure(
            as_svg(figure), "The cumulants of all sizes cross at the critical temperature.", "binder.svg"
        )
