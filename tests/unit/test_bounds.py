"""Bounds over balls: sound on random functions of every make, exact where they can be, equal to a plain recursion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.methods.bounds import Ball, LinearBounds

pytestmark = pytest.mark.usefixtures("x64")

SHAPE = (2, 6, 6)


def _conv(x: Any, kernel: Any, stride: int = 1) -> Any:
    return jax.lax.conv_general_dilated(x[None], kernel, (stride, stride), [(1, 1), (1, 1)])[0]


def _weights(seed: int) -> dict[str, Any]:
    names = {"first": (4, 2, 3, 3), "second": (4, 4, 3, 3), "dense": (12, 36), "flat": (12, 72), "last": (5, 12)}
    keys = jax.random.split(jax.random.key(seed), 2 * len(names))
    found = {
        name: jax.random.normal(key, shape) / np.sqrt(np.prod(shape[1:]))
        for key, (name, shape) in zip(keys, names.items(), strict=False)
    }
    return found | {"bias": jax.random.normal(keys[-1], (12,)) / 3}


def _dense(act: Callable[[Any], Any], act_2: Callable[[Any], Any] | None = None) -> Callable[..., Any]:
    def function(w: dict[str, Any], x: Any) -> Any:
        hidden = act(2 * (w["flat"] @ x.ravel()) + w["bias"])
        return w["last"] @ (act_2 or act)(hidden[::-1] + w["bias"])

    return function


def _residual(w: dict[str, Any], x: Any) -> Any:
    hidden = jax.nn.relu(_conv(x, w["first"], 2))
    hidden = jax.nn.relu(hidden + _conv(jax.nn.relu(_conv(hidden, w["second"])), w["second"]))
    return w["last"] @ (w["dense"] @ hidden.ravel() + w["bias"])


def _pooled(w: dict[str, Any], x: Any) -> Any:
    hidden = jax.nn.tanh(_conv(x, w["first"]))
    hidden = jax.lax.reduce_window(hidden, -jnp.inf, jax.lax.max, (1, 3, 3), (1, 2, 2), ((0, 0), (1, 1), (1, 1)))
    hidden = jax.lax.reduce_window(hidden, 0.0, jax.lax.add, (1, 1, 1), (1, 1, 1), "VALID")
    return jax.nn.log_softmax(w["last"] @ jax.nn.softplus(w["dense"] @ hidden.ravel()))


def _gated(w: dict[str, Any], x: Any) -> Any:
    hidden = w["flat"] @ x.ravel()
    normed = (hidden - hidden.mean()) * jax.lax.rsqrt(jnp.var(hidden) + 1.0)
    gate = jax.nn.sigmoid(hidden[::-1]) * jnp.minimum(normed, hidden)
    return w["last"] @ jnp.where(w["bias"] > 0, gate, jnp.clip(hidden, -0.5, 0.5))


def _stepped(w: dict[str, Any], x: Any) -> Any:
    rounded = jnp.round(4 * x) / 4
    hidden = w["flat"] @ (x + jax.lax.stop_gradient(rounded - x)).ravel()
    return w["last"] @ ((hidden > 0.1) * hidden**2)


MAKES = {
    "relu": _dense(jax.nn.relu),
    "tanh, softplus": _dense(jnp.tanh, jax.nn.softplus),
    "sigmoid, gelu": _dense(lambda x: 1 / (1 + jnp.exp(-x)), jax.nn.gelu),
    "leaky, elu": _dense(jax.nn.leaky_relu, jax.nn.elu),
    "silu, hard": _dense(jax.nn.silu, jax.nn.hard_tanh),
    "abs, sin": _dense(jnp.abs, jnp.sin),
    "residual": _residual,
    "pooled": _pooled,
    "gated": _gated,
    "stepped": _stepped,
}


def _points(x: Any, radius: Any, norm: str, count: int, key: Any) -> Any:
    """Random points of the ball, half of them corners or on its rim, inside the box [0, 1]."""
    keys = jax.random.split(key, 2)
    move = jax.random.uniform(keys[0], (count, x.size), minval=-1.0, maxval=1.0)
    if norm == "linf":
        move = jnp.where(jnp.arange(count)[:, None] < count // 2, move, jnp.sign(move))
    else:
        share = jnp.where(jnp.arange(count) < count // 2, jax.random.uniform(keys[1], (count,)), 1.0)
        move = share[:, None] * move / jnp.linalg.norm(move, axis=1, keepdims=True)
    return jnp.clip(x.ravel() + radius * move, 0.0, 1.0).reshape(count, *x.shape)


@eqx.filter_jit
def _violations(bounds: LinearBounds, function: Any, w: Any, x: Any, radius: Any, norm: str, key: Any) -> Any:
    """By how much points of the ball leave the bounds of any node, and how far from zero the bounds are."""
    ball = Ball(x.ravel(), radius, 0.0, 1.0, norm)
    forms = jnp.concatenate([jnp.eye(5), -jnp.eye(5), jnp.eye(5)[:1] - jnp.eye(5)[1:]])
    least = bounds.least(ball, forms)
    low, high = bounds.bounds(ball)
    points = _points(x, radius, norm, 256, key)
    found = jax.vmap(lambda p: function(w, p))(points)
    inner = jax.vmap(bounds.graph.values)(points)
    nodes = [jnp.maximum(jnp.max(a - v), jnp.max(v - b)) for a, b, v in zip(low, high, inner, strict=True)]
    gap = jnp.max(jnp.min(found @ forms.T, axis=0) - least)
    return jnp.max(least - found @ forms.T), jnp.max(jnp.stack(nodes)), gap


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("make", MAKES)
def test_points_of_the_ball_never_leave_the_bounds(make: str, norm: str) -> None:
    function = MAKES[make]
    for seed in range(2):
        w = _weights(seed)
        bounds = LinearBounds(lambda x: function(w, x), SHAPE)
        x = jax.random.uniform(jax.random.key(seed), SHAPE)
        assert np.allclose(bounds.graph(x), function(w, x), atol=1e-12)
        for radius in (0.0, 1e-3, 0.05, 0.3, 1.0):
            over, inside, gap = _violations(bounds, function, w, x, jnp.asarray(radius), norm, jax.random.key(7))
            assert over <= 0 and inside <= 1e-13, (seed, radius)
            assert np.isfinite(gap) and (radius > 0 or gap < 1e-9)
