"""Training: the same key gives the same bits, every item has its turn, and faults are named."""

from __future__ import annotations

import importlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from thalweg.core.errors import InputError, PrecisionError, WalkError
from thalweg.core.solution import Outcome
from thalweg.methods.data import Batches, Fetched, Whole
from thalweg.methods.trace import Trace
from thalweg.verbs.train import EarlyStop, from_loss, train

KEY_SEED = 3
INPUTS = np.linspace(-1, 1, 10, dtype=np.float32)
DATA = {"x": INPUTS, "y": 2 * INPUTS + 0.5}


class Line(eqx.Module):
    """A straight line, with leaves that no training may touch."""

    slope: jax.Array
    offset: jax.Array
    seen: jax.Array  # an integer
    name: str = eqx.field(static=True)
    scale: float = 1.0

    def __call__(self, x):
        return self.scale * self.slope * x + self.offset


def line():
    return Line(jnp.array(0.0), jnp.array(0.0), jnp.array(7), "line")


def square(model, batch, key):
    return jnp.mean((model(batch["x"]) - batch["y"]) ** 2)


def noisy(model, batch, key):
    return jnp.mean((model(batch["x"]) + 0.1 * jax.random.normal(key, batch["x"].shape) - batch["y"]) ** 2)


SQUARE, NOISY = from_loss(square), from_loss(noisy)
ADAM, SGD = optax.adam(1e-2), optax.sgd(0.1)


def fit(gradient: Any = SQUARE, data: Any = None, optimiser=SGD, steps=40, seed=KEY_SEED, **options):
    data = Batches(DATA, 4) if data is None else data
    return train(line(), gradient, data, optimiser, key=jax.random.key(seed), steps=steps, **options)


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


def assert_same(a, b):
    for left, right in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(left, right)


# What comes out


def test_a_line_is_learnt():
    solution = fit(data=Whole(DATA), steps=300)
    np.testing.assert_allclose([solution.value.slope, solution.value.offset], [2, 0.5], atol=1e-3)
    assert solution.done
    assert solution.stats["steps"] == 300
    assert float(solution.energy) == float(solution.stats["metrics"]["loss"]) < 1e-5


def test_the_steps_are_those_of_the_optimiser():
    rate, (slope, offset) = 0.1, (0.0, 0.0)
    x, y = DATA["x"].astype(float), DATA["y"].astype(float)
    for _ in range(5):
        residual = slope * x + offset - y
        slope, offset = slope - rate * 2 * np.mean(residual * x), offset - rate * 2 * np.mean(residual)
    solution = fit(data=Whole(DATA), steps=5)
    np.testing.assert_allclose([solution.value.slope, solution.value.offset], [slope, offset], rtol=1e-5)  # float32


def test_what_is_no_floating_array_stays_as_it_is():
    value = fit(steps=3).value
    assert int(value.seen) == 7
    assert (value.name, value.scale) == ("line", 1.0)
    assert value.seen.dtype == line().seen.dtype


def test_metrics_of_the_loss_are_kept():
    rule = from_loss(lambda model, batch, key: (square(model, batch, key), {"slope": model.slope}), metrics=True)
    solution = fit(rule, data=Whole(DATA), steps=2)
    assert set(solution.stats["metrics"]) == {"loss", "slope"}
    np.testing.assert_allclose(
        solution.stats["metrics"]["slope"], fit(data=Whole(DATA), steps=1).value.slope, rtol=1e-6
    )


def test_schedules_are_part_of_the_optimiser():
    stopped = fit(optimiser=optax.sgd(optax.piecewise_constant_schedule(0.1, {5: 0.0})), steps=20, data=Whole(DATA))
    np.testing.assert_array_equal(stopped.value.slope, fit(steps=5, data=Whole(DATA)).value.slope)


def test_a_trace_records_the_training():
    solution = fit(steps=7, trace=Trace(lambda walk: (walk.metrics["loss"], walk.model.slope), every=3))
    loss, slope = solution.trace
    assert len(loss) == 3
    assert np.isnan(loss[0])  # nothing has been measured before the first step
    assert np.isfinite(loss[1:]).all()
    np.testing.assert_array_equal(slope[1], fit(steps=3).value.slope)


# Data


def batches_of(data, count):
    cursor, seen, following = data.init(jax.random.key(1)), [], jax.jit(lambda here: data.next(here))
    for _ in range(count):
        batch, cursor = following(cursor)
        seen.append(np.asarray(batch))
    return seen


@pytest.mark.parametrize(("items", "size"), [(10, 4), (3, 1)])
def test_every_item_has_its_turn_once_per_pass(items, size):
    data, per_pass = Batches(jnp.arange(items), size), items // size
    seen = batches_of(data, 3 * per_pass)
    passes = [np.concatenate(seen[i : i + per_pass]) for i in range(0, len(seen), per_pass)]
    for one in passes:
        assert len(set(one.tolist())) == per_pass * size
        assert set(one.tolist()) <= set(range(items))
    if items > 5:
        assert not np.array_equal(passes[0], passes[1])  # a fixed key, so this either holds or does not
    for again, first in zip(batches_of(data, 3 * per_pass), seen, strict=True):
        np.testing.assert_array_equal(again, first)


def test_items_keep_their_partners_and_without_shuffling_their_order():
    data = Batches({"a": jnp.arange(7), "b": 10 * jnp.arange(7)}, 3)
    batch, _ = data.next(data.init(jax.random.key(0)))
    np.testing.assert_array_equal(batch["b"], 10 * batch["a"])
    ordered = batches_of(Batches(jnp.arange(6), 3, shuffle=False), 3)
    np.testing.assert_array_equal(ordered, [[0, 1, 2], [3, 4, 5], [0, 1, 2]])
    with pytest.raises(InputError, match="would never show the last 1 of 7"):
        Batches(jnp.arange(7), 3, shuffle=False)


# Same key, same bits


class EveryStep:
    """Forces a chunk boundary at every report, and remembers the states there."""

    def __init__(self):
        self.steps = []

    def __call__(self, report):
        self.steps.append(report.step)


def test_the_same_key_gives_the_same_bits_and_another_key_others():
    first = fit(NOISY, optimiser=ADAM, steps=60)
    assert_same(fit(NOISY, optimiser=ADAM, steps=60).value, first.value)
    assert not np.array_equal(fit(NOISY, optimiser=ADAM, steps=60, seed=4).value.slope, first.value.slope)


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_chunks_never_change_the_bits_of_a_training(chunk, monkeypatch):
    verb = importlib.import_module("thalweg.verbs.train")
    whole = fit(NOISY, optimiser=ADAM, steps=60)
    plain = verb.drive
    monkeypatch.setattr(verb, "drive", lambda *args, **options: plain(*args, **(options | {"chunk": chunk})))
    listener = EveryStep()
    assert_same(fit(NOISY, optimiser=ADAM, steps=60, on_chunk=listener).value, whole.value)
    assert listener.steps == [min(step, 60) for step in range(chunk, 60 + chunk, chunk)]


def fetched(step):
    rows = np.random.default_rng(step).permutation(10)[:4]
    return {name: array[rows] for name, array in DATA.items()}


def test_fetched_batches_train_the_same_bits_when_asked_again():
    asked = []

    def fetch(step):
        asked.append(step)
        return fetched(step)

    first = fit(NOISY, data=Fetched(fetch), steps=20)
    assert asked[1:] == list(range(20))  # the first call finds out what a batch looks like
    assert_same(fit(NOISY, data=Fetched(fetched), steps=20).value, first.value)
    assert first.done


# What travels along


def test_a_moving_average_is_the_one_computed_by_hand():
    slopes = fit(steps=6, data=Whole(DATA), trace=Trace(lambda walk: walk.model.slope)).trace
    expected = 0.0
    for step, slope in enumerate(np.asarray(slopes)[1:], start=1):
        share = max(0.2, 9 / (step + 9))  # a running mean at first, so that the start is forgotten
        expected = (1 - share) * expected + share * slope
    solution = fit(steps=6, data=Whole(DATA), ema=0.8)
    np.testing.assert_allclose(solution.value.slope, expected, rtol=1e-5)  # float32, six steps
    assert int(solution.value.seen) == 7


def test_early_stopping_keeps_the_best_model():
    # The slope climbs to 2 and passes 1 on its way: the best model by this measure is an early one.
    stop = EarlyStop(lambda model: jnp.abs(model.slope - 1.0), every=2, patience=3)
    slopes = np.asarray(fit(steps=60, data=Whole(DATA), trace=Trace(lambda walk: walk.model.slope)).trace)
    measured = np.abs(slopes[2::2] - 1)
    best = int(np.argmin(measured))
    solution = fit(steps=60, data=Whole(DATA), stop=stop)
    np.testing.assert_array_equal(solution.value.slope, slopes[2::2][best])
    np.testing.assert_array_equal(solution.stats["best"], measured[best])
    assert solution.stats["steps"] == 2 * (best + 1 + 3)
    assert solution.done


def momentum_rule(model, batch, carry, step, key):
    """A rule with a memory of its own: it counts its calls and lags one gradient behind."""
    slopes = eqx.filter_grad(square)(model, batch, key)
    metrics = {"loss": square(model, batch, key), "calls": carry["calls"] + 1, "agree": carry["calls"] == step}
    return carry["last"], {"last": slopes, "calls": carry["calls"] + 1}, metrics


def test_the_carry_goes_from_step_to_step():
    still = jax.tree.map(jnp.zeros_like, eqx.filter(line(), eqx.is_inexact_array))
    carry = {"last": still, "calls": jnp.array(0)}
    lagging = fit(momentum_rule, data=Whole(DATA), steps=2, carry=carry)
    assert int(lagging.stats["metrics"]["calls"]) == 2
    assert bool(lagging.stats["metrics"]["agree"])
    # One step behind: two lagging steps make the first plain one.
    np.testing.assert_array_equal(lagging.value.slope, fit(data=Whole(DATA), steps=1).value.slope)


# Faults


def breaking(at, where):
    """A rule whose loss or gradient is NaN in the step that `at` counts from one."""

    def rule(model, batch, carry, step, key):
        bad = jnp.where(step + 1 == at, jnp.nan, 1.0)
        slopes = eqx.filter_grad(square)(model, batch, key)
        if where == "slope":
            slopes = eqx.tree_at(lambda line: line.slope, slopes, slopes.slope * bad)
        loss = square(model, batch, key)
        return slopes, carry, {"loss": loss * bad if where == "loss" else loss}

    return rule


@pytest.mark.parametrize(("where", "leaf"), [("slope", r"\.model\.slope"), ("loss", r"\.metrics\['loss'\]")])
@pytest.mark.parametrize("at", [1, 13])
def test_a_planted_nan_is_named_with_its_step_and_leaf(where, leaf, at):
    with pytest.raises(WalkError, match=rf"^train: step {at} made .*{leaf}.* non-finite; no checkpoint") as caught:
        fit(breaking(at, where), data=Whole(DATA))
    solution = caught.value.solution
    assert Outcome.of(solution.outcome) is Outcome.NONFINITE
    assert solution.stats["steps"] == at - 1
    if at > 1:
        assert_same(solution.value, fit(data=Whole(DATA), steps=at - 1).value)


def test_a_hook_can_end_a_training():
    solution = fit(on_chunk=lambda report: Outcome.TIME, steps=1000, throw=False)
    assert Outcome.of(solution.outcome) is Outcome.TIME
    assert solution.stats["steps"] < 1000


BAD = [
    ({"steps": 0}, "steps is 0"),
    ({"ema": 1.5}, "a decay lies between 0 and 1"),
    ({"data": [1, 2]}, r"wrap it in Batches\(arrays, size\) or Whole\(arrays\)"),
    ({"model": {"w": jnp.array([1.0, jnp.nan])}}, r"the model\['w'\] is not finite"),
    ({"model": {"w": 3, "name": "net"}}, "holds no arrays"),
    ({"gradient": lambda model, batch, carry, step, key: (model, carry, {})}, r"with metrics\['loss'\]"),
]


@pytest.mark.parametrize(("change", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_bad_arguments_are_one_sentence(change, sentence):
    arguments = {"model": line(), "gradient": SQUARE, "data": Whole(DATA), "optimiser": SGD, "steps": 3} | change
    with pytest.raises(InputError, match=f"^train: .*{sentence}"):
        train(key=jax.random.key(0), **arguments)


@pytest.mark.parametrize(
    ("arrays", "size", "sentence"),
    [
        ({"x": np.zeros((4, 2), np.float32), "y": np.zeros(3, np.float32)}, 2, "leading axes .* make them equal"),
        (np.zeros(3, np.float32), 4, "a batch of 4 does not fit data of 3 items"),
        (np.zeros(3, np.float32), 0, "a batch of 0 does not fit"),
        (np.zeros((0, 2), np.float32), 1, "the data is empty"),
        (np.array([1, np.nan], np.float32), 1, "holds NaN or infinity"),
    ],
)
def test_bad_data_is_one_sentence(arrays, size, sentence):
    with pytest.raises(InputError, match=sentence):
        Batches(arrays, size)


def test_a_float64_model_without_x64_is_refused():
    with pytest.raises(PrecisionError, match="float64 but this process computes in float32"):
        train({"w": np.zeros(2)}, SQUARE, Whole(DATA), SGD, key=jax.random.key(0), steps=1)


def test_float64_data_without_x64_is_refused():
    with pytest.raises(PrecisionError, match="float64 but this process computes in float32"):
        fit(data=Whole({name: array.astype(np.float64) for name, array in DATA.items()}), steps=1)


def test_inside_a_transformation_nothing_can_be_thrown():
    with pytest.raises(InputError, match="pass throw=False"):
        jax.vmap(lambda slope: train({"w": slope}, SQUARE, Whole(DATA), SGD, key=jax.random.key(0), steps=1))(
            jnp.ones(2)
        )


def test_a_batch_of_trainings_ends_lane_by_lane():
    def loss(model, batch, key):
        return jnp.mean((model["w"] * batch["x"] - batch["y"]) ** 2) / jnp.where(model["w"] > 5, 0.0, 1.0)

    def go(w):
        return train({"w": w}, from_loss(loss), Whole(DATA), SGD, key=jax.random.key(0), steps=9, throw=False)

    batch = jax.vmap(go)(jnp.array([0.0, 9.0]))
    assert [Outcome.of(code) for code in batch.outcome] == [Outcome.DONE, Outcome.NONFINITE]
    np.testing.assert_array_equal(batch.stats["steps"], [9, 0])
    assert np.isfinite(batch.value["w"]).all()


def test_a_float32_training_holds_no_float64(x64):
    from thalweg.testing import wide_results

    model = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf, line())
    moving, fixed = eqx.partition(model, eqx.is_array)

    def run(moving):
        # Not Adam: Optax corrects its bias by scalars of the process's own width.
        optimiser, data = optax.sgd(1e-2, momentum=0.9), Batches(jax.tree.map(jnp.asarray, DATA), 4)
        solution = train(
            eqx.combine(moving, fixed),
            from_loss(noisy_in_place),
            data,
            optimiser,
            key=jax.random.key(0),
            steps=3,
            ema=0.9,
            throw=False,
        )
        return eqx.filter(solution, eqx.is_array)

    assert list(wide_results(jax.make_jaxpr(run)(moving).jaxpr)) == []


def noisy_in_place(model, batch, key):
    noise = jax.random.normal(key, batch["x"].shape, batch["x"].dtype)
    return jnp.mean((model(batch["x"]) + 0.1 * noise - batch["y"]) ** 2)
