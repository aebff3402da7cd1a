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


def _files(model: str, data: str) -> list[str]:
    """The files that a run reads, for its record; a name that is no file is left to the task to refuse."""
    from pathlib import Path

    place = model.rpartition(":")[0] or model
    return [name for name in (place, data) if name and Path(name).is_file()]
