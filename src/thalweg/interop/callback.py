"""A PyTorch module as a function inside JAX programs, by a callback with its own gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.interop.torch import TorchFunction, from_torch, pytorch, slopes_of


def as_jax(
    module: Callable[..., Any], *, device: Any = None, dtype: Any = None
) -> Callable[[Float[Array, "..."]], Array]:
    """A PyTorch module as a JAX function of one item, which works inside `jit`, `vmap` and `grad`.

    First-order reverse mode only: `jax.jvp`, `jacfwd`, `hessian` and a gradient of a gradient raise, because the
    callback behind it cannot be differentiated again. `vmap` makes one batched call of the module. An output that is
    one number costs one forward and one backward pass per gradient, any other output two forwards and one backward.
    Arrays pass through the CPU. Make it once and keep it: every new one compiles anew.

    **Arguments:** as in `from_torch`, or what it made; but the function that comes out takes one item, without the
    batch axis.

    **Raises:** `InputError` while tracing, for an input that the module refuses.
    """
    function = module if isinstance(module, TorchFunction) else from_torch(module, device=device, dtype=dtype)
    # The callback is always handed CPU arrays.
    function = TorchFunction(function.function, function.device, function.dtype, may_copy=True)
    shapes: dict[Any, jax.ShapeDtypeStruct] = {}

    def shape_of(x: Array) -> jax.ShapeDtypeStruct:
        if (x.shape, x.dtype) not in shapes:
            with jax.ensure_compile_time_eval():
                trial = function(jnp.zeros((1, *x.shape), x.dtype))
            shapes[x.shape, x.dtype] = jax.ShapeDtypeStruct(trial.shape[1:], trial.dtype)
        return shapes[x.shape, x.dtype]

    def call(host: Callable[..., Any], result: Any, *args: Array) -> Any:
        folded = partial(_folded, host, tuple(arg.ndim for arg in args))
        return jax.pure_callback(folded, result, *args, vmap_method="broadcast_all")

    @jax.custom_vjp
    def apply(x: Float[Array, "..."]) -> Array:
        return call(partial(_forward, function), shape_of(x), x)

    def apply_forward(x: Array) -> tuple[Array, Array]:
        out = shape_of(x)
        if out.shape != ():
            return apply(x), x
        # A scalar's cotangent is a factor, so its gradient can be had in the same call.
        return call(partial(_forward_and_slope, function), (out, jax.ShapeDtypeStruct(x.shape, x.dtype)), x)

    def apply_backward(kept: Array, cotangent: Array) -> tuple[Array]:
        if cotangent.shape == ():
            return (cotangent * kept,)
        result = jax.ShapeDtypeStruct(kept.shape, kept.dtype)
        return (call(partial(_pulled_back, function), result, kept, cotangent),)

    apply.defvjp(apply_forward, apply_backward)
    return apply


def _folded(host: Callable[..., Any], ranks: tuple[int, ...], *args: Any) -> Any:
    """Call `host` with all axes that `vmap` put in front folded into one batch axis."""
    arrays = [np.asarray(arg) for arg in args]
    lead = arrays[0].shape[: arrays[0].ndim - ranks[0]]
    batches = [a.reshape(-1, *a.shape[a.ndim - rank :]) for a, rank in zip(arrays, ranks, strict=True)]
    return jax.tree.map(lambda out: out.reshape((*lead, *out.shape[1:])), host(*batches))


def _host_tensor(function: TorchFunction, x: np.ndarray) -> Any:
    return pytorch().tensor(x, device=function.device)


def _forward(function: TorchFunction, x: np.ndarray) -> np.ndarray:
    with pytorch().no_grad():
        return function.output(_host_tensor(function, x)).numpy(force=True)


def _forward_and_slope(function: TorchFunction, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    leaf = _host_tensor(function, x).requires_grad_()
    with pytorch().enable_grad():
        values = function.output(leaf)
        (slope,) = slopes_of(values, [leaf], None, function.name)
    return values.numpy(force=True), slope.numpy(force=True)


def _pulled_back(function: TorchFunction, x: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
    leaf = _host_tensor(function, x).requires_grad_()
    with pytorch().enable_grad():
        (slope,) = slopes_of(function.output(leaf), [leaf], _host_tensor(function, cotangent), function.name)
    return slope.numpy(force=True)
