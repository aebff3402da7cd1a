"""Pictures of a trained potential: its way down, its errors, and the orbitals that it learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from thalweg.atoms.data.check import symbol
from thalweg.atoms.data.frame import Frame
from thalweg.atoms.model.committee import Committee
from thalweg.atoms.model.gto import GaussianNetwork
from thalweg.atoms.model.orbitals import smooth_cutoff
from thalweg.atoms.tasks.evaluate import Predicted
from thalweg.atoms.tasks.trained import Trained
from thalweg.methods.soap import BIBTEX
from thalweg.report import Citations, Page, PaperFigure, Prose, Section, Table, as_svg, paper_figure, paper_style

_POINTS = 5000  # of a parity plot: more make the page large and not clearer

ORBITALS = """@article{zhang2021physically,
  title={Physically Motivated Recursively Embedded Atom Neural Networks: Incorporating Local Completeness and
    Nonlocality},
  author={Zhang, Yaolong and Xia, Junfan and Jiang, Bin},
  journal={Physical Review Letters}, volume={127}, pages={156002}, year={2021}}"""
PRODUCTS = """@article{drautz2019atomic,
  title={Atomic cluster expansion for accurate and transferable interatomic potentials},
  author={Drautz, Ralf}, journal={Physical Review B}, volume={99}, pages={014104}, year={2019}}"""


def parity_figure(frames: Sequence[Frame], found: Predicted) -> PaperFigure:
    """Predicted against labelled energies per atom and force components."""
    atoms = np.array([len(frame.numbers) for frame in frames])
    wanted = np.array([frame.energy for frame in frames], np.float64)
    middle = np.mean(wanted / atoms)
    forces = np.concatenate([np.asarray(frame.forces).ravel() for frame in frames])
    mine = np.concatenate([each.ravel() for each in found.forces])
    some = np.linspace(0, len(forces) - 1, min(_POINTS, len(forces))).astype(int)
    with paper_style():
        figure, _ = paper_figure("double", 0.42)
        figure.clear()
        first, second = figure.subplots(1, 2)
        _parity(
            first, 1e3 * (wanted / atoms - middle), 1e3 * (found.energies / atoms - middle), "energy per atom (meV)"
        )
        _parity(second, forces[some], mine[some], "force component (eV/A)")
        return PaperFigure(as_svg(figure), "Predicted against labelled; on the line they agree.", "parity.svg")


def _parity(axes: Any, wanted: np.ndarray, mine: np.ndarray, name: str) -> None:
    low, high = float(min(wanted.min(), mine.min())), float(max(wanted.max(), mine.max()))
    axes.plot([low, high], [low, high], color="0.6", linewidth=0.8, zorder=0)
    axes.plot(wanted, mine, "o", markersize=2.5, alpha=0.6, markeredgewidth=0)
    axes.set_xlabel(f"labelled {name}")
    axes.set_ylabel(f"predicted {name}")


def learning_figure(metrics: Sequence[Mapping[str, Any]]) -> PaperFigure | None:
    """The errors on batches along the training."""
    rows = [row for row in metrics if row.get("force_mae_meV_A") is not None]
    if len(rows) < 2:
        return None
    steps = np.array([row["step"] for row in rows])
    with paper_style():
        figure, axes = paper_figure("single")
        for name, label in (("energy_mae_meV", "energies (meV)"), ("force_mae_meV_A", "forces (meV/A)")):
            # Energies of a batch scatter most: drawn first, or they would hide the forces.
            axes.plot(steps, [row[name] for row in rows], label=label, linewidth=0.6)
        axes.set_yscale("log")
        axes.set_xlabel("step")
        axes.set_ylabel("mean absolute error of a batch")
        axes.legend()
        return PaperFigure(as_svg(figure), "Errors on the batches of the training.", "learning.svg")


def orbital_figure(net: GaussianNetwork) -> PaperFigure:
    """The learnt primitive orbitals, for each species of neighbour."""
    length = np.linspace(0.3, net.cutoff, 300)
    envelope = smooth_cutoff(jnp.asarray(length**2), net.cutoff)
    with paper_style():
        figure, _ = paper_figure("double", 0.16 + 0.16 * len(net.elements))
        figure.clear()
        panels = np.atleast_1d(figure.subplots(len(net.elements), 1, sharex=True))
        for species, (axes, number) in enumerate(zip(panels, net.elements, strict=True)):
            values = np.asarray(net.radial(jnp.asarray(length)[None], envelope[None], species))[0]
            axes.plot(length, values.T, linewidth=0.8)
            axes.set_ylabel(f"{symbol(number)} neighbours")
        panels[-1].set_xlabel("distance (A)")
        caption = "The learnt radial orbitals: Gaussians times the smooth cutoff, before contraction."
        return PaperFigure(as_svg(figure), caption, "orbitals.svg")


def train_page(
    trained: Trained, frames: Sequence[Frame], found: Predicted, metrics: Sequence[Mapping[str, Any]]
) -> Page:
    """The report of one training."""
    card = trained.card
    held = card["held_out"]
    summary = (
        f"On {held['n']} held-out frames the energies are off by {held['energy_mae_meV']:.3g} meV and the forces by "
        f"{held['force_mae_meV_A']:.3g} meV/A in the mean, after {card['recipe']['steps']:,} steps "
        f"on {card['frames']} frames."
    )
    plain = [(name.replace("_", " "), value) for name, value in card.items() if not isinstance(value, dict)]
    blocks: list[Any] = [parity_figure(frames, found)]
    if (curve := learning_figure(metrics)) is not None:
        blocks.append(curve)
    net = trained.net.networks()[0] if isinstance(trained.net, Committee) else trained.net
    if isinstance(net, GaussianNetwork):
        blocks.append(orbital_figure(net))
    tables: list[Any] = [
        Table(
            ("quantity", "value"), [(name.replace("_", " "), value) for name, value in held.items()], "Held-out frames."
        ),
        Table(("", ""), plain, "The potential."),
    ]
    sections = [Section("Errors", [Prose(_STORY), *tables]), Section("Pictures", blocks)]
    return Page("A potential", summary, [*sections, Section("Sources", [Citations([ORBITALS, PRODUCTS, BIBTEX])])])


def evaluate_page(name: str, frames: Sequence[Frame], found: Predicted, result: Mapping[str, Any]) -> Page:
    """The report of one evaluation."""
    summary = (
        f"On {result['n']} frames {name} is off by {result['energy_mae_meV']:.3g} meV in energies and "
        f"{result['force_mae_meV_A']:.3g} meV/A in forces, in the mean."
    )
    rows = [(key.replace("_", " "), value) for key, value in result.items()]
    return Page(
        "Errors of a potential",
        summary,
        [Section("Errors", [Table(("quantity", "value"), rows), parity_figure(frames, found)])],
    )


_STORY = (
    "Forces are the back-propagated slopes of the energy with respect to positions. The held-out frames were not "
    "learnt from, and nothing was chosen by them."
)
