"""`thalweg robust`: adversarial examples as a landscape."""

from __future__ import annotations

from typing import Any

import click

from thalweg.console import Console, common


@click.group()
def robust() -> None:
    """Attack classifiers, audit their gradients, measure their barriers and certify them.

    MODEL is `package.module:attribute` or `file.py:attribute` (a JAX callable or Equinox module of one input without
    batch axis, or a PyTorch module of a batch), an .onnx file, the directory of a run, or `digits` for a small net
    trained on the spot. DATA is an .npz file with x [n, ...] and y [n], an IDX file of images beside its labels, or
    `digits`.
    """


_OPTIONS = (
    click.option("--n", type=click.IntRange(1), default=20, show_default=True, help="Inputs, those read correctly."),
    click.option("--start", type=click.IntRange(0), default=0, show_default=True, help="The first input to look at."),
    click.option("--lower", type=float, default=0.0, show_default=True, help="Least value of an input."),
    click.option("--upper", type=float, default=1.0, show_default=True, help="Largest value of an input."),
    click.option(
        "--channels",
        type=click.Choice(["keep", "first", "last"]),
        default="keep",
        show_default=True,
        help="Where the model wants the channels of an image; without any, an axis of one is added.",
    ),
)


def _on_model_and_data(function: Any) -> Any:
    for option in reversed(_OPTIONS):
        function = option(function)
    return click.argument("model")(click.argument("data")(function))


@robust.command()
@_on_model_and_data
@click.option("--norm", type=click.Choice(["l2", "linf"]), default="l2", show_default=True, help="What is smallest.")
@click.option("--budget", type=click.IntRange(1), default=240, show_default=True, help="Gradients per input at most.")
@click.option("--eps", type=click.FloatRange(0, min_open=True),
              help="Only ask whether a push of at most this length exists, by descents within that ball.")  # fmt: skip
@common
def attack(
    console: Console, model: str, data: str, n: int, norm: Any, budget: int, eps: float | None, **options: Any
) -> None:
    """Find the smallest push of each input that changes its class, inside the box.

    Writes clean and pushed inputs with their lengths to pushes.npz in the run's directory. Lengths are upper bounds of
    the distance to the ridge; `robust certify` gives lower ones.

    \b
    Example:
      thalweg robust attack digits digits --n 50
      thalweg robust attack net.py:model test.npz --norm linf --budget 200 --json
      thalweg robust attack net.onnx t10k-images-idx3-ubyte.gz --n 200 --channels first
    """
    from thalweg.robust.figures.attack import attack_page
    from thalweg.robust.tasks.attack import attack as run_attack
    from thalweg.robust.tasks.bring import pose
    from thalweg.runs import Points

    config = {"model": model, "data": data, "n": n, "norm": norm, "budget": budget, "eps": eps, **options}
    with console.run(config, _files(model, data), free=()) as run:
        posed = pose(model, data, n=n, **options, seed=console.seed, hooks=run.hooks("training the net", keep=None))
        done, hooks = Points(run.directory.path / "blocks"), run.hooks("blocks of inputs", keep=None)
        found = run_attack(posed, norm, budget=budget, eps=eps, seed=console.seed, done=done, hooks=hooks)
        _keep_net(run, posed)
        found.save(run.directory.path / "pushes.npz")
        run.finish(found.result, attack_page(found))


@robust.command()
@_on_model_and_data
@common
def work(console: Console, model: str, data: str, n: int, **options: Any) -> None:
    """Push inputs over their ridges, and compare the work along straight and bent paths with the energy climbed.

    \b
    Example:
      thalweg robust work digits digits --n 10 --json
    """
    from thalweg.robust.figures.attack import work_page
    from thalweg.robust.tasks.attack import attack as run_attack
    from thalweg.robust.tasks.bring import pose
    from thalweg.robust.tasks.closure import work_result, work_table
    from thalweg.runs import Points

    config = {"model": model, "data": data, "n": n, **options}
    with console.run(config, _files(model, data), free=()) as run:
        posed = pose(model, data, n=n, **options, seed=console.seed, hooks=run.hooks("training the net", keep=None))
        done, hooks = Points(run.directory.path / "blocks"), run.hooks("blocks of inputs", keep=None)
        table = work_table(run_attack(posed, seed=console.seed, done=done, hooks=hooks), seed=console.seed)
        run.finish(work_result(table), work_page(table))


def _keep_net(run: Any, posed: Any) -> None:
    """A net that was trained for the run stays in its directory, which can be named as a MODEL from then on."""
    from thalweg.robust.model import SmallNet
    from thalweg.robust.tasks.fit import NET, save_net

    net = getattr(posed.classifier, "model", None)
    if isinstance(net, SmallNet):
        save_net(run.directory.path / NET, net)


def _files(model: str, data: str) -> list[Any]:
    """The files that a run reads, for its record; a name that is no file is left to the task to refuse."""
    from pathlib import Path

    from thalweg.core.errors import ThalwegError
    from thalweg.robust.data import files

    place = model.rpartition(":")[0] or model
    try:
        of_data = files(data)
    except ThalwegError:  # said again, in its place, when the data are read
        of_data = []
    return [file for file in (place, *of_data) if Path(file).is_file()]


@robust.command()
@_on_model_and_data
@click.option("--images", type=click.IntRange(3), default=11, show_default=True,
              help="Points of a path, ends included.")  # fmt: skip
@click.option("--budget", type=click.IntRange(1), default=240, show_default=True,
              help="Gradients per input for the push that finds its partner.")  # fmt: skip
@common
def barrier(console: Console, model: str, data: str, n: int, images: int, budget: int, **options: Any) -> None:
    """Follow inputs and their adversarial partners into their valleys, and find the way over the ridge between them.

    Writes the paths and saddles to paths.npz, and pictures to report.html.

    \b
    Example:
      thalweg robust barrier digits digits --n 3 --json
      thalweg robust barrier net.py:model test.npz --n 10
    """
    from thalweg.robust.figures.barrier import barrier_page
    from thalweg.robust.tasks.barrier import barrier as measure
    from thalweg.robust.tasks.barrier_parts import Effort
    from thalweg.robust.tasks.bring import pose
    from thalweg.runs import Points

    config = {"model": model, "data": data, "n": n, "images": images, "budget": budget, **options}
    with console.run(config, _files(model, data), dtype="float64", free=()) as run:
        posed = pose(model, data, n=n, **options, seed=console.seed, hooks=run.hooks("training the net"))
        done, hooks = Points(run.directory.path / "parts"), run.hooks("over the ridge", keep=None)
        effort = Effort(images=images)
        found = measure(posed, effort=effort, budget=budget, seed=console.seed, done=done, hooks=hooks)
        found.save(run.directory.path / "paths.npz")
        run.finish(found.result | {"passed_over": posed.passed_over}, barrier_page(found))


@robust.command()
@_on_model_and_data
@click.option("--gradients", type=click.IntRange(32), default=256, show_default=True,
              help="Per path, before its mismatch is followed down to rounding.")  # fmt: skip
@common
def audit(console: Console, model: str, data: str, n: int, gradients: int, **options: Any) -> None:
    """Tell whether what a model calls its gradient is the slope of what it computes.

    MODEL may also name a function of one input, x -> (value, gradient) or (x, y) -> (value, gradient), in JAX or NumPy.
    Compares the work of the gradient along paths to other inputs with the change of the energy, ever more finely:
    inconsistent gradients (straight-through, BPDA, stop-gradient, quantisers) leave a mismatch at every scale. Other
    ways to mask gradients are not what it looks for. Writes all paths to audit.npz, and pictures to report.html.

    \b
    Example:
      thalweg robust audit digits digits --json
      thalweg robust audit net.py:model test.npz --n 50
    """
    from thalweg.robust.figures.audit import audit_page
    from thalweg.robust.tasks.audit import audit as measure
    from thalweg.robust.tasks.subject import subject
    from thalweg.runs import Points

    config = {"model": model, "data": data, "n": n, "gradients": gradients, **options}
    with console.run(config, _files(model, data), free=()) as run:
        of = subject(model, data, n=n, **options, seed=console.seed, hooks=run.hooks("training the net", keep=None))
        found = measure(of, gradients=gradients, seed=console.seed, done=Points(run.directory.path / "parts"),
                        hooks=run.hooks("comparing work and energy", keep=None))  # fmt: skip
        found.save(run.directory.path / "audit.npz")
        run.finish(found.result, audit_page(found))


@robust.command()
@_on_model_and_data
@click.option("--eps", type=click.FloatRange(0, min_open=True), required=True, help="Radius at which errors are told.")
@click.option("--norm", type=click.Choice(["linf", "l2"]), default="linf", show_default=True, help="Of the ball.")
@click.option("--radii/--no-radii", default=True, show_default=True,
              help="Search the largest certified radius of each input too.")  # fmt: skip
@click.option("--budget", type=click.IntRange(1), default=240, show_default=True,
              help="Gradients per input of the attack beside it.")  # fmt: skip
@common
def certify(console: Console, model: str, data: str, n: int, eps: float, norm: Any, radii: bool, budget: int,
            **options: Any) -> None:  # fmt: skip
    """Prove up to which radius no push at all changes the class of an input, and find a push that does.

    --n counts all inputs here, also those that are read wrongly: errors are over all of them. MODEL must be written in
    JAX or be an .onnx file. Writes the brackets to certify.npz, and the robustness curve to report.html.

    \b
    Example:
      thalweg robust certify digits digits --eps 0.02 --json
      thalweg robust certify net.onnx t10k-images-idx3-ubyte.gz --channels first --n 100 --eps 0.1
    """
    from thalweg.robust.figures.certify import certify_page
    from thalweg.robust.tasks.certify import certify as measure
    from thalweg.robust.tasks.certify import pose_all
    from thalweg.runs import Points

    config = {"model": model, "data": data, "n": n, "eps": eps, "norm": norm, "radii": radii, "budget": budget}
    with console.run(config | options, _files(model, data), dtype="float64", free=()) as run:
        posed = pose_all(model, data, n=n, **options, seed=console.seed, hooks=run.hooks("training the net", keep=None))
        found = measure(posed, eps, norm=norm, radii=radii, budget=budget, seed=console.seed,
                        done=Points(run.directory.path / "parts"),
                        hooks=run.hooks("attacking and certifying", keep=None))  # fmt: skip
        found.save(run.directory.path / "certify.npz")
        run.finish(found.result, certify_page(found))
