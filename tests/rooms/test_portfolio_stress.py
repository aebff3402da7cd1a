"""Reverse stress beside its closed form, the law of plausible paths, and weights beside a linear program."""

from __future__ import annotations

import json
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from command_line import isolate
from jax.test_util import check_grads
from jaxtyping import Array
from scipy import stats
from scipy.optimize import linprog

from thalweg.core.errors import InputError
from thalweg.core.simplex import Simplex, Together
from thalweg.core.space import Euclidean
from thalweg.portfolio.data.synthetic import synthetic
from thalweg.portfolio.energy import Implausibility, Shortfall, StressEnergy, Tail
from thalweg.portfolio.model.footprint import Footprint
from thalweg.portfolio.model.forecaster import AbstractForecaster
from thalweg.portfolio.model.law import Law, law
from thalweg.portfolio.stress_command import stress
from thalweg.portfolio.tasks.draws import emission_draws
from thalweg.portfolio.tasks.stress import reverse_stress, worst
from thalweg.portfolio.tasks.weights import conditional_value_at_risk, low_tail_weights
from thalweg.testing import check_energy, check_space

HORIZON = 3
RATE = 1e-4  # of false alarms of a statistical test
LAW = lambda: Law([0.1, -0.2], [0.6, -0.3], [[0.8, 0.0], [0.3, 0.5]], [1.0, 0.4])  # noqa: E731


class Linear(AbstractForecaster):
    """Log emissions that are straight in the drivers."""

    answer: Array = eqx.field(converter=jnp.asarray)

    def __call__(self, history, known, drivers):
        return history[-1] + jnp.cumsum(0.01 + drivers[history.size :] @ self.answer)


def portfolio(forecaster: AbstractForecaster, companies: int = 1) -> Footprint:
    random = np.random.default_rng(0)
    history = jnp.asarray(13 + random.normal(size=(companies, 1)) + 0.05 * random.normal(size=(companies, 8)))
    return Footprint(forecaster, history, jnp.ones((companies, 8), bool), jnp.full(companies, 0.3), jnp.zeros((8, 2)))


def slope(ours: Footprint, known: Law) -> np.ndarray:
    """g of log F = c + g . shocks."""
    return np.asarray(jax.grad(lambda x: ours.logarithm(known.path(x)))(jnp.zeros((HORIZON, 2))))


def test_a_linear_answer_is_stressed_as_its_lagrangian_says(x64):
    """The least norm of x with c + g . x = log limit is at x = g (log limit - c) / g . g."""
    ours, known = portfolio(Linear([0.05, 0.02])), LAW()
    expected = np.asarray(ours(known.path(jnp.zeros((HORIZON, 2)))))
    found, g = reverse_stress(ours, known, HORIZON, 1.1 * expected[-1]), slope(ours, known)
    answer = g * np.log(1.1) / np.sum(g**2)
    assert found.reached
    np.testing.assert_allclose(found.shocks, answer, rtol=1e-5, atol=1e-6)  # the constraint is held to 1e-7 of log F
    np.testing.assert_allclose(found.footprint[-1], 1.1 * expected[-1], rtol=1e-6)
    np.testing.assert_allclose(found.distance, np.log(1.1) / np.linalg.norm(g), rtol=1e-6)
    np.testing.assert_allclose(found.chance_as_far, stats.chi2.sf(found.distance**2, 2 * HORIZON), rtol=1e-9)
    np.testing.assert_allclose(found.chance_of_breach, stats.norm.sf(found.distance), rtol=1e-9)
    np.testing.assert_allclose(known.distance(jnp.asarray(found.path)), found.distance, rtol=1e-9)
    # The energy of both in one relaxes to weight g.
    np.testing.assert_allclose(worst(ours, known, HORIZON, 20.0).shocks, 20 * g, atol=1e-7)


def test_the_first_order_chance_is_that_of_drawn_paths_where_the_answer_is_linear(x64):
    ours, known, count = portfolio(Linear([0.05, 0.02])), LAW(), 20_000
    expected = float(ours(known.path(jnp.zeros((HORIZON, 2))))[-1])
    found = reverse_stress(ours, known, HORIZON, 1.05 * expected)
    shocks = jnp.asarray(np.random.default_rng(1).normal(size=(count, HORIZON, 2)))
    last = jax.jit(jax.vmap(lambda one: ours(known.path(one))[-1]))(shocks)
    low, high = stats.binom.interval(1 - RATE, count, found.chance_of_breach)
    assert low <= int(np.sum(np.asarray(last) >= 1.05 * expected)) <= high


def test_limits_that_are_broken_already_or_out_of_reach(x64):
    ours, known = portfolio(Linear([0.05, 0.02])), LAW()
    expected = float(ours(known.path(jnp.zeros((HORIZON, 2))))[-1])
    broken = reverse_stress(ours, known, HORIZON, 0.9 * expected)
    assert broken.reached
    assert broken.distance == 0
    assert "already breaks" in broken.reason
    far = reverse_stress(ours, known, HORIZON, 1e6 * expected)
    assert not far.reached
    assert "No path was found" in far.reason
    silent = reverse_stress(portfolio(Linear([0.0, 0.0])), known, HORIZON, 1.1 * expected)
    assert not silent.reached
    assert "does not answer the drivers" in silent.reason
    with pytest.raises(InputError, match="must be positive"):
        reverse_stress(ours, known, HORIZON, -1.0)


def test_paths_and_shocks_are_two_names_of_the_same(x64):
    known = LAW()
    shocks = jnp.asarray(np.random.default_rng(2).normal(size=(5, 2)))
    np.testing.assert_allclose(known.shocks(known.path(shocks)), shocks, atol=1e-12)
    # The recursion by hand.
    z, path = np.asarray(known.last), []
    for shock in np.asarray(shocks):
        z = np.asarray(known.mean + known.persistence * (z - known.mean) + known.factor @ shock)
        path.append(z)
    np.testing.assert_allclose(known.path(shocks), path, atol=1e-12)
    zero = LAW()
    slopes = jax.jacobian(lambda p: eqx.tree_at(lambda one: one.persistence, zero, p).path(shocks))(jnp.zeros(2))
    assert bool(jnp.isfinite(slopes).all())


def test_distances_of_drawn_paths_follow_the_law_of_chi_square(x64):
    """Paths that are drawn year by year, not from shocks of ours."""
    known, random, count = LAW(), np.random.default_rng(3), 2000
    covariance = np.asarray(known.factor @ known.factor.T)
    z, paths = np.tile(np.asarray(known.last), (count, 1)), []
    for _ in range(HORIZON):
        noise = random.multivariate_normal(np.zeros(2), covariance, count)
        z = np.asarray(known.mean) + np.asarray(known.persistence) * (z - np.asarray(known.mean)) + noise
        paths.append(z)
    distances = jax.jit(jax.vmap(known.distance))(jnp.asarray(np.stack(paths, axis=1)))
    assert stats.kstest(np.asarray(distances) ** 2, "chi2", args=(2 * HORIZON,)).pvalue > RATE


def test_the_law_of_a_long_history_is_the_one_that_made_it(x64):
    known, random = LAW(), np.random.default_rng(4)
    shocks = jnp.asarray(random.normal(size=(4000, 2)))
    z, path = np.asarray(known.mean), []
    for shock in np.asarray(shocks) @ np.asarray(known.factor).T:
        z = np.asarray(known.mean) + np.asarray(known.persistence) * (z - np.asarray(known.mean)) + shock
        path.append(z)
    found = law(np.array(path))
    np.testing.assert_allclose(found.persistence, known.persistence, atol=5 / 4000**0.5)
    np.testing.assert_allclose(found.factor @ found.factor.T, known.factor @ known.factor.T, atol=0.05)
    with pytest.raises(InputError, match="too few to say what is plausible"):
        law(np.ones((3, 2)))


def test_energies_have_the_slopes_of_difference_quotients(x64):
    ours, x = portfolio(Linear([0.05, 0.02]), 3), jnp.asarray(np.random.default_rng(5).normal(size=(HORIZON, 2)))
    check_energy(Implausibility(), x)
    for energy in (StressEnergy(ours, LAW(), 2.0), Shortfall(ours, LAW(), 12.0)):
        check_grads(eqx.filter_jit(energy), (x,), order=1, modes=["rev"], rtol=1e-6)
    tail = Tail(jnp.abs(x) + 1, jnp.asarray([0.5, 0.5]), jnp.eye(2), 1.0, 0.5, 0.1)
    check_grads(eqx.filter_jit(tail), ((jnp.asarray([0.3, 0.7]), jnp.asarray(1.2)),), order=1, modes=["rev"], rtol=1e-6)


# Weights


def test_the_simplex_keeps_its_promises_and_finds_the_nearest_member(x64):
    random = np.random.default_rng(6)
    for _ in range(10):
        x = jnp.asarray(random.normal(size=7))
        check_space(Simplex(), x)
        found = np.asarray(Simplex().wrap(x))
        # The nearest member of a convex set: no other one lies on the far side.
        others = random.dirichlet(np.ones(7), size=200)
        assert ((np.asarray(x) - found) @ (others - found).T).max() <= 1e-12
    check_space(Together((Simplex(), Euclidean())), (jnp.asarray(random.normal(size=5)), jnp.asarray(0.3)))


def test_conditional_value_at_risk_by_hand():
    assert conditional_value_at_risk(np.arange(1.0, 101.0), 0.95) == pytest.approx(98.0)
    assert conditional_value_at_risk(np.array([1.0, 2.0, 3.0, 4.0]), 0.9) == pytest.approx(4.0)
    assert conditional_value_at_risk(np.array([1.0, 2.0, 3.0, 4.0]), 0.375) == pytest.approx((4 + 3 + 2 * 0.5) / 2.5)


def by_linear_program(intensity: np.ndarray, level: float) -> float:
    """The least conditional value at risk of long-only weights (Rockafellar & Uryasev 2000, equation 19)."""
    draws, count = intensity.shape
    cost = np.r_[np.zeros(count), 1, np.full(draws, 1 / (draws * (1 - level)))]
    above = np.hstack([intensity, -np.ones((draws, 1)), -np.eye(draws)])
    whole = [np.r_[np.ones(count), 0, np.zeros(draws)]]
    bounds = [(0, None)] * count + [(None, None)] + [(0, None)] * draws
    return linprog(cost, A_ub=above, b_ub=np.zeros(draws), A_eq=whole, b_eq=[1], bounds=bounds).fun


def test_weights_reach_the_linear_program_where_tracking_costs_nothing(x64):
    random = np.random.default_rng(7)
    intensity = np.exp(0.3 * random.normal(size=(120, 6))) * np.linspace(1, 1.3, 6)
    found = low_tail_weights(intensity, np.ones(6), strength=0.0, level=0.9)
    best = by_linear_program(intensity, 0.9)
    assert best * (1 - 1e-9) <= found.tail <= best * (1 + 1e-4)  # the corner is rounded over 1e-4 of the tail
    assert found.weights.min() >= 0
    assert found.weights.sum() == pytest.approx(1, abs=1e-12)
    dear = low_tail_weights(intensity, np.ones(6), strength=1e4, level=0.9)
    np.testing.assert_allclose(dear.weights, 1 / 6, atol=1e-4)
    between = low_tail_weights(intensity, np.ones(6), strength=1.0, level=0.9)
    assert found.tail < between.tail < between.benchmark_tail
    assert dear.tracking < between.tracking < found.tracking


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.ones((5, 2)), np.ones(3)), "one column for each weight"),
        ((np.ones((5, 2)), np.array([1.0, -1.0])), "must not be negative"),
        ((np.full((5, 2), np.nan), np.ones(2)), "must be finite"),
        ((np.zeros((5, 2)), np.ones(2)), "nothing to lower"),
    ],
)
def test_weights_that_make_no_sense(arguments, words):
    with pytest.raises(InputError, match=words):
        low_tail_weights(*arguments)
    with pytest.raises(InputError, match="between 0 and 1"):
        low_tail_weights(np.ones((5, 2)), np.ones(2), level=1.0)


def test_draws_keep_what_companies_have_in_common(x64):
    """Histories that move together are drawn together."""
    common = 0.2 * np.random.default_rng(8).normal(size=30).cumsum()
    history = jnp.asarray(np.stack([13 + common, 12 + common, 11 - common]))
    ours = Footprint(Linear([0.0, 0.0]), history, jnp.ones(history.shape, bool), jnp.ones(3), jnp.zeros((30, 2)))
    drawn = np.log(emission_draws(ours, LAW(), HORIZON, count=200))
    assert np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1] > 0.999
    assert np.corrcoef(drawn[:, 0], drawn[:, 2])[0, 1] < -0.99
    assert drawn.std(axis=0).min() > 0.05


# The command


def tables(folder):
    """A known panel as files: holdings, fundamentals, emissions, drivers and two scenarios."""
    world = synthetic(5, 16, seed=1)
    names = [f"company {number}" for number in range(1, 6)]
    pd.DataFrame({"company_id": [*names, "stranger"], "investment_value [EUR]": [1e6] * 6}).to_csv(folder / "h.csv")
    pd.DataFrame({"company_id": [*names, "stranger"], "currency": "EUR", "evic": 1e8, "revenue": 1e7}).to_csv(
        folder / "f.csv"
    )
    rows = [(name, year, value) for name, row in zip(names, world.panel.emissions, strict=True)
            for year, value in zip(world.panel.years, row, strict=True)]  # fmt: skip
    pd.DataFrame(rows, columns=["unique_id", "ds", "y"]).assign(unit="t").to_csv(folder / "e.csv", index=False)
    known = world.levels()
    wide = pd.DataFrame(known.values, columns=list(known.names)).assign(year=known.years)
    wide.to_csv(folder / "d.csv", index=False)
    ahead = [["M", name, "World", driver, "index", 100.0, *(100 * np.exp(rate * np.arange(1, 3)))]
             for name, rate in (("slow", 0.0), ("fast", 0.1)) for driver in known.names]  # fmt: skip
    head = ["Model", "Scenario", "Region", "Variable", "Unit", "2020", "2021", "2022"]
    pd.DataFrame(ahead, columns=head).to_csv(folder / "s.csv", index=False)


WORDS = ("--holdings", "h.csv", "--fundamentals", "f.csv", "--emissions", "e.csv", "--drivers", "d.csv", "--scenario",
         "s.csv", "--seeds", "1", "--steps", "30", "--out", "out", "--quiet", "--json")  # fmt: skip


def test_the_command_goes_from_files_to_a_report(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    tables(tmp_path)
    answer = CliRunner().invoke(stress, [*WORDS, "--horizon", "2", "--times", "1.001"], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert found["years"] == [2021, 2022]
    assert found["coverage_of_holdings"] == pytest.approx(5 / 6)
    assert list(found["left_out"]) == ["stranger"]
    assert found["scenarios"]["incompleteness"] < 0.01
    assert sum(found["scenarios"]["by_driver"].values()) == pytest.approx(found["scenarios"]["difference"], rel=0.01)
    assert found["sensitivity"]["difference_quotients"] < 1e-6
    assert sum(found["weights"]["weights"]) == pytest.approx(1)
    for name in found["files"]:
        assert os.path.getsize(tmp_path / name) > 0
    sheets = pd.read_excel(tmp_path / "out" / "stress.xlsx", sheet_name=None)
    assert sheets["paths"]["year"].tolist() == [2021, 2022]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Reverse stress test" in page
    late = CliRunner().invoke(stress, [*WORDS[:-3], "late", "--quiet", "--json", "--horizon", "4"])
    assert isinstance(late.exception, InputError)
    assert "lacks 2023 to 2024, which this forecast needs" in str(late.exception)
