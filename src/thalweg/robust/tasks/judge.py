"""What is asked of a classifier before any task begins, each answer one sentence."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jaxtyping import Float, Int

from thalweg.core.errors import InputError, ThalwegError
from thalweg.interop import check_repeatable
from thalweg.robust.classifier import AbstractClassifier, JaxClassifier
from thalweg.robust.data import Classified, laid_out
from thalweg.robust.model import InSingle


def settled(classifier: AbstractClassifier, shape: tuple[int, ...]) -> AbstractClassifier:
    """The classifier in the precision of the arrays that it closes over, if it has no weights of its own.

    **Arguments:** `shape` of one input.
    """
    if not isinstance(classifier, JaxClassifier) or any(map(eqx.is_inexact_array, jax.tree.leaves(classifier.model))):
        return classifier
    try:
        traced = jax.make_jaxpr(classifier.model)(jax.ShapeDtypeStruct(shape, classifier.dtype))
    except Exception:  # the user's own code; what is wrong is said where it is called
        if classifier.dtype != np.float64 or not _is_taken(classifier.model, shape, np.float32):
            return classifier
        return JaxClassifier(InSingle(classifier.model, classifier.name), classifier.name, np.float32)
    widths = {str(one.dtype) for one in _constants(traced) if np.ndim(one) and jnp.issubdtype(one.dtype, jnp.floating)}
    return JaxClassifier(classifier.model, classifier.name, np.float32) if widths == {"float32"} else classifier


def _is_taken(model: Any, shape: tuple[int, ...], dtype: Any) -> bool:
    try:
        jax.eval_shape(model, jax.ShapeDtypeStruct(shape, dtype))
    except Exception:
        return False
    return True


def _constants(traced: ClosedJaxpr) -> Iterator[Any]:
    yield from traced.consts
    for equation in traced.jaxpr.eqns:
        for value in equation.params.values():
            if isinstance(value, ClosedJaxpr):
                yield from _constants(value)


def within(x: Float[np.ndarray, "n ..."], dtype: Any, lower: float, upper: float) -> Float[np.ndarray, "n ..."]:
    """Inputs in another precision, still within the bounds where these themselves are rounded."""
    low, high = np.asarray(lower, dtype), np.asarray(upper, dtype)
    low = np.nextafter(low, high) if float(low) < lower else low
    high = np.nextafter(high, low) if float(high) > upper else high
    return np.clip(np.asarray(x, dtype), low, high)


def read_by(classifier: AbstractClassifier, x: Float[np.ndarray, "n ..."], items: Classified) -> np.ndarray:
    """The logits `[n, classes]` of a batch.

    **Raises:** `InputError` for a model that does not take it, or whose answer is no logits.
    """
    shape = list(x.shape[1:])
    try:
        logits = classifier.logits(jnp.asarray(x))
    except ThalwegError as error:
        raise InputError(f"{str(error).rstrip('.')}{_hint(classifier, items, str(error))}") from error
    except Exception as error:  # the user's own code may raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(f"{classifier.name} does not take an input of shape {shape}: {reason}"
                         f"{_hint(classifier, items, reason)}") from error  # fmt: skip
    if not isinstance(logits, jax.Array):
        raise InputError(f"{classifier.name} returns a {type(logits).__name__}: return the logits alone.")
    if logits.ndim != 2 or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise InputError(f"{classifier.name} returns {logits.dtype} of shape {list(logits.shape[1:])} for one input of "
                         f"shape {shape}, not logits [classes]{_hint(classifier, items, '')}")  # fmt: skip
    return np.asarray(logits)


def _hint(classifier: AbstractClassifier, items: Classified, reason: str) -> str:
    """What would help, tried out, as the end of a sentence."""
    if isinstance(classifier, JaxClassifier):
        model = classifier.model
        if _reads(JaxClassifier(_OneOfBatch(model), "", classifier.dtype), items):
            return ": it takes a batch, so name a function of one input, such as lambda x: model(x[None])[0]."
    for channels in ("first", "last"):
        if items.x.ndim in (3, 4):
            try:
                other = laid_out(items, channels)
            except InputError:
                continue
            if other.x.shape != items.x.shape and _reads(classifier, other):
                return f": pass --channels {channels}."
    if isinstance(classifier, JaxClassifier) and "torch" in sys.modules and "Tensor" in reason:
        return ": wrap a function of PyTorch tensors in a torch.nn.Module."
    return ": mend the model or the shape of the inputs."


class _OneOfBatch(eqx.Module):
    model: Any

    def __call__(self, x: Any) -> Any:
        return self.model(x[None])[0]


def _reads(classifier: AbstractClassifier, items: Classified) -> bool:
    shape, x = items.x.shape[1:], items.x[:2].astype(classifier.dtype)
    try:
        if isinstance(classifier, JaxClassifier):
            return len(jax.eval_shape(classifier.model, jax.ShapeDtypeStruct(shape, classifier.dtype)).shape) == 1
        return classifier.logits(jnp.asarray(x)).ndim == 2
    except Exception:  # a trial: that it fails is the answer
        return False


def check_batches(classifier: AbstractClassifier, x: Float[np.ndarray, "n ..."], items: Classified) -> None:
    """Refuse a model that is random, or in which one input of a batch changes the answer for another.

    **Raises:** `InputError`.
    """
    if len(x) < 2:  # one input alone shows nothing: its mirror image keeps the bounds
        x = within(np.concatenate([x, items.lower + items.upper - x]), x.dtype, items.lower, items.upper)
    check_repeatable(classifier.logits, jnp.asarray(x), classifier.name)


def check_logits(
    classifier: AbstractClassifier,
    logits: Float[np.ndarray, "n classes"],
    places: Int[np.ndarray, " n"],
    items: Classified,
) -> None:
    """Refuse logits that are not finite, of fewer classes than the labels name, or of fewer than two.

    **Raises:** `InputError`.
    """
    classes = logits.shape[1]
    if classes < 2:
        raise InputError(f"{classifier.name} returns {classes} logit for one input: a classifier has at least two "
                         "classes; return [0, z] where one number z decides.")  # fmt: skip
    if items.y.max() >= classes:
        place = int(np.argmax(items.y >= classes))
        raise InputError(f"{items.name}: label {items.y[place]} of input {place} is no class of {classifier.name}, "
                         f"which returns {classes} logits: they are counted from 0.")  # fmt: skip
    bad = ~np.isfinite(logits).all(1)
    if bad.any():
        raise InputError(f"{classifier.name}: the logits of input {places[np.argmax(bad)]} of {items.name} are not "
                         "finite: mend the model, or begin beyond that input with --start.")  # fmt: skip


def notes_on(
    classifier: AbstractClassifier, logits: Float[np.ndarray, "m classes"], found: int, n: int | None
) -> tuple[str, ...]:
    """What a user should know about a classifier that can be used."""
    notes = []
    # Rounding of a softmax is far below, and no logits add up to one by chance for every input.
    if (logits >= 0).all() and np.allclose(logits.sum(1), 1, rtol=0, atol=1e-3):
        notes.append(f"{classifier.name} seems to return probabilities: return logits, whose slopes do not vanish "
                     "where it is sure.")  # fmt: skip
    if n is not None and found < n:
        notes.append(f"{classifier.name} reads only {found} of the inputs as labelled, not the {n} asked for.")
    return tuple(notes)
