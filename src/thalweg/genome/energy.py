"""The landscape of a splice-site finder: its mean cross-entropy over the weights."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from thalweg.core.energy import AbstractEnergy
from thalweg.genome.model.network import Ends, SpliceNetwork
from thalweg.genome.model.thinned import thinned
from thalweg.genome.model.window import IGNORED, Window


class SpliceLoss(AbstractEnergy):
    """The mean cross-entropy of some windows over the weights of a network, in nats per scored base."""

    window: Window

    def __call__(self, x: SpliceNetwork) -> Float[Array, ""]:
        return surprise(x, self.window, None)[0]


def surprise(net: SpliceNetwork, window: Window, ahead: PyTree) -> tuple[Float[Array, ""], PyTree]:
    """The mean cross-entropy over scored bases, and the forward states after the last base.

    **Arguments:** `ahead`, the forward states before the first base; `None` for those at rest.
    """
    codes = window.codes.T
    rest = net.rest(codes.shape[1])
    start = rest if ahead is None else Ends(ahead, rest.back)
    scores, ends = net(codes, window.first.T, window.last.T, start)
    targets = window.targets.T
    scored = (targets != IGNORED).astype(scores.dtype)
    chosen = jax.nn.one_hot(targets, scores.shape[-1], dtype=scores.dtype)
    # By logsumexp and a product: picking by index would scatter on the way back.
    each = jax.nn.logsumexp(scores, axis=-1) - jnp.sum(scores * chosen, axis=-1)
    return jnp.sum(each * scored) / jnp.maximum(jnp.sum(scored), 1), ends.ahead


class ThroughTime(eqx.Module):
    """The gradient rule of a training: back-propagation through all bases of its windows.

    **Fields:** `carried`, whether the forward states go on from window to window, without a gradient: truncated
    back-propagation through time; `thin`, the share of units that every step leaves out.
    """

    carried: bool = eqx.field(static=True, default=False)
    thin: float = eqx.field(static=True, default=0.0)

    def __call__(self, model: SpliceNetwork, batch: Window, carry: PyTree, step, key, /) -> tuple[Any, PyTree, dict]:
        ahead = jax.lax.stop_gradient(carry) if self.carried else None

        def thinner(net: SpliceNetwork) -> Any:
            return surprise(thinned(net, self.thin, key) if self.thin else net, batch, ahead)

        (loss, after), slopes = eqx.filter_value_and_grad(thinner, has_aux=True)(model)
        return slopes, jax.lax.stop_gradient(after) if self.carried else carry, {"loss": loss}
