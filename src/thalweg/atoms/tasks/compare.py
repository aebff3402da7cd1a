"""Networks that see coordinates, distances or orbitals, trained beside each other on more and more frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from thalweg.atoms.data.check import labelled
from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.read import read
from thalweg.atoms.data.reference import split_isolated
from thalweg.atoms.model.gto import Shape
from thalweg.atoms.tasks.compare_training import MODELS, Clock, Contender, contender, trained_part
from thalweg.atoms.tasks.evaluate import evaluate
from thalweg.atoms.tasks.train import Recipe, learnt, one_order, started
from thalweg.atoms.tasks.trained import Trained
from thalweg.atoms.tasks.training import Material
from thalweg.core.errors import InputError, WalkError
from thalweg.core.hooks import Hook, Store
from thalweg.core.solution import Outcome
from thalweg.methods.parts import Arrays, World, in_parts, part_name

Note = Callable[[str], object]
_SIZES = (50, 100, 200, 500, 1000)
_LEAST = 200  # steps
_TRIED = 4.0  # seconds from which a pace is read
_HELD_OUT = 5  # a fifth of the frames, where no file is named to test on
_MOST_HELD_OUT = 500


class Effort(NamedTuple):
    """How much is compared.

    **Fields:** `sizes`, numbers of frames to learn from; `seeds`; `steps` of each training, or else `minutes`; `share`
    of that budget for each trial of a tuning; the models that are `tuned`, and the `rates`, `widths` (`hidden` of the
    shape) and `batches` that are tried for them, in this order, each with the best of what was tried before.
    """

    sizes: tuple[int, ...]
    seeds: int = 3
    steps: int | None = None
    minutes: float | None = None
    share: float = 0.25
    tuned: tuple[str, ...] = ("naive", "unturned")
    rates: tuple[float, ...] = (2e-3, 5e-3, 1.5e-2)
    widths: tuple[int, ...] = (32, 64, 128)
    batches: tuple[int, ...] = (8, 64, 256)


class Posed(NamedTuple):
    """A comparison to be made: the `models`, the `given` material, and the frames to `test` on."""

    models: tuple[Contender, ...]
    given: Material
    test: list[Frame]


class Job(NamedTuple):
    """One training: `who` learns, from how many frames (`size`), with which `seed`, and its finished `part`."""

    who: Contender
    size: int
    seed: int
    part: Arrays


def posed(
    given: Material, names: Sequence[str], shape: Shape, recipe: Recipe, *, test: str | None, **keys: Any
) -> Posed:
    """What is to be compared on which frames.

    **Arguments:** `names` of the models; `shape` and `recipe` that they have in common; `test`, as `read` knows it; by
    default the frames of the source whose info says `split=test`, or else a fifth of the frames, which are then not
    learnt from; `keys`, for `read`.

    **Raises:** `InputError` for unknown models, and for frames that a model cannot learn from.
    """
    models = tuple(contender(name, shape, recipe) for name in dict.fromkeys(names))
    if not models:
        raise InputError("compare: no models are named: give at least one.")
    given, frames = _tested_on(given, test, **keys)
    labelled(frames)
    if any(who.kind == "naive" for who in models):
        one_order([*given.frames, *given.valid, *frames])
    return Posed(models, given, frames)


def _tested_on(given: Material, test: str | None, **keys: Any) -> tuple[Material, list[Frame]]:
    everything = split_isolated(read(given.source if test is None else test, **keys))[0]
    marked = [frame for frame in everything if str(frame.info.get("split", "")).lower() == "test"]
    if test is not None:
        return given, everything
    if marked:
        return given, marked
    many = min(_MOST_HELD_OUT, len(given.frames) // _HELD_OUT)
    if many < 1:
        raise InputError(f"{given.source}: holds too few frames to test on some of them: name others with --test.")
    return given._replace(frames=given.frames[many:]), given.frames[:many]


def sizes_for(of: Posed, sizes: Sequence[int] | None) -> tuple[int, ...]:
    """The numbers of frames to learn from, in rising order; by default 50, 100, ..., up to all that there are.

    **Raises:** `InputError` for more than there are.
    """
    there = len(of.given.frames)
    if sizes is None:
        return (*(size for size in _SIZES if size < there), there)
    for size in sizes:
        if not 1 <= size <= there:
            raise InputError(
                f"compare: {size} frames are wanted, but {there} are there to learn from beside those held out: "
                "choose fewer with --frames."
            )
    return tuple(sorted(set(sizes)))


def compared(of: Posed, effort: Effort, *, seed: int = 0, world: World | None = None) -> list[Job]:
    """Train every model on every number of frames from every seed, after the tuning of those that are tuned.

    Of one seed larger sets of frames hold the smaller ones. Trainings that were killed go on bit for bit.

    **Raises:** `InputError` for an effort that makes no sense; `WalkError` where a training breaks or is stopped.
    """
    if (effort.steps is None) == (effort.minutes is None):
        raise InputError("compare: give either --steps or --minutes of each training.")
    if effort.seeds < 1:
        raise InputError("compare: at least one seed is needed.")
    if unknown := [name for name in effort.tuned if name not in MODELS]:
        raise InputError(f"compare: {unknown[0]!r} cannot be tuned: choose among {', '.join(MODELS)}, or none.")
    world = world or World()
    best = _tunings(of, effort, seed, world)
    budget = _Budget(of, effort, world)
    jobs = {}
    for size in effort.sizes:
        for who in of.models:
            ready = budget.planned(best.get((who.name, size), who))
            for number in range(effort.seeds):
                jobs[_name("training", of, ready, size, seed, number=number)] = Job(ready, size, number, {})

    compute, hooks = _Training(jobs, of, effort.seeds, seed, world.walks), world.parts("trainings")
    parts = in_parts(list(jobs), compute, done=world.done, hooks=hooks, task="compare", executor=world.executor)
    for name in jobs:
        world.forget(name)
    return [jobs[name]._replace(part=part) for name, part in parts.items()]


class _Training(NamedTuple):
    """The training and measurement of one job, by its name."""

    jobs: Mapping[str, Job]
    of: Posed
    seeds: int
    seed: int
    walks: Callable[[str, str, int | None], tuple[Hook, ...]]

    def __call__(self, name: str) -> Arrays:
        who, size, number, _ = self.jobs[name]
        hooks = self.walks(f"{who.name}, {size} frames, seed {number + 1} of {self.seeds}", name, who.recipe.steps)
        frames, energies = _subset(self.of, size, self.seed, number), self.of.given.energies
        return trained_part(who, frames, energies, self.of.test, seed=1000 * self.seed + number, hooks=hooks)


class _Budget(NamedTuple):
    """Finds the steps of a training: as said, or as many as its pace allows, which is measured once."""

    of: Posed
    effort: Effort
    world: World

    def planned(self, who: Contender, share: float = 1.0) -> Contender:
        if self.effort.steps is not None:
            return who.but(steps=max(1, int(share * self.effort.steps)))
        assert self.effort.minutes is not None
        # The pace does not follow from the rate, and is measured for one.
        alike = who.but(steps=10**6, rate=Recipe().rate)
        name = part_name("pace", who=alike.told, atoms=len(self.of.given.frames[0].numbers))
        pace = float(_once(self.world.done, name, lambda: {"pace": np.array(self._pace(alike))})["pace"])
        return who.but(steps=max(_LEAST, int(60 * share * self.effort.minutes * pace)))

    def _pace(self, who: Contender) -> float:
        given, clock = self.of.given, Clock(_TRIED)
        start = started(who.kind, who.shape, given.frames, given.energies, seed=0, turned=who.recipe.turned)
        hooks = (clock, *self.world.parts(f"the pace of {who.name}"))
        learnt(start, given.frames, given.energies, who.recipe, seed=0, hooks=hooks, throw=False)
        if clock.pace is None:
            raise InputError("compare: stopped before a pace was measured: start it again.")
        return clock.pace


def _tunings(of: Posed, effort: Effort, seed: int, world: World) -> dict[tuple[str, int], Contender]:
    """The best rate, width and batch of the tuned models for each number of frames, by their error held out."""
    wanted = [(who, size) for size in effort.sizes for who in of.models if who.name in effort.tuned]
    grid = {"rates": effort.rates, "widths": effort.widths, "batches": effort.batches, "share": effort.share,
            "steps": effort.steps, "minutes": effort.minutes}  # fmt: skip
    jobs = {_name("tuning", of, who, size, seed, **grid): (who, size) for who, size in wanted}

    def compute(name: str) -> Arrays:
        who, size = jobs[name]
        for field, values in (("rate", effort.rates), ("hidden", effort.widths), ("batch", effort.batches)):
            tried = [who.but(**{field: value}) for value in values if field != "batch" or value <= size]
            if len(tried) > 1:
                who = min(tried, key=lambda each: _tried(of, effort, each, size, seed, world))
        return {"best": np.array([who.recipe.rate, who.shape.hidden, who.recipe.batch])}

    hooks = world.parts("tuning") if jobs else ()
    parts = in_parts(list(jobs), compute, done=world.done, hooks=hooks, task="compare") if jobs else {}
    found = {}
    for name, (who, size) in jobs.items():
        rate, hidden, batch = parts[name]["best"]
        found[who.name, size] = who.but(rate=float(rate), hidden=int(hidden), batch=int(batch))
    return found


def _tried(of: Posed, effort: Effort, who: Contender, size: int, seed: int, world: World) -> float:
    """The error of forces on held-out frames after a short training, in meV/A; infinite where it breaks."""
    who = _Budget(of, effort, world).planned(who, effort.share)
    name = _name("trial", of, who, size, seed)

    def compute() -> Arrays:
        frames = _subset(of, size, seed, 0)
        start = started(who.kind, who.shape, frames, of.given.energies, seed=1000 * seed, turned=who.recipe.turned)
        words = f"trying {who.name}, {size} frames, rate {who.recipe.rate:g}, {who.recipe.batch} a batch"
        hooks = world.walk(words, name, who.recipe.steps)
        try:
            net = learnt(start, frames, of.given.energies, who.recipe, seed=1000 * seed, hooks=hooks).value
        except WalkError as error:
            if Outcome.of(error.solution.outcome) is not Outcome.NONFINITE:
                raise
            return {"error": np.array(np.inf)}
        return {"error": np.array(evaluate(Trained(net, of.given.energies, {}), of.given.valid)["force_mae_meV_A"])}

    found = float(_once(world.done, name, compute)["error"])
    world.forget(name)
    return found


def _subset(of: Posed, size: int, seed: int, number: int) -> list[Frame]:
    order = np.random.default_rng([seed, number]).permutation(len(of.given.frames))
    return [of.given.frames[place] for place in order[:size]]


def _name(part: str, of: Posed, who: Contender, size: int, seed: int, **more: Any) -> str:
    """A name that is a hash of all that a part follows from."""
    frames = [*of.given.frames, *of.given.valid, *of.test]
    numbers = [np.concatenate([frame.positions.ravel(), np.ravel(frame.forces)]) for frame in frames]  # type: ignore[arg-type]
    told = np.concatenate([*numbers, np.array([frame.energy for frame in frames], np.float64)])
    energies = {str(number): energy for number, energy in of.given.energies.items()}
    counts = [len(of.given.frames), len(of.given.valid), len(of.test)]
    return part_name(part, frames=told, counts=counts, energies=energies, size=size, seed=seed, who=who.told, **more)


def _once(done: Store | None, name: str, compute: Callable[[], Arrays]) -> Arrays:
    kept = None if done is None else done.get(name)
    if kept is None:
        kept = compute()
        if done is not None:
            done.put(name, dict(kept))
    return kept
