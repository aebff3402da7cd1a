"""Eigenvalue densities with their error band and both edges, on a logarithmic scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from thalweg.report.figures import PALETTE, paper_figure, paper_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thalweg.diagnostics.spectrum import Density


def density_figure(density: Density, width: Literal["single", "double"] = "single") -> Figure:
    """The density over the eigenvalue, a band of two standard errors, and the edges of the support as dashed lines.

    **Arguments:** `density`, as of `spectral_density`; `width` of the figure, in columns.

    **Raises:** `InputError` for another width.
    """
    figure, axes = paper_figure(width)
    points, height, error = (np.asarray(part) for part in (density.points, density.density, density.error))
    share = 1 / float(density.free)
    # Less than a hundredth of one eigenvalue, spread over a width, is nothing that probes could tell.
    floor = 0.01 * share / float(density.width)
    with paper_style():
        axes.plot(points, np.maximum(height, floor), color=PALETTE[0])
        if np.isfinite(error).all():
            low, high = (np.maximum(height + sign * 2 * error, floor) for sign in (-1, 1))
            axes.fill_between(points, low, high, color=PALETTE[0], alpha=0.25, linewidth=0)
        for edge in (density.lowest, density.highest):
            axes.axvline(float(edge), color=PALETTE[1], linestyle="--", linewidth=0.8)
        axes.set_yscale("log")
        axes.set_ylim(bottom=floor)
        axes.set_xlabel("eigenvalue")
        axes.set_ylabel("density")
    return figure
