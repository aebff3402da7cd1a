"""The recursive network and the damped trend: what they must be by construction, and what they must learn."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome
from thalweg.portfolio.data.panel import Panel, panel
from thalweg.portfolio.model.loss import ForecastLoss
from thalweg.portfolio.model.past import pasts
from thalweg.portfolio.model.recursion import Corrected, Ensemble
from thalweg.portfolio.model.trend import DampedTrend
from thalweg.portfolio.tasks.corrected import corrected, fitted_corrected
from thalweg.portfolio.tasks.fit import Fitted, Recipe, fitted, started
from thalweg.portfolio.tasks.forecasts import forecasts
from thalweg.portfolio.tasks.samples import prior, runs, samples
from thalweg.portfolio.tasks.trend import fitted_trend, trend
from thalweg.runs.hooks import Checkpoint

pytestmark = pytest.mark.usefixtures("x64")

SHORT = Recipe(steps=40, seeds=3, batch=256)


def grown(companies: int, years: int, *, memory: float, seed: int = 0, noise: float = 0.05) -> Panel:
    """Companies whose growth remembers last year's."""
    words = np.random.default_rng(seed)
    growth = np.zeros((companies, years))
    for year in range(1, years):
        growth[:, year] = memory * growth[:, year - 1] + noise * words.normal(size=companies)
    level = np.exp(np.cumsum(growth, axis=1) + words.normal(12.0, 2.0, (companies, 1)))
    return panel(tuple(f"company {row}" for row in range(companies)), np.arange(years) + 1980, level)


@pytest.fixture(scope="module")
def persistent() -> Panel:
    return grown(40, 40, memory=0.7)


@pytest.fixture(scope="module")
def network(persistent) -> Fitted:
    with jax.enable_x64(True):
        return fitted(persistent.until(2014), SHORT)


def trembling(network: Fitted, drivers: int = 0, seed: int = 5) -> Ensemble:
    """Networks of random weights everywhere, which are far from the random walk."""
    words = np.random.default_rng(seed)
    blank = started(SHORT, drivers, seed=seed)
    members = jax.tree.map(lambda leaf: jnp.asarray(leaf + 0.3 * words.normal(size=leaf.shape)), blank)
    known = dataclasses.replace(network.forecaster.prior, centre=np.zeros(drivers), spread=np.ones(drivers))
    return Ensemble(members, known)


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def past_of(world: Panel, company: int):
    return jnp.log(world.emissions[company]), jnp.ones(world.years.size, bool)


def test_a_network_that_has_learnt_nothing_forecasts_the_random_walk(persistent, network):
    blank = Ensemble(started(SHORT, 0, seed=1), network.forecaster.prior)
    ahead = forecasts(blank, persistent, 7)
    assert ahead == pytest.approx(np.repeat(persistent.emissions[:, -1:], 7, axis=1), rel=1e-14)


@settings(max_examples=10, deadline=None)
@given(factor=st.floats(1e-6, 1e9))
def test_emissions_in_another_unit_give_the_forecast_in_that_unit(factor):
    with jax.enable_x64(True):
        world = grown(3, 12, memory=0.5)
        network = Ensemble(started(SHORT, 0, seed=1), prior(runs(world), 5.0, np.zeros((12, 0))))
        network = eqx.tree_at(lambda each: each.members.last, network, replace_fn=lambda leaf: leaf + 0.5)
        other = world._replace(emissions=world.emissions * factor)
        assert forecasts(network, other, 4) == pytest.approx(factor * forecasts(network, world, 4), rel=1e-9)


def test_an_ensemble_learnt_in_another_unit_forecasts_the_same(persistent, network):
    other = persistent._replace(emissions=persistent.emissions * 1024.0)
    again = fitted(other.until(2014), SHORT)
    # The logarithms are rounded otherwise, and training carries the rounding on.
    assert again.forecast(other, 5) == pytest.approx(1024 * network.forecast(persistent, 5), rel=1e-6)


def test_what_is_not_known_does_not_matter_nor_has_it_a_gradient(persistent, network):
    wild = trembling(network)
    history, _ = past_of(persistent, 0)
    known = jnp.arange(history.size) >= 30
    steps = jnp.zeros((history.size + 5, 0))
    other = jnp.where(known, history, 1e6)
    forecast = eqx.filter_jit(wild)
    assert np.array_equal(forecast(history, known, steps), forecast(other, known, steps))
    slope = eqx.filter_jit(jax.grad(lambda past: jnp.sum(wild(past, known, steps))))(other)
    assert not slope[:30].any()
    assert slope[30:].all()
    smoothing = DampedTrend(jnp.array([0.3, -0.2, 0.1, 0.5, 0.4]), logarithmic=False)
    forecast = eqx.filter_jit(smoothing)
    assert np.array_equal(forecast(history, known, steps), forecast(jnp.where(known, history, 3.0), known, steps))


def central(function, point, width=1e-5):
    """All derivatives of a vector function by central differences."""
    point = np.asarray(point)
    columns = []
    for place in np.ndindex(point.shape):
        step = np.zeros_like(point)
        step[place] = width
        columns.append((np.asarray(function(point + step)) - np.asarray(function(point - step))) / (2 * width))
    return np.stack(columns, axis=-1).reshape(*columns[0].shape, *point.shape)


@pytest.mark.parametrize("kind", ["network", "trend of emissions", "trend of logarithms"])
def test_gradients_are_those_of_central_differences(persistent, network, kind):
    if kind == "network":
        wild = trembling(network, drivers=2)
    else:
        wild = DampedTrend(jnp.array([0.3, -0.2, 0.1, 0.5, 0.4]), logarithmic=kind.endswith("logarithms"))
    history, known = past_of(persistent.until(1993), 1)
    steps = jax.random.normal(jax.random.key(2), (history.size + 6, 2))
    years = history.size

    @jax.jit
    def function(numbers):
        path = jnp.concatenate([steps[:years], numbers[years:].reshape(6, 2)])
        return wild(numbers[:years], known, path)

    point = jnp.concatenate([history, steps[years:].ravel()])
    slope = np.asarray(jax.jit(jax.jacrev(function))(point))
    assert slope == pytest.approx(central(function, point), abs=1e-7 * np.abs(slope).max())
    # A forecast hears of the drivers up to its own year, of each of them, and of none after; a trend hears of none.
    heard = slope[:, years:].reshape(6, 6, 2).any(axis=2)
    assert np.array_equal(heard, np.tri(6, dtype=bool) if kind == "network" else np.zeros((6, 6), bool))
    assert slope[:, :years].any(axis=0).all()


def test_the_recursion_is_that_of_one_step_after_the_other(persistent, network):
    wild = trembling(network, drivers=1)
    history, known = past_of(persistent, 2)
    steps = jax.random.normal(jax.random.key(3), (history.size + 4, 1))
    together = eqx.filter_jit(wild.paths)(history, known, steps)
    step = jax.jit(lambda member, past, driver: past.grown(member.forecast(past, driver)))
    whole = jax.jit(pasts)(history, known, wild.prior.usual, wild.prior.years)
    now = jax.tree.map(lambda leaf: leaf[-1], whole)
    for seed in range(SHORT.seeds):
        member = jax.tree.map(lambda leaf, place=seed: leaf[place], wild.members)
        past = now
        for year in range(4):
            past = step(member, past, steps[history.size + year])
            assert past.level == pytest.approx(float(together[seed, year]), rel=1e-13)
    assert eqx.filter_jit(wild)(history, known, steps) == pytest.approx(np.asarray(together).mean(axis=0), rel=1e-14)


def test_the_order_of_the_companies_does_not_matter(persistent, network):
    order = np.random.default_rng(4).permutation(len(persistent.companies))
    assert np.array_equal(network.forecast(persistent.only(order), 5), network.forecast(persistent, 5)[order])
    assert trend(persistent.only(order), 5) == pytest.approx(trend(persistent, 5)[order], rel=1e-6)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(persistent, network):
    early = persistent.until(2014)
    assert same(fitted(early, SHORT).forecaster, network.forecaster)
    assert not same(fitted(early, SHORT, seed=1).forecaster, network.forecaster)


def test_a_fit_that_was_stopped_goes_on_bit_for_bit(persistent, network, tmp_path):
    place, seen = tmp_path / "state.safetensors", []

    def stop(report):
        seen.append(report.step)
        return Outcome.CANCELLED if report.step >= 10 else None

    with pytest.raises(WalkError, match="resume"):
        fitted(persistent.until(2014), SHORT, hooks=(Checkpoint(place, every_steps=1), stop))
    assert 10 <= seen[-1] < SHORT.steps
    assert same(fitted(persistent.until(2014), SHORT, hooks=(Checkpoint(place),)).forecaster, network.forecaster)


def test_seeds_do_not_hear_of_each_other(persistent):
    none = np.zeros((persistent.years.size, 0))
    known = prior(runs(persistent), 5.0, none)
    batch, origins = samples(persistent, known, none, horizon=3, least=2)
    assert origins == 37
    loss = ForecastLoss(batch, 0.5, 5.0, 0.1, 0.0)
    members = jax.tree.map(lambda leaf: leaf + 0.1, started(SHORT, 0, seed=0))
    slopes = eqx.filter_jit(eqx.filter_grad(loss))(members, jnp.arange(50))
    # One scale for all members of the second seed.
    other = jax.tree.map(lambda leaf: leaf.at[1].multiply(3.0), members)
    again = eqx.filter_jit(eqx.filter_grad(loss))(other, jnp.arange(50))
    for one, two in zip(jax.tree.leaves(slopes), jax.tree.leaves(again), strict=True):
        assert one[0] == pytest.approx(np.asarray(two[0]), rel=1e-12)
        assert not np.allclose(one[1], two[1])


def test_all_past_forecasts_are_samples_and_none_across_a_gap():
    emissions = np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.1, (2, 12)), axis=1))
    emissions[0, :2] = np.nan
    emissions[1, 6] = np.nan
    world = panel(("late", "gap"), np.arange(2000, 2012), emissions)
    none = np.zeros((12, 0))
    batch, _ = samples(world, prior(runs(world), 5.0, none), none, horizon=3, least=2)
    kept = np.asarray(batch.weight) > 0
    # The late one from years 5 to 11 of 12; the other has stretches of 6 and of 5 years.
    assert kept.sum() == 7 + 3 + 2
    growth = np.diff(np.log(emissions), axis=1)
    real = growth[np.isfinite(growth)]
    counted = np.asarray(batch.growth)[kept][np.asarray(batch.known)[kept] > 0]
    assert np.isclose(counted[:, None], real).any(axis=1).all()
    # Up to three years ahead each, as far as the stretch goes.
    assert counted.size == (5 * 3 + 2 + 1) + (3 + 2 + 1) + (2 + 1)


def error(ahead, world: Panel, origin: int) -> np.ndarray:
    at = int(np.flatnonzero(world.years == origin)[0])
    came = world.emissions[:, at + 1 : at + 1 + ahead.shape[1]]
    return np.abs(np.log(ahead / came)).mean(axis=1)


def test_it_learns_growth_that_remembers_better_than_naive(persistent, network):
    unseen = grown(200, 40, memory=0.7, seed=9)
    past = unseen.until(2014)
    gain = error(np.repeat(past.emissions[:, -1:], 5, axis=1), unseen, 2014) - error(
        network.forecast(past, 5), unseen, 2014
    )
    assert gain.mean() > 3 * gain.std() / np.sqrt(gain.size)


def test_short_histories_are_forecast_by_what_the_panel_taught(persistent, network):
    unseen = grown(300, 40, memory=0.7, seed=10)
    brief = unseen._replace(years=unseen.years[28:], emissions=unseen.emissions[:, 28:]).until(2014)
    assert brief.years.size == 7
    naive = error(np.repeat(brief.emissions[:, -1:], 5, axis=1), unseen, 2014)
    gain = naive - error(network.forecast(brief, 5), unseen, 2014)
    assert gain.mean() > 3 * gain.std() / np.sqrt(gain.size)
    # Fitted to nothing but such histories, it must not lose to the random walk.
    alone = fitted(brief, SHORT)
    assert error(alone.forecast(brief, 5), unseen, 2014).mean() < naive.mean()


def test_companies_with_too_few_recent_years_are_named_and_left_open(persistent, network):
    emissions = persistent.emissions.copy()
    emissions[3, -3] = np.nan
    emissions[5, -1] = np.nan
    broken = persistent._replace(emissions=emissions)
    assert network.skipped(broken) == ("company 3", "company 5")
    for ahead in (network.forecast(broken, 2), trend(broken, 2)):
        assert np.array_equal(np.flatnonzero(np.isnan(ahead).any(axis=1)), [3, 5])
        assert np.isnan(ahead[[3, 5]]).all()


def driven(companies: int, years: int, strength: float, seed: int = 0) -> tuple[Panel, np.ndarray]:
    words = np.random.default_rng(seed)
    drivers = words.normal(size=(years, 1))
    growth = 0.03 * words.normal(size=(companies, years)) + strength * drivers[:, 0]
    level = 1e6 * np.exp(np.cumsum(growth, axis=1))
    return panel(tuple(f"company {row}" for row in range(companies)), np.arange(years) + 1980, level), drivers


@pytest.mark.parametrize(("strength", "opened"), [(0.05, True), (0.0, False)])
def test_the_gate_lets_in_drivers_that_drive_and_no_others(strength, opened):
    world, drivers = driven(40, 45, strength)
    found = fitted(world, SHORT, drivers=drivers)
    assert found.gate is not None
    assert found.gate.open == opened
    assert found.gate.origins == (2017, 2018, 2019)
    assert found.gate.difference == pytest.approx(found.gate.with_drivers - found.gate.without)
    paths = np.concatenate([drivers, np.ones((3, 1))]), np.concatenate([drivers, -np.ones((3, 1))])
    high, low = (found.forecast(world, 3, path) for path in paths)
    assert np.array_equal(high, low) != opened
    assert (high > low).all() == opened


def test_a_panel_too_short_for_the_gate_keeps_drivers_out(persistent):
    world, drivers = driven(10, 7, 0.05)
    found = fitted(world, SHORT, drivers=drivers)
    assert found.gate is not None
    assert not found.gate.open
    assert found.gate.reason.startswith("closed")


def test_nonsense_is_refused_in_one_sentence(persistent, network):
    world = persistent.until(1990)
    with pytest.raises(InputError, match="one row for each"):
        fitted(world, SHORT, drivers=np.zeros((3, 1)))
    with pytest.raises(InputError, match="horizon of 0"):
        network.forecast(world, 0)
    with pytest.raises(InputError, match="complete the scenario"):
        network.forecast(world, 1, np.full((world.years.size + 1, 1), np.nan))
    with pytest.raises(InputError, match="never change"):
        fitted(world._replace(emissions=np.ones_like(world.emissions)), SHORT)
    with pytest.raises(InputError, match="no company has"):
        fitted(world.until(1980), SHORT)
    with pytest.raises(InputError, match="reads 2 drivers"):
        forecasts(trembling(network, drivers=2), world, 2, np.zeros((world.years.size + 2, 1)))
    for wrong in ("seeds", "clip", "rate", "anchor", "drivers"):
        with pytest.raises(InputError, match=wrong):
            dataclasses.replace(SHORT, **{wrong: "perhaps" if wrong == "drivers" else 0 if wrong != "anchor" else -1})


def theirs_as_ours(series: np.ndarray, parameters: np.ndarray) -> DampedTrend:
    """The damped trend that statsforecast found."""
    alpha, beta, _, damping, level, slope = parameters
    scale = np.abs(np.diff(series)).mean() + 1e-6
    # Where it stopped at a bound, as near as a sigmoid comes.
    shares = np.clip([alpha, beta / alpha, (damping - 0.8) / 0.18], 1e-13, 1 - 1e-13)
    start = (level - series[0]) / scale, slope / scale
    return DampedTrend(jnp.array([*np.log(shares / (1 - shares)), *start]), logarithmic=False)


def test_the_damped_trend_is_that_of_statsforecast_and_fits_no_worse():
    from statsforecast.models import AutoETS

    world = grown(6, 45, memory=0.6, seed=3, noise=0.03)
    found = fitted_trend(world, pull=0.0)
    misfit = eqx.filter_jit(lambda one, past, known: one.misfit(past, known))
    steps, known = jnp.zeros((world.years.size + 5, 0)), jnp.ones(world.years.size, bool)
    for row, own in zip(world.emissions, found.settings, strict=True):
        series, past = row / row[-1], jnp.log(row)
        model = AutoETS(season_length=1, model="AAN", damped=True).fit(series)
        theirs = theirs_as_ours(series, model.model_["par"])
        ahead = np.exp(eqx.filter_jit(theirs)(past, known, steps) - past[-1])
        expected = model.predict(h=5)["mean"]
        assert ahead[0] == pytest.approx(expected[0], rel=1e-9)
        # The second year of statsforecast 2.0 grows by phi b once more, not by phi^2 b: from then on it is one behind.
        assert np.diff(ahead)[:-1] == pytest.approx(np.diff(expected)[1:], rel=1e-6)
        assert misfit(DampedTrend(own, False), past, known) < misfit(theirs, past, known) + 0.05


def test_a_trend_with_untrained_networks_on_top_is_the_trend(persistent, network):
    world = persistent.until(2014).only(np.arange(8))
    learnt = fitted_corrected(world, SHORT)
    alone = forecasts(learnt.trend, world, 4, own=0)
    blank = Ensemble(started(SHORT, 0, seed=1), network.forecaster.prior)
    assert corrected(Corrected(learnt.trend, blank), world, 4) == pytest.approx(alone, rel=1e-12)
    assert np.abs(corrected(learnt, world, 4) / alone - 1).max() > 1e-3
    history, known = past_of(world, 3)
    one = Corrected(DampedTrend(learnt.trend.settings[3], False), learnt.networks)
    steps = jnp.zeros((history.size + 4, 0))
    function = jax.jit(lambda past: one(past, known, steps))
    assert jax.jit(jax.jacrev(function))(history) == pytest.approx(central(function, history), abs=1e-6)


def test_a_trend_that_falls_stays_above_nothing():
    years = np.arange(1990, 2010)
    world = panel(("falls",), years, np.linspace(100.0, 2.0, 20)[None])
    assert (trend(world, 30) > 0).all()
