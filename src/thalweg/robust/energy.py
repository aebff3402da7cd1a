"""The landscapes of a classifier over its inputs: a number made of its logits, seen from the input."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.energy import AbstractEnergy

Model = Callable[[Float[Array, "..."]], Float[Array, " classes"]]
Head = Callable[[Float[Array, " classes"]], Float[Array, ""]]


class OverInputs(AbstractEnergy):
    """The landscape `head(model(x))` over the inputs of a model."""

    head: Head
    model: Model

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        return self.head(self.model(x))


class Confidence(eqx.Module):
    """`-log max_k p_k`: every class has its valley, and the ridge between two is where they are as likely.

    The loss of the true label alone has no valley on the far side, so nothing would lie beyond its ridge.
    """

    def __call__(self, logits: Float[Array, " classes"]) -> Float[Array, ""]:
        return -jnp.max(jax.nn.log_softmax(logits))


class Collision(eqx.Module):
    """`-log sum_k p_k^2`, the collision entropy: valleys as those of `Confidence`, but smooth on the ridge.

    Between two classes that share all probability the ridge has the height log 2 in both.

    **Source:** A. Renyi, Proc. 4th Berkeley Symposium 1, 547 (1961), the entropy of order two.
    """

    def __call__(self, logits: Float[Array, " classes"]) -> Float[Array, ""]:
        return -jax.nn.logsumexp(2 * jax.nn.log_softmax(logits))


class LogOdds(eqx.Module):
    """`log((1 - p) / p)` of the most likely class: `Confidence` in logits, with the same flow lines, minima and ridges.

    It falls on as steeply as the margin where `Confidence` has flattened out, so that a valley's floor can be found
    below inputs that are read with all certainty. Between two classes that share all probability it is zero.
    """

    def __call__(self, logits: Float[Array, " classes"]) -> Float[Array, ""]:
        best, rest = _parted(logits)
        return rest - best


class Ambiguity(eqx.Module):
    """`log(N - 1)`, N = 1 / sum_k p_k^2 the effective number of classes: `Collision` in logits, smooth on the ridge.

    A function of `Collision` that grows with it, so that minima, saddles and their indices are the same. Deep in a
    valley it is `LogOdds` + log 2; for two classes at the margin m it is -log cosh m, and zero all along the ridge.

    **Source:** M. O. Hill, Ecology 54, 427 (1973), the diversity number of order two.
    """

    def __call__(self, logits: Float[Array, " classes"]) -> Float[Array, ""]:
        shares = jax.nn.log_softmax(logits)
        top = jnp.arange(shares.size) == jnp.argmax(shares)
        # log(1 - p) without rounding: of the best class from the others, which leave it no share of one.
        others = jnp.log1p(-jnp.exp(jnp.where(top, -1, shares)))
        missed = jnp.where(top, jax.nn.logsumexp(shares, where=~top), others)
        return jax.nn.logsumexp(shares + missed) - jax.nn.logsumexp(2 * shares)


def _parted(logits: Float[Array, " classes"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The best logit, and the log of the sum of the exponentials of all others."""
    top = jnp.arange(logits.size) == jnp.argmax(logits)
    return jnp.max(logits), jax.nn.logsumexp(logits, where=~top)


class LabelLoss(eqx.Module):
    """`-log p_label`, the training loss: smooth wherever the model is."""

    label: Int[Array, "*n"]

    def __call__(self, logits: Float[Array, " classes"]) -> Float[Array, ""]:
        return -jax.nn.log_softmax(logits)[self.label]


class Overtaking(eqx.Module):
    """By how many logits `target` still falls short of beating `label` by `by`; negative beyond the ridge."""

    label: Int[Array, "*n"]
    target: Int[Array, "*n"]
    by: Float[Array, "*n"] = eqx.field(converter=jnp.asarray)

    def __call__(self, logits: Float[Array, " classes"]) -> Float[Array, ""]:
        return logits[self.label] - logits[self.target] + self.by.astype(logits.dtype)


class Margin(eqx.Module):
    """The logit of `label` over the best of the others, plus `by`; without it, negative where misclassified."""

    label: Int[Array, "*n"]
    by: Float[Array, "*n"] = eqx.field(converter=jnp.asarray)

    def __call__(self, logits: Float[Array, " classes"]) -> Float[Array, ""]:
        others = jnp.where(jnp.arange(logits.shape[0]) == self.label, -jnp.inf, logits)
        return logits[self.label] - jnp.max(others) + self.by.astype(logits.dtype)
