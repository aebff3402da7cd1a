"""Whether chains have converged, and what their draws are worth: split R-hat, effective sample sizes, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float, PyTree

from thalweg.core.checks import leaf_name, traced
from thalweg.core.errors import InputError

Kind = Literal["bulk", "tail", "mean"]
Draws = Float[np.ndarray, "draws chains *rest"]

_FEWEST = 4  # a split chain then still has two draws, the fewest that have a variance
_TAILS = (0.05, 0.95)
_BLOCK = 2**21  # draws, times chains, times numbers that are transformed together: some 100 MB
_FEW = 256  # draws, below which a loop over numbers costs more than it saves


def effective_sample_size(draws: PyTree, kind: Kind = "bulk") -> PyTree:
    """How many independent draws would tell as much as these correlated ones.

    **Arguments:** `draws`, an array or a pytree of arrays `[draws, chains, ...]`; `kind`: `bulk` (ranks: how well the
    centre is known), `tail` (the worse of the 5 % and 95 % quantiles) or `mean` (the draws as they are: what the error
    of their mean needs).

    **Returns:** float64 arrays `[...]` of the same structure. Draws that do not vary at all tell nothing about how
    fast they mix: their entry is `nan`, without a warning.

    **Raises:** `InputError` for fewer than 4 draws, draws that are not finite, or an unknown kind.

    **Source:** Vehtari, Gelman, Simpson, Carpenter & Burkner, Bayesian Analysis 16, 667 (2021).
    """
    sizes = {"bulk": _bulk_size, "tail": _tail_size, "mean": _size}
    if kind not in sizes:
        raise InputError(f"effective_sample_size: there is no kind {kind!r}: choose one of bulk, tail, mean.")
    return _per_leaf(sizes[kind], draws, "effective_sample_size")


def r_hat(draws: PyTree) -> PyTree:
    """The rank-normalised split R-hat: the larger of that of the ranks and that of the folded ranks.

    Chains that agree have 1; above 1.01 they should not be trusted. One chain is compared by its two halves.

    **Arguments:** `draws`, an array or a pytree of arrays `[draws, chains, ...]`.

    **Returns:** float64 arrays `[...]`; `nan` where no draw varies, infinity where chains stand still apart.

    **Raises:** `InputError` for fewer than 4 draws or draws that are not finite.

    **Source:** Vehtari, Gelman, Simpson, Carpenter & Burkner, Bayesian Analysis 16, 667 (2021).
    """
    return _per_leaf(_rank_r_hat, draws, "r_hat")


def standard_error(draws: PyTree) -> PyTree:
    """The standard error of the mean over draws and chains, correlation included.

    **Arguments:** `draws`, an array or a pytree of arrays `[draws, chains, ...]`.

    **Returns:** float64 arrays `[...]` in the units of the draws; `nan` where no draw varies.

    **Raises:** `InputError` for fewer than 4 draws or draws that are not finite.
    """
    return _per_leaf(lambda leaf: leaf.std(axis=(0, 1), ddof=1) / np.sqrt(_size(leaf)), draws, "standard_error")


def autocorrelation_time(draws: PyTree) -> PyTree:
    """The integrated autocorrelation time in draws: how many of them the mean needs for each independent one.

    **Arguments:** `draws`, an array or a pytree of arrays `[draws, chains, ...]`.

    **Returns:** float64 arrays `[...]`, 1 for independent draws; `nan` where no draw varies.

    **Raises:** `InputError` for fewer than 4 draws or draws that are not finite.
    """
    return _per_leaf(lambda leaf: leaf.shape[0] * leaf.shape[1] / _size(leaf), draws, "autocorrelation_time")


def _per_leaf(measure: Callable[[Draws], Any], draws: PyTree, where: str) -> PyTree:
    if traced(draws):
        raise InputError(f"{where}: draws are read on the host, not inside jit or vmap: call it from outside.")
    if not jax.tree.leaves(draws):
        raise InputError(f"{where}: there are no draws: pass an array [draws, chains, ...].")
    return jax.tree_util.tree_map_with_path(lambda path, leaf: measure(_checked(leaf, path, where)), draws)


def _checked(leaf: Any, path: tuple[Any, ...], where: str) -> Draws:
    # Sums over thousands of draws in their own float32 would lose what is measured here.
    values, name = np.asarray(leaf, np.float64), leaf_name(path)
    if values.ndim < 2 or values.shape[1] == 0:
        raise InputError(f"{where}: {name} has the shape {values.shape}: it must be [draws, chains, ...].")
    if values.shape[0] < _FEWEST:
        raise InputError(f"{where}: {name} has {values.shape[0]} draws per chain: take at least {_FEWEST}.")
    if not np.isfinite(values).all():
        raise InputError(f"{where}: {name} holds draws that are not finite: find the step that broke the chain.")
    return values


def _split(draws: Draws) -> Draws:
    """Each chain as its two halves, without the draw in the middle of an odd number."""
    half = len(draws) // 2
    return np.concatenate([draws[:half], draws[-half:]], axis=1)


def _normal_scores(draws: Draws) -> Draws:
    """The draws replaced by the normal quantiles of their ranks among all draws of all chains."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    # One number after another, its draws side by side in memory: several times as quick as all at once, and smaller.
    flat = np.ascontiguousarray(draws.reshape(draws.shape[0] * draws.shape[1], -1).T)
    count, scores = flat.shape[1], np.empty_like(flat)
    # Blom's offsets, as in the paper.
    score = lambda ranks: ndtri((ranks - 0.375) / (count + 0.25))  # noqa: E731
    if count < _FEW:
        scores = score(rankdata(flat, axis=1))
    else:
        for row, into in zip(flat, scores, strict=True):
            _, place, times = np.unique(row, return_inverse=True, return_counts=True)
            into[:] = score(np.cumsum(times) - (times - 1) / 2)[place]  # equal draws share the mean of their ranks
    return scores.T.reshape(draws.shape)


def _rank_r_hat(draws: Draws) -> Any:
    halves = _split(draws)
    folded = np.abs(halves - np.median(halves, axis=(0, 1)))
    # Draws of two values may fold onto one, which leaves the ranks alone to speak.
    return np.fmax(_plain_r_hat(_normal_scores(halves)), _plain_r_hat(_normal_scores(folded)))


def _plain_r_hat(draws: Draws) -> Any:
    count = len(draws)
    within, between = draws.var(axis=0, ddof=1).mean(axis=0), draws.mean(axis=0).var(axis=0, ddof=1)
    # Variances of equal numbers come out as rounding noise; ranks have gaps far above it.
    within, between = (np.where(part < 1e-20, 0.0, part) for part in (within, between))
    with np.errstate(divide="ignore", invalid="ignore"):  # 0/0 and 1/0 are the documented nan and infinity
        return np.sqrt((count - 1) / count + between / within)


def _bulk_size(draws: Draws) -> Any:
    # The split drops the middle of an odd number of draws, which must not have a rank either.
    even = np.delete(draws, len(draws) // 2, axis=0) if len(draws) % 2 else draws
    return _size(_normal_scores(even))


def _tail_size(draws: Draws) -> Any:
    low, high = np.quantile(draws, _TAILS, axis=(0, 1))
    return np.fmin(_size((draws <= low).astype(float)), _size((draws <= high).astype(float)))


def _size(draws: Draws) -> Any:
    halves = _split(draws)
    flat = halves.reshape(*halves.shape[:2], -1)
    # In blocks of columns: the transform takes several times the memory of the draws.
    width = max(1, _BLOCK // (flat.shape[0] * flat.shape[1]))
    blocks = [_sizes(flat[:, :, first : first + width]) for first in range(0, flat.shape[2], width)]
    return np.concatenate([np.empty(0), *blocks]).reshape(draws.shape[2:])[()]


def _sizes(draws: Float[np.ndarray, "draws chains k"]) -> Float[np.ndarray, " k"]:
    """The effective sizes of many numbers at once, by Geyer's initial monotone sequence of pairs of correlations."""
    count, chains, _ = draws.shape
    still = np.ptp(draws, axis=(0, 1)) == 0
    scaled = (draws - draws.mean(axis=(0, 1))) / np.where(still, 1.0, draws.std(axis=(0, 1)))
    covariance = _mean_autocovariance(scaled)
    within = covariance[0] * count / (count - 1)
    between = scaled.mean(axis=0).var(axis=0, ddof=1) if chains > 1 else 0.0
    whole = np.where(still, 1.0, covariance[0] + between)
    last = max(0, (count - 3) // 2)  # the last pair that the sequence may reach
    correlation = 1.0 - (within - covariance[: 2 * last + 2]) / whole
    correlation[0] = 1.0
    pairs = correlation[0::2] + correlation[1::2]
    end = np.where((pairs <= 0).any(axis=0), np.argmax(pairs <= 0, axis=0), last)
    # Pairs before the end count in full, as a falling sequence; of the pair at the end its first part, once.
    falling = np.minimum.accumulate(pairs, axis=0) * (np.arange(last + 1)[:, None] < end)
    first = np.take_along_axis(correlation[0::2], end[None], axis=0)[0]
    at_end = np.take_along_axis(pairs, end[None], axis=0)[0]
    time = -1.0 + 2.0 * falling.sum(axis=0) + np.where((first > 0) | (at_end >= 0), first, 0.0)
    # Chains that swing to and fro may be worth more than their number, but not without bound.
    sizes = count * chains / np.maximum(time, 1 / np.log10(count * chains))
    return np.where(still, np.nan, sizes)


def _mean_autocovariance(draws: Float[np.ndarray, "draws chains k"]) -> Float[np.ndarray, "draws k"]:
    """The autocovariance at every lag, over the draws of a chain (not over those that a lag leaves), mean of chains."""
    from scipy.fft import irfft, next_fast_len, rfft

    count = len(draws)
    room = next_fast_len(2 * count, real=True)
    spectrum: Any = rfft(draws - draws.mean(axis=0), room, axis=0)
    power: Any = (spectrum.real**2 + spectrum.imag**2).mean(axis=1)
    covariance: Any = irfft(power, room, axis=0)
    return covariance[:count] / count
