"""Attack a classifier on inputs of a user's own: the smallest pushes, or pushes within a ball."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from thalweg.core.atomic import write_arrays
from thalweg.core.hooks import Hook, Store
from thalweg.methods.crossing import Norm
from thalweg.methods.parts import in_parts, part_name
from thalweg.robust.tasks.bring import Posed
from thalweg.robust.tasks.push import Pushes, minimal_pushes, pushes_within

_BLOCK = 50  # inputs at once: twice as fast as many, whose activations leave the cache, and each is kept when done


class Attack(NamedTuple):
    """An attack with its inputs.

    **Fields:** `pushed [n, ...]`; per input the `norm` of the push (infinite: not found), whether it is a `success` and
    the `target` class; `forwards` and `gradients` of the model per input; the `kind` of norm; `eps` of an attack in a
    ball.
    """

    posed: Posed
    pushed: Float[np.ndarray, "n ..."]
    norm: Float[np.ndarray, " n"]
    success: Bool[np.ndarray, " n"]
    target: Int[np.ndarray, " n"]
    forwards: int
    gradients: int
    kind: Norm
    eps: float | None = None

    @property
    def result(self) -> dict[str, Any]:
        """The answer of the command; a push that was not found counts as infinite, so that a median may be null."""
        answer = {
            "success_rate": float(np.mean(self.success)),
            "median": _finite(np.median(self.norm)),
            "mean": _finite(np.mean(self.norm)),
            "forwards": self.forwards,
            "gradients": self.gradients,
            "n": len(self.norm),
            "passed_over": self.posed.passed_over,
            "norm": self.kind,
        }
        return answer if self.eps is None else answer | {"eps": self.eps, "robust_rate": 1 - answer["success_rate"]}

    def save(self, path: Path) -> None:
        """Write clean and pushed inputs, labels, targets, norms and successes to an .npz file, whole or not at all."""
        arrays: dict[str, Any] = {"clean": self.posed.x, "pushed": self.pushed, "y": self.posed.labels}
        arrays |= {"target": self.target, "norm": self.norm, "success": self.success, "place": self.posed.places}
        write_arrays(path, arrays)


def attack(
    posed: Posed,
    norm: Norm = "l2",
    *,
    budget: int = 240,
    eps: float | None = None,
    seed: int = 0,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
) -> Attack:
    """The smallest push of each input, or with `eps` any push within the ball of that radius.

    **Arguments:** `budget`, gradients per input; `done`, where finished blocks of inputs are kept.

    **Raises:** as `minimal_pushes`; `WalkError` where a hook stopped the attack.
    """
    blocks = [slice(first, first + _BLOCK) for first in range(0, len(posed.labels), _BLOCK)]
    of = {"model": posed.classifier.name, "norm": norm, "budget": budget, "eps": eps, "seed": seed}
    bounds = {"lower": posed.lower, "upper": posed.upper}
    # The logits stand for the weights, which a model of somebody's making does not show.
    shown = [np.asarray(posed.classifier.logits(posed.x[block])) for block in blocks]
    names = [
        part_name("attack", **of, **bounds, logits=logits, x=np.asarray(posed.x[block]), places=posed.places[block])
        for block, logits in zip(blocks, shown, strict=True)
    ]
    tasks = dict(zip(names, blocks, strict=True))

    def compute(name: str) -> dict[str, np.ndarray]:
        block = tasks[name]
        part = posed._replace(x=posed.x[block], labels=posed.labels[block], places=posed.places[block])
        found = (
            minimal_pushes(part, norm=norm, budget=budget, seed=seed)
            if eps is None
            else pushes_within(part, eps, norm=norm, budget=budget, seed=seed)
        )
        return {field: np.asarray(value) for field, value in found._asdict().items()}

    kept = in_parts(names, compute, done=done, hooks=hooks, task="attack")
    pushed, lengths, success, target, forwards, gradients = (
        np.concatenate([np.atleast_1d(kept[name][field]) for name in names]) for field in Pushes._fields
    )
    return Attack(posed, pushed, lengths, success, target, int(forwards.max()), int(gradients.max()), norm, eps)


def standing(norm: Float[np.ndarray, " n"], at: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """The robustness curve: the share of inputs that no push of a length up to each `at` was found for."""
    return 1 - np.searchsorted(np.sort(norm), at, side="right") / len(norm)


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
