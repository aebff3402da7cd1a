"""Where work runs, never what it is. Importing this loads no JAX."""

from __future__ import annotations

from thalweg.scale.pool import ProcessPool

__all__ = ["ProcessPool"]
