"""The ONNX operators that a classifier is made of, each as plain JAX operations on a batch of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from thalweg.interop.onnx_shapes import SHAPES, Node, Unreadable, integers, is_known, known
from thalweg.interop.onnx_windows import averaged, convolved, largest, windows


def _floats(value: Any, what: str) -> Any:
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise Unreadable(f"{what} holds {value.dtype}, not floats: export the model before it is quantised")
    return value


def _on_each(function: Callable[..., Any], early: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """An operator of one number; `early`, the same in NumPy, for shapes."""

    def operator(node: Node, x: Any) -> Any:
        if is_known(x):
            return np.asarray(early(x)) if early is not None else function(jnp.asarray(x))
        return function(x)

    return operator


def _together(name: str) -> Callable[..., Any]:
    """An operator of several arrays, in NumPy where all are known."""

    def operator(node: Node, *values: Any) -> Any:
        library = np if is_known(*values) else jnp
        total = values[0]
        for value in values[1:]:
            total = getattr(library, name)(total, value)
        return np.asarray(total) if is_known(*values) else total

    return operator


def _div(node: Node, a: Any, b: Any) -> Any:
    if is_known(a, b) and np.issubdtype(a.dtype, np.integer):
        return np.asarray(np.trunc(a / b), a.dtype)
    return _together("divide")(node, a, b)


def _pow(node: Node, x: Any, exponent: Any) -> Any:
    if is_known(exponent) and exponent.ndim == 0 and float(exponent).is_integer() and abs(float(exponent)) < 64:
        return x ** int(exponent)
    return jnp.power(x, exponent)


def _clip(node: Node, x: Any, low: Any = None, high: Any = None) -> Any:
    low, high = (node.get("min") if low is None else low), (node.get("max") if high is None else high)
    x = x if low is None else jnp.maximum(x, jnp.asarray(low, x.dtype))
    return x if high is None else jnp.minimum(x, jnp.asarray(high, x.dtype))


def _gelu(node: Node, x: Any) -> Any:
    return jax.nn.gelu(x, approximate=node.get("approximate", "none") == "tanh")


def _selu(node: Node, x: Any) -> Any:
    return node.get("gamma", 1.0507009873554805) * jax.nn.elu(x, node.get("alpha", 1.6732632423543772))


def _softmax(node: Node, x: Any) -> Any:
    # Before version 13 all axes from `axis` on were one: the same only for the last.
    axis = node.get("axis", -1)
    if axis not in (-1, x.ndim - 1):
        raise Unreadable(f"it runs over axis {axis} of {x.ndim}, and not over the last")
    return jax.nn.softmax(x) if node.kind == "Softmax" else jax.nn.log_softmax(x)


def _matmul(node: Node, a: Any, b: Any) -> Any:
    return jnp.matmul(_floats(a, "a factor"), _floats(b, "a factor"), precision=lax.Precision.HIGHEST)


def _gemm(node: Node, a: Any, b: Any, c: Any = None) -> Any:
    a = a.T if node.get("transA", 0) else a
    product = _matmul(node, a, b.T if node.get("transB", 0) else b)
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    product = product if alpha == 1.0 else alpha * product
    return product if c is None else product + (c if beta == 1.0 else beta * c)


def _conv(node: Node, x: Any, weight: Any, bias: Any = None) -> Any:
    at = windows(node.attributes, weight.shape[2:], x.shape[2:])
    y = convolved(x, _floats(weight, "its weight"), at, node.get("group", 1))
    return y if bias is None else y + bias.reshape(-1, *[1] * (y.ndim - 2))


def _reduce(function: Callable[..., Any]) -> Callable[..., Any]:
    def operator(node: Node, x: Any, axes: Any = None) -> Any:
        wanted = integers(node, "axes", axes)
        if not wanted and node.get("noop_with_empty_axes", 0):
            return x
        along = tuple(range(x.ndim)) if not wanted else tuple(axis % x.ndim for axis in wanted)
        if 0 in along and x.ndim > 1:
            raise Unreadable("it runs over the axis of the batch, and so mixes inputs")
        return function(x, along, keepdims=bool(node.get("keepdims", 1)))

    return operator


def _batch_normalisation(node: Node, x: Any, scale: Any, shift: Any, mean: Any, variance: Any) -> Any:
    if node.get("training_mode", 0) or any(node.outputs[1:]):
        raise Unreadable("it is in training mode: call model.eval() before the export")
    scale, shift, mean, variance = (each.reshape(-1, *[1] * (x.ndim - 2)) for each in (scale, shift, mean, variance))
    return (x - mean) * (scale * lax.rsqrt(variance + node.get("epsilon", 1e-5))) + shift


def _layer_normalisation(node: Node, x: Any, scale: Any, shift: Any = None) -> Any:
    axes = tuple(range(node.get("axis", -1) % x.ndim, x.ndim))
    y = _centred(x, axes, node.get("epsilon", 1e-5)) * scale
    return y if shift is None else y + shift


def _instance_normalisation(node: Node, x: Any, scale: Any, shift: Any) -> Any:
    scale, shift = (each.reshape(-1, *[1] * (x.ndim - 2)) for each in (scale, shift))
    return _centred(x, tuple(range(2, x.ndim)), node.get("epsilon", 1e-5)) * scale + shift


def _centred(x: Any, axes: tuple[int, ...], epsilon: float) -> Any:
    away = x - jnp.mean(x, axes, keepdims=True)
    return away * lax.rsqrt(jnp.mean(away**2, axes, keepdims=True) + epsilon)


def _dropout(node: Node, x: Any, ratio: Any = None, training: Any = None) -> Any:
    if training is not None and known(training, "whether it trains").any():
        raise Unreadable("it is in training mode: call model.eval() before the export")
    return x


def _pool(node: Node, x: Any) -> Any:
    at = windows(node.attributes, node.get("kernel_shape"), x.shape[2:])
    if node.kind == "MaxPool":
        if any(node.outputs[1:]):
            raise Unreadable("it returns places besides maxima")
        return largest(x, at)
    declared = windows(node.attributes | {"ceil_mode": 0}, at.kernel, x.shape[2:]).pads
    return averaged(x, at, declared if node.get("count_include_pad", 0) else None)


def _pool_all(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda node, x: function(x, tuple(range(2, x.ndim)), keepdims=True)


def _hard_sigmoid(x: Any, alpha: float, beta: float) -> Any:
    return jnp.clip(alpha * x + beta, 0.0, 1.0)


OPERATORS: dict[str, Callable[..., Any]] = SHAPES | {
    "Abs": _on_each(jnp.abs, np.abs),
    "Add": _together("add"),
    "AveragePool": _pool,
    "BatchNormalization": _batch_normalisation,
    "Celu": lambda node, x: jax.nn.celu(x, node.get("alpha", 1.0)),
    "Clip": _clip,
    "Conv": _conv,
    "Div": _div,
    "Dropout": _dropout,
    "Elu": lambda node, x: jax.nn.elu(x, node.get("alpha", 1.0)),
    "Equal": _together("equal"),
    "Erf": _on_each(lax.erf),
    "Exp": _on_each(jnp.exp, np.exp),
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _pool_all(jnp.mean),
    "GlobalMaxPool": _pool_all(jnp.max),
    "Greater": _together("greater"),
    "GreaterOrEqual": _together("greater_equal"),
    "HardSigmoid": lambda node, x: _hard_sigmoid(x, node.get("alpha", 0.2), node.get("beta", 0.5)),
    "HardSwish": lambda node, x: x * _hard_sigmoid(x, 1 / 6, 0.5),
    "Identity": lambda node, x: x,
    "InstanceNormalization": _instance_normalisation,
    "LayerNormalization": _layer_normalisation,
    "LeakyRelu": lambda node, x: jax.nn.leaky_relu(x, node.get("alpha", 0.01)),
    "Less": _together("less"),
    "LessOrEqual": _together("less_equal"),
    "Log": _on_each(jnp.log, np.log),
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "Max": _together("maximum"),
    "MaxPool": _pool,
    "Min": _together("minimum"),
    "Mul": _together("multiply"),
    "Neg": _on_each(jnp.negative, np.negative),
    "PRelu": lambda node, x, slope: jnp.where(x >= 0, x, slope * x),
    "Pow": _pow,
    "Reciprocal": _on_each(jnp.reciprocal, np.reciprocal),
    "ReduceMax": _reduce(jnp.max),
    "ReduceMean": _reduce(jnp.mean),
    "ReduceSum": _reduce(jnp.sum),
    "Relu": _on_each(jax.nn.relu),
    "Selu": _selu,
    "Sigmoid": _on_each(jax.nn.sigmoid),
    "Softmax": _softmax,
    "Softplus": _on_each(jax.nn.softplus),
    "Softsign": _on_each(jax.nn.soft_sign),
    "Sqrt": _on_each(jnp.sqrt, np.sqrt),
    "Sub": _together("subtract"),
    "Sum": _together("add"),
    "Tanh": _on_each(jnp.tanh),
    "Where": lambda node, where, a, b: np.where(where, a, b) if is_known(where, a, b) else jnp.where(where, a, b),
}
