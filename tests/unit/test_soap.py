"""SOAP: the paper's algorithm step by step, what it leaves alone, and what it must not depend on."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from thalweg.core.errors import InputError
from thalweg.methods import drive as drive_module
from thalweg.methods.data import Batches
from thalweg.methods.soap import soap
from thalweg.runs import Checkpoint
from thalweg.verbs.train import from_loss, train

B1, B2, EPS = 0.9, 0.8, 1e-6
EVERY, LARGEST, RATE = 3, 5, 0.1
# Two of one shape, an axis longer than the largest, three axes, and two leaves that stay as they are. No basis has
# more than one direction that the first gradient leaves open.
SHAPES = {"a": (4, 3), "b": (4, 3), "c": (6, 3), "d": (2, 3, 4), "e": (5,), "f": (), "g": (5, 5)}


def random(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in SHAPES.items()}


class Transcribed:
    """Algorithms 3 and 4 of the paper for one leaf, in NumPy, with the mean kept outside of the basis."""

    def __init__(self, shape: tuple[int, ...]):
        self.mean, self.square, self.count = np.zeros(shape), np.zeros(shape), 0
        axes = [axis for axis, n in enumerate(shape) if n <= LARGEST] if len(shape) > 1 else []
        self.factors = {axis: np.zeros((shape[axis], shape[axis])) for axis in axes}
        self.bases: dict[int, np.ndarray] = {}

    def turned(self, x: np.ndarray, back: bool) -> np.ndarray:
        for axis, basis in self.bases.items():
            x = np.moveaxis(np.tensordot(x, basis, axes=(axis, 1 if back else 0)), -1, axis)
        return x

    def step(self, slope: np.ndarray) -> np.ndarray:
        begins = bool(self.factors) and not self.bases
        move = np.zeros_like(slope) if begins else self.adam(slope)
        for axis, factor in self.factors.items():
            rows = np.moveaxis(slope, axis, 0).reshape(factor.shape[0], -1)
            self.factors[axis] = B2 * factor + (1 - B2) * rows @ rows.T
        if begins:
            self.bases = {axis: np.linalg.eigh(factor)[1] for axis, factor in self.factors.items()}
            for axis, basis in self.bases.items():
                self.bases[axis] = basis[:, ::-1]
        elif self.count % EVERY == 0:
            for axis, factor in self.factors.items():
                power = factor @ self.bases[axis]
                order = np.argsort(-np.diag(self.bases[axis].T @ power), kind="stable")
                self.square = np.take(self.square, order, axis)
                self.bases[axis] = np.linalg.qr(power[:, order])[0]
        return move

    def adam(self, slope: np.ndarray) -> np.ndarray:
        self.count += 1
        self.mean = B1 * self.mean + (1 - B1) * slope
        self.square = B2 * self.square + (1 - B2) * self.turned(slope, back=False) ** 2
        mean = self.turned(self.mean, back=False) / (1 - B1**self.count)
        return self.turned(mean / (np.sqrt(self.square / (1 - B2**self.count)) + EPS), back=True)


def test_the_steps_are_those_of_the_paper(x64):
    optimiser = soap(RATE, b1=B1, b2=B2, eps=EPS, every=EVERY, largest=LARGEST)
    written = {name: Transcribed(shape) for name, shape in SHAPES.items()}
    state, update = optimiser.init(random(0)), jax.jit(optimiser.update)
    for step in range(15):
        slopes = random(step + 1)
        moves, state = update(slopes, state)
        for name, slope in slopes.items():
            # Rounding of a QR, times a condition number of the factors of up to 1e4.
            np.testing.assert_allclose(moves[name], -RATE * written[name].step(slope), atol=1e-10, err_msg=name)


def test_what_is_not_turned_moves_as_with_adam():
    schedule = optax.linear_schedule(0.1, 0.01, 7)
    options: Any = {"b1": B1, "b2": B2, "eps": EPS}
    leaves = {"vector": (7,), "number": (), "row": (1, 9), "long": (9, 8)}
    params = {name: jnp.ones(shape) for name, shape in leaves.items()}
    ours = soap(schedule, **options, weight_decay=0.1, largest=7)
    adam = optax.adamw(schedule, **options, weight_decay=0.1)
    states, updates = [ours.init(params), adam.init(params)], [jax.jit(ours.update), jax.jit(adam.update)]
    rng = np.random.default_rng(0)
    # A row of one axis of length 9 is longer than the largest, as are both axes of the long leaf.
    for _ in range(8):
        slopes = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in leaves.items()}
        moves = []
        for which in (0, 1):
            move, states[which] = updates[which](slopes, states[which], params)
            moves.append(move)
        for name in leaves:
            # The compiler may contract a product and a sum: a few roundings of float32.
            np.testing.assert_allclose(moves[0][name], moves[1][name], rtol=2e-6, atol=1e-9, err_msg=name)


def orthogonal(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(n, n)))[0]


# One shape and one graph for all that follows; matrices as arguments, so that it compiles once for each optimiser.
SIDE = 8


def height(x, left, right):
    """A quadratic form with curvatures `l_i^2 r_j^2` in a basis that is not that of the coordinates."""
    return 0.5 * jnp.sum((left @ x @ right) ** 2)


@eqx.filter_jit
def descend(optimiser, x, left, right, steps: int):
    def body(carry, _):
        x, state = carry
        value, slope = jax.value_and_grad(height)(x, left, right)
        move, state = optimiser.update(slope, state, x)
        return (x + move, state), (value, x)

    return jax.lax.scan(body, (x, optimiser.init(x)), None, steps)[1]


def bowl(seed: int, decades: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    slopes = np.logspace(0, -decades / 2, SIDE)
    left, right = (slopes[:, None] * orthogonal(rng, SIDE) for _ in range(2))
    return rng.normal(size=(SIDE, SIDE)), left, right


def test_a_rotated_start_gives_rotated_steps(x64):
    x, left, right = bowl(1, decades=0.6)
    rng = np.random.default_rng(2)
    q, p = orthogonal(rng, SIDE), orthogonal(rng, SIDE)
    # The second gradient is the first: its zeros in the new basis are rounding, which a small eps would blow up.
    optimiser = soap(0.05, every=4, eps=1e-4)
    _, plain = descend(optimiser, x, left, right, 40)
    _, turned = descend(optimiser, q.T @ x @ p.T, left @ q, p @ right, 40)
    # The smallest eigenvalue of the first factors is 5e-4 of the largest: a column of the basis is known to 1e-12, a
    # zero of the gradient in it becomes 1e-12 / 1e-4 of a step at most, and 40 steps of 0.05 add up.
    np.testing.assert_allclose(np.einsum("ab,tbc,cd->tad", q, turned, p), plain, atol=1e-9)
    # The same does not hold for Adam, so that the test can fail.
    adam = optax.adam(0.05)
    _, plain = descend(adam, x, left, right, 40)
    _, turned = descend(adam, q.T @ x @ p.T, left @ q, p @ right, 40)
    assert np.max(np.abs(np.einsum("ab,tbc,cd->tad", q, turned, p) - plain)) > 0.01


def test_it_comes_lower_than_adam_where_curvatures_differ(x64):
    """Both at their best of the same learning rates, each falling to zero in the same number of steps."""
    start, steps = bowl(4, decades=4.0), 200
    rates = jnp.asarray([0.03, 0.1, 0.3, 1.0])

    def lowest(make: Any) -> float:
        def end(rate):
            cosine = lambda step: rate * 0.5 * (1 + jnp.cos(jnp.pi * step / steps))  # noqa: E731
            return descend(make(cosine), *start, steps)[0][-1]

        return float(jnp.min(jax.jit(jax.vmap(end))(rates)))

    # Measured on the starts 3, 4 and 5: lower by factors of 3, 30 and 22.
    assert lowest(soap) < 0.1 * lowest(lambda rate: optax.adam(rate, 0.95, 0.95))


# In a training

DATA = {
    "x": np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32),
    "y": np.random.default_rng(1).normal(size=(24, 3)).astype(np.float32),
}


def misfit(model, batch, key):
    return jnp.mean((jnp.tanh(batch["x"] @ model["in"]) @ model["out"] + model["shift"] - batch["y"]) ** 2)


RULE = from_loss(misfit)
FIT = soap(0.02, every=5)


def fit(**options: Any) -> Any:
    rng = np.random.default_rng(5)
    model = {
        "in": jnp.asarray(rng.normal(size=(6, 4)), jnp.float32),
        "out": jnp.asarray(rng.normal(size=(4, 3)), jnp.float32),
        "shift": jnp.zeros(3),
        "name": "a net",  # no array: not trained
    }
    return train(model, RULE, Batches(DATA, 8), FIT, key=jax.random.key(0), steps=60, **options)


def test_chunks_and_a_checkpoint_change_no_bit(tmp_path, monkeypatch):
    whole = fit()
    assert float(whole.energy) < np.mean(DATA["y"] ** 2)  # better than no answer
    file = tmp_path / "state.safetensors"
    place, steps = Checkpoint(file, every_seconds=None, every_steps=7), []

    def kill(report):
        steps.append(report.step)
        if report.step >= 33:
            raise KeyboardInterrupt

    monkeypatch.setattr(drive_module, "_CHUNK_SECONDS", 1e-9)
    with pytest.raises(KeyboardInterrupt):
        fit(on_chunk=(place, kill))
    assert len(steps) > 20  # the chunks were short
    resumed = fit(on_chunk=Checkpoint(file))
    for name in ("in", "out", "shift"):
        np.testing.assert_array_equal(whole.value[name], resumed.value[name])
    assert float(whole.energy) == float(resumed.energy)


def test_the_state_has_the_dtype_of_its_leaf(x64):
    params = {"narrow": jnp.ones((3, 2), jnp.float32), "wide": jnp.ones((3, 2), jnp.float64)}
    optimiser = soap(optax.constant_schedule(0.1))
    state = optimiser.init(params)
    moves, after = jax.eval_shape(optimiser.update, params, state)
    assert moves["narrow"].dtype == jnp.float32
    assert moves["wide"].dtype == jnp.float64
    shapes = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)] for tree in (state, after)]
    assert shapes[0] == shapes[1]
    narrow = {"narrow": params["narrow"]}
    written = str(jax.make_jaxpr(soap(0.1).update)(narrow, soap(0.1).init(narrow)))
    assert "f64" not in written


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"b1": 1.0}, "soap: b1 is 1.0: choose"),
        ({"b2": -0.1}, "soap: b2 is -0.1: choose"),
        ({"eps": float("nan")}, "soap: eps is nan, but"),
        ({"weight_decay": -1.0}, "soap: weight_decay is -1.0, but"),
        ({"every": 0}, "soap: every is 0, but"),
        ({"largest": 0}, "soap: largest is 0, but"),
    ],
)
def test_settings_that_make_no_sense_are_one_sentence(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        soap(0.1, **settings)
