"""The landscapes of a classifier over its inputs."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.energy import AbstractEnergy

Classifier = Callable[[Float[Array, "..."]], Float[Array, " classes"]]


class Confidence(AbstractEnergy):
    """`E(x) = -log max_k p_k(x)`: every class has its valley, and the ridge between two is where they are as likely.

    The loss of the true label alone has no valley on the far side, so nothing would lie beyond its ridge.
    """

    model: Classifier

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        return -jnp.max(jax.nn.log_softmax(self.model(x)))


class LabelLoss(AbstractEnergy):
    """`E(x) = -log p_label(x)`, the training loss over the inputs: smooth wherever the model is."""

    model: Classifier
    label: Int[Array, ""]

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        return -jax.nn.log_softmax(self.model(x))[self.label]


class HalfSquaredDistance(AbstractEnergy):
    """Half the squared Euclidean distance from `origin`."""

    origin: Float[Array, "..."]

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        return 0.5 * jnp.sum((x - self.origin) ** 2)


class Overtaking(AbstractEnergy):
    """By how many logits `target` still falls short of beating `label` by `by`; negative beyond the ridge."""

    model: Classifier
    label: Int[Array, ""]
    target: Int[Array, ""]
    by: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        logits = self.model(x)
        return logits[self.label] - logits[self.target] + self.by.astype(logits.dtype)


def margin(model: Classifier, x: Float[Array, "..."], label: Int[Array, ""]) -> Float[Array, ""]:
    """The logit of the label over the best of the others; negative where `x` is misclassified."""
    logits = model(x)
    others = jnp.where(jnp.arange(logits.shape[0]) == label, -jnp.inf, logits)
    return logits[label] - jnp.max(others)
