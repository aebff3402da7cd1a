"""Constants of samplers, tuned during the warmup: step sizes by dual averaging, masses from the variances seen."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class StepTuning(eqx.Module):
    """A step size, and the dual averages from which it is found.

    **Fields:** `size`, in use; `centre`, the logarithm that sizes are drawn to; `error`, the average lack of
    acceptance; `log_average`, of the sizes so far; `count`, steps since the averages began.
    """

    size: Float[Array, ""]
    centre: Float[Array, ""]
    error: Float[Array, ""]
    log_average: Float[Array, ""]
    count: Int[Array, ""]


class MassTuning(eqx.Module):
    """The inverse masses in use (over the raveled `x`), and the mean and squared deviations of the window so far."""

    inverse: Float[Array, " n"]
    mean: Float[Array, " n"]
    squares: Float[Array, " n"]
    count: Int[Array, ""]


def begin_steps(size: Float[Array, ""], dtype: jnp.dtype) -> StepTuning:
    """Dual averages that start at a step size, and are drawn to ten times that.

    **Source:** Hoffman & Gelman, J. Mach. Learn. Res. 15, 1593 (2014), section 3.2.
    """
    size = jnp.asarray(size).astype(dtype)
    zero = jnp.zeros_like(size)
    return StepTuning(size, jnp.log(10 * size), zero, zero, jnp.asarray(0, jnp.int32))


def tuned_steps(
    tuning: StepTuning, accepted: Float[Array, ""], target: Float[Array, ""], step: Int[Array, ""], warmup: int
) -> StepTuning:
    """The step size after a step of the warmup with this probability of acceptance; unchanged after the warmup."""

    def learn(tuning: StepTuning) -> StepTuning:
        nearer = averaged(tuning, accepted, target)
        last = jnp.where(step == warmup, jnp.exp(nearer.log_average), nearer.size)
        return eqx.tree_at(lambda t: t.size, nearer, last)

    return jax.lax.cond(step <= warmup, learn, lambda tuning: tuning, tuning)


def averaged(tuning: StepTuning, accepted: Float[Array, ""], target: Float[Array, ""]) -> StepTuning:
    """One update of the dual averages, with the constants of Hoffman & Gelman (2014)."""
    dtype = tuning.size.dtype
    count = tuning.count + 1
    number = count.astype(dtype)
    share = 1 / (number + 10)
    error = (1 - share) * tuning.error + share * (target.astype(dtype) - accepted.astype(dtype))
    log_size = tuning.centre - jnp.sqrt(number) / 0.05 * error
    weight = number ** jnp.asarray(-0.75, dtype)
    log_average = weight * log_size + (1 - weight) * tuning.log_average
    return StepTuning(jnp.exp(log_size), tuning.centre, error, log_average, count)


def begin_masses(inverse: Float[Array, " n"]) -> MassTuning:
    """A fresh window."""
    zero = jnp.zeros_like(inverse)
    return MassTuning(inverse, zero, zero, jnp.asarray(0, jnp.int32))


def watched(tuning: MassTuning, x: Float[Array, " n"]) -> MassTuning:
    """The window with one more configuration, by Welford's sums."""
    count = tuning.count + 1
    away = x - tuning.mean
    mean = tuning.mean + away / count.astype(x.dtype)
    return MassTuning(tuning.inverse, mean, tuning.squares + away * (x - mean), count)


def closed(tuning: MassTuning) -> MassTuning:
    """The window's variances as inverse masses, shrunk a little towards 1e-3 as Stan does, and a fresh window."""
    count = tuning.count.astype(tuning.mean.dtype)
    variance = tuning.squares / jnp.maximum(count - 1, 1)
    return begin_masses((count * variance + 5 * 1e-3) / (count + 5))


def windows(warmup: int) -> tuple[int, list[int]]:
    """The last step before masses are learnt, and the steps at which their windows end.

    **Source:** the warmup of Stan: 75 steps for the step size, windows that double from 25, 50 steps to settle; in
    proportion where there are fewer than 150 steps, and no masses at all below 20.
    """
    if warmup < 20:
        return warmup, []
    head, tail, size = 75, 50, 25
    if head + tail + size > warmup:
        head, tail = int(0.15 * warmup), int(0.1 * warmup)
        size = warmup - head - tail
    ends, last = [], warmup - tail
    end = head + size
    while end < last:
        # A window that could not be followed by one of twice its size reaches to the end.
        ends.append(end if end + 2 * size <= last else last)
        size *= 2
        end = ends[-1] + size
    return head, ends if ends and ends[-1] == last else [*ends, last]
