"""The training loss of a PyTorch module as a force field over its own weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from thalweg.core.errors import InputError
from thalweg.interop.host import HostField
from thalweg.interop.torch import evaluating, pytorch, refusing


def torch_parameters(module: Any) -> dict[str, np.ndarray]:
    """Copies of the weights that a PyTorch module trains, by name; those without `requires_grad` are left out.

    **Raises:** `InputError` for a module without such weights, or on the meta device.
    """
    name = type(module).__name__
    found = {place: weight for place, weight in module.named_parameters() if weight.requires_grad}
    if not found:
        raise InputError(f"{name} has no weights to train: give it parameters with requires_grad.")
    if any(weight.is_meta for weight in found.values()):
        raise InputError(f"{name} is on the meta device, where weights have no values: load them onto a real device.")
    if any(str(weight.dtype) == "torch.bfloat16" for weight in found.values()):
        raise InputError(f"{name} computes in bfloat16, too coarse for derivatives: convert it with .float().")
    return {place: np.array(weight.detach().cpu().numpy()) for place, weight in found.items()}


class TorchTraining:
    """A PyTorch module as a function of its weights, on inputs and targets that are kept; made by `torch_training`."""

    def __init__(self, module: Any, x: Any, y: Any):
        torch = pytorch()
        self.name, self.module = type(module).__name__, module
        weight = next(weight for weight in module.parameters() if weight.requires_grad)
        self.device = weight.device
        self.x, self.y = (torch.tensor(np.asarray(a), dtype=weight.dtype, device=weight.device) for a in (x, y))

    def predict(self, params: PyTree) -> Float[Array, "n m"]:
        """The module's output for all inputs, under other weights than its own."""
        with pytorch().no_grad():
            return jnp.asarray(self._output(self._tensors(params)).cpu().numpy())

    def loss(self, measure: Callable[[Any, Any], Any]) -> HostField:
        """The landscape `measure(output, y)` over the weights, `measure` being a PyTorch function to one number."""

        def value_and_grad_batch(params: PyTree) -> tuple[Any, PyTree]:
            torch, count = pytorch(), len(jax.tree.leaves(params)[0])
            values, slopes = [], []
            for place in range(count):
                weights = self._tensors(jax.tree.map(lambda leaf, at=place: leaf[at], params))
                weights = {name: weight.requires_grad_() for name, weight in weights.items()}
                with torch.enable_grad():
                    value = measure(self._output(weights), self.y)
                    found = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
                pairs = zip(weights, found, weights.values(), strict=True)
                slopes.append({name: torch.zeros_like(w) if slope is None else slope for name, slope, w in pairs})
                values.append(value.detach())
            stacked = {name: torch.stack([one[name] for one in slopes]).cpu().numpy() for name in params}
            return torch.stack(values).cpu().numpy(), stacked

        value_and_grad_batch.__name__ = f"the training loss of {self.name}"
        return HostField(value_and_grad_batch)

    def _tensors(self, params: PyTree) -> dict[str, Any]:
        # Copied: a tensor over read-only memory is refused by PyTorch.
        return {name: pytorch().tensor(np.asarray(leaf), device=self.device) for name, leaf in params.items()}

    def _output(self, weights: dict[str, Any]) -> Any:
        torch = pytorch()
        with evaluating(self.module, torch):
            call = lambda: torch.func.functional_call(self.module, weights, (self.x,))  # noqa: E731
            output = refusing(self.name, self.x, call)
        if not isinstance(output, torch.Tensor) or output.numel() != self.y.numel():
            shape = list(getattr(output, "shape", []))
            raise InputError(f"{self.name} returns {shape} for targets of {list(self.y.shape)}: make them equal.")
        return output.reshape(self.y.shape)


def torch_training(module: Any, x: Float[np.ndarray, "n ..."], y: Float[np.ndarray, "n m"]) -> TorchTraining:
    """A PyTorch module on data, as a function and as a landscape of its weights.

    The weights are a dict of arrays by the names of `named_parameters`, in the precision and on the device of the
    module, which itself is never changed; it is evaluated in evaluation mode (no dropout, fixed normalisation).

    **Raises:** `InputError` for a module without weights to train, or, when evaluated, for an output that is not of the
    size of `y`; `MissingExtra` without PyTorch.

    **Source:** `torch.func.functional_call`.
    """
    pytorch()
    torch_parameters(module)
    return TorchTraining(module, x, y)
