"""The inverse Ising problem: couplings come back from samples, with errors that are those of repeats."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from thalweg.core.errors import InputError, WalkError
from thalweg.spins.tasks.inverse import inverse_ising
from thalweg.spins.tasks.learn import Settings, learn

SPINS = 6


def glass(seed: int, n: int = SPINS, scale: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    words = np.random.default_rng(seed)
    upper = np.triu(words.normal(size=(n, n)) * scale / np.sqrt(n), 1)
    return upper + upper.T, words.normal(size=n) * 0.2


def drawn(coupling: np.ndarray, field: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Independent samples, from all states."""
    n = len(field)
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    logs = 0.5 * np.einsum("si,ij,sj->s", signs, coupling, signs) + signs @ field
    p = np.exp(logs - np.logaddexp.reduce(logs))
    return signs[np.random.default_rng(seed).choice(2**n, size=count, p=p)]


def test_couplings_come_back_within_their_errors():
    coupling, field = glass(0)
    values = drawn(coupling, field, 5000, 1)
    found = inverse_ising(values)
    pairs = np.triu_indices(SPINS, 1)
    assert found.coupling_error is not None
    pulls = (found.coupling - coupling)[pairs] / found.coupling_error[pairs]
    # Chi squared with 15 degrees of freedom is below 2.7 or above 44 once in 5e3 each.
    assert 2.7 < np.sum(pulls**2) < 44
    assert np.abs((found.field - field) / found.field_error).max() < 5
    np.testing.assert_allclose(found.problem.field, found.field)
    np.testing.assert_array_equal(found.coupling, found.coupling.T)
    # 0/1 samples say the same.
    again = inverse_ising((values + 1) // 2)
    np.testing.assert_array_equal(again.coupling, found.coupling)


def test_the_minimum_is_that_of_another_minimiser():
    coupling, field = glass(2)
    values = drawn(coupling, field, 5000, 3).astype(float)
    first, second = np.triu_indices(SPINS, 1)

    def height(x: np.ndarray) -> float:
        matrix = np.zeros((SPINS, SPINS))
        matrix[first, second] = matrix[second, first] = x[:15]
        fields = values @ matrix + x[15:]
        return np.logaddexp(0, -2 * values * fields).sum(axis=1).mean() + 0.05 / 2 * (x[:15] ** 2).sum()

    reference = minimize(height, np.zeros(21), method="BFGS", options={"gtol": 1e-6})
    found = inverse_ising(values, l2=0.05)
    # SciPy's slopes are differenced: good to 1e-6 or so in a landscape of unit curvature; ours end at 5e-5.
    np.testing.assert_allclose(found.coupling[first, second], reference.x[:15], atol=2e-4)
    np.testing.assert_allclose(found.field, reference.x[15:], atol=2e-4)


@pytest.mark.slow
def test_standard_errors_are_the_spread_of_repeats():
    coupling, field = glass(4)
    repeats = [inverse_ising(drawn(coupling, field, 2000, seed)) for seed in range(100)]
    pairs = np.triu_indices(SPINS, 1)
    spread = np.std([one.coupling[pairs] for one in repeats], axis=0)
    told = np.mean([one.coupling_error[pairs] for one in repeats if one.coupling_error is not None], axis=0)
    # The spread of 100 repeats is known to 7 %; fifteen pairs within 4.5 of that.
    assert np.abs(spread / told - 1).max() < 0.32


def test_learning_by_pseudo_likelihood_is_the_same_law():
    values = drawn(*glass(5), 5000, 6)
    ising = learn(values, model="inverse")
    machine = learn(values, model="boltzmann", method="pseudolikelihood", settings=Settings())
    assert (ising.problem.kind, machine.problem.kind) == ("ising", "boltzmann")
    np.testing.assert_allclose(ising.problem.coupling, machine.problem.coupling, atol=1e-12)
    found = inverse_ising(values)
    np.testing.assert_allclose(ising.result["pseudo_log_likelihood"], found.pseudo_log_likelihood, rtol=1e-9)
    assert ising.result["log_likelihood"] > -SPINS * np.log(2)


def test_what_cannot_be_inferred_is_said():
    values = drawn(*glass(7), 5000, 8)
    frozen = values.copy()
    frozen[:, 2] = 1
    with pytest.raises(InputError, match=r"column 2 .* never changes"):
        inverse_ising(frozen)
    with pytest.raises(InputError, match="l2 is -1"):
        inverse_ising(values, l2=-1)
    with pytest.raises(InputError, match="too dear"):
        inverse_ising(np.random.default_rng(0).integers(0, 2, (50, 60)), errors=True)
    twins = values.copy()
    twins[:, 1] = twins[:, 0]
    with pytest.raises(InputError, match="determined by the others in all 5000"):
        inverse_ising(twins)
    with pytest.raises(WalkError, match="step budget ran out"):
        inverse_ising(values, max_steps=2)
    assert abs(inverse_ising(twins, l2=0.01).coupling[0, 1]) > 0.5
