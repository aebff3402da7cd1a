"""Whether long memories and far-travelling errors are used: networks trained with less and less of them."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, PyTree

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook, Report
from thalweg.genome.data.labels import LabelledGene
from thalweg.genome.energy import surprise
from thalweg.genome.model.build import Shape
from thalweg.genome.model.network import Block, Direction, SpliceNetwork
from thalweg.genome.model.streaming import probabilities
from thalweg.genome.model.window import IGNORED, Window
from thalweg.genome.tasks.evaluate import SITES, predict
from thalweg.genome.tasks.metrics import Ranked, ranked, top_k
from thalweg.genome.tasks.prepare import Packed, crops, packed
from thalweg.genome.tasks.site_windows import drawn_again, genes_signature, interval
from thalweg.genome.tasks.train import Recipe, learnt, optimiser, started
from thalweg.methods.devices import dividing
from thalweg.methods.parts import Arrays, World, in_parts, part_name
from thalweg.methods.recurrence import AbstractCell
from thalweg.methods.recurrence_cut import Cut, Forgetful
from thalweg.verbs.train import train

Kind = Literal["cut", "memoryless", "carried"]
HORIZONS = (10, 50, 200, 1000)
_CROP, _LONGEST = 1024, 8192  # bases: about how long crops are, and the most
_DEEP = 4  # times the number of sites: as far down the list as resamples look


class Arm(NamedTuple):
    """One way to train.

    **Fields:** `kind`: `cut`, whole crops are read both ways and errors stop at every `horizon` bases of a crop;
    `memoryless`, every recurrence forgets at once: the same parameters and arithmetic, and no base beyond the window of
    the stem is seen; `carried`, what `genome train --bptt` does: windows of `horizon` bases in the order of the genome,
    over which forward states are carried without gradient and where the recurrences from right to left begin anew.
    """

    kind: Kind
    horizon: int = 0

    @property
    def name(self) -> str:
        """Such as `cut-200`."""
        return f"{self.kind}-{self.horizon}" if self.horizon else self.kind


class Effort(NamedTuple):
    """What is trained: `arms`, each from `seeds` random starts, all for the steps of `recipe`."""

    arms: tuple[Arm, ...]
    seeds: int
    recipe: Recipe


def effort(horizons: Sequence[int], recipe: Recipe, *, seeds: int = 3, carried: bool = False) -> Effort:
    """The arms of some horizons, with crops that all of them divide, and the network without memory.

    Every step of every arm reads as many bases, so that equal steps are equal bases.

    **Arguments:** `carried`, whether `carried` arms are trained as well.

    **Raises:** `InputError` for horizons that have no common crop.
    """
    if not horizons or min(horizons) < 1 or seeds < 1:
        raise InputError(f"memory: horizons {list(horizons)} and {seeds} seeds: give horizons and seeds from 1 on.")
    horizons = sorted(set(horizons))
    common = math.lcm(*horizons)
    if common > _LONGEST:
        raise InputError(f"memory: crops would need {common} bases to be divided by the horizons {horizons}: choose "
                         "ones that divide each other, such as 10,50,200,1000.")  # fmt: skip
    length = common * max(1, round(_CROP / common))
    recipe = dataclasses.replace(recipe, length=length, bptt=0)
    arms = [Arm("cut", horizon) for horizon in horizons] + [Arm("memoryless")]
    arms += [Arm("carried", horizon) for horizon in horizons] if carried else []
    return Effort(tuple(arms), seeds, recipe)


class CutThroughTime(eqx.Module):
    """The gradient rule of a training whose errors stop at every `horizon` bases, or of one without memory at 0."""

    horizon: int = eqx.field(static=True)

    def __call__(self, model: SpliceNetwork, batch: Window, carry: PyTree, step, key, /) -> tuple[Any, PyTree, dict]:
        def loss(model: SpliceNetwork):
            return surprise(remembering(model, self.horizon), batch, None)[0]

        value, slopes = eqx.filter_value_and_grad(loss)(model)
        return slopes, carry, {"loss": value}


def remembering(net: SpliceNetwork, horizon: int) -> SpliceNetwork:
    """The network with the same weights whose errors stop at every `horizon` bases; with 0 it forgets at once."""

    def cell(of: AbstractCell) -> AbstractCell:
        return Cut(of, horizon) if horizon else Forgetful(of)

    def way(of: Direction) -> Direction:
        return Direction(of.matrix, of.bias, cell(of.cell))

    blocks = tuple(Block(block.scale, way(block.forward), way(block.backward), block.out) for block in net.blocks)
    return SpliceNetwork(net.stem, blocks, net.scale, net.head, net.bias, net.prior)


class _Clock:
    """Reads how long a training takes without what is compiled."""

    def __init__(self) -> None:
        self._first = self._last = (0, 0.0)

    def __call__(self, report: Report) -> None:
        self._last = report.step, time.perf_counter()
        if not self._first[1]:
            self._first = self._last

    def seconds(self, steps: int) -> float:
        """For so many steps; zero where an earlier process did all of them."""
        (first, began), (last, ended) = self._first, self._last
        return steps * (ended - began) / (last - first) if last > first else 0.0


def trained_arm(
    arm: Arm, shape: Shape, recipe: Recipe, material: Packed, *, seed: int, hooks: tuple[Hook, ...] = ()
) -> tuple[SpliceNetwork, float]:
    """A network trained in one way, as it is to be evaluated, and the seconds that it took without compilation."""
    start, clock = started(shape, material, seed=seed), _Clock()
    if arm.kind == "carried":
        told = dataclasses.replace(recipe, bptt=arm.horizon)
        return learnt(start, material, told, seed=seed, hooks=(clock, *hooks)).value, clock.seconds(recipe.steps)
    data = crops(material, start.margin, recipe.length, recipe.batch)
    net = train(
        start, CutThroughTime(arm.horizon), data, optimiser(recipe), key=jax.random.key(seed + 1), steps=recipe.steps,
        ema=recipe.average, devices=dividing(jax.local_devices(), data.order.size), on_chunk=(clock, *hooks),
    ).value  # fmt: skip
    return net if arm.horizon else remembering(net, 0), clock.seconds(recipe.steps)


def horizons(
    training: Sequence[LabelledGene],
    held_out: Sequence[LabelledGene],
    shape: Shape,
    of: Effort,
    *,
    seed: int,
    world: World | None = None,
) -> list[dict[str, Any]]:
    """Train in every way from every seed, and find the sites of held-out genes.

    All networks read held-out genes whole. Those of `carried` arms have never seen their recurrences from right to left
    run on for longer than a window: for them it is also told what they find where these begin anew as in training.

    **Returns:** for each arm its `name`, `kind`, `horizon`, `steps`, mean `seconds`, and for `donor` and
    `acceptor`: `topk`, the mean over seeds, `seeds`, that of each, `interval` of the mean over genes, and `lost`, how
    much more the longest `cut` finds, with `lost_interval` over genes.

    **Raises:** `WalkError` where a training breaks or is stopped.
    """
    world = world or World()
    margin = shape.window // 2
    material, seen = packed(training, margin), packed(held_out, margin)
    told = {"shape": dataclasses.asdict(shape), "recipe": dataclasses.asdict(of.recipe),
            "training": genes_signature(training), "held_out": genes_signature(held_out)}  # fmt: skip
    names = {
        part_name("horizon", arm=arm.name, seed=seed + number, **told): (arm, seed + number)
        for number in range(of.seeds)
        for arm in of.arms
    }

    one = _Training(names, shape, of.recipe, material, held_out, seen, world.walks)
    hooks = world.parts("trainings")
    parts = in_parts(list(names), one, done=world.done, hooks=hooks, task="memory", executor=world.executor)
    for name in names:
        world.forget(name)
    done = {arm: [parts[name] for name, key in names.items() if key[0] == arm] for arm in of.arms}
    return _figures(of, done, len(held_out), seed)


class _Training(NamedTuple):
    """The training and measurement of one part, by its name."""

    names: Mapping[str, tuple[Arm, int]]
    shape: Shape
    recipe: Recipe
    material: Packed
    held_out: Sequence[LabelledGene]
    seen: Packed
    walks: Callable[[str, str, int | None], tuple[Hook, ...]]

    def __call__(self, name: str) -> Arrays:
        arm, start = self.names[name]
        hooks = self.walks(f"{arm.name}, seed {start}", name, self.recipe.steps)
        net, seconds = trained_arm(arm, self.shape, self.recipe, self.material, seed=start, hooks=hooks)
        found = {"seconds": np.array(seconds)} | _found(predict(net, self.held_out).chances, self.seen)
        return found | (_anew(net, self.seen, arm.horizon) if arm.kind == "carried" else {})


def _found(chances: Float[np.ndarray, "bases 3"], seen: Packed, prefix: str = "") -> dict[str, np.ndarray]:
    """The top of the lists of both kinds of sites."""
    scored, result = seen.targets != IGNORED, {}
    for name, kind in SITES.items():
        one = ranked(chances[scored, kind], seen.targets[scored] == kind, seen.gene[scored], int(seen.gene.max()) + 1)
        top = one.top(_DEEP * int(one.sites.sum()))
        result |= {f"{prefix}{name}_{field}": value for field, value in top._asdict().items()}
    return result


def _anew(net: SpliceNetwork, seen: Packed, horizon: int) -> dict[str, np.ndarray]:
    """As `_found`, where the recurrences from right to left begin anew as they did in training."""
    last = seen.last.copy()
    last[horizon - 1 :: horizon] = True
    return _found(probabilities(net, seen.codes, seen.first, last), seen, "anew_")


def _list(part: Arrays, name: str, prefix: str = "") -> Ranked:
    return Ranked(*(part[f"{prefix}{name}_{field}"] for field in Ranked._fields))


def _figures(of: Effort, done: Mapping[Arm, list[Arrays]], genes: int, seed: int) -> list[dict[str, Any]]:
    times = drawn_again(genes, seed)
    longest = max((arm for arm in of.arms if arm.kind == "cut"), key=lambda arm: arm.horizon)

    def measured(arm: Arm, name: str, prefix: str = "") -> tuple[np.ndarray, np.ndarray]:
        """Top-k of every seed, and the mean over seeds of every resample of genes."""
        lists = [_list(part, name, prefix) for part in done[arm]]
        return np.array([top_k(one) for one in lists]), np.array(
            [np.mean([top_k(one, each) for one in lists]) for each in times]
        )

    whole = {name: measured(longest, name) for name in SITES}
    result = []
    for arm, parts in done.items():
        told: dict[str, Any] = {"name": arm.name, "kind": arm.kind, "horizon": arm.horizon, "steps": of.recipe.steps,
                                "seconds": float(np.mean([part["seconds"] for part in parts]))}  # fmt: skip
        for name in SITES:
            values, drawn = measured(arm, name)
            told[name] = {
                "topk": float(values.mean()), "seeds": values.tolist(), "interval": interval(drawn),
                "lost": float(whole[name][0].mean() - values.mean()), "lost_interval": interval(whole[name][1] - drawn),
            }  # fmt: skip
            if arm.kind == "carried":
                values, drawn = measured(arm, name, "anew_")
                told[name] |= {"anew_topk": float(values.mean()), "anew_interval": interval(drawn)}
        result.append(told)
    return result
