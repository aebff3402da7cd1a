"""Learning rates of single connections: what they do to an optimiser, to descent, and to the Boltzmann law."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from thalweg.core.energy import force
from thalweg.core.errors import InputError
from thalweg.landscapes import DoubleWell
from thalweg.methods.data import Batches
from thalweg.methods.gradient_energy import Energies
from thalweg.methods.overdamped import Overdamped
from thalweg.methods.plasticity import followed, mobility, plastic, scale_by_plasticity
from thalweg.methods.trace import Trace
from thalweg.verbs.sample import sample
from thalweg.verbs.train import from_loss, train

# Optax types its pytrees so tightly that no item of one can be looked at.
slowing: Any = scale_by_plasticity
slowed_after: Any = plastic
ADAM: Any = optax.adam(0.05)

FALSE_ALARMS = 1e-4  # the rate at which a right law would fail one test here, whatever the seed: seeds are fixed


def random(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    a, b, c = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((4, 3), (5,), ()))
    return {"a": a, "b": (b, c)}


def held(seed: int = 9) -> dict[str, Any]:
    return jax.tree.map(lambda leaf: jnp.asarray(1 / (1 + np.exp(-np.asarray(leaf)))), random(seed))


def moves(optimiser: Any, scale: float = 1.0, steps: int = 4) -> list[Any]:
    """The updates of a few steps with gradients that do not depend on the moves."""
    params, found = random(0), []
    state, update = optimiser.init(params), jax.jit(optimiser.update)
    for number in range(steps):
        slopes = jax.tree.map(lambda leaf: scale * leaf, random(number + 1))
        move, state = update(slopes, state, params)
        found.append(move)
    return found


def same(one: Any, other: Any, **tolerance: float) -> None:
    arrays, others = eqx.filter((one, other), eqx.is_array_like)
    jax.tree.map(partial(np.testing.assert_allclose, **tolerance), arrays, others)


# The optimiser


def test_after_adam_each_connection_moves_as_much_less_as_stated():
    beta, m = 0.7, held()
    plain = moves(optax.adam(0.1))
    slowed = moves(optax.chain(optax.adam(0.1), slowing(m, beta)))
    for one, other in zip(plain, slowed, strict=True):
        # Three products in float32.
        same(other, jax.tree.map(lambda move, share: (1 - beta * share) * move, one, m), rtol=5e-7)
    # Our own chain is Optax's.
    same(moves(slowed_after(optax.adam(0.1), m, beta)), slowed, rtol=0)


def test_before_adam_a_constant_scale_of_the_gradient_cancels():
    # A power of two scales without rounding; without eps Adam does not see it at all.
    adam = optax.adam(0.1, eps=0.0)
    same(moves(adam), moves(adam, scale=0.5), rtol=0)
    before = followed(slowing(1.0, 0.5), adam)
    after = followed(adam, slowing(1.0, 0.5))
    # The compiler joins products otherwise in another program: roundings of float32.
    same(moves(adam), moves(before), rtol=1e-6)
    same(jax.tree.map(lambda move: 0.5 * move, moves(adam)), moves(after), rtol=1e-6)


class Linear(eqx.Module):
    weight: jax.Array
    bias: jax.Array
    kind: Any = None

    def __call__(self, x):
        return x @ self.weight + self.bias


def miss(model, batch, key):
    x, y = batch
    return jnp.mean((model(x) - y) ** 2)


LOSS = from_loss(miss)


def trained(optimiser: Any) -> Any:
    rng = np.random.default_rng(0)
    arrays = (jnp.asarray(rng.normal(size=(32, 3)), jnp.float32), jnp.asarray(rng.normal(size=(32, 2)), jnp.float32))
    start = Linear(jnp.ones((3, 2)), jnp.zeros(2), "no number")
    return train(start, LOSS, Batches(arrays, 8), optimiser, key=jax.random.key(0), steps=25).value


def test_with_beta_zero_a_training_has_the_bits_of_the_plain_optimiser():
    m = Linear(jnp.full((3, 2), 0.9), jnp.ones(2), "no number")
    plain = trained(ADAM)
    same(trained(slowed_after(ADAM, m, 0)), plain, rtol=0)
    for optimiser in (optax.chain(ADAM, slowing(held(), 0.0)), slowed_after(ADAM, decay=0.9, beta=0.0)):
        same(moves(optimiser), moves(ADAM), rtol=0)
    slowed = trained(slowed_after(ADAM, m, 0.9))
    assert not np.allclose(slowed.bias, plain.bias, rtol=1e-3)


def test_another_map_and_another_beta_compile_nothing_anew():
    traces = []

    @eqx.filter_jit
    def step(optimiser, slopes, state):
        traces.append(1)
        return optimiser.update(slopes, state)[0]

    found = []
    for beta, m in ((0.5, held(1)), (0.9, held(2))):
        optimiser = slowed_after(ADAM, m, jnp.asarray(beta))
        found.append(step(optimiser, random(1), optimiser.init(random(0)))["b"][1])
    assert len(traces) == 1
    assert found[0] != found[1]


def test_maps_may_be_partial_and_prefixes_and_models_with_other_leaves():
    ones = jax.tree.map(jnp.ones_like, random(0))
    rule = slowing({"a": jnp.array([0.0, 0.5, 1.0]), "b": (None, 0.25)}, 0.5)
    moved = rule.update(ones, rule.init(ones), ones)[0]
    np.testing.assert_array_equal(moved["a"], np.tile([1.0, 0.75, 0.5], (4, 1)))
    np.testing.assert_array_equal(moved["b"][0], np.ones(5))
    assert float(moved["b"][1]) == 0.875
    whole = slowing({"a": None, "b": 1.0}, 0.5)
    moved = whole.update(ones, whole.init(ones), ones)[0]
    same(moved, {"a": ones["a"], "b": (0.5 * ones["b"][0], jnp.asarray(0.5))}, rtol=0)
    nothing = slowing(None, 0.5)
    same(nothing.update(ones, nothing.init(ones), ones)[0], ones, rtol=0)
    # float32 stays float32 also where the process computes in float64.
    with jax.enable_x64(True):
        halves = slowing({"a": np.full((4, 3), 0.5), "b": None}, 0.5)
        narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), ones)
        assert halves.update(narrow, halves.init(narrow), narrow)[0]["a"].dtype == jnp.float32


def test_a_map_that_is_fed_is_the_ratio_of_two_averages():
    params, beta, decay = random(0), 0.6, 0.75
    rule = slowing(beta=beta, decay=decay)
    state, update = rule.init(params), jax.jit(rule.update)
    first, _ = update(random(1), state, params)
    same(first, random(1), rtol=0)  # nothing is known yet
    marked, total = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
    for number in range(3):
        now = jax.tree.map(jnp.square, random(10 + number))
        part = jax.tree.map(jnp.multiply, now, held(20 + number))
        marked = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, marked, part)
        total = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, total, now)
        moved, state = update(random(2), state, params, energies=Energies(part, now))
        expected = jax.tree.map(lambda move, a, b: (1 - beta * a / b) * move, random(2), marked, total)
        same(moved, expected, rtol=1e-5)  # float32, where 1 - beta m is at least 0.4
    kept = update(random(2), state, params)[1]
    same(kept, state, rtol=0)
    # A part may go without energies, and a chain hands them through.
    chain: Any = optax.chain(ADAM, slowing(beta=beta, decay=decay))
    some = Energies({"a": now["a"], "b": (None, None)}, {"a": now["a"], "b": (None, None)})
    plain = ADAM.update(random(2), ADAM.init(params), params)[0]
    for whole in (chain, slowed_after(ADAM, beta=beta, decay=decay)):
        moved = whole.update(random(2), whole.init(params), params, energies=some)[0]
        np.testing.assert_allclose(moved["a"], 0.4 * plain["a"], rtol=1e-6)  # all is marked
        same(moved["b"], plain["b"], rtol=0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((None, 1.0), "beta is 1.0, but it must be at least 0 and below 1"),
        ((None, -0.1), "beta is -0.1"),
        ((None, float("nan")), "beta is nan"),
        (({"a": 1.5},), r"map at \['a'\] holds values outside of \[0, 1\]"),
        (([0.5, np.array([0.5, np.nan])],), r"map at \[1\] holds values outside"),
        ((-0.5,), "map at the array itself holds values outside"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(arguments, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        slowing(*arguments)
    assert "\n" not in str(caught.value)


def test_a_map_that_does_not_fit_is_refused():
    with pytest.raises(
        InputError, match=r"map at \['a'\] has the shape \(4,\), but the parameters there have \[\(4, 3\)"
    ):
        slowing({"a": jnp.zeros(4), "b": 0.5}).init(random(0))
    with pytest.raises(InputError, match="has not the structure of the parameters"):
        mobility({"a": 0.5}, 0.5, random(0))
    with pytest.raises(InputError, match=r"a decay of 0\.5 needs no map"):
        slowing(0.5, decay=0.5)


# Descent


@st.composite
def quadratics(draw) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """A symmetric matrix of any signature, a point, a map and a beta."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    size = draw(st.integers(1, 6))
    turn = np.linalg.qr(rng.normal(size=(size, size)))[0]
    bends = rng.uniform(0.1, 3, size) * (rng.choice([-1, 1], size) if draw(st.booleans()) else 1)
    share = rng.uniform(size=size) if draw(st.booleans()) else rng.integers(0, 2, size).astype(float)
    return (turn * bends) @ turn.T, rng.normal(size=size), share, draw(st.floats(0, 0.99))


@given(quadratics())
@settings(max_examples=40, deadline=None)
def test_the_energy_falls_and_critical_points_keep_their_index(posed):
    bend, start, share, beta = posed
    with jax.enable_x64(True):
        d = np.asarray(mobility(share, beta, jnp.asarray(start)))
        rule: Any = optax.chain(optax.sgd(1.0), slowing(share, beta))
        state = rule.init(jnp.asarray(start))
        slope = jnp.asarray(bend @ start)
        move = np.asarray(rule.update(slope, state)[0])
        np.testing.assert_allclose(move, -d * np.asarray(slope), rtol=1e-14)
        # No rest but where the slope is zero, and there always.
        assert (np.asarray(rule.update(jnp.zeros_like(slope), state)[0]) == 0).all()
        assert (d >= 1 - beta).all()
    assert (move == 0).tolist() == (np.asarray(slope) == 0).tolist()
    stiffest = np.abs(np.linalg.eigvalsh(bend)).max()
    height = lambda x: 0.5 * x @ bend @ x  # noqa: E731
    for share_of_limit in (0.01, 0.5, 1.0):
        # With D <= 1: E(x - eta D g) <= E - eta (1 - eta L / 2) g D g, so that E falls by half of eta g D g up to 1/L.
        eta = share_of_limit / stiffest
        fall = height(start) - height(start + eta * move)
        least = 0.5 * eta * np.asarray(slope) @ (d * np.asarray(slope))
        assert fall >= least - 1e-12 * (1 + abs(height(start)))  # rounding
    # Sylvester: D H has as many downward directions as H, whatever the positive D.
    rates = np.linalg.eigvals(np.diag(d) @ bend)
    assert np.abs(rates.imag).max() < 1e-7 * np.abs(rates).max()
    assert (rates.real < 0).sum() == (np.linalg.eigvalsh(bend) < 0).sum()


@eqx.filter_jit
def descended(rule: Any, start: jax.Array) -> jax.Array:
    """The way down a double well in 600 small steps."""
    state = rule.init(start)

    def step(x, _):
        return x + 0.05 * rule.update(force(DoubleWell(), x), state)[0], x

    return jax.lax.scan(step, start, length=600)[1]


def test_a_mobility_changes_the_way_and_not_where_it_ends(x64):
    share, start = jnp.array([1.0, 0.0]), jnp.array([0.3, 0.4])
    plain, held_back = (np.asarray(descended(slowing(share, jnp.asarray(b)), start)) for b in (0.0, 0.9))
    for path in (plain, held_back):
        heights = np.sum((path**2 - 1) ** 2, axis=-1)
        assert (np.diff(heights) <= 1e-15).all()
        np.testing.assert_allclose(path[-1], np.ones(2), atol=1e-12)
    assert held_back[4, 0] < plain[4, 0] - 0.1  # held in the first coordinate,
    assert held_back[4, 1] == plain[4, 1]  # and not at all in the second


# The Boltzmann law, with analytic maps m(w) in [0, 1]


class Held(eqx.Module):
    """Held far away, free on the ridge: `m = 1 - exp(-2 x^2)`."""

    beta: jax.Array = eqx.field(converter=jnp.asarray)

    def __call__(self, x):
        return mobility(1 - jnp.exp(-2 * x**2), self.beta, x)


TEMPERATURE = 0.5


def law(method: Overdamped) -> np.ndarray:
    """Deviations of <x^2>, <x^4> and of the weight on the ridge from quadrature, in standard errors of 256 chains."""
    trace = Trace(lambda state: jnp.stack([state.x[0] ** 2, state.x[0] ** 4, jnp.abs(state.x[0]) < 0.5]), every=5)
    solution = sample(
        DoubleWell(), jnp.ones(1), method, key=jax.random.key(5), steps=3000, warmup=600, chains=256,
        temperature=TEMPERATURE, trace=trace,
    )  # fmt: skip
    grid = np.linspace(-3, 3, 6001)
    weights = np.exp(-((grid**2 - 1) ** 2) / TEMPERATURE)
    expected = weights @ np.stack([grid**2, grid**4, np.abs(grid) < 0.5], -1) / weights.sum()
    means = np.asarray(solution.trace, np.float64).mean(0)
    return (means.mean(0) - expected) / (means.std(0, ddof=1) / np.sqrt(len(means)))


ALLOWED = norm.isf(FALSE_ALARMS / 2 / 3)


@pytest.mark.slow
def test_a_constant_map_keeps_the_boltzmann_law():
    # The scheme for constant mobilities is of second order: its bias is far below a standard error at this step.
    z = law(Overdamped(dt=0.02, mobility=mobility(jnp.array([0.8]), 0.9, jnp.ones(1))))
    assert np.abs(z).max() < ALLOWED, z


# By default tests/unit/test_sample_laws.py and the tour look at this landscape and mobility.
@pytest.mark.slow
def test_a_map_that_varies_keeps_the_law_with_its_drift_and_only_with_it():
    # Euler-Maruyama has a bias of first order. For this landscape and mobility (1 - 0.8 m) test_sample_laws.py measured
    # 0.0013 of the weight on the ridge at dt = 0.005, below 0.4 of the standard error of 256 chains.
    kept = law(Overdamped(dt=0.005, mobility=Held(0.8)))
    assert np.abs(kept).max() < ALLOWED + 0.4, kept
    broken = law(Overdamped(dt=0.005, mobility=Held(0.8), divergence=jnp.zeros_like))
    assert np.abs(broken).min() > 10, broken
