"""`thalweg pendulums`."""

from __future__ import annotations

from pathlib import Path

import click

from thalweg.console import Console, common


@click.group()
def pendulums() -> None:
    """A chain of coupled pendulums and its kinks."""


@pendulums.command()
@click.option("--start", type=click.Path(path_type=Path), help="CSV with the column `angle` to relax from.")
@click.option("--count", type=click.IntRange(3), default=40, show_default=True, help="Pendulums, without --start.")
@click.option("--stiffness", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
              help="Of the springs.")  # fmt: skip
@click.option("--gravity", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
              help="Weight times length of a pendulum.")  # fmt: skip
@common
def kink(console: Console, start: Path | None, count: int, stiffness: float, gravity: float) -> None:
    """Relax a chain with one kink, and find the barrier before the next pendulum.

    \b
    Example:
      thalweg pendulums kink --stiffness 2 --json
    """
    import jax
    import jax.numpy as jnp

    from thalweg_pendulums.data import read_angles
    from thalweg_pendulums.energy import Pendulums
    from thalweg_pendulums.figures import kink_page
    from thalweg_pendulums.tasks.kink import kink

    given = None if start is None else read_angles(start)
    place = None if start is None else str(start)
    config = {"start": place, "count": count, "stiffness": stiffness, "gravity": gravity}
    with jax.enable_x64(True), console.run(config, [] if start is None else [start], dtype="float64") as run:
        angles = None if given is None else jnp.asarray(given)
        found = kink(Pendulums(stiffness, gravity), count, angles, hooks=run.hooks("relaxing", keep=None))
        run.finish(found.result, kink_page(found))
