"""`thalweg learning`: symmetry breaking, phase transitions and landscapes of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from thalweg.console import Console, common, spread


@click.group()
def learning() -> None:
    """Symmetry breaking, phase transitions and landscapes of training."""


def _nudge(context: click.Context, parameter: click.Parameter, value: str) -> float | None:
    if value == "none":
        return None
    try:
        return float(value)
    except ValueError:
        raise click.BadParameter("give a number, or `none`") from None


def _pair(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    try:
        first, second = map(int, value.split(","))
    except ValueError:
        raise click.BadParameter("give two numbers with a comma, as in 0,1") from None
    return first, second


@learning.command()
@click.argument("model", required=False)
@click.option("--family", type=click.Choice(["linear", "relu", "tanh", "mlp"]), help="A built-in network.")
@click.option("--activation", help="Of a built-in network: tanh, relu, gelu, softplus, sigmoid, silu, sin or linear.")
@click.option("--width", type=click.IntRange(1), help="Units of a hidden layer of a built-in network.  [default: 2]")
@click.option("--depth", type=click.IntRange(1), help="Weight layers of a built-in network.")
@click.option("--form", type=click.Choice(["elementwise", "matmul"]),
              help="How the audited training writes its sums.  [default: elementwise]")  # fmt: skip
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float64", show_default=True,
              help="Precision of the audited training.")  # fmt: skip
@click.option("--optimiser", type=click.Choice(["gd", "momentum", "adam"]), default="gd", show_default=True,
              help="Of the training; momentum is 0.9.")  # fmt: skip
@click.option("--nudge", callback=_nudge, default="1e-6", show_default=True,
              help="Amplitude of the seed along the softest direction, or `none` for exact twins.")  # fmt: skip
@click.option("--noise", type=float, help="Standard deviation of noise on the gradients of the layer's units.")
@click.option("--batch", type=click.IntRange(1), help="Items of a mini-batch, instead of all.")
@click.option("--decay", type=float, default=1e-3, show_default=True, help="Weight of half the squared parameters.")
@click.option("--eta", type=float, help="Learning rate.  [default: 0.1, Adam 0.01, or what is stable]")
@click.option("--steps", type=click.IntRange(1), default=20_000, show_default=True, help="Steps of the training.")
@click.option("--data", type=click.Path(path_type=Path), help="CSV with a header; its last columns are the targets.")
@click.option("--targets", type=click.IntRange(1), default=1, show_default=True, help="How many columns these are.")
@click.option("--layer", type=click.IntRange(1), help="Hidden layer of the two units, counted from 1.")
@click.option("--pair", callback=_pair, help="The two units, counted from 0.  [default: 0,1]")
@common
def symmetry(console: Console, model: str | None, data: Path | None, **options: Any) -> None:
    """Train two bit-identical units: how fast they part in theory and in fact, and what for.

    MODEL is file.py:attribute or package.module:attribute: a Problem, an Equinox module or a function of `key` that
    makes one, a function predict(params, x) with start(key) beside it, or a PyTorch module. Without it the network is
    two tanh neurons, and without --data the target is the textbook's y = x^2.

    \b
    Example:
      thalweg learning symmetry --activation gelu --json
      thalweg learning symmetry --nudge none --form matmul --dtype float32
      thalweg learning symmetry net.py:make --data table.csv --optimiser adam
    """
    from thalweg.learning.figures.symmetry import symmetry_page
    from thalweg.learning.tasks.symmetry.study import problems, study

    place = (model or "").rpartition(":")[0]
    files = [file for file in (Path(place), data) if file is not None and file.is_file()]
    config = {"model": model, "data": None if data is None else str(data), **options}
    with console.run(config, files, dtype=options["dtype"]) as run:
        named = {name: options.pop(name) for name in ("family", "activation", "width", "depth", "form", "dtype")}
        pair = problems(model, data, options.pop("targets"), **named)
        hooks = run.hooks("training two units", options["steps"])
        found = study(*pair, **options, seed=console.seed, hooks=hooks, relaxing=run.hooks("relaxing", keep=None))
        run.finish(found.result, symmetry_page(found))


def _range(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        low, high = map(float, value.split(".."))
    except ValueError:
        raise click.BadParameter("give two numbers with two dots, as in 0.01..0.5") from None
    return low, high


def _counts(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    try:
        return () if value is None else tuple(int(one) for one in value.split(","))
    except ValueError:
        raise click.BadParameter("give whole numbers with commas, as in 50,100,200") from None


@learning.command()
@click.argument("model", required=False)
@click.option("--family", "name", type=click.Choice(["linear", "relu", "tanh", "mlp"]),
              help="A built-in network.  [default: linear]")  # fmt: skip
@click.option("--depth", type=click.IntRange(1), help="Weight layers of a built-in network.")
@click.option("--width", type=click.IntRange(1), help="Units of a hidden layer of a built-in network.")
@click.option("--activation", help="Of a built-in network: tanh, relu, gelu, softplus, sigmoid, silu, sin or linear.")
@click.option("--output-bias/--no-output-bias", default=None,
              help="A free bias of the output.  [default: where hidden layers have biases]")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), help="CSV with a header; its last columns are the targets.")
@click.option("--targets", type=click.IntRange(1), default=1, show_default=True, help="How many columns these are.")
@click.option("--whiten", "scaling", flag_value="whitened", help="Centre, and give the inputs unit covariance.")
@click.option("--standardise", "scaling", flag_value="standardised", help="Centre, and give columns unit variance.")
@click.option("--order-parameter", "parameter",
              type=click.Choice(["activation", "norm", "weights", "participation"]),
              help="What is watched; by default activation, where there are hidden neurons.")  # fmt: skip
@click.option("--lambdas", callback=_range, help="LOW..HIGH of the weight decay; by default found.")
@click.option("--points", type=click.IntRange(0), default=40, show_default=True,
              help="Of the hysteresis loop; 0 or 1 leaves it out.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1), default=6, show_default=True, help="Random starts at each decay.")
@click.option("--trainings", type=click.IntRange(0), default=0, show_default=True,
              help="Independent trainings at each of 28 decays: the textbook's picture.")  # fmt: skip
@click.option("--slowing", is_flag=True, help="Also relaxation times on both sides of lambda_c.")
@click.option("--sizes", callback=_counts, help="Numbers of items, as in 50,100,200: also finite-size scaling.")
@common
@spread
def transition(
    console: Console, model: str | None, data: Path | None, parameter: str | None, points: int, seeds: int,
    lambdas: tuple[float, float] | None, trainings: int, slowing: bool, sizes: tuple[int, ...], **options: Any
) -> None:  # fmt: skip
    """Find at which weight decay lambda a network ceases to learn, and of what order that transition is.

    MODEL is file.py:attribute or package.module:attribute, written in JAX (see `learning symmetry`). Smooth problems
    are followed along their branches, round folds and over pitchforks; networks with kinks, such as ReLU, by
    relaxations. Without MODEL and --data: a linear network on y = x^2 on [-1, 1.5] with white inputs, the others on
    y = x^2 on [-1, 1].

    \b
    Example:
      thalweg learning transition --family linear --depth 3 --json
      thalweg learning transition --family relu --data table.csv --standardise
      thalweg learning transition --depth 2 --trainings 8 --slowing --sizes 50,100,200
      thalweg learning transition net.py:make --data table.csv --order-parameter norm
    """
    from thalweg.learning.figures.many import beside_sections
    from thalweg.learning.figures.transition import transition_page
    from thalweg.learning.tasks.many.beside import beside
    from thalweg.learning.tasks.transition.posed import posed, result
    from thalweg.learning.tasks.transition.transition import transition as find
    from thalweg.runs import Points

    place = (model or "").rpartition(":")[0]
    files = [*([] if data is None else [data]), *([Path(place)] if Path(place).is_file() else [])]
    config = {"model": model, "data": None if data is None else str(data), "parameter": parameter, "points": points}
    config |= {"seeds": seeds, "lambdas": None if lambdas is None else list(lambdas), **options}
    config |= {"trainings": trainings, "slowing": slowing, "sizes": list(sizes)}
    with console.run(config, files, dtype="float64", free=()) as run:
        of = posed(model, data=data, **options)
        done, hooks = Points(run.directory.path / "parts"), run.hooks("relaxing over the decay", keep=None)
        found = find(of.problem, parameter=parameter, lambdas=lambdas, points=points, seeds=seeds, seed=console.seed,
                     done=done, hooks=hooks)  # fmt: skip
        besides = beside(of.problem, found.parameter, found.verdict.lambda_c, found.bounds, trained=trainings,
                         slowing=slowing, sizes=sizes, seed=console.seed, done=done, hooks=hooks,
                         executor=console.executor)  # fmt: skip
        answer = result(found, of.exact) | besides.result | {"data": of.data}
        page = transition_page(found, of, answer, beside_sections(besides))
        run.finish(answer | {"report": str(run.directory.report_path)}, page)


@learning.command()
@click.argument("model", required=False)
@click.option("--family", "name", type=click.Choice(["linear", "relu", "tanh", "mlp"]), default="tanh",
              show_default=True, help="A built-in network.")  # fmt: skip
@click.option("--depth", type=click.IntRange(1), help="Weight layers of a built-in network.")
@click.option("--width", type=click.IntRange(1), help="Units of a hidden layer of a built-in network.  [default: 2]")
@click.option("--activation", help="Of a built-in network: tanh, gelu, softplus, sigmoid, silu, sin or linear.")
@click.option("--data", type=click.Path(path_type=Path), help="CSV with a header; its last columns are the targets.")
@click.option("--targets", type=click.IntRange(1), default=1, show_default=True, help="How many columns these are.")
@click.option("--decay", type=click.FloatRange(0, min_open=True), default=1e-3, show_default=True,
              help="Weight of half the squared parameters.")  # fmt: skip
@click.option("--decays", callback=_range, help="LOW..HIGH: survey --points of them, and follow the minima.")
@click.option(
    "--points", type=click.IntRange(2), default=5, show_default=True, help="Of --decays, evenly in logarithm."
)
@click.option("--starts", type=click.IntRange(1), default=32, show_default=True, help="Random starts at each decay.")
@click.option("--rounds", type=click.IntRange(1), default=4, show_default=True, help="Rounds of searches for saddles.")
@click.option("--connect", is_flag=True, help="Also the way between two independent trainings.")
@click.option("--spectrum", is_flag=True, help="Also the Hessian's spectrum at the lowest minimum.")
@click.option("--coefficient", type=click.IntRange(2), metavar="ITEMS",
              help="Also its local learning coefficient, for so many items of data.")  # fmt: skip
@common
def landscape(
    console: Console, model: str | None, data: Path | None, decay: float, decays: tuple[float, float] | None,
    points: int, starts: int, rounds: int, connect: bool, spectrum: bool, coefficient: int | None, **options: Any
) -> None:  # fmt: skip
    """Map the minima of a training loss and the saddles between them, copies of a network counting once.

    MODEL as in `learning symmetry`, smooth and written in JAX. Draws the disconnectivity graph at each decay, and says
    where minima give way as the decay grows.

    \b
    Example:
      thalweg learning landscape --decays 1e-3..3e-2 --json
      thalweg learning landscape net.py:make --data table.csv --connect --spectrum
    """
    from thalweg.learning.figures.landscape import landscape_page
    from thalweg.learning.tasks.landscape.following import Effort
    from thalweg.learning.tasks.landscape.following import landscape as follow
    from thalweg.learning.tasks.landscape.posed import beside, levels, posed
    from thalweg.runs import Points

    place = (model or "").rpartition(":")[0]
    files = [file for file in (Path(place), data) if file is not None and file.is_file()]
    config = {"model": model, "data": None if data is None else str(data), "decay": decay, "points": points}
    config |= {"decays": None if decays is None else list(decays), "starts": starts, "rounds": rounds}
    config |= {"connect": connect, "spectrum": spectrum, "coefficient": coefficient, **options}
    with console.run(config, files, dtype="float64", free=()) as run:
        of = posed(model, data=data, **options)
        done, hooks = Points(run.directory.path / "searches"), run.hooks("searching minima and saddles", keep=None)
        found = follow(of, levels(decay, decays, points), effort=Effort(starts=starts, rounds=rounds),
                       seed=console.seed, done=done, hooks=hooks)  # fmt: skip
        besides = beside(found, connected=connect, spectrum=spectrum, coefficient=coefficient, seed=console.seed,
                         hooks=run.hooks("between and around minima", keep=None))  # fmt: skip
        run.finish(found.result | besides.result, landscape_page(found, *besides))
