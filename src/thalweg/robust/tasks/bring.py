"""Bring a classifier and its inputs: JAX and PyTorch models, ONNX files, earlier runs, and the built-in net."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.errors import InputError, PrecisionError
from thalweg.core.hooks import Hook
from thalweg.interop import from_onnx, from_torch, load_object
from thalweg.robust import data
from thalweg.robust.classifier import AbstractClassifier, JaxClassifier, TorchClassifier
from thalweg.robust.data import Channels, Classified
from thalweg.robust.energy import Model
from thalweg.robust.tasks.fit import NET, fit, load_net
from thalweg.robust.tasks.judge import check_batches, check_logits, notes_on, read_by, settled, within
from thalweg.runs.directory import Run
from thalweg.runs.manifest import hashed_inputs

_BLOCK = 500
_WEIGHTS_ALONE = (".pt", ".pth", ".ckpt", ".safetensors", ".npz", ".h5", ".keras", ".pkl", ".eqx")


class Posed(NamedTuple):
    """A classifier with inputs that it reads as labelled.

    **Fields:** `x [n, ...]` in the dtype of the classifier, within `lower` and `upper`; `labels [n]`; `places [n]`,
    where each stands in the data; `passed_over`, inputs before the last of them that it reads wrongly; `notes`,
    sentences for the user.
    """

    classifier: AbstractClassifier
    x: Float[Array, "n ..."]
    labels: Int[Array, " n"]
    places: Int[np.ndarray, " n"]
    passed_over: int
    lower: float
    upper: float
    notes: tuple[str, ...] = ()


def bring(name: str, *, seed: int = 0, hooks: tuple[Hook, ...] = ()) -> AbstractClassifier:
    """The classifier called `name`.

    **Arguments:** `name`, one of

    - `digits`, a small net that is trained now, with `seed`;
    - `package.module:attribute` or `file.py:attribute`: a JAX callable or Equinox module of one input without batch
      axis, a PyTorch module of a batch, a function without arguments that makes one of these, or a classifier;
    - an `.onnx` file;
    - the directory of an earlier run of the room, whose model is then built with the seed of that run.

    Models keep the precision of their weights; functions without any compute in that of the arrays that they use.

    **Raises:** `InputError` for a name that holds no classifier; `MissingExtra` without a package that it needs.
    """
    path = Path(name)
    if name == "digits":
        return JaxClassifier(fit(data.digits()[0], seed=seed, on_chunk=hooks), name, np.float32)
    if path.suffix == ".onnx":
        model = from_onnx(path)
        return JaxClassifier(model, name, _width(name, [w.dtype for w in model.weights.values()]))
    if path.is_dir():
        return _of_run(path, hooks)
    if path.suffix in _WEIGHTS_ALONE:
        raise InputError(f"{name} holds weights but not the model: write a Python file that builds it and loads them, "
                         "and name it as file.py:attribute, or export it to ONNX.")  # fmt: skip
    return as_classifier(load_object(name), name)


def as_classifier(found: Any, name: str = "the model") -> AbstractClassifier:
    """What `bring` makes of an object that is already there.

    **Raises:** as `bring`.
    """
    if isinstance(found, AbstractClassifier):
        return found
    if isinstance(found, type):
        raise InputError(f"{name} is a class: name an instance of it, such as model = {found.__name__}(...).")
    if _is_torch(found):
        return _torch_classifier(found, name)
    if not callable(found):
        raise InputError(f"{name} is a {type(found).__name__}, which cannot be called: name a model of one input.")
    if _takes_nothing(found):
        made = found()
        if callable(made) and not _takes_nothing(made):
            return as_classifier(made, name)
        raise InputError(f"{name} takes no arguments and returns a {type(made).__name__}: return a model of one input.")
    model = cast(Model, eqx.nn.inference_mode(found))  # of a plain function, the function itself
    weights = [leaf for leaf in jax.tree.leaves(model) if eqx.is_inexact_array(leaf)]
    return JaxClassifier(model, name, _width(name, [weight.dtype for weight in weights]))


def _takes_nothing(found: Any) -> bool:
    try:
        return not inspect.signature(found).parameters
    except (TypeError, ValueError):  # compiled functions need not tell
        return False


def _is_torch(found: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(found, torch.nn.Module)


def _torch_classifier(module: Any, name: str) -> AbstractClassifier:
    weights = [*module.parameters(), *module.buffers()]
    homes = {str(weight.device) for weight in weights}
    widths = [str(weight.dtype).removeprefix("torch.") for weight in weights if weight.dtype.is_floating_point]
    # With its own device named, batches are copied there; several devices, or the meta device, are refused.
    function = from_torch(module, device=homes.pop()) if len(homes) == 1 and "meta" not in homes else from_torch(module)
    return TorchClassifier(function, _width(name, widths or ["float32"]))


def _width(name: str, widths: Iterable[Any]) -> Any:
    """The one precision of a model's weights."""
    names = sorted({str(width) for width in widths})
    if len(names) > 1:
        raise InputError(f"{name} has weights in {' and '.join(names)}: convert all of them to one precision.")
    width = names[0] if names else str(jnp.result_type(float))
    if width not in ("float32", "float64"):
        raise InputError(f"{name} has weights in {width}, which is too coarse for small pushes: convert it to float32.")
    if width == "float64" and jnp.result_type(float) != np.float64:
        raise PrecisionError(f"{name} has weights in float64 but this process computes in float32: call "
                             "jax.config.update('jax_enable_x64', True) at its start, or convert it.")  # fmt: skip
    return width


def _of_run(folder: Path, hooks: tuple[Hook, ...]) -> AbstractClassifier:
    run = Run.open(folder)
    model = run.config.get("model")
    if run.command[:1] not in ([], ["robust"]) or not isinstance(model, str):
        raise InputError(f"{folder} is no run of `thalweg robust`, whose configuration names a model: name another.")
    if (folder / NET).is_file():
        return JaxClassifier(load_net(folder / NET), model, np.float32)
    return bring(_as_it_was(model, run), seed=run.seed or 0, hooks=hooks)


def _as_it_was(model: str, run: Run) -> str:
    """The name of a run's model from anywhere, if its file still is what the run began with."""
    place, colon, attribute = model.rpartition(":")
    file = Path(place or model)
    for entry in run.manifest["inputs"]:
        known = Path(str(entry.get("path")))
        if known.parts[-len(file.parts) :] == file.parts:
            if hashed_inputs([known])[0]["sha256"] != entry.get("sha256"):
                raise InputError(f"{known} is not the file that the run in {run.path} began with: restore it, or name "
                                 "the model itself.")  # fmt: skip
            return f"{known}{colon}{attribute}" if place else str(known)
    return model


def pose(
    model: str,
    source: str,
    *,
    n: int | None = None,
    start: int = 0,
    lower: float = 0.0,
    upper: float = 1.0,
    channels: Channels = "keep",
    seed: int = 0,
    hooks: tuple[Hook, ...] = (),
) -> Posed:
    """The classifier `model` with the first `n` inputs of `source`, from `start` on, that it reads as labelled.

    **Arguments:** `model` and `seed` as in `bring`; `source`, `lower`, `upper` and `channels` as in `data.read`.

    **Raises:** `InputError` for a model or data that cannot be used.
    """
    items = data.read(source, lower=lower, upper=upper, channels=channels)
    return correct_ones(bring(model, seed=seed, hooks=hooks), items, n, start=start)


def correct_ones(classifier: AbstractClassifier, items: Classified, n: int | None = None, *, start: int = 0) -> Posed:
    """The first `n` inputs from `start` on that the classifier reads as labelled; by default all of them.

    **Raises:** `InputError` in one sentence for inputs that leave their bounds, labels that are no class of the model,
    a model that does not take the inputs, is random or mixes a batch, logits that are not finite, or no input read
    right.
    """
    items = data.checked(items)
    count = len(items.y)
    if start >= count:
        raise InputError(f"{items.name} holds {count} inputs, so that none is left from {start} on: lower --start.")
    classifier = settled(classifier, items.x.shape[1:])
    # Blocks of one size, so that one program serves them all.
    block = min(_BLOCK, count - start, _BLOCK if n is None else max(16, n + n // 8))
    right, logits = np.empty(0, int), np.empty((0, 0))
    for begin in range(start, count, block):
        places = np.arange(begin, begin + block)
        x = within(items.x[places.clip(max=count - 1)], classifier.dtype, items.lower, items.upper)
        logits = read_by(classifier, x, items)[: count - begin]
        places = places[: count - begin]
        if begin == start:
            check_batches(classifier, x, items)
        check_logits(classifier, logits, places, items)
        right = np.append(right, places[logits.argmax(1) == items.y[places]])
        if n is not None and len(right) >= n:
            break
    right = right[:n]
    if len(right) == 0:
        raise InputError(f"{classifier.name} reads none of {count - start} inputs of {items.name} as labelled: check "
                         "labels, bounds and channel order.")  # fmt: skip
    x = jnp.asarray(within(items.x[right], classifier.dtype, items.lower, items.upper))
    passed_over = int(right[-1]) + 1 - start - len(right)
    notes = notes_on(classifier, logits, len(right), n)
    return Posed(classifier, x, jnp.asarray(items.y[right]), right, passed_over, items.lower, items.upper, notes)
