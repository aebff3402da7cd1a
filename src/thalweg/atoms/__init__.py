"""The room of atoms: potentials that are rotation invariant, their training, dynamics and audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thalweg.atoms.tasks.calculator import Calculator

__all__ = ["Calculator"]


def __getattr__(name: str) -> Any:
    # ASE and JAX are loaded when the calculator is first asked for.
    if name != "Calculator":
        raise AttributeError(f"module 'thalweg.atoms' has no attribute {name!r}")
    from thalweg.core.errors import require

    require("ase", extra="atoms")
    from thalweg.atoms.tasks.calculator import Calculator

    return Calculator
