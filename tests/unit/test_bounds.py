"""Bounds over balls: sound on random functions of every make, exact where they can be, equal to a plain recursion."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.methods.bounds import Ball, LinearBounds, largest_radius, read_graph
from thalweg.methods.bounds.graph import Bend
from thalweg.methods.bounds.ways import Dense

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
    hidden = jax.lax.reduce_window(hidden, -jnp.inf, jax.lax.max, (1, 2, 2), (1, 2, 2), ((0, 0), (1, 1), (1, 1)))
    hidden = jax.lax.reduce_window(hidden, 0.0, jax.lax.add, (1, 2, 2), (1, 1, 1), "VALID")
    return w["last"] @ (w["dense"] @ hidden.ravel() + w["bias"])


def _probable(w: dict[str, Any], x: Any) -> Any:
    return jax.nn.log_softmax(w["last"] @ jax.nn.relu(w["flat"] @ x.ravel()))


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
    "probable": _probable,
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
def _violations(bounds: LinearBounds, x: Any, radii: Any, norm: Any, key: Any) -> Any:
    """By how much points of balls leave the bounds of forms and of nodes, and how loose the forms are."""
    forms = jnp.concatenate([jnp.eye(5), -jnp.eye(5), jnp.eye(5)[:1] - jnp.eye(5)[1:]])

    def one(radius: Any) -> Any:
        ball = Ball(x.ravel(), radius, 0.0, 1.0, norm)
        low, high = bounds.bounds(ball)
        values = jax.vmap(bounds.graph.values)(_points(x, radius, norm, 256, key))
        nodes = [jnp.maximum(jnp.max(a - v), jnp.max(v - b)) for a, b, v in zip(low, high, values, strict=True)]
        gaps = values[-1] @ forms.T - bounds.least(ball, forms)
        return jnp.max(-gaps), jnp.max(jnp.stack(nodes)), jnp.max(jnp.min(gaps, axis=0))

    return jax.lax.map(one, radii)


@pytest.mark.slow
def test_the_graph_is_the_function() -> None:
    w, x = _weights(0), jax.random.uniform(jax.random.key(1), SHAPE)
    of = lambda x: w["dense"] @ jax.nn.relu(_conv(x, w["first"], 2)).ravel()  # noqa: E731
    assert np.allclose(eqx.filter_jit(read_graph(of, SHAPE))(x), of(x), atol=1e-12)  # rounding of sums of 144 terms


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("make", MAKES)
def test_points_of_the_ball_never_leave_the_bounds(make: str, norm: str) -> None:
    w, radii = _weights(0), jnp.array([0.0, 1e-3, 0.05, 0.3, 1.0])
    bounds = LinearBounds(lambda x: MAKES[make](w, x), SHAPE)
    x = jax.random.uniform(jax.random.key(1), SHAPE)
    assert np.allclose(bounds.graph(x), MAKES[make](w, x), atol=1e-12)  # rounding of sums of 72 terms
    over, nodes, gap = map(np.asarray, _violations(bounds, x, radii, norm, jax.random.key(7)))
    assert (over <= 0).all()
    assert (nodes <= 1e-13).all()  # rounding of sums that cancel
    assert np.isfinite(gap).all()
    if make != "stepped":  # which jumps
        assert gap[0] < 1e-8  # a point: what is left is the allowance for rounding


def test_points_never_leave_the_bounds_of_thousands_of_random_functions() -> None:
    w = _weights(0)
    bounds = LinearBounds(lambda x: MAKES["relu"](w, x), SHAPE)
    bounds = eqx.tree_at(lambda tree: tree.ways, bounds, (Dense(), Dense()))

    def one(key: Any) -> Any:
        keys = jax.random.split(key, 4)
        leaves, tree = jax.tree.flatten(bounds)
        drawn = jax.random.split(keys[0], len(leaves))
        leaves = [
            leaf * jax.random.normal(of, leaf.shape) * 2 if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
            for leaf, of in zip(leaves, drawn, strict=True)
        ]
        other = jax.tree.unflatten(tree, leaves)
        x, radius = jax.random.uniform(keys[1], SHAPE), 0.3 * jax.random.uniform(keys[2]) ** 2
        forms = jax.random.normal(keys[3], (3, 5))
        values = jax.vmap(other.graph)(_points(x, radius, "linf", 64, keys[3])) @ forms.T
        return jnp.max(other.least(Ball(x.ravel(), radius, 0.0, 1.0), forms) - values)

    over = jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(jax.random.key(0), 2000))
    assert float(jnp.max(over)) <= 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_affine_functions_are_bounded_exactly(norm: Any) -> None:
    matrix = jax.random.normal(jax.random.key(0), (5, 72))
    bounds = LinearBounds(lambda x: matrix @ x.ravel() + 1.0, SHAPE)
    least = eqx.filter_jit(lambda tree, x: tree.least(Ball(x, radius, 0.0, 1.0, norm), jnp.eye(5)))
    x, radius = jnp.full(72, 0.5), 0.2
    lengths = jnp.abs(matrix).sum(1) if norm == "linf" else jnp.sqrt((matrix**2).sum(1))
    found = least(bounds, x)
    # What is allowed for rounding, 1e-11 of sums of some tens.
    assert np.allclose(found, matrix @ x + 1.0 - radius * lengths, atol=1e-8)
    corner = least(bounds, jnp.zeros(72))
    down = jnp.minimum(matrix, 0)
    lengths = jnp.abs(down).sum(1) if norm == "linf" else jnp.sqrt((down**2).sum(1))
    assert np.allclose(corner, 1.0 - radius * lengths, atol=1e-8)


def _recursion(layers: list[Any], x: np.ndarray, radius: float, forms: np.ndarray) -> np.ndarray:
    """CROWN and Fast-Lin with plain matrices for a ReLU network: the better bound of both at each layer."""
    boxes: list[Any] = []

    def least(form: np.ndarray, depth: int, parallel: bool) -> np.ndarray:
        height = np.zeros(len(form))
        for place in range(depth, -1, -1):
            weight, bias = layers[place]
            height, form = height + form @ bias, form @ weight
            if place:
                low, high = boxes[place - 1]
                chord = np.where(low >= 0, 1.0, np.where(high <= 0, 0.0, high / (high - low)))
                crossing = (low < 0) & (high > 0)
                below = np.where(crossing & (not parallel), (high > -low) * 1.0, chord)
                height += np.minimum(form, 0) @ np.where(crossing, -chord * low, 0.0)
                form = np.maximum(form, 0) * below + np.minimum(form, 0) * chord
        return height + form @ x - radius * np.abs(form).sum(1)

    for depth, (weight, bias) in enumerate(layers[:-1]):
        eye = np.eye(len(bias))
        low, high = (
            np.max([sign * least(sign * eye, depth, parallel) * sign for parallel in (False, True)], axis=0)
            if sign > 0
            else -np.max([least(-eye, depth, parallel) for parallel in (False, True)], axis=0)
            for sign in (1, -1)
        )
        if depth:
            before = [np.maximum(bound, 0) for bound in boxes[-1]]
            up, down = np.maximum(weight, 0), np.minimum(weight, 0)
            low = np.maximum(low, up @ before[0] + down @ before[1] + bias)
            high = np.minimum(high, up @ before[1] + down @ before[0] + bias)
        boxes.append((low, high))
    return np.max([least(forms, len(layers) - 1, parallel) for parallel in (False, True)], axis=0)


def test_bounds_equal_a_plain_recursion_over_matrices() -> None:
    random = np.random.default_rng(3)
    sizes = (6, 9, 8, 4)
    layers = [
        (random.normal(size=(b, a)) / np.sqrt(a), random.normal(size=b) / 3) for a, b in itertools.pairwise(sizes)
    ]

    def function(x: Any) -> Any:
        for weight, bias in layers[:-1]:
            x = jax.nn.relu(weight @ x + bias)
        return layers[-1][0] @ x + layers[-1][1]

    bounds = LinearBounds(function, (6,))
    least = eqx.filter_jit(lambda tree, x, radius, forms: tree.least(Ball(x, radius, -10.0, 10.0), forms))
    forms = np.eye(4)[0] - np.eye(4)[1:]
    for radius in (0.02, 0.1, 0.3, 0.8):
        x = random.normal(size=6)
        found = least(bounds, jnp.asarray(x), jnp.asarray(radius), jnp.asarray(forms))
        # The allowance for rounding is 1e-11 of sums of about ten.
        assert np.allclose(found, _recursion(layers, x, radius, forms), atol=1e-9)


CURVES = {
    "softplus": jax.nn.softplus,
    "gelu": jax.nn.gelu,
    "step": lambda x: jnp.where(x >= 0.25, x, -1.0),
    "reciprocal": lambda x: 1 / (1 + x**2),
    "relu6": jax.nn.relu6,
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ("gelu", "step") else pytest.mark.slow) for name in CURVES]
)
def test_lines_enclose_their_function_on_a_dense_grid(name: str) -> None:
    count = 300
    node = read_graph(CURVES[name], (count,)).nodes[-1]
    assert isinstance(node, Bend)
    random = np.random.default_rng(0)
    low = np.concatenate([4 * random.normal(size=count - 2), [0.25, -1.0]])
    high = low + np.concatenate([10.0 ** random.uniform(-6, 1.3, count - 3), [0.0, 0.5, 1.25]])
    grid = low + np.linspace(0, 1, 1001)[:, None] * (high - low)
    grid = np.clip(np.concatenate([grid, np.full((1, count), 0.25), np.zeros((1, count))]), low, high)
    values = np.asarray(eqx.filter_vmap(node.curve)(jnp.asarray(grid)))
    room = 1e-12 * (1 + np.abs(grid).max(0) + np.abs(values).max(0))  # rounding, in units of its terms
    least, most = eqx.filter_jit(node.curve.range)(jnp.asarray(low), jnp.asarray(high))
    assert (values >= least - room).all()
    assert (values <= most + room).all()
    lines = eqx.filter_jit(lambda a, b, parallel: node.curve.lines(a, b, parallel=parallel))
    for parallel in (False, True):
        below, under, above, over = map(np.asarray, lines(jnp.asarray(low), jnp.asarray(high), jnp.asarray(parallel)))
        assert (below * grid + under <= values + room).all()
        assert (above * grid + over >= values - room).all()
        if not parallel and name != "step":
            # No further from the function than a straight line must be, but for the coarseness of the pieces.
            height = (above * grid + over) - (below * grid + under)
            assert (height.max(0) <= 1.5 * np.ptp(values, axis=0) + 0.1 * (high - low) + room).all()


def test_what_has_no_bounds_is_named() -> None:
    with pytest.raises(InputError, match="do not know the operation sort"):
        LinearBounds(jnp.sort, (4,))
    with pytest.raises(InputError, match="one axis"):
        LinearBounds(jnp.sum, (4,))
    with pytest.raises(InputError, match="do not know the operation while"):
        LinearBounds(lambda x: jax.lax.while_loop(lambda y: y[0] < 1, lambda y: y + x, x), (4,))


def test_the_largest_radius_is_positive_and_close() -> None:
    roots = jnp.array([0.3, 0.7, 1e-3])
    for bound in (lambda r, root: root - r, lambda r, root: jnp.where(r > root, -jnp.inf, 1.0 + root - r)):
        found, probed = jax.vmap(
            lambda root, of=bound: largest_radius(lambda r: of(r, root), jnp.array([0.5, 0.0, 1.0]))
        )(roots)
        assert (found > 0).all()
        assert (found <= roots).all()
        assert (found >= roots * (1 - 2e-3)).all()
        assert ((probed[:, 0] > 0) == (roots > 0.5)).all()
    assert largest_radius(lambda r: -r, jnp.array([0.0, 1.0]))[0] == 0
    assert largest_radius(lambda r: 2 - r, jnp.array([0.0, 1.0]))[0] == 1
