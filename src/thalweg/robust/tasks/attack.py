"""Attack a user's classifier on a user's inputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core.hooks import Hook
from thalweg.robust import data as reading
from thalweg.robust.tasks.bring import Brought, bring, correct_ones
from thalweg.robust.tasks.push import Pushes, minimal_pushes, steps_to_boundary


class Attack(NamedTuple):
    """An attack with its inputs, and the straight steps to the boundary beside it."""

    brought: Brought
    clean: jax.Array
    labels: jax.Array
    pushes: Pushes
    baseline: jax.Array
    passed_over: int

    @property
    def result(self) -> dict[str, Any]:
        """The answer of the command; a push that was not found counts as infinite, so that a median may be null."""
        norms = np.asarray(self.pushes.norm, np.float64)
        return {
            "success_rate": float(np.mean(np.asarray(self.pushes.success))),
            "median": _finite(np.median(norms)),
            "mean": _finite(np.mean(norms)),
            "baseline_median": _finite(np.median(np.asarray(self.baseline))),
            "forwards": float(np.mean(np.asarray(self.pushes.forwards))),
            "gradients": float(np.mean(np.asarray(self.pushes.gradients))),
            "n": len(norms),
            "passed_over": self.passed_over,
            "norm": "l2",
        }

    def save(self, path: Path) -> None:
        """Write clean and pushed inputs, labels, targets, norms and successes to an .npz file, whole or not at all."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp.npz")
        pushes = self.pushes
        arrays = {"clean": self.clean, "pushed": pushes.x, "y": self.labels, "target": pushes.target}
        arrays |= {"norm": pushes.norm, "success": pushes.success, "baseline": self.baseline}
        plain: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
        np.savez(temporary, **plain)
        os.replace(temporary, path)


def attack(
    model: str,
    data: str,
    *,
    n: int = 20,
    lower: float = 0.0,
    upper: float = 1.0,
    targets: int = 3,
    seed: int = 0,
    hooks: tuple[Hook, ...] = (),
) -> Attack:
    """The smallest L2 pushes of the first `n` inputs that the model reads correctly.

    **Raises:** `InputError` for a model or data that cannot be used.
    """
    items = reading.read(data, lower=lower, upper=upper)
    brought = bring(model, seed=seed, on_chunk=hooks)
    clean, labels, passed_over = correct_ones(brought, items, n)
    pushes = minimal_pushes(brought.model, clean, labels, lower=lower, upper=upper, targets=targets)
    baseline = steps_to_boundary(brought.model, clean, labels, lower=lower, upper=upper, targets=targets)
    return Attack(brought, clean, labels, pushes, jnp.asarray(baseline), passed_over)


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
