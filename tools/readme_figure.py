"""Draw the figure of the README: four ways down one landscape."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.landscapes import MullerBrown
from thalweg.methods.trace import Trace
from thalweg.report import paper_figure, paper_style, save_figure
from thalweg.verbs.relax import relax


def main() -> None:
    """Write `docs/figures/four_ways_down.svg`."""
    jax.config.update("jax_enable_x64", True)
    energy, start = MullerBrown(), jnp.array([-0.75, 0.55])
    x, y = np.linspace(-1.6, 1.1, 90), np.linspace(-0.4, 2.0, 80)
    grid = jnp.stack(jnp.meshgrid(x, y), axis=-1)
    heights = np.asarray(jax.vmap(jax.vmap(energy))(grid))
    with paper_style():
        figure, axes = paper_figure("double", 0.5)
        axes.contourf(x, y, np.clip(heights, None, 60), levels=16, cmap="Greys_r", alpha=0.7)
        for name in ("flow", "fire", "projected", "lbfgs"):
            walk = relax(energy, start, name, trace=Trace(lambda w: w.state.x), max_steps=2_000)
            steps = walk.stats["steps"]
            axes.plot(*np.asarray(walk.trace).T, marker=".", markersize=3, linewidth=1, label=f"{name}, {steps} steps")
        axes.plot(*np.asarray(start), "k+", markersize=9)
        axes.set_xlabel("x")
        axes.set_ylabel("y")
        axes.legend(loc="upper right")
        save_figure(figure, Path(__file__).parents[1] / "docs" / "figures" / "four_ways_down.svg")


if __name__ == "__main__":
    main()
