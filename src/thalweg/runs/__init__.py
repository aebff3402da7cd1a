"""Run directories: what was asked, what was computed, and how to go on after a kill. Importing this loads no JAX."""

from __future__ import annotations

from thalweg.core.atomic import write_atomic
from thalweg.runs.checkpoint import load_state, save_state
from thalweg.runs.config import config_hash
from thalweg.runs.directory import Run, runs_root
from thalweg.runs.hooks import Cancel, Checkpoint, TimeLimit
from thalweg.runs.index import RunInfo, find, list_runs
from thalweg.runs.metrics import Metrics, read_metrics
from thalweg.runs.points import Points
from thalweg.runs.progress import Progress

__all__ = [
    "Cancel",
    "Checkpoint",
    "Metrics",
    "Points",
    "Progress",
    "Run",
    "RunInfo",
    "TimeLimit",
    "config_hash",
    "find",
    "list_runs",
    "load_state",
    "read_metrics",
    "runs_root",
    "save_state",
    "write_atomic",
]
