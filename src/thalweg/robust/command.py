"""`thalweg robust`: adversarial examples as a landscape."""

from __future__ import annotations

from typing import Any

import click

from thalweg.console import Console, common


@click.group()
def robust() -> None:
    """Attack classifiers, and measure the work that it takes.

    MODEL is `package.module:attribute` or `file.py:attribute` (a JAX callable, an Equinox or a PyTorch module, of one
    input without batch axis for JAX), or `digits` for a small net trained on the spot. DATA is an .npz file with
    x [n, ...] and y [n], or `digits`.
    """


_BOUNDS = (
    click.option("--n", type=click.IntRange(1), default=20, show_default=True, help="Inputs, those read correctly."),
    click.option("--lower", type=float, default=0.0, show_default=True, help="Least value of an input."),
    click.option("--upper", type=float, default=1.0, show_default=True, help="Largest value of an input."),
)


def _on_model_and_data(function: Any) -> Any:
    for option in reversed(_BOUNDS):
        function = option(function)
    return click.argument("model")(click.argument("data")(function))


@robust.command()
@click.option("--targets", type=click.IntRange(1), default=3, show_default=True, help="Nearest classes to try.")
@_on_model_and_data
@common
def attack(console: Console, model: str, data: str, n: int, lower: float, upper: float, targets: int) -> None:
    """Find the smallest L2 push of each input that changes its class, inside the box.

    Writes the pushed inputs and their lengths to pushes.npz in the run's directory.

    \b
    Example:
      thalweg robust attack digits digits --n 50
      thalweg robust attack net.py:model test.npz --json
    """
    from thalweg.robust.figures import attack_page
    from thalweg.robust.tasks.attack import attack as run_attack

    config = {"model": model, "data": data, "n": n, "lower": lower, "upper": upper, "targets": targets}
    with console.run(config, _files(model, data)) as run:
        found = run_attack(**config, seed=console.seed, hooks=run.hooks("training on digits"))
        found.save(run.directory.path / "pushes.npz")
        run.finish(found.result, attack_page(found))


@robust.command()
@_on_model_and_data
@common
def work(console: Console, model: str, data: str, n: int, lower: float, upper: float) -> None:
    """Push inputs over their ridges, and compare the work along straight and bent paths with the energy climbed.

    \b
    Example:
      thalweg robust work digits digits --n 10 --json
    """
    from thalweg.robust.figures import work_page
    from thalweg.robust.tasks.attack import attack as run_attack
    from thalweg.robust.tasks.closure import work_result, work_table

    config = {"model": model, "data": data, "n": n, "lower": lower, "upper": upper}
    with console.run(config, _files(model, data)) as run:
        found = run_attack(**config, seed=console.seed, hooks=run.hooks("training on digits"))
        table = work_table(found, seed=console.seed)
        run.finish(work_result(table), work_page(table))


def _files(model: str, data: str) -> list[str]:
    """The files that a run reads, for its record; a name that is no file is left to the task to refuse."""
    from pathlib import Path

    place = model.rpartition(":")[0]
    return [name for name in (place, data) if name and Path(name).is_file()]
