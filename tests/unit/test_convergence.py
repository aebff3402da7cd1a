"""What chains are worth: against the reference implementation, against processes with known answers, and refusals."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest
from arviz_stats.base.array import array_stats

from thalweg.core.errors import InputError
from thalweg.diagnostics import convergence
from thalweg.diagnostics.convergence import autocorrelation_time, effective_sample_size, r_hat, standard_error


def autoregression(memory: float, draws: int, chains: int, rest: tuple[int, ...] = (), seed: int = 0) -> np.ndarray:
    """Stationary draws of unit variance whose correlation falls by `memory` from each to the next."""
    noise = np.random.default_rng(seed).standard_normal((draws, chains, *rest))
    out = np.empty_like(noise)
    out[0] = noise[0]
    for t in range(1, draws):
        out[t] = memory * out[t - 1] + np.sqrt(1 - memory**2) * noise[t]
    return out


# Against the reference implementation


@pytest.mark.parametrize("draws", [4, 5, 7, 100, 333])
def test_sizes_and_r_hat_are_those_of_the_reference(draws):
    x = np.exp(autoregression(0.6, draws, 3, (2, 3)))
    x[:, 0] += 0.5
    reference = np.moveaxis(x, (1, 0), (-2, -1))
    tail = array_stats.ess(reference, method="tail", prob=(0.05, 0.95))
    # The same formulas in another order: rounding of sums of a few hundred terms, enlarged by the ratio of variances.
    same = partial(np.testing.assert_allclose, rtol=1e-9)
    same(effective_sample_size(x), array_stats.ess(reference, method="bulk"))
    same(effective_sample_size(x, "mean"), array_stats.ess(reference, method="mean"))
    if draws > 100:  # with few draws one of the two tails is empty, which the reference counts as perfect
        same(effective_sample_size(x, "tail"), tail)
    same(r_hat(x), array_stats.rhat(reference))
    same(standard_error(x), array_stats.mcse(reference, method="mean"))


# Against known answers


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_correlated_draws_have_their_autocorrelation_time(memory):
    x = autoregression(memory, 4000, 4, (60,))
    exact = (1 + memory) / (1 - memory)
    times = autocorrelation_time(x)
    # The mean over 60 independent coordinates, against 4.5 of its own standard errors (a false-alarm rate of 1e-5),
    # and the bias of the truncation, a few per cent at most: Vehtari et al., figure 5.
    assert abs(times.mean() - exact) < 4.5 * times.std(ddof=1) / np.sqrt(60) + 0.03 * exact


def test_the_standard_error_covers_the_truth_at_its_rate():
    x = autoregression(0.8, 500, 4, (1000,), seed=1)
    inside = (np.abs(x.mean(axis=(0, 1))) < standard_error(x)).mean()
    # 68.3 % of 1000 independent coordinates: a binomial standard deviation of 1.5 %, times 4 (a rate of 1e-4).
    assert abs(inside - 0.683) < 0.06


def test_r_hat_sees_chains_that_disagree_in_place_or_in_width():
    x = autoregression(0.0, 1000, 4, (3,), seed=2)
    x[:, 0, 1] += 1.0
    x[:, 0, 2] *= 4.0
    apart = r_hat(x)
    assert apart[0] < 1.01  # 4000 independent draws: 1.01 is more than ten of its standard deviations away
    assert apart[1] > 1.05
    assert apart[2] > 1.05
    drift = np.linspace(0, 3, 1000)[:, None] + x[:, :1, 0]
    assert r_hat(drift) > 1.05  # one chain, by its halves


# What does not vary


def test_draws_that_stand_still_have_a_defined_answer():
    x = autoregression(0.0, 100, 2, (4,))
    x[..., 1] = 0.1
    x[..., 2] = [1.0, -1.0]
    x[..., 3] = np.where(x[..., 3] > 0, 1.0, -1.0)
    for measure in (effective_sample_size, standard_error, autocorrelation_time, r_hat):
        answer = measure(x)
        assert np.isnan(answer[1])
        assert np.isfinite(answer[[0, 3]]).all()
    assert r_hat(x)[2] == np.inf
    assert effective_sample_size(x)[2] <= 4  # four halves that never move are at most four draws


def test_the_scale_of_the_draws_does_not_matter():
    x = autoregression(0.5, 200, 2)
    for kind in ("bulk", "tail", "mean"):
        np.testing.assert_allclose(effective_sample_size(1e-18 * x, kind), effective_sample_size(x, kind), rtol=1e-9)
    np.testing.assert_allclose(standard_error(1e-18 * x), 1e-18 * standard_error(x), rtol=1e-9)


# Structure, speed and refusals


def test_a_pytree_comes_back_as_a_pytree_and_narrow_draws_are_read_wide():
    tree = {"a": autoregression(0.3, 50, 2, (3, 2)).astype(np.float32), "b": (autoregression(0.3, 50, 2),)}
    sizes = effective_sample_size(tree)
    assert jax.tree.map(np.shape, sizes, is_leaf=lambda leaf: not isinstance(leaf, dict | tuple)) == {
        "a": (3, 2),
        "b": ((),),
    }
    assert sizes["a"].dtype == np.float64
    assert sizes["b"][0] == effective_sample_size(tree["b"][0])


def test_numbers_that_are_measured_in_blocks_are_those_measured_alone(monkeypatch):
    x = autoregression(0.5, 200, 4, (5,))
    whole = effective_sample_size(x)
    monkeypatch.setattr(convergence, "_BLOCK", 1)  # one number per block
    # Sums of 800 terms in another order.
    np.testing.assert_allclose(effective_sample_size(x), whole, rtol=1e-11)


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        (np.zeros((3, 4)), "has 3 draws per chain: take at least 4"),
        (np.zeros(100), r"the shape \(100,\): it must be \[draws, chains, ...\]"),
        (np.zeros((10, 0)), "it must be"),
        (np.full((10, 2), np.nan), "not finite"),
        ({}, "there are no draws"),
    ],
)
def test_unusable_draws_are_refused_in_one_sentence(draws, message):
    for measure in (effective_sample_size, r_hat, standard_error, autocorrelation_time):
        with pytest.raises(InputError, match=message):
            measure(draws)


def test_the_bad_leaf_and_the_unknown_kind_are_named():
    with pytest.raises(InputError, match=r"\['b'\] has 2 draws"):
        r_hat({"a": np.zeros((9, 2)), "b": np.zeros((2, 2))})
    with pytest.raises(InputError, match="no kind 'median': choose one of bulk, tail, mean"):
        effective_sample_size(np.zeros((9, 2)), "median")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="inside jit"):
        jax.jit(r_hat)(np.zeros((9, 2)))
