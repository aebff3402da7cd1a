"""What methylation does for a network that must learn a second species: every arm, strength and seed in parts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.genome.tasks.plasticity.arms import MAPS, map_of, optimiser_of, permuted_levels, pooled, ranked
from thalweg.genome.tasks.plasticity.lab import MEASURES, AbstractLab, MapSeen, Outcomes, Plan
from thalweg.genome.tasks.plasticity.measure import of_mean_one
from thalweg.methods.gradient_energy import Energies, shares
from thalweg.methods.parts import Arrays, World, in_parts, part_name

_BINS = 200


def run(lab: AbstractLab, plan: Plan, world: World | None = None) -> Outcomes:
    """Pretrain, measure the maps, and fine-tune in every arm at every strength, from every seed.

    Each training is a part of its own that is kept when it is finished; a run that was killed goes on from there, and
    within a training from its checkpoint where `world.walk` gives one.

    **Raises:** `InputError` for a plan that makes no sense; `WalkError` where a training breaks or is stopped.
    """
    plan.check(np.asarray(lab.levels))
    of, seeds = _Run(lab, plan, world or World(), lab.template()), range(plan.start, plan.start + plan.seeds)
    starts = of.in_order("pretraining", [(seed,) for seed in seeds], functools.partial(_start, lab))
    models = {seed: _with(of.template, part) for (seed,), part in starts.items()}
    kinds = {"methylation": "methylation", "permuted": "permuted", "ewc": "fisher"}
    wanted = [kind for arm, kind in kinds.items() if arm == "methylation" or arm in plan.arms]
    measured = of.in_order(
        "maps", [(kind, seed) for kind in wanted for seed in seeds],
        functools.partial(_measured, lab, plan, models),
    )  # fmt: skip
    found = {key: _unpacked(of.template, part) for key, part in measured.items()}
    held = {arm: {seed: of.held(found, arm, seed) for seed in seeds} for arm in plan.arms if arm in MAPS}

    fisher = {seed: found.get(("fisher", seed)) for seed in seeds}
    jobs = [(arm, strength, seed) for seed in seeds for arm in plan.arms for strength in plan.strengths(arm)]
    ends = of.in_order("fine-tuning", jobs, functools.partial(_end, lab, held, models, fisher))
    before = {name: np.array([float(starts[seed,][name]) for seed in seeds]) for name in MEASURES}
    after = {
        arm: {
            name: np.array([[float(ends[arm, strength, seed][name]) for seed in seeds]
                            for strength in plan.strengths(arm)])
            for name in MEASURES
        }
        for arm in plan.arms
    }  # fmt: skip
    own = [of.held(found, "methylation", seed) for seed in seeds]
    maps = {
        arm: _seen(list(trees.values()), own, [_repeated(measured.get((arm, seed))) for seed in seeds])
        for arm, trees in held.items()
    }
    return Outcomes(plan, before, after, maps)


class _Run(NamedTuple):
    """One run of a plan in a lab: what its parts are called, and how they are computed."""

    lab: AbstractLab
    plan: Plan
    world: World
    template: PyTree

    def in_order(self, task: str, keys: list[tuple], compute: Callable[..., Arrays]) -> dict[tuple, Arrays]:
        """What `compute(*key, hooks)` says for each key, each a part."""
        # Once: whole genomes may be hashed here.
        lab = part_name("lab", levels=np.asarray(self.lab.levels), **self.lab.told)
        names = {part_name(task, key=list(key), of=self._follows(task, key[0]), lab=lab): key for key in keys}

        one, hooks = functools.partial(_part, task, names, compute, self.world.walks), self.world.parts(task)
        found = in_parts(
            list(names), one, done=self.world.done, hooks=hooks, task="plasticity", executor=self.world.executor
        )
        for name in names:
            self.world.forget(name)
        return {names[name]: part for name, part in found.items()}

    def _follows(self, task: str, kind: Any) -> dict[str, Any]:
        """What of the plan a part follows from: another plan must not cost the parts that do not."""
        if kind == "permuted":
            return {"strata": self.plan.strata, "ranked": self.plan.ranked and task == "fine-tuning"}
        return {"ranked": self.plan.ranked} if task == "fine-tuning" and kind in MAPS else {}

    def held(self, found: dict[tuple, PyTree], arm: str, seed: int) -> PyTree:
        """How far each connection is held in an arm that has a map."""
        methylation, permuted = (
            ranked(tree) if self.plan.ranked and tree is not None else tree
            for tree in (found.get((kind, seed)) for kind in ("methylation", "permuted"))
        )
        return map_of(arm, methylation, permuted, seed)


# Functions of the parts, at the top of the module so that they can travel


def _part(task: str, names: Mapping[str, tuple], compute: Callable[..., Arrays], walks: Any, name: str) -> Arrays:
    words = f"{task}: {', '.join(str(part) for part in names[name])}"
    return compute(*names[name], walks(words, name, None))


def _start(lab: AbstractLab, seed: int, hooks: tuple[Hook, ...]) -> Arrays:
    """A pretrained network and its scores."""
    model = lab.pretrained(seed, hooks)
    leaves = jax.tree.leaves(eqx.filter(model, eqx.is_array))
    return {f"leaf{place}": np.asarray(leaf) for place, leaf in enumerate(leaves)} | _scored(lab, model)


def _measured(
    lab: AbstractLab, plan: Plan, models: Mapping[int, PyTree], kind: str, seed: int, hooks: tuple[Hook, ...]
) -> Arrays:
    """A map with its repeatability, or the Fisher information, as the leaves that it has."""
    if kind == "fisher":
        return _leaves(of_mean_one(lab.fisher(models[seed], seed)))
    levels = np.asarray(lab.levels)
    if kind == "permuted":
        strata = None if plan.strata is None else np.asarray(plan.strata)
        levels = permuted_levels(levels, seed, strata)
    one, other = lab.energies(models[seed], levels, seed)
    return _leaves(joined(one, other)) | {"repeatability": np.asarray(repeatability(one, other))}


def _end(
    lab: AbstractLab,
    held: Mapping[str, Mapping[int, PyTree]],
    models: Mapping[int, PyTree],
    fisher: Mapping[int, PyTree],
    arm: str,
    strength: float,
    seed: int,
    hooks: tuple[Hook, ...],
) -> Arrays:
    """The scores after the fine-tuning of one arm."""
    optimiser = optimiser_of(
        arm, lab.optimiser, strength=strength, held=held[arm][seed] if arm in MAPS else None, anchor=models[seed],
        fisher=fisher[seed],
    )  # fmt: skip
    return _scored(lab, lab.tuned(models[seed], optimiser, seed, hooks))


@jax.jit
def joined(one: Energies, other: Energies) -> PyTree:
    """The map that follows from what two measurements have seen together."""
    return shares(Energies(*(jax.tree.map(jnp.add, a, b) for a, b in zip(one, other, strict=True))))


def repeatability(one: Energies, other: Energies) -> float:
    """The correlation over connections of two measurements of a map; NaN where no two connections compare.

    Only connections count that both have reached.
    """
    a, b = (_reached(energies) for energies in (one, other))
    both = np.isfinite(a) & np.isfinite(b)
    return _correlation(a[both], b[both])


def _reached(energies: Energies) -> Float[np.ndarray, " connections"]:
    marked, total = pooled(energies.marked), pooled(energies.total)
    return np.divide(marked, total, out=np.full_like(total, np.nan), where=total > 0)


def _correlation(one: Float[np.ndarray, " values"], other: Float[np.ndarray, " values"]) -> float:
    # An even map has no pattern; roundings of float32 are none.
    if len(one) < 2 or min(one.std(), other.std()) < 1e-6:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def _repeated(part: Arrays | None) -> float:
    return float("nan") if part is None else float(part["repeatability"])


def _seen(trees: list[PyTree], own: list[PyTree], repeats: list[float]) -> MapSeen:
    values = [pooled(tree) for tree in trees]
    counts = np.histogram(np.concatenate(values), _BINS, (0.0, 1.0))[0]
    likeness = [_correlation(one, pooled(tree)) for one, tree in zip(values, own, strict=True)]
    mean, sd = (np.array([statistic(one) for one in values]) for statistic in (np.mean, np.std))
    return MapSeen(mean, sd, np.array(repeats), np.array(likeness), counts)


def _scored(lab: AbstractLab, model: PyTree) -> dict[str, np.ndarray]:
    scores = lab.scores(model)
    if missing := [name for name in MEASURES if not np.isfinite(scores.get(name, np.nan))]:
        raise InputError(f"plasticity: the score {missing[0]!r} is missing or no number: hold out more genes.")
    return {name: np.asarray(float(scores[name])) for name in MEASURES}


def _with(template: PyTree, part: Arrays) -> PyTree:
    arrays, rest = eqx.partition(template, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)
    new = [jnp.asarray(part[f"leaf{place}"]) for place in range(len(leaves))]
    return eqx.combine(jax.tree.unflatten(structure, new), rest)


def _is_none(leaf: Any) -> bool:
    return leaf is None


def _leaves(tree: PyTree) -> dict[str, np.ndarray]:
    everything = jax.tree.leaves(tree, is_leaf=_is_none)
    return {f"leaf{place}": np.asarray(leaf) for place, leaf in enumerate(everything) if leaf is not None}


def _unpacked(template: PyTree, part: Arrays) -> PyTree:
    # Where the network has no array, a map has `None` as well: both flatten to the same places.
    everything, structure = jax.tree.flatten(eqx.filter(template, eqx.is_inexact_array), is_leaf=_is_none)
    return jax.tree.unflatten(structure, [part.get(f"leaf{place}") for place in range(len(everything))])
