"""`thalweg learning`: symmetry breaking in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from thalweg.console import Console, common


@click.group()
def learning() -> None:
    """Symmetry breaking in training."""


def _nudge(context: click.Context, parameter: click.Parameter, value: str) -> float | None:
    if value == "none":
        return None
    try:
        return float(value)
    except ValueError:
        raise click.BadParameter("give a number, or `none`") from None


@learning.command()
@click.option("--activation", default="tanh", show_default=True, help="tanh, relu, gelu, softplus or sigmoid.")
@click.option("--form", type=click.Choice(["elementwise", "matmul"]), default="elementwise", show_default=True,
              help="How the audited training writes its sums.")  # fmt: skip
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float64", show_default=True,
              help="Precision of the audited training.")  # fmt: skip
@click.option("--nudge", callback=_nudge, default="1e-6", show_default=True,
              help="Amplitude of the seed along the softest direction, or `none` for exact twins.")  # fmt: skip
@click.option("--decay", type=float, default=1e-3, show_default=True, help="Weight of half the squared parameters.")
@click.option("--eta", type=float, default=0.1, show_default=True, help="Learning rate of gradient descent.")
@click.option("--steps", type=click.IntRange(1), default=20_000, show_default=True, help="Steps of the training.")
@click.option("--data", type=click.Path(path_type=Path), help="CSV with a header; its last column is the target.")
@common
def symmetry(console: Console, data: Path | None, **options: Any) -> None:
    """Train two bit-identical neurons: how fast they part in theory and in fact, and what for.

    Without --data the target is the textbook's y = x^2.

    \b
    Example:
      thalweg learning symmetry --activation gelu --json
      thalweg learning symmetry --nudge none --form matmul --dtype float32
    """
    from thalweg.learning.data import parabola, read_csv
    from thalweg.learning.figures import symmetry_page
    from thalweg.learning.tasks.study import study

    regression = parabola() if data is None else read_csv(data)
    config = {"data": None if data is None else str(data), **options}
    with console.run(config, [] if data is None else [data], dtype=options["dtype"]) as run:
        hooks = run.hooks("training two neurons", options["steps"])
        found = study(regression, **options, seed=console.seed, hooks=hooks)
        run.finish(found.result, symmetry_page(found))
