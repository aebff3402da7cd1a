"""Other people's models and programs as landscapes: host functions, PyTorch modules, ONNX files, a user's objects."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thalweg.interop.callback import as_jax
    from thalweg.interop.host import HostField, check_repeatable, host_field, numerical_hessian_vector_product
    from thalweg.interop.load import load_object
    from thalweg.interop.onnx import OnnxModel, from_onnx
    from thalweg.interop.torch import TorchFunction, from_torch, torch_energy

__all__ = [
    "HostField",
    "OnnxModel",
    "TorchFunction",
    "as_jax",
    "check_repeatable",
    "from_onnx",
    "from_torch",
    "host_field",
    "load_object",
    "numerical_hessian_vector_product",
    "torch_energy",
]

_HOMES = {
    "callback": ("as_jax",),
    "host": ("HostField", "check_repeatable", "host_field", "numerical_hessian_vector_product"),
    "load": ("load_object",),
    "onnx": ("OnnxModel", "from_onnx"),
    "torch": ("TorchFunction", "from_torch", "torch_energy"),
}


def __getattr__(name: str) -> Any:
    # Lazy, because `load` serves the command line, which must not start JAX.
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
