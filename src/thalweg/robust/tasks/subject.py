"""What is audited: a classifier under two energies, or a function that returns its own gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from thalweg.core.energy import AbstractHostField
from thalweg.core.errors import InputError, ThalwegError
from thalweg.core.hooks import Hook
from thalweg.interop import load_object
from thalweg.robust import data
from thalweg.robust.classifier import AbstractClassifier
from thalweg.robust.data import Channels, Classified
from thalweg.robust.energy import LabelLoss, Overtaking
from thalweg.robust.tasks.bring import as_classifier, bring, correct_ones
from thalweg.robust.tasks.judge import within
from thalweg.robust.tasks.own_gradient import OwnGradient, own_gradient

BATCH = 128  # one size, for one compilation


class Pairs(NamedTuple):
    """Inputs `x [n, ...]` with `labels` and `places` in the data, and for each a `partner` of the label in `others`."""

    x: Float[np.ndarray, "n ..."]
    labels: Int[np.ndarray, " n"]
    places: Int[np.ndarray, " n"]
    partner: Float[np.ndarray, "n ..."]
    others: Int[np.ndarray, " n"]


class Subject(NamedTuple):
    """What is audited, on which inputs.

    **Fields:** `name` and `dtype`; `energies`, by name the field of a batch of inputs with these labels and these
    labels of their partners; the `pairs` of inputs; the box; `passed_over` and `notes` as in `Posed`; the
    `batch` in which the fields are asked, for `None` in whatever comes.
    """

    name: str
    dtype: np.dtype
    energies: Mapping[str, Callable[[np.ndarray, np.ndarray], AbstractHostField]]
    pairs: Pairs
    lower: float
    upper: float
    passed_over: int = 0
    notes: tuple[str, ...] = ()
    batch: int | None = BATCH


def subject(
    model: str,
    source: str,
    *,
    n: int = 20,
    start: int = 0,
    lower: float = 0.0,
    upper: float = 1.0,
    channels: Channels = "keep",
    seed: int = 0,
    hooks: tuple[Hook, ...] = (),
) -> Subject:
    """What `model` names, to be audited on the first `n` inputs of `source` from `start` on.

    A classifier is audited on inputs that it reads as labelled, under two energies: `loss`, the loss of the label, and
    `logits`, by how much its logit is above that of the partner's label, which does not saturate.

    **Arguments:** as in `pose`; `model` may also name a function `x -> (value, gradient)` or
    `(x, y) -> (value, gradient)` of one input, in JAX or in NumPy.

    **Raises:** `InputError` for a model or data that cannot be used.
    """
    items = data.read(source, lower=lower, upper=upper, channels=channels)
    if ":" not in model:
        return of_classifier(bring(model, seed=seed, hooks=hooks), items, n=n, start=start, seed=seed)
    found = load_object(model)
    if start >= len(items.y):
        raise InputError(f"{items.name} holds {len(items.y)} inputs, so that none is left from {start}: lower --start.")
    if callable(found) and not isinstance(found, (type, AbstractClassifier)):
        own = own_gradient(found, model, items.x[start:], items.y[start:])
        if own is not None:
            return of_own_gradient(own, items, n=n, start=start, seed=seed)
    return of_classifier(as_classifier(found, model), items, n=n, start=start, seed=seed)


def of_classifier(
    classifier: AbstractClassifier, items: Classified, *, n: int = 20, start: int = 0, seed: int = 0
) -> Subject:
    """A classifier, to be audited on the first `n` inputs from `start` on that it reads as labelled.

    **Raises:** `InputError` as `correct_ones` does.
    """
    posed = correct_ones(classifier, items, n, start=start)

    def loss(labels: np.ndarray, others: np.ndarray) -> AbstractHostField:
        return posed.classifier.field(LabelLoss(jnp.asarray(labels)))

    def logits(labels: np.ndarray, others: np.ndarray) -> AbstractHostField:
        zero = jnp.zeros(len(labels), posed.classifier.dtype)
        return posed.classifier.field(Overtaking(jnp.asarray(labels), jnp.asarray(others), zero))

    energies = {"loss": loss, "logits": logits}
    dtype = np.dtype(posed.classifier.dtype)
    pairs = _paired(items, posed.places, dtype, seed)
    return _repeatable(
        Subject(posed.classifier.name, dtype, energies, pairs, items.lower, items.upper, posed.passed_over, posed.notes)
    )


def of_own_gradient(own: OwnGradient, items: Classified, *, n: int = 20, start: int = 0, seed: int = 0) -> Subject:
    """A function that returns its own gradient, to be audited on the first `n` inputs from `start` on.

    **Raises:** `InputError` for one that is random.
    """
    energies = {"value": lambda labels, others: own.field(labels)}
    places = np.arange(start, min(start + n, len(items.y)))
    pairs, batch = _paired(items, places, own.dtype, seed), BATCH if own.batched else None
    return _repeatable(Subject(own.name, own.dtype, energies, pairs, items.lower, items.upper, batch=batch))


def _paired(items: Classified, places: np.ndarray, dtype: Any, seed: int) -> Pairs:
    """Inputs, labels and places, and for each a random input of another label."""
    others = []
    for place in places:
        unlike = np.flatnonzero(items.y != items.y[place])
        if len(unlike) == 0:
            raise InputError(f"{items.name}: all inputs have the label {items.y[place]}, but the paths of an audit "
                             "lead to inputs of another label: add some.")  # fmt: skip
        others.append(np.random.default_rng([seed, place]).choice(unlike))
    x, partner = (within(items.x[chosen], dtype, items.lower, items.upper) for chosen in (places, np.array(others)))
    return Pairs(x, items.y[places], places, partner, items.y[others])


def _repeatable(of: Subject) -> Subject:
    """What is audited, if it gives the same gradient twice.

    **Raises:** `InputError`.
    """
    pairs, half = of.pairs, (of.batch or 2) // 2
    x = np.repeat(np.concatenate([pairs.x[:1], pairs.partner[:1]]), half, axis=0)
    for name, energy in of.energies.items():
        field = energy(np.repeat(pairs.labels[:1], 2 * half), np.repeat(pairs.others[:1], 2 * half))
        try:
            (value, first), (again, second) = field.value_and_force_batch(x), field.value_and_force_batch(x)
        except ThalwegError:
            raise
        except Exception as error:  # the user's own code may raise anything
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise InputError(f"{of.name}: its gradient ({name}) cannot be computed: {reason}.") from error
        # Sums in another order differ by some units in the last place; a random gradient by far more.
        loose = 1e4 * np.finfo(of.dtype).eps
        for one, other in ((value, again), (first, second)):
            one, other = np.asarray(one), np.asarray(other)
            if np.abs(one - other).max() > loose * np.abs(one).max():
                raise InputError(f"{of.name} gives two answers to one input: it is random, so that no closure can be "
                                 "measured: fix its random numbers, or average over them.")  # fmt: skip
    return of
