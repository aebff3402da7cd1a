"""Gradient energies: against weights that have a copy of their own at each place."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.methods.gradient_energy import Energies, Taps, gradient_energies, placed, shares, untapped
from thalweg.methods.plasticity import scale_by_plasticity

slowing: Any = scale_by_plasticity  # Optax types its pytrees so tightly that no item of one can be looked at


def same(one: Any, other: Any, **tolerance: float) -> None:
    arrays, others = eqx.filter((one, other), eqx.is_array_like)
    jax.tree.map(partial(np.testing.assert_allclose, **tolerance), arrays, others)


class Linear(eqx.Module):
    weight: jax.Array
    bias: jax.Array
    kind: Any = None

    def __call__(self, x):
        return x @ self.weight + self.bias


class Net(eqx.Module):
    """One linear map, a recurrence with a gate, and a readout, `[time, features]`."""

    into: Linear
    gates: Linear
    out: Linear

    def __call__(self, x, taps: Any = untapped):
        h = jnp.tanh(taps("into", x, self.into(x)))
        z = taps("gates", h, self.gates(h))
        keep, new = jax.nn.sigmoid(z[:, :3]), z[:, 3:]

        def advance(state, now):
            state = now[0] * state + (1 - now[0]) * now[1]
            return state, state

        states = jax.lax.scan(advance, jnp.zeros(3, x.dtype), (keep, new))[1]
        return taps("out", states, self.out(states))


def net() -> Net:
    rng = np.random.default_rng(0)
    sizes = ((4, 5), (5, 6), (3, 2))
    return Net(*[Linear(jnp.asarray(rng.normal(size=size)), jnp.asarray(rng.normal(size=size[1]))) for size in sizes])


TIMES = 7


def cost(model, x, y, taps: Any = untapped):
    return jnp.mean((model(x, taps) - y) ** 2)


def copies(weights: dict[str, Any], x, y):
    """The loss of a net whose weights are `[time, ...]`, one copy for each time at which they are used."""

    def at(name, a):
        weight, bias = weights[name]
        return jnp.einsum("tj,tji->ti", a, weight) + bias

    h = jnp.tanh(at("into", x))
    z = at("gates", h)
    keep, new = jax.nn.sigmoid(z[:, :3]), z[:, 3:]
    state, states = jnp.zeros(3, x.dtype), []
    for time in range(TIMES):
        state = keep[time] * state + (1 - keep[time]) * new[time]
        states.append(state)
    return jnp.mean((at("out", jnp.stack(states)) - y) ** 2)


def test_gradient_energies_are_those_of_weights_that_have_a_copy_at_each_time(x64):
    model = net()
    rng = np.random.default_rng(1)
    x, y = jnp.asarray(rng.normal(size=(TIMES, 4))), jnp.asarray(rng.normal(size=(TIMES, 2)))
    marks, known = jnp.asarray(rng.uniform(size=TIMES)), jnp.asarray(rng.integers(0, 2, TIMES), jnp.float64)
    measured = lambda net: gradient_energies(lambda taps: cost(net, x, y, taps), marks, known, 1 - known)  # noqa: E731
    found, others = eqx.filter_jit(measured)(model)
    tile = lambda leaf: jnp.broadcast_to(leaf, (TIMES, *leaf.shape))  # noqa: E731
    layers = {"into": model.into, "gates": model.gates, "out": model.out}
    many = {name: (tile(layer.weight), tile(layer.bias)) for name, layer in layers.items()}
    by_time = jax.jit(jax.jacrev(copies))(many, x, y)
    whole = eqx.filter_jit(eqx.filter_grad(cost))(model, x, y)
    for name, (weight, bias) in by_time.items():
        # All copies together are the gradient of back-propagation through time: the brute force is right.
        np.testing.assert_allclose(weight.sum(0), getattr(whole, name).weight, atol=1e-13)
        parts = found.marked, found.total, others.marked, others.total
        for factor, part in zip((marks * known, known, marks * (1 - known), 1 - known), parts, strict=True):
            expected = np.einsum("t,tji->ij", factor, weight**2)
            np.testing.assert_allclose(part[name], expected, rtol=1e-10, atol=1e-18)  # float64 sums of seven
            np.testing.assert_allclose(part[f"{name}.bias"], factor @ bias**2, rtol=1e-10, atol=1e-18)
    where = {
        "into": lambda of: of.into.weight, "gates": lambda of: of.gates.weight, "gates.bias": lambda of: of.gates.bias
    }  # fmt: skip
    like = placed(found, model, where, inputs_first=True)
    np.testing.assert_array_equal(like.marked.into.weight, found.marked["into"].T)
    assert like.total.out.weight is None
    share = shares(like)
    assert 0 < float(share.gates.weight.min()) < float(share.gates.weight.max()) < 1
    # The shares are a map for the model as it is.
    rule = slowing(share, 0.5)
    moved = rule.update(whole, rule.init(model), model)[0]
    np.testing.assert_allclose(moved.into.weight, (1 - 0.5 * share.into.weight) * whole.into.weight, rtol=1e-12)
    np.testing.assert_array_equal(moved.out.weight, whole.out.weight)


def test_energies_of_a_batch_count_every_sequence(x64):
    rng = np.random.default_rng(2)
    weight = jnp.asarray(rng.normal(size=(4, 2)))
    x, y = jnp.asarray(rng.normal(size=(3, TIMES, 4))), jnp.asarray(rng.normal(size=(3, TIMES, 2)))

    @jax.jit
    def measured(x, y, marks):
        loss = lambda taps: jnp.sum((taps("w", x, x @ weight) - y) ** 2)  # noqa: E731
        return gradient_energies(loss, marks, jnp.ones(marks.shape))[0]

    marks = jnp.asarray(rng.uniform(size=(3, TIMES)))
    together, alone = measured(x, y, marks), [measured(*row) for row in zip(x, y, marks, strict=True)]
    same(together.marked["w"], sum(each.marked["w"] for each in alone), rtol=1e-12)
    one_mark = measured(x, y, jnp.full(TIMES, 0.25))
    same(shares(one_mark), {"w": np.full((2, 4), 0.25), "w.bias": np.full(2, 0.25)}, rtol=1e-12)


def test_weights_that_no_gradient_reaches_are_not_held():
    @jax.jit
    def measured(x):
        loss = lambda taps: jnp.sum(taps("w", x, 0 * x)[:, 0])  # noqa: E731
        return shares(gradient_energies(loss, jnp.ones(3), jnp.ones(3))[0])

    np.testing.assert_array_equal(measured(jnp.ones((3, 2)))["w"], [[1, 1], [0, 0]])


def test_taps_say_what_they_cannot_hear():
    x = jnp.ones((3, 2))
    with pytest.raises(InputError, match="two linear maps are called 'w'"):
        gradient_energies(lambda taps: jnp.sum(taps("w", x, taps("w", x, x))), jnp.ones(3))
    with pytest.raises(InputError, match="called no taps"):
        gradient_energies(lambda taps: jnp.sum(x), jnp.ones(3))
    with pytest.raises(InputError, match="keep all axes but the last"):
        Taps()("w", x, x.T)
    energies = Energies({"w": jnp.ones((2, 2))}, {"w": jnp.ones((2, 2))})
    with pytest.raises(InputError, match="there is no linear map 'v'"):
        placed(energies, net(), {"v": lambda of: of.out.weight})
    with pytest.raises(InputError, match="name the leaf of that linear map"):
        placed(energies, net(), {"w": lambda of: of.out.weight})
