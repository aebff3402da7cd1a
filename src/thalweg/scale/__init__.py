"""Where work runs, never what it is. Importing this loads no JAX and no Dask."""

from __future__ import annotations

from thalweg.scale.dask import DaskPool
from thalweg.scale.distributed import Team, together
from thalweg.scale.pool import ProcessPool
from thalweg.scale.where import executor_for

__all__ = ["DaskPool", "ProcessPool", "Team", "executor_for", "together"]
