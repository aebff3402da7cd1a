"""Train a network to find splice sites."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.core.solution import Solution
from thalweg.genome.energy import ThroughTime
from thalweg.genome.model.build import Shape, network
from thalweg.genome.model.network import SpliceNetwork
from thalweg.genome.tasks.prepare import Packed, crops, prior, streams
from thalweg.methods.devices import dividing
from thalweg.methods.trace import Trace
from thalweg.verbs.train import train


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults need no tuning.

    **Fields:** `steps`; `batch` of crops of `length` bases; `rate`, the highest learning rate; `warmup`, the share of
    the steps in which it is reached; `clip`, the largest norm of a gradient; `decay` of the weights of matrices;
    `thin`, the share of units that every step leaves out; `average`, the decay of the moving average of the network
    that is kept; `bptt`, bases through which errors are
    propagated while the state before them is carried on, or 0 for all of a crop. Truncated, as many streams are read
    side by side as make a step of the same number of bases.
    """

    steps: int = 20_000
    batch: int = 2
    length: int = 1024
    rate: float = 4e-3
    warmup: float = 0.03
    clip: float = 5.0
    decay: float = 0.02
    thin: float = 0.15
    average: float = 0.998
    bptt: int = 0

    def __post_init__(self):
        for name in ("steps", "batch", "length"):
            if getattr(self, name) < 1:
                raise InputError(f"train: {name} is {getattr(self, name)}, but at least 1 is needed.")
        if self.bptt < 0:
            raise InputError(f"train: a horizon of {self.bptt} bases is none: choose 0, for all, or more.")
        if not (0 < self.rate < 1 and 0 <= self.warmup < 1 and self.clip > 0 and self.decay >= 0):
            raise InputError(
                f"train: rate {self.rate}, warmup {self.warmup}, clip {self.clip}, decay {self.decay}: rate and warmup "
                "lie between 0 and 1, clip is positive and decay not negative."
            )
        if not 0 <= self.thin < 1:
            raise InputError(f"train: thin is {self.thin}, but a share of units lies between 0 and 1.")
        if not 0 < self.average < 1:
            raise InputError(f"train: average is {self.average}, but a decay lies between 0 and 1.")


def started(shape: Shape, material: Packed, *, seed: int) -> SpliceNetwork:
    """A network that has learnt nothing but how often two bases lie at a site."""
    return network(shape, prior(material), jax.random.key(seed))


# One for each recipe: a new one would compile the training anew.
@functools.cache
def optimiser(recipe: Recipe) -> optax.GradientTransformation:
    """What a recipe trains with: Adam after clipping, with decay of matrices, on a warm-up and half a cosine."""
    warmup = min(int(recipe.warmup * recipe.steps), recipe.steps - 1)
    schedule = optax.warmup_cosine_decay_schedule(0.0, recipe.rate, warmup, recipe.steps, recipe.rate * 0.001)
    return optax.chain(
        optax.clip_by_global_norm(recipe.clip),
        optax.scale_by_adam(0.9, 0.99),
        optax.add_decayed_weights(recipe.decay, mask=_decaying),
        optax.scale_by_learning_rate(schedule),
    )


def _decaying(net: SpliceNetwork) -> Any:
    """Matrices; neither biases, which hold how long memories last, nor the prior."""
    marks = jax.tree.map(lambda leaf: leaf.ndim > 1, net)
    return eqx.tree_at(lambda each: each.prior, marks, False)


def learnt(
    net: SpliceNetwork,
    material: Packed,
    recipe: Recipe,
    *,
    seed: int,
    hooks: tuple[Hook, ...] = (),
    trace: Trace | None = None,
    throw: bool = True,
    transform: optax.GradientTransformation | None = None,
) -> Solution:
    """Train a network on packed genes; where JAX has several devices, they share every batch.

    **Arguments:** `hooks` of the training: a checkpoint among them makes it go on bit for bit; `trace`, what to record;
    `throw`, whether a training that was stopped is an error; `transform`, in place of the recipe's optimiser.

    **Returns:** the solution of `train`, whose value is the moving average of the network.

    **Raises:** `WalkError` where the training breaks.
    """
    carry = None
    if recipe.bptt:
        data: Any = streams(material, net.margin, recipe.bptt, max(1, recipe.batch * recipe.length // recipe.bptt))
        size, carry = data.streams, net.rest(data.streams).ahead
    else:
        data = crops(material, net.margin, recipe.length, recipe.batch)
        size = data.order.size
    rule = ThroughTime(bool(recipe.bptt), recipe.thin)
    return train(
        net, rule, data, optimiser(recipe) if transform is None else transform, carry=carry,
        key=jax.random.key(seed + 1), steps=recipe.steps, ema=recipe.average,
        devices=dividing(jax.local_devices(), size), trace=trace, on_chunk=hooks, throw=throw,
    )  # fmt: skip


def parameters(net: SpliceNetwork) -> int:
    """How many numbers a network has learnt; the prior is not among them."""
    leaves = jax.tree.leaves(eqx.filter(net, eqx.is_inexact_array))
    return sum(leaf.size for leaf in leaves) - int(np.size(net.prior))
