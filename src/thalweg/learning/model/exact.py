"""Closed forms: where linear and ReLU networks lose what they have learnt, as the decay grows."""

from __future__ import annotations

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.energy import AbstractEnergy
from thalweg.core.errors import InputError
from thalweg.learning.data import Regression
from thalweg.verbs.relax import relax

Order = Literal["first", "second", "none"]
_WHITE = 1e-8  # of the second moments: what eigh of a covariance leaves, and far below what moves a sixth digit
_STARTS = 128  # of the search over directions, where inputs are several


class LinearTransition(NamedTuple):
    """What one singular value of the data does in a deep linear network as the decay grows.

    **Fields:** the `singular` value; the `order`; `coexistence`, the decay at which learning it no longer pays, or
    where it dies out continuously; `spinodal`, where the learnt state ceases to exist; `signal` and `signal_spinodal`,
    the end-to-end strength there. `None` where there is no such thing, or no closed form.
    """

    singular: float
    order: Order
    coexistence: float | None
    spinodal: float | None
    signal: float | None
    signal_spinodal: float | None


def second_moments(data: Regression) -> tuple[Float[np.ndarray, "m k"], Float[np.ndarray, "k k"]]:
    """`E[y x^T]` and `E[x x^T]`: all that a linear network sees of the data."""
    x, y = data
    return y.T @ x / len(x), x.T @ x / len(x)


def is_white(data: Regression) -> bool:
    """Whether `E[x x^T]` is the identity, as the closed forms of more than two layers assume."""
    moments = second_moments(data)[1]
    return bool(np.abs(moments - np.eye(len(moments))).max() < _WHITE)


def linear_transitions(data: Regression, depth: int, width: int | None = None) -> tuple[LinearTransition, ...]:
    """The transitions of a linear network without biases, one for each singular value `s` of `E[y x^T]`, largest first.

    With white inputs the layers balance and the singular values decouple: of strength `p`, each costs
    `(p - s)^2 / 2 + decay * depth / 2 * p^(2 / depth)`.

    - One layer is ridge regression: no transition.
    - Two layers: the penalty of the product is the nuclear norm. The problem is convex in the product, and whatever the
      moments of the inputs are, the largest singular value is where the collapsed state stops being the minimum,
      continuously. The lower ones need white inputs.
    - More layers: first order, and the collapsed state stays metastable at every decay. White inputs only.

    **Arguments:** `width` of the narrowest hidden layer, which bounds the rank.

    **Returns:** nothing for one layer, or where no closed form holds.

    **Source:** Ziyin & Ueda, arXiv 2205.12510 (2022), for the orders; the values are ours, from the cost above.
    """
    if depth < 1:
        raise InputError(f"a network has at least one layer, not {depth}.")
    singular = np.linalg.svd(second_moments(data)[0], compute_uv=False)
    singular = [float(s) for s in singular[:width] if s > 1e-12 * max(float(singular[0]), 1e-300)]
    if depth == 1 or not singular:
        return ()
    white = is_white(data)
    if depth == 2:
        return tuple(LinearTransition(s, "second", s, s, 0.0, 0.0) for s in singular[: None if white else 1])
    return tuple(_discontinuous(s, depth) for s in singular) if white else ()


def _discontinuous(s: float, depth: int) -> LinearTransition:
    power = (depth - 2) / depth
    signal, turning = s * (depth - 2) / (depth - 1), s * (depth - 2) / (2 * depth - 2)
    coexistence, spinodal = signal**power * s / (depth - 1), turning**power * s * depth / (2 * depth - 2)
    return LinearTransition(s, "first", coexistence, spinodal, signal, turning)


def linear_decay(signal: Float[np.ndarray, " n"], singular: float, depth: int) -> Float[np.ndarray, " n"]:
    """The decay at which a signal of this strength is stationary in a linear network on white inputs."""
    return (singular - signal) * signal ** (1 - 2 / depth)


def linear_growth(
    time: Float[np.ndarray, " n"], start: float, singular: float, tau: float = 1.0
) -> Float[np.ndarray, " n"]:
    """The strength over time of one singular value in two balanced layers under gradient flow, without a decay.

    The solution of `tau dp/dt = 2 p (singular - p)` from `start`.

    **Source:** Saxe, McClelland & Ganguli, arXiv 1312.6120 (2014), equation 7.
    """
    grown = np.exp(2 * singular * np.asarray(time) / tau)
    return singular * grown / (grown - 1 + singular / start)


class ReluTransition(NamedTuple):
    """Where a network of one hidden ReLU layer collapses.

    **Fields:** the decay `lambda_c`; the `direction` `[k + 1]` of the first unit to live, weights and bias; `certain`,
    whether all directions were looked at (one input) or the best of many searches is told.
    """

    lambda_c: float
    direction: Float[np.ndarray, " inputs"]
    certain: bool


def relu_transition(data: Regression, *, seed: int = 0) -> ReluTransition:
    """The decay below which one hidden ReLU layer with penalised biases and a free output bias leaves collapse.

    It is the maximum over unit vectors `u` of `|E[(y - mean y) relu(u . (x, 1))]|`: a unit with small weights `a u` and
    `b` gains `a b` times that and pays `decay (a^2 + b^2) / 2`. One input is scanned arc by arc, exactly; with several
    the best of many searches is a lower bound on the maximum.
    """
    x, y = data
    residual = y - y.mean(axis=0)
    if x.shape[1] == 1:
        return _scanned(x[:, 0], residual)
    return _searched(np.concatenate([x, np.ones((len(x), 1))], axis=1), residual, seed)


def _scanned(x: Float[np.ndarray, " n"], residual: Float[np.ndarray, "n m"]) -> ReluTransition:
    """The maximum over a circle: between two neighbouring inputs the active items stay the same."""
    order = np.argsort(x)
    x, residual = x[order], residual[order] / len(x)
    zero = np.zeros((1, residual.shape[1]))
    slopes, heights = (np.concatenate([zero, np.cumsum(part, axis=0)]) for part in (residual * x[:, None], residual))
    before = np.stack([slopes, heights], axis=-1)  # [n + 1, m, 2]: the items below a threshold
    # Items above `-tan` of the angle are active, or, in the opposite direction, those below it.
    ends = np.concatenate([[np.pi / 2], -np.arctan(x), [-np.pi / 2]])
    high, low = ends[:-1], ends[1:]
    found = [_best_of_arcs(part, low, high) for part in (before[-1] - before, before)]
    turned = int(np.argmax([value for value, _ in found]))
    value, angle = found[turned]
    return ReluTransition(value, (1 - 2 * turned) * np.array([np.cos(angle), np.sin(angle)]), True)


def _best_of_arcs(forms: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    """The largest `|form (cos a, sin a)|` with `a` within each form's arc, and where it is."""
    squares = np.einsum("ami,amj->aij", forms, forms)
    peak = 0.5 * np.arctan2(2 * squares[:, 0, 1], squares[:, 0, 0] - squares[:, 1, 1])  # in (-pi/2, pi/2]
    angles = np.stack([np.clip(peak, low, high), low, high])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    values = np.sqrt(np.maximum(np.einsum("eai,aij,eaj->ea", vectors, squares, vectors), 0))
    best = np.unravel_index(int(np.argmax(values)), values.shape)
    return float(values[best]), float(angles[best])


class Overlap(AbstractEnergy):
    """Minus the squared overlap of the residual with a ReLU unit, over the unit's direction."""

    inputs: Float[Array, "n inputs"]
    residual: Float[Array, "n m"]

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, ""]:
        unit = x / jnp.linalg.norm(x)
        return -jnp.sum((self.residual.T @ jax.nn.relu(self.inputs @ unit)) ** 2)


@eqx.filter_jit
def _descended(energy: Overlap, starts: Float[Array, "starts inputs"]) -> tuple[Array, Array]:
    # A maximum on a kink is approached, never met: the walk there stalls, and its best point counts.
    found = jax.vmap(lambda start: relax(energy, start, "lbfgs", max_steps=500, throw=False))(starts)
    return found.value, found.energy


def _searched(inputs: np.ndarray, residual: np.ndarray, seed: int) -> ReluTransition:
    size = float(np.sqrt((residual**2).sum() * (inputs**2).sum()))
    starts = jax.random.normal(jax.random.key(seed), (_STARTS, inputs.shape[1]), jnp.result_type(float))
    # Input columns of all sizes are met by directions drawn in their own units.
    starts = starts / jnp.asarray(np.sqrt((inputs**2).mean(axis=0)))
    scaled = Overlap(jnp.asarray(inputs), jnp.asarray(residual / size))
    points, heights = _descended(scaled, starts / jnp.linalg.norm(starts, axis=1, keepdims=True))
    best = int(np.argmin(np.asarray(heights)))
    direction = np.asarray(points[best]) / np.linalg.norm(points[best])
    overlap = residual.T @ np.maximum(inputs @ direction, 0) / len(inputs)
    return ReluTransition(float(np.linalg.norm(overlap)), direction, False)
