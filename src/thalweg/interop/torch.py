"""PyTorch modules as force fields that are walked on from the host."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from thalweg.core.errors import InputError, require
from thalweg.interop.host import HostField, check_repeatable, floats


class TorchFunction:
    """A PyTorch module as a batched function of JAX arrays; made by `from_torch`."""

    def __init__(self, function: Callable[..., Any], device: Any, dtype: Any, may_copy: bool):
        self.name = getattr(function, "__name__", type(function).__name__)
        self.function, self.device, self.dtype, self.may_copy = function, device, dtype, may_copy

    def __call__(self, x: PyTree) -> Array:
        """The output for a batch `x`, without a gradient.

        **Raises:** `InputError` for an input that does not fit the module, or that the module refuses.
        """
        # Cloned, because a module may work in place and JAX's arrays must never change.
        tensors = jax.tree.map(lambda tensor: tensor.clone(), self.tensors(x))
        with pytorch().no_grad():
            return jnp.array(floats(_array(self.output(tensors), x), self.name, "the output"))

    def in_double(self) -> TorchFunction:
        """A copy of the module that computes in float64.

        **Raises:** `InputError` for what cannot be copied or converted.
        """
        torch = pytorch()
        if self.dtype == torch.float64:
            return self
        if not isinstance(self.function, torch.nn.Module):
            raise InputError(f"{self.name} is a function of float32 tensors: pass a module, which can be converted.")
        try:
            widened = copy.deepcopy(self.function).double()
        except Exception as error:  # the module's own code may refuse a copy in any way
            raise InputError(f"{self.name} cannot be converted to float64: {error}") from error
        return TorchFunction(widened, self.device, torch.float64, self.may_copy)

    def check_deterministic(self, x: PyTree) -> None:
        """Refuse a module that is random (dropout), or whose output mixes the batch (batch normalisation in training).

        **Arguments:** `x`, a batch of at least two different items.

        **Raises:** `InputError`.
        """
        check_repeatable(self, x, self.name)

    def tensors(self, x: PyTree) -> Any:
        """`x` as PyTorch tensors over the same memory, after checking dtype and device."""
        return jax.tree_util.tree_map_with_path(self._tensor, floats(x, self.name))

    def output(self, tensors: Any) -> Any:
        """The module's output tensor for input tensors, in evaluation mode."""
        torch = pytorch()
        with evaluating(self.function, torch):
            result = refusing(self.name, tensors, lambda: self.function(tensors))
        if not isinstance(result, torch.Tensor) or not result.dtype.is_floating_point:
            raise InputError(f"{self.name} returned {_kind(result)}: return one tensor of floats, batch axis first.")
        return result

    def _tensor(self, path: Any, leaf: Any) -> Any:
        torch = pytorch()
        label = f"{self.name}: the input{jax.tree_util.keystr(path)}"
        # NumPy arrays are copied: PyTorch warns of views that it could write to.
        tensor = torch.from_dlpack(leaf) if isinstance(leaf, jax.Array) else torch.tensor(leaf)
        if self.dtype is not None and tensor.dtype != self.dtype:
            raise InputError(
                f"{label} is {_short(tensor.dtype)} but the module computes in {_short(self.dtype)}: convert the "
                f"input with .astype('{_short(self.dtype)}'), or the module with .to(torch.{_short(tensor.dtype)})."
            )
        if self.device is None or tensor.device == self.device:
            return tensor
        if not self.may_copy:
            raise InputError(
                f"{label} is on {tensor.device} but the module is on {self.device}: pass device='{self.device}' to "
                "have every batch copied there, or move the module with .to()."
            )
        return tensor.to(self.device)


def from_torch(module: Callable[..., Any], *, device: Any = None, dtype: Any = None) -> TorchFunction:
    """A PyTorch module, or a function of tensors, as a batched function of JAX arrays.

    The module is evaluated in evaluation mode, and after each call every part of it has its `training` flag back;
    a function that calls modules must see to their mode itself (`check_deterministic` tells). Weights are read at each
    call, never copied, moved, cast or given gradients.

    The batch axis comes first and the layout is passed on as it is (contiguous NCHW stays that). An input's dtype must
    be the weights' own: nothing is cast. On the CPU, and on a GPU that both libraries use, the input is handed over
    through DLPack without a copy.

    **Arguments:**

    - `module`: maps a tensor `[n, ...]`, or a pytree of them, to a tensor `[n, ...]`.
    - `device`: by default the weights' own, and an input elsewhere is refused; if named, inputs are copied to it.
    - `dtype`: by default the weights' own; for functions without weights, what to insist on.

    **Raises:** `InputError` for weights on several devices, on the meta device, or elsewhere than `device` and `dtype`
    say; `MissingExtra` without PyTorch.
    """
    torch = pytorch()
    if not callable(module):
        raise InputError(f"from_torch: a {type(module).__name__} cannot be called: pass a module or a function.")
    name = getattr(module, "__name__", type(module).__name__)
    weights = list(module.parameters()) + list(module.buffers()) if isinstance(module, torch.nn.Module) else []
    devices = {str(weight.device) for weight in weights}
    dtypes = [weight.dtype for weight in weights if weight.dtype.is_floating_point]
    if "meta" in devices:
        raise InputError(f"{name} is on the meta device, where weights have no values: load them onto a real device.")
    if len(devices) > 1 and device is None:
        raise InputError(f"{name} has weights on {', '.join(sorted(devices))}: pass device=, where its input belongs.")
    # An empty tensor knows what "cuda" means here: "cuda:0", say.
    home = torch.device(devices.pop()) if len(devices) == 1 else None
    wanted = None if device is None else torch.empty(0, device=device).device
    if home is not None and wanted is not None and home != wanted:
        raise InputError(f"{name} is on {home}, not on {wanted}: move it first with .to('{wanted}').")
    asked = None if dtype is None else _torch_dtype(dtype, torch)
    if dtypes and asked is not None and asked != dtypes[0]:
        raise InputError(f"{name} computes in {_short(dtypes[0])}: convert it first with .to(torch.{_short(asked)}).")
    return TorchFunction(module, wanted or home, asked or (dtypes[0] if dtypes else None), wanted is not None)


def torch_energy(
    module: Callable[..., Any], reduce: Callable[[Any], Any] | None = None, *, device: Any = None, dtype: Any = None
) -> HostField:
    """A PyTorch module as a landscape over its input: `E(x) = reduce(module(x))`, forces by PyTorch's own autograd.

    Rules of mode, dtype, layout and device are those of `from_torch`. One call is one forward and one backward pass,
    on the module's device; only the input gets a gradient, `parameter.grad` stays untouched.

    **Arguments:**

    - `module`, `device`, `dtype`: as in `from_torch`; or what it made.
    - `reduce`: from the module's output `[n, ...]` to one number per item `[n]`, in PyTorch; by default the output is
      that already.

    **Raises:** when evaluated, `InputError` for an input that does not fit, an energy that is not `[n]`, or one that
    autograd cannot follow back to the input.
    """
    function = module if isinstance(module, TorchFunction) else from_torch(module, device=device, dtype=dtype)

    def energies(tensors: Any) -> Any:
        output = function.output(tensors)
        return output if reduce is None else refusing(f"{function.name}'s reduce", output, partial(reduce, output))

    def value_batch(x: PyTree) -> Array:
        tensors = jax.tree.map(lambda tensor: tensor.clone(), function.tensors(x))
        with pytorch().no_grad():
            return _array(energies(tensors), x)

    def value_and_grad_batch(x: PyTree) -> tuple[Array, PyTree]:
        leaves, structure = jax.tree.flatten(function.tensors(x))
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        with pytorch().enable_grad():
            values = energies(jax.tree.unflatten(structure, leaves))
            slopes = slopes_of(values, leaves, None, function.name)
        return _array(values, x), jax.tree.unflatten(structure, [_array(slope, x) for slope in slopes])

    value_and_grad_batch.__name__ = f"torch_energy({function.name})"
    return HostField(value_and_grad_batch, value_batch, arrays="jax")


def torch_composed(
    module: Callable[..., Any],
    values_and_slopes: Callable[[Array], tuple[Array, Array]],
    values: Callable[[Array], Array],
) -> HostField:
    """A JAX function of a PyTorch module's output as a landscape over the module's input: `E(x) = f(module(x))`.

    One call is one forward pass of the module, the function on the host and, for a force, one backward pass.

    **Arguments:**

    - `module`: as in `from_torch`; or what it made.
    - `values_and_slopes`: from the batched output `[n, ...]` to the energies `[n]` and their slopes `[n, ...]` with
      respect to the output; `values`, the energies alone.

    **Raises:** as `torch_energy`.
    """
    function = module if isinstance(module, TorchFunction) else from_torch(module)

    def value_batch(x: PyTree) -> Array:
        return values(function(x))

    def value_and_grad_batch(x: PyTree) -> tuple[Array, PyTree]:
        torch = pytorch()
        leaves, structure = jax.tree.flatten(function.tensors(x))
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        with torch.enable_grad():
            output = function.output(jax.tree.unflatten(structure, leaves))
            heights, slopes = values_and_slopes(jnp.array(_array(output, x)))
            pulled = slopes_of(output, leaves, torch.tensor(np.asarray(slopes), device=output.device), function.name)
        return heights, jax.tree.unflatten(structure, [_array(slope, x) for slope in pulled])

    value_and_grad_batch.__name__ = f"torch_composed({function.name})"
    return HostField(value_and_grad_batch, value_batch, arrays="jax")


def slopes_of(values: Any, leaves: list[Any], cotangent: Any, name: str) -> Any:
    """The gradients with respect to `leaves` of the sum of `values`, or of its product with `cotangent`."""
    torch = pytorch()
    if not isinstance(values, torch.Tensor) or not values.dtype.is_floating_point:
        raise InputError(f"{name}: the energy is {_kind(values)}: return one tensor of floats [n].")
    if cotangent is None and values.shape != leaves[0].shape[:1]:
        raise InputError(
            f"{name}: the energy has shape {list(values.shape)}, not {[leaves[0].shape[0]]}: reduce the output to one "
            "number per item."
        )
    detached = (
        f"{name}: autograd cannot follow the output back to the input: leave out .detach(), .item(), torch.no_grad, "
        "argmax and rounding, or return a differentiable score."
    )
    if not values.requires_grad:
        raise InputError(detached)
    total = values.sum() if cotangent is None else (values * cotangent).sum()
    slopes = refusing(f"{name}'s backward pass", values, lambda: torch.autograd.grad(total, leaves, allow_unused=True))
    if any(slope is None for slope in slopes):
        raise InputError(detached)
    return slopes


def pytorch() -> Any:
    """PyTorch, or the sentence that says how to get it."""
    return require("torch", package="torch")


def _array(tensor: Any, like: PyTree) -> Any:
    """A tensor over the same memory, as a JAX array or, where `like` lies on the CPU, as a NumPy view of it."""
    leaf = jax.tree.leaves(like)[0]
    tensor = tensor.detach()
    if not isinstance(leaf, jax.Array) or all(device.platform == "cpu" for device in leaf.devices()):
        # JAX takes NumPy arrays five times faster than DLPack, but NumPy has no bfloat16.
        tensor = tensor.cpu().contiguous()
        return jax.dlpack.from_dlpack(tensor) if str(tensor.dtype) == "torch.bfloat16" else tensor.numpy()
    array = jax.dlpack.from_dlpack(tensor.contiguous())
    return array if array.devices() == leaf.devices() else jax.device_put(array, leaf.sharding)


@contextlib.contextmanager
def evaluating(function: Any, torch: Any) -> Iterator[None]:
    """Have every part of a module in evaluation mode, and its `training` flag back afterwards."""
    parts = [part for part in function.modules() if part.training] if isinstance(function, torch.nn.Module) else []
    if parts:
        function.eval()
    try:
        yield
    finally:
        for part in parts:
            part.training = True


def refusing(name: str, given: Any, run: Callable[[], Any]) -> Any:
    """What `run` returns; what PyTorch refuses becomes one sentence with the shapes that it was `given`."""
    try:
        return run()
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        shapes = ", ".join(f"{_short(leaf.dtype)} {list(leaf.shape)}" for leaf in jax.tree.leaves(given))
        raise InputError(f"{name} refused an input of {shapes}: {reason}") from error


def _torch_dtype(dtype: Any, torch: Any) -> Any:
    return dtype if isinstance(dtype, torch.dtype) else getattr(torch, np.dtype(dtype).name)


def _short(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _kind(found: Any) -> str:
    return f"a tensor of {_short(found.dtype)}" if hasattr(found, "dtype") else f"a {type(found).__name__}"
