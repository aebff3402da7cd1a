"""Conformal intervals: exchangeable errors are covered as promised, and nothing of the future is looked at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.portfolio.data.panel import panel
from thalweg.portfolio.tasks import intervals
from thalweg.portfolio.tasks.ahead import aligned, extended
from thalweg.portfolio.tasks.intervals import LEVELS, Scores, band, quantile, raised, reach, volatility
from thalweg.portfolio.tasks.portfolio_intervals import Made, totals

SIZES = st.integers(1, 200)


@given(st.integers(0, 2**16), SIZES, st.floats(0.01, 0.99))
@settings(max_examples=50, deadline=None)
def test_the_conformal_quantile_counts(seed, size, level):
    values = np.random.default_rng(seed).normal(size=size)
    found = quantile(values, level)
    if np.isinf(found):
        assert (size + 1) * level > size
    else:
        assert (values <= found).sum() >= (size + 1) * level - 1e-6
        assert (values < found).sum() < (size + 1) * level
    assert quantile(values, min(0.999, level + 0.01)) >= found


def test_exchangeable_scores_are_covered_as_promised():
    """The binomial law over 4,000 independent trials: 4 of its deviations, a false alarm in 16,000."""
    generator, trials, size = np.random.default_rng(0), 4000, 39
    for level in LEVELS:
        hits = sum(row[-1] <= quantile(row[:-1], level) for row in generator.standard_t(3, (trials, size + 1)))
        exact = np.ceil((size + 1) * level - 1e-9) / (size + 1)
        assert abs(hits / trials - exact) < 4 * (exact * (1 - exact) / trials) ** 0.5


def _scores(seed: int, origins: int = 20, companies: int = 40, horizon: int = 2) -> Scores:
    values = np.random.default_rng(seed).normal(size=(origins, companies, horizon))
    return Scores(np.arange(2000, 2000 + origins), values)


def test_pooled_intervals_cover_and_are_never_narrower_than_the_plain_ones():
    inside = {level: [] for level in LEVELS}
    for seed in range(25):
        scores = _scores(seed)
        for origin in range(2012, 2020):
            found = reach(scores, origin, LEVELS)
            for place, level in enumerate(LEVELS):
                pool = np.abs(scores.known(origin, 1).values).ravel()
                assert found[place, 0] >= quantile(pool, level)
                now = np.abs(scores.values[scores.origins == origin][0, :, 0])
                inside[level].append((now <= found[place, 0]).mean())
    for level in LEVELS:
        # 8,000 scores that share their pools: raised levels only add, by the noise of 5 origins.
        assert level - 0.01 < np.mean(inside[level]) < level + 0.03


@given(st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_intervals_grow_with_the_level_and_scale_with_the_unit(seed):
    scores, levels = _scores(seed), (0.0, 0.2, 0.5, 0.8, 0.9, 0.95)
    found = reach(scores, 2015, levels)
    assert (np.diff(found, axis=0) >= 0).all()
    assert (found[0] == 0).all()
    forecast = np.random.default_rng(seed).lognormal(size=(3, 2))
    lower, upper = band(forecast, np.array([0.1, 0.2, 0.0]), found)
    assert (lower <= forecast).all()
    assert (forecast <= upper).all()
    np.testing.assert_allclose(upper[:, 2], np.broadcast_to(forecast[2], upper[:, 2].shape))
    for one, other in zip((lower, upper), band(7 * forecast, np.array([0.1, 0.2, 0.0]), found), strict=True):
        np.testing.assert_allclose(7 * one, other, rtol=1e-12)


def test_the_future_is_not_looked_at():
    scores = _scores(1)
    changed = scores.values.copy()
    for place, origin in enumerate(scores.origins):
        for ahead in (1, 2):
            if origin + ahead > 2012:
                changed[place, :, ahead - 1] = 1e6
    np.testing.assert_array_equal(reach(scores, 2012, LEVELS), reach(Scores(scores.origins, changed), 2012, LEVELS))
    assert not np.array_equal(reach(scores, 2014, LEVELS), reach(Scores(scores.origins, changed), 2014, LEVELS))


def test_levels_are_raised_where_intervals_held_too_little():
    assert raised(0.8, np.zeros(0), 1.0) == 0.8
    assert raised(0.8, np.full(10, 0.2), 1.0) == 0.8
    assert raised(0.8, np.linspace(0.1, 1.0, 10), 1.0) == pytest.approx(0.8)
    assert raised(0.8, np.full(10, 0.93), 1.0) == pytest.approx(0.93)
    assert raised(0.8, np.full(10, 0.93), 0.9) == pytest.approx(0.9)


def test_too_few_scores_have_no_interval():
    few = Scores(np.arange(2000, 2002), np.random.default_rng(0).normal(size=(2, 9, 2)))
    found = reach(few, 2003, LEVELS)
    assert np.isfinite(found[0]).all()
    assert np.isinf(found[1]).all()
    with pytest.raises(InputError, match="too few companies"):
        extended(found)


def test_beyond_what_is_known_intervals_grow_with_the_root_of_time():
    found, count = extended(np.array([[1.0, 2.0, np.inf, np.inf], [2.0, 3.0, 4.0, np.inf]]))
    assert count == 2
    np.testing.assert_allclose(found[:, 2:], [[2 * 1.5**0.5, 2 * 2**0.5], [3 * 1.5**0.5, 3 * 2**0.5]])


def test_volatility_has_no_unit_and_forgives_one_break():
    steps = np.random.default_rng(2).normal(0, 0.1, (30, 12))
    emissions = np.exp(np.cumsum(steps, axis=1))
    names = tuple(str(place) for place in range(30))
    calm = panel(names, np.arange(2000, 2012), emissions)
    np.testing.assert_allclose(volatility(calm), volatility(calm._replace(emissions=1e6 * emissions)))
    broken = emissions.copy()
    broken[0, 6:] *= 1e3
    jump = volatility(calm._replace(emissions=broken))[0] - volatility(calm)[0]
    assert 0 < jump < intervals.LARGEST * volatility(calm).mean() / intervals.PRIOR_YEARS * 2


def test_histories_are_moved_to_their_last_report():
    nan = np.nan
    emissions = np.array([[1.0, 2.0, 3.0, nan], [nan, 1.0, 2.0, 3.0], [1.0, nan, nan, nan]])
    one = panel(("a", "b", "c"), np.arange(2000, 2004), emissions)
    moved, behind = aligned(one, 2)
    np.testing.assert_array_equal(behind, [1, 0, 0])
    np.testing.assert_array_equal(moved.emissions, [[nan, 1, 2, 3], [nan, 1, 2, 3], [1, nan, nan, nan]])


def _portfolios(seed: int, shared: float) -> tuple[np.ndarray, list[Made], Scores]:
    generator, companies, origins = np.random.default_rng(seed), 40, 40
    errors = 0.1 * (shared * generator.normal(size=(origins, 1, 1)) + generator.normal(size=(origins, companies, 1)))
    values = 0.1 * np.ones((companies, 1))
    made = [Made(1980 + place, np.ones((companies, 1)), values, np.exp(errors[place])) for place in range(origins)]
    shares = generator.dirichlet(np.ones(companies), 20)
    return shares, made, Scores(np.arange(1980, 2020), errors / 0.1)


@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_sums_are_covered_whether_or_not_companies_err_together(shared):
    inside, width = [], []
    for seed in range(6):
        shares, made, scores = _portfolios(seed, shared)
        for place in range(15, 40, 2):
            said = totals(shares, made[place], made[:place], scores, LEVELS, draws=200)
            happened = shares @ made[place].actual
            inside.append(((said.lower <= happened) & (happened <= said.upper)).mean(axis=(1, 2)))
            width.append(np.log(said.upper / said.lower)[0].mean())
    found = np.mean(inside, axis=0)
    # 78 common shocks of 10 known ones: a deviation of 0.05 at 80 %, to which raised levels add.
    assert 0.66 < found[0] < 0.95
    assert 0.85 < found[1] <= 1.0
    assert (np.mean(width) > 0.2) == (shared > 0)
