"""Certify a classifier: per input a radius within which no push changes its class, beside the push that was found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from thalweg.core.atomic import write_arrays
from thalweg.core.errors import InputError, PrecisionError, ThalwegError
from thalweg.core.hooks import Hook, Store
from thalweg.methods.bounds import Ball, LinearBounds, Norm, largest_radius
from thalweg.methods.parts import in_parts, part_name
from thalweg.robust import data
from thalweg.robust.data import Channels
from thalweg.robust.tasks.attack import Attack, attack
from thalweg.robust.tasks.bring import Posed, bring, correct_ones

_BLOCK = 10  # inputs of one part
_METHOD = "linear relaxation (least-area and parallel lines) and intervals, float64, rounding not enclosed"

Found = Callable[[Posed], Attack]


class Certified(NamedTuple):
    """The brackets of some inputs.

    **Fields:** `posed`, the inputs that are read as labelled; per input the `margin`, a lower bound over the ball of
    radius `eps` of how far the label's logit stands over every other; whether it is therefore `certified`; the `radius`
    within which it is, not a number without `radii`; the norm of the push that was `found`, infinite without one.
    """

    posed: Posed
    norm: Norm
    eps: float
    margin: Float[np.ndarray, " n"]
    certified: Bool[np.ndarray, " n"]
    radius: Float[np.ndarray, " n"]
    found: Float[np.ndarray, " n"]
    budget: int

    @property
    def total(self) -> int:
        """All inputs that were looked at, also those that the classifier reads wrongly without any push."""
        return len(self.found) + self.posed.passed_over

    @property
    def result(self) -> dict[str, Any]:
        """The answer of the command: errors over all inputs, medians over those that are read as labelled."""
        total, standing = self.total, int(np.sum(self.found > self.eps))
        return {
            "n": total,
            "norm": self.norm,
            "eps": self.eps,
            "clean_error": self.posed.passed_over / total,
            "found_error": (total - standing) / total,
            "certified_error": (total - int(np.sum(self.certified))) / total,
            "certified_median": _finite(np.median(self.radius)),
            "found_median": _finite(np.median(self.found)),
            "gap_median": _finite(np.median(self.found - self.radius)),
            "budget": self.budget,
            "method": _METHOD,
        }

    def save(self, path: Path) -> None:
        """Write the brackets to an .npz file, whole or not at all."""
        arrays: dict[str, Any] = {"place": self.posed.places, "y": self.posed.labels, "certified": self.certified}
        arrays |= {"certified_radius": self.radius, "found_norm": self.found, "margin": self.margin}
        write_arrays(path, arrays)


def pose_all(
    model: str,
    source: str,
    *,
    n: int | None = None,
    start: int = 0,
    lower: float = 0.0,
    upper: float = 1.0,
    channels: Channels = "keep",
    seed: int = 0,
    hooks: tuple[Hook, ...] = (),
) -> Posed:
    """As `pose`, but of the `n` inputs from `start` on: `passed_over` counts all of these that are read wrongly.

    **Raises:** `InputError` for a model or data that cannot be used.
    """
    items = data.read(source, lower=lower, upper=upper, channels=channels)
    stop = None if n is None else start + n
    posed = correct_ones(
        bring(model, seed=seed, hooks=hooks), items._replace(x=items.x[:stop], y=items.y[:stop]), start=start
    )
    return posed._replace(passed_over=len(items.y[start:stop]) - len(posed.labels))


def certify(
    posed: Posed,
    eps: float,
    *,
    norm: Norm = "linf",
    radii: bool = True,
    budget: int = 240,
    seed: int = 0,
    found: Found | None = None,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
) -> Certified:
    """Per input a bracket: no push below the certified radius changes its class, and the push that was found does.

    **Arguments:** `posed`, from `pose_all` if errors are to be those of all inputs; `eps`, the radius at which errors
    are told; `radii`, whether the largest certified radius of each input is searched too; `budget`, gradients per input
    of the attack with `seed`; `found`, another attack; `done`, where finished blocks are kept.

    **Raises:** `InputError` for a model whose operations cannot be read, or one that has no bounds; `PrecisionError`
    without float64; `WalkError` where a hook stopped the task.

    **Source:** H. Zhang et al., NeurIPS 2018; E. Wong & J. Z. Kolter, ICML 2018.
    """
    if not eps > 0 or not np.isfinite(eps):
        raise InputError(
            f"certify: eps must be a positive number, but it is {eps}: pass a radius in units of the inputs."
        )
    if jnp.result_type(float) != np.float64:
        raise PrecisionError("certify computes in float64: call jax.config.update('jax_enable_x64', True) first.")
    _ = posed.classifier.graph  # refuses early what cannot be read
    bounds = LinearBounds(posed.classifier.in_double().graph, posed.x.shape[1:])
    pushed = found(posed) if found else attack(posed, norm, budget=budget, seed=seed, done=done, hooks=hooks)
    length = np.where(pushed.success, pushed.norm, np.inf).astype(float)
    parts = _parts(posed, bounds, eps, norm, length if radii else None, done, hooks)
    margin, radius = (np.concatenate([part[name] for part in parts]) for name in ("margin", "radius"))
    certified = (margin > 0) | (radius >= eps)
    _check_sound(posed, length, np.fmax(radius, np.where(certified, eps, 0.0)))
    return Certified(posed, norm, float(eps), margin, certified, radius, length, budget)


def _parts(
    posed: Posed, bounds: LinearBounds, eps: float, norm: Norm, length: np.ndarray | None, done: Any, hooks: Any
) -> list[Any]:
    x, labels = np.asarray(posed.x, float).reshape(len(posed.labels), -1), np.asarray(posed.labels)
    # Beyond the far corner of the box no ball grows.
    widest = (posed.upper - posed.lower) * (1.0 if norm == "linf" else x.shape[1] ** 0.5)
    reach = np.zeros(len(x)) if length is None else np.minimum(length, widest)
    blocks = [np.arange(first, first + _BLOCK).clip(max=len(x) - 1) for first in range(0, len(x), _BLOCK)]
    of = {"eps": eps, "norm": norm, "lower": posed.lower, "upper": posed.upper, "radii": length is not None}
    # The logits stand for the weights, which a model of somebody's making does not show.
    shown = [np.asarray(posed.classifier.logits(posed.x[block])) for block in blocks]
    names = [
        part_name("certify", **of, logits=logits, x=x[block], labels=labels[block], reach=reach[block])
        for block, logits in zip(blocks, shown, strict=True)
    ]
    tasks = dict(zip(names, blocks, strict=True))
    edges = jnp.asarray(posed.lower, float), jnp.asarray(posed.upper, float)

    def compute(name: str) -> dict[str, np.ndarray]:
        block = tasks[name]
        of_block = jnp.asarray(x[block]), jnp.asarray(labels[block]), jnp.asarray(reach[block])
        margin, radius = _block(bounds, of_block, jnp.asarray(float(eps)), edges, norm, length is not None)
        count = min(_BLOCK, len(x) - int(block[0]))
        return {"margin": np.asarray(margin)[:count], "radius": np.asarray(radius)[:count]}

    kept = in_parts(names, compute, done=done, hooks=hooks, task="certify")
    return [kept[name] for name in names]


@eqx.filter_jit
def _block(bounds: LinearBounds, inputs: Any, eps: Array, edges: Any, norm: Norm, radii: bool) -> tuple[Array, Array]:
    classes = bounds.graph.sizes[-1]

    def one(of: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        x, label, reach = of
        others = jnp.where(jnp.arange(classes - 1) >= label, 1, 0) + jnp.arange(classes - 1)
        forms = jnp.eye(classes)[label] - jnp.eye(classes)[others]

        def margin(radius: Array) -> Array:
            return jnp.min(bounds.least(Ball(x, radius, norm=norm, lower=edges[0], upper=edges[1]), forms))

        probes = jnp.stack([eps, jnp.zeros_like(eps), reach]) if radii else eps[None]
        radius, margins = largest_radius(margin, probes, search=radii)
        return margins[0], radius if radii else jnp.asarray(jnp.nan)

    return jax.lax.map(one, inputs)


def _check_sound(posed: Posed, length: np.ndarray, radius: np.ndarray) -> None:
    """Refuse to answer if a push was found within a ball in which there can be none."""
    wrong = np.flatnonzero(radius >= length)
    if len(wrong):
        place = int(posed.places[wrong[0]])
        raise ThalwegError(
            f"certify: input {place} is certified up to {radius[wrong[0]]:.6g}, but a push of {length[wrong[0]]:.6g} "
            "was found: one of the two is wrong. Report this, and trust neither."
        )


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
