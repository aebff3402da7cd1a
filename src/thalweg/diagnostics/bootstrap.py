"""Errors of anything computed from correlated draws: blocks of draws, drawn again with replacement."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from thalweg.core.errors import InputError
from thalweg.diagnostics.convergence import autocorrelation_time

LEVEL = 0.95
FEWEST_BLOCKS = 16  # below, the spread of the resamples is itself uncertain by more than a fifth
_TIMES = 10  # autocorrelation times per block; what they still share is 1/20 of the variance, which `widening` returns
_MOST_LOST = 0.05  # the share of resamples without an answer above which an interval would be a guess


class Estimate(eqx.Module):
    """A number, or an array of them, with what the bootstrap says about it.

    **Fields:** `value`, from all draws; `error`, the standard deviation over resamples; `low` and `high`, the
    percentile interval of nominally 95 % (90 to 94 % were measured on crossings of some 80 blocks); `resampled`, the
    resamples, leading axis. A resample that had no answer is `nan` there and left out of the others.

    **Source:** Efron & Tibshirani, An Introduction to the Bootstrap (1993); blocks: Kunsch, Ann. Stat. 17, 1217 (1989).
    """

    value: Float[np.ndarray, "*shape"]
    error: Float[np.ndarray, "*shape"]
    low: Float[np.ndarray, "*shape"]
    high: Float[np.ndarray, "*shape"]
    resampled: Float[np.ndarray, "resamples *shape"]


def estimated(value: Float[np.ndarray, "*shape"], resampled: Float[np.ndarray, "resamples *shape"], what: str):
    """The `Estimate` of `what` from its resamples.

    **Raises:** `InputError` if more than 5 % of the resamples have no answer.
    """
    lost = np.isnan(resampled).mean(axis=0).max(initial=0.0)
    if lost > _MOST_LOST:
        raise InputError(
            f"critical: {what} is missing in {100 * lost:.0f} % of the resamples: take more draws or a wider range of "
            "control values around it."
        )
    low, high = np.nanquantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Estimate(np.asarray(value), np.nanstd(resampled, axis=0, ddof=1), low, high, resampled)


def through(function: Callable[..., Float[np.ndarray, "..."]], *parts: Estimate, what: str) -> Estimate:
    """A function of estimates over the same resamples, evaluated on each of them."""
    return estimated(function(*(p.value for p in parts)), function(*(p.resampled for p in parts)), what)


def block_length(observed: Float[np.ndarray, "values draws chains"], where: str) -> int:
    """How many successive draws make a block that is nearly independent of the next one.

    **Raises:** `InputError` if fewer than 16 such blocks fit into all chains together.
    """
    draws, chains = observed.shape[1:]
    times = np.concatenate(
        [np.atleast_1d(autocorrelation_time(np.moveaxis(part, 0, -1))) for part in (np.abs(observed), observed**2)]
    )
    # Draws that never vary have no time; they do not widen any interval either.
    longest = float(np.nanmax(times, initial=1.0)) if np.isfinite(times).any() else 1.0
    # Independent draws need no long blocks, and a few thousand blocks are as good as more.
    length = max(1 if longest < 1.1 else int(np.ceil(_TIMES * longest)), draws * chains // 4096)
    if draws // length * chains < FEWEST_BLOCKS:
        raise InputError(
            f"critical: {where} has {draws} draws in {chains} chains at an autocorrelation time of {longest:.0f}: take "
            f"at least {-(-FEWEST_BLOCKS // chains) * length} draws per chain."
        )
    return draws // (draws // length)  # stretched, so that hardly a draw is left over


def in_blocks(
    observed: Float[np.ndarray, "*more draws chains"], length: int
) -> Float[np.ndarray, "*more blocks length"]:
    """The draws of each block; draws at the beginning that fill no whole block are left out."""
    *more, draws, chains = observed.shape
    whole = draws // length
    kept = np.swapaxes(observed[..., draws - whole * length :, :], -1, -2)
    return kept.reshape(*more, chains * whole, length)


def multiplicities(key: Key[Array, ""], blocks: int, resamples: int) -> Int[np.ndarray, "resamples blocks"]:
    """How often each block stands in each resample."""
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return generator.multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples)


def widening(blocks: int, length: int) -> float:
    """By how much deviations of resampled means must be stretched for honest intervals from so many blocks.

    Resampling loses one degree of freedom, percentiles of few blocks are normal ones where Student's are due, and
    blocks of ten autocorrelation times are not quite independent.
    """
    from scipy.special import ndtri, stdtrit

    quantile = (1 + LEVEL) / 2
    shared = 1 - 1 / (2 * _TIMES) if length > 1 else 1.0
    return float(np.sqrt(blocks / (blocks - 1) / shared) * stdtrit(blocks - 1, quantile) / ndtri(quantile))
