"""The barrier between inputs and their adversarial partners: basins, the path over the ridge, and its saddle."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.atomic import write_arrays
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook, Store
from thalweg.methods.parts import Arrays, in_parts, part_name
from thalweg.robust.tasks.attack import attack
from thalweg.robust.tasks.barrier_parts import Effort, Tools, measured, row_of
from thalweg.robust.tasks.bring import Posed
from thalweg.robust.tasks.push import double_of


class Barrier(NamedTuple):
    """The barriers of some inputs.

    **Fields:** the inputs as `posed`, in the precision that was computed in; their `partners` [n, ...]; for each of
    them the measured numbers by name, `rows`, and the `arrays` of its path: `images`, `profile_*`, `minima`, `ridge`
    and, where there is one, `saddle` and its `mode`; inputs `without` a partner, which are left out.
    """

    posed: Posed
    partners: Float[Array, "n ..."]
    rows: list[dict[str, Any]]
    arrays: list[Arrays]
    without: int

    @property
    def result(self) -> dict[str, Any]:
        """The answer in plain numbers; heights in logits."""

        def median(name: str) -> float | None:
            values = [row[name] for row in self.rows if row[name] is not None]
            return float(np.median(values)) if values else None

        def share(name: str) -> float:
            return float(np.mean([row[name] for row in self.rows]))

        return {
            "n": len(self.rows),
            "without_partner": self.without,
            "ridge_height_median": median("ridge_height"),
            "straight_height_median": median("straight_height"),
            "lowering_median": median("lowering"),
            "push_median": median("push"),
            "clean_gradient_median": median("clean_gradient"),
            "clean_distance_median": median("clean_distance"),
            "at_bottom": share("at_bottom"),
            "same_class": share("same_class"),
            "partner_class_kept": share("partner_class_kept"),
            "saddles": sum(row["saddle"] is not None for row in self.rows),
            "level": sum(row["saddle"] is not None and row["saddle"]["level"] for row in self.rows),
            "smooth": all(row["smooth"] for row in self.rows),
            "work_gap_max": float(np.max([row["work_gap"] for row in self.rows])),
            "dtype": str(self.posed.classifier.dtype),
            "inputs": self.rows,
        }

    def save(self, path: Path) -> None:
        """Write inputs, partners and paths to an .npz file, whole or not at all; profiles are padded with NaN."""
        names = ("images", "energies", "minima", "ridge", "saddle", "mode")
        stacked: dict[str, Any] = {name: np.stack([one[name] for one in self.arrays]) for name in names}
        stacked |= {name: _padded([one[name] for one in self.arrays]) for name in ("profile_arc", "profile_heights")}
        write_arrays(path, {"clean": self.posed.x, "y": self.posed.labels, "pushed": self.partners, **stacked})


def barrier(
    posed: Posed,
    *,
    partners: Float[Array, "n ..."] | None = None,
    effort: Effort | None = None,
    budget: int = 240,
    seed: int = 0,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
) -> Barrier:
    """The basins of inputs and of their adversarial partners, and the way over the ridge between them.

    Two landscapes are used, both functions of the probabilities p alone and both in logits. The gradient flows
    follow the log odds against the most likely class (`LogOdds`), whose ridge is sharp: a point a hair beyond it knows
    where it belongs. The path and the saddle are those of `Ambiguity`, which is the same in the valleys and smooth on
    the ridge. The training loss of the true label has no valley on the far side. On any such landscape the ridge
    between two classes that share all probability is level, at zero: its height over an input is the log odds of
    that input, and only third classes lift it, which is what the path avoids and the straight line may not
    (`lowering`).

    The path joins the two minima, because a path of least energy is defined between points at rest.

    **Arguments:**

    - `posed`: the classifier with inputs that it reads as labelled; computed in float64 where it can be.
    - `partners`: for each input one that is read otherwise, in the same box; by default a minimal L2 push with the
      given `budget` of gradients.
    - `effort`: steps and images; `done`, where finished inputs are kept; `hooks` hear after each of them.

    **Raises:** `InputError` for a partner that is no partner, or if no input has one; `WalkError` where a hook stopped
    the task.
    """
    effort = Effort() if effort is None else effort
    x, partners, without = _paired(posed, partners, budget, seed, done, hooks)
    names = [_name(x, partner, row, effort) for row, partner in enumerate(partners)]
    places = dict(zip(names, range(len(names)), strict=True))
    on = Tools.of(x)

    def compute(name: str) -> Arrays:
        row = places[name]
        return measured(on, x.x[row], int(x.labels[row]), partners[row], effort)

    found = in_parts(names, compute, done=done, hooks=hooks, task="barrier")
    arrays = [found[name] for name in names]
    rows = [row_of(x, row, one) for row, one in enumerate(arrays)]
    return Barrier(x, partners, rows, arrays, without)


def _in_double(posed: Posed) -> Posed:
    if not jax.config.read("jax_enable_x64"):
        return posed
    wide, dtype = double_of(posed.classifier, posed.x)
    return posed._replace(classifier=wide, x=jnp.asarray(posed.x, dtype))


def _paired(posed: Posed, partners: Any, budget: int, seed: int, done: Any, hooks: Any) -> tuple[Posed, Array, int]:
    """The inputs that have a partner, in double precision where it can be, their partners, and how many have none."""
    chosen = np.arange(len(posed.x))
    if partners is None:
        found = attack(posed, norm="l2", budget=budget, seed=seed, done=done, hooks=hooks)
        partners, chosen = found.pushed, np.flatnonzero(np.asarray(found.success))
    posed = _in_double(posed)
    partners = jnp.asarray(partners, posed.x.dtype)
    if partners.shape != posed.x.shape:
        raise InputError(f"barrier: partners have shape {partners.shape}, the inputs {posed.x.shape}: pass one each.")
    if not len(chosen):
        raise InputError("barrier: no input was pushed over its ridge: raise the budget of the attack.")
    inside = np.asarray((partners >= posed.lower) & (partners <= posed.upper))[chosen].all()
    read = np.asarray(posed.classifier.logits(partners[chosen])).argmax(axis=1)
    same = np.flatnonzero(read == np.asarray(posed.labels)[chosen])
    if len(same) or not inside:
        what = f"partner {chosen[same[0]]} is read as its input" if len(same) else "a partner leaves the bounds"
        raise InputError(f"barrier: {what}: pass inputs of another class within the bounds.")
    kept = posed._replace(x=posed.x[chosen], labels=posed.labels[chosen], places=np.asarray(posed.places)[chosen])
    return kept, partners[chosen], len(posed.x) - len(chosen)


def _name(posed: Posed, partner: Array, row: int, effort: Effort) -> str:
    both = jnp.stack([posed.x[row], partner])
    logits = np.asarray(posed.classifier.logits(both))  # a model that was changed gives its parts other names
    walls = [float(posed.lower), float(posed.upper)]
    return part_name("barrier", x=np.asarray(both), logits=logits, walls=walls, effort=list(effort))


def _padded(arrays: list[np.ndarray]) -> np.ndarray:
    longest = max(map(len, arrays))
    return np.stack([np.pad(one, (0, longest - len(one)), constant_values=np.nan) for one in arrays])
