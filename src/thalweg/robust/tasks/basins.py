"""The basin below an input: where the gradient flow leads to, and whether the input lies at its bottom."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.energy import AbstractHostField
from thalweg.core.solution import Outcome
from thalweg.core.space import Box
from thalweg.methods.projected_flow import ProjectedFlow
from thalweg.methods.trace import Trace
from thalweg.robust.classifier import AbstractClassifier
from thalweg.verbs.relax import relax

# In units of the distance to the ridge: the error and the length of one step of the flow.
_ACCURACY, _STRIDE = 0.03, 0.2


class Basin(NamedTuple):
    """The lowest point that the gradient flow from an input reached.

    **Fields:** the point `x`; its class `label`; `energy`, its log odds (in logits); its `distance` from the input
    (Euclidean); `force`, what is left there of the force that the walls let act (logits per unit of the input);
    whether it came to rest there (`resting`), or still fell when its steps were over; whether it kept the class of its
    start all the way (`kept`).
    """

    x: Float[Array, "..."]
    label: int
    energy: float
    distance: float
    force: float
    resting: bool
    kept: bool


def basin(
    classifier: AbstractClassifier,
    field: AbstractHostField,
    x: Float[Array, "..."],
    space: Box,
    scale: float,
    *,
    max_steps: int = 400,
) -> Basin:
    """Follow the gradient flow from `x` on `field`, the log odds over the inputs of `classifier`.

    It is followed in steps that are short beside `scale`, the distance to the ridge, since a search for the minimum
    (the longer its steps, the better it is) leaps over ridges: the class is read at every step.
    """
    flow = ProjectedFlow(accuracy=_ACCURACY * scale, stride=_STRIDE * scale)
    end = relax(field, x, flow, space=space, max_steps=max_steps, trace=Trace(_place), throw=False)
    way = np.asarray(end.trace)
    way = np.concatenate([way, np.repeat(way[-1:], max_steps + 1 - len(way), axis=0)])  # one shape, one compilation
    read = np.argmax(np.asarray(classifier.logits(jnp.asarray(way, x.dtype))), axis=1)
    label = int(np.argmax(np.asarray(classifier.logits(end.value[None]))[0]))
    resting = Outcome.of(end.outcome) in (Outcome.DONE, Outcome.STALLED)
    distance = float(jnp.linalg.norm((end.value - x).ravel()))
    return Basin(
        end.value,
        label,
        float(end.energy),
        distance,
        float(end.stats["force_norm"]),
        resting,
        bool((read == read[0]).all()),
    )


def _place(walk) -> jax.Array:
    return walk.state.x
