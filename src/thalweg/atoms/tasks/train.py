"""Train a potential on energies and forces."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.model.build import Kind, network
from thalweg.atoms.model.gto import GaussianNetwork, Shape, calibrated, coordination
from thalweg.atoms.model.naive import NaiveNetwork, measured
from thalweg.atoms.model.network import AbstractNetwork
from thalweg.atoms.model.structure import Atoms, Framed
from thalweg.atoms.tasks.prepare import Labels, bound, framed, labels, predicted
from thalweg.atoms.tasks.turning import rotations, turned_frames, turned_labels
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.core.solution import Solution
from thalweg.methods.data import Batches
from thalweg.methods.devices import dividing
from thalweg.methods.soap import soap
from thalweg.methods.trace import Trace
from thalweg.verbs.train import train

_CALIBRATION = 100  # frames
_LARGEST = 640  # rows of a matrix that SOAP turns: those that read the invariants of two layers are among them


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a potential is trained; the defaults need no tuning.

    **Fields:** `steps`; `batch` of frames; `rate`, the highest learning rate; `warmup` steps; `clip`, the largest norm
    of a gradient; `decay` of the moving average that is kept; `energy`, the weight of energies per atom beside forces,
    ten times that in the last fifth; `stress`, of stresses where the frames have them; `turned`, whether each frame of
    a batch is turned at random, which only networks that do not know rotations have a use for.
    """

    steps: int = 100_000
    batch: int = 8
    rate: float = 5e-3
    warmup: int = 200
    clip: float = 3.0
    decay: float = 0.999
    energy: float = 0.2
    stress: float = 0.2
    turned: bool = False

    def __post_init__(self):
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"train: {name} is {getattr(self, name)}, but at least 1 is needed.")
        if not (0 < self.rate < 1 and self.clip > 0 and 0 < self.decay < 1 and self.energy >= 0 and self.stress >= 0):
            raise InputError(
                f"train: rate {self.rate}, clip {self.clip}, decay {self.decay}, energy {self.energy}, stress "
                f"{self.stress}: rates and decays lie between 0 and 1, weights are not negative."
            )


class Matching(eqx.Module):
    """The gradient rule: forces first, energies late.

    **Fields:** `unit`, the root mean square of the forces in eV/A; the weights; `late`, the step from which energies
    weigh ten times as much; `turned`, whether frames and labels are turned at random first.
    """

    unit: Float[Array, ""]
    energy: Float[Array, ""]
    stress: Float[Array, ""]
    late: Int[Array, ""]
    turned: bool = eqx.field(static=True, default=False)

    def __call__(self, model, batch, carry, step, key, /):
        if self.turned:
            by = rotations(key, batch[0].positions.shape[0], batch[0].positions.dtype)
            batch = turned_frames(batch[0], by), turned_labels(batch[1], by)
        weight = self.energy * jnp.where(step >= self.late, 10, 1).astype(self.energy.dtype)
        slopes, metrics = jax.grad(self._loss, has_aux=True)(_floats(model), model, batch, weight)
        return slopes, carry, metrics

    def _loss(self, floats: Any, model: Any, batch: tuple[Framed, Labels], weight: Array) -> tuple[Array, dict]:
        frames, wanted = batch
        net = eqx.combine(floats, model)
        energy, forces, virial = predicted(net, frames, stress=wanted.virial is not None)
        count = jnp.sum(frames.real, axis=1).astype(energy.dtype)
        # The norm of an error, not its square: outliers pull less, and directions are treated alike.
        off = jnp.sqrt(jnp.sum((forces - wanted.forces) ** 2, axis=1) + (1e-4 * self.unit) ** 2)
        miss = jnp.abs(energy - wanted.energy)
        loss = jnp.sum(off * frames.real) / jnp.sum(count) + weight * jnp.mean(miss / count)
        if virial is not None and wanted.virial is not None:
            loss = loss + self.stress * jnp.mean(jnp.abs(virial - wanted.virial) / count[:, None, None])
        force_error = jnp.sum(jnp.abs(forces - wanted.forces) * frames.real[:, None]) / (3 * jnp.sum(count))
        metrics = {
            "loss": loss / self.unit,
            "force_mae_meV_A": 1e3 * force_error,
            "energy_mae_meV": 1e3 * jnp.mean(miss),
        }
        return loss / self.unit, metrics


def _floats(model: Any) -> Any:
    return eqx.filter(model, eqx.is_inexact_array)


def started(
    kind: Kind,
    shape: Shape,
    frames: Sequence[Frame],
    energies: Mapping[int, float],
    *,
    seed: int,
    dtype: Any = np.float32,
    turned: bool = False,
) -> AbstractNetwork:
    """A network that has seen some frames but learnt nothing: its spreads, scale and baseline are measured.

    **Arguments:** `frames` with energies and forces; `energies` of isolated atoms in eV; `turned`, whether a naive
    network will see its frames turned at random.

    **Raises:** `InputError` for a naive network and frames of several sizes or orders of atoms.
    """
    atoms = one_order(frames) if kind == "naive" else None
    net = network(kind, shape, sorted(energies), jax.random.key(seed), dtype, atoms=atoms)
    some = [frames[place] for place in np.linspace(0, len(frames) - 1, min(_CALIBRATION, len(frames))).astype(int)]
    arrays = framed(some, net.elements, shape.cutoff, dtype)
    if turned and isinstance(net, NaiveNetwork):  # the spread of its coordinates is another one then
        arrays = turned_frames(arrays, rotations(jax.random.key(seed + 2), len(some), dtype))
    seen = arrays.atoms(arrays.positions, jnp.zeros((len(some), 3, 3), dtype))
    wanted, unit = np.array([bound(frame, energies) for frame in some]), force_unit(some)
    if isinstance(net, NaiveNetwork):
        return measured(net, seen, float(np.mean(wanted)), unit)
    assert isinstance(net, GaussianNetwork)
    real = np.flatnonzero(np.asarray(arrays.real).ravel())
    net = calibrated(net, seen, jnp.asarray(real))
    baseline = _baseline(net, seen, real, wanted)
    return eqx.tree_at(
        lambda each: (each.baseline, each.scale), net, (jnp.asarray(baseline, dtype), jnp.asarray(unit, dtype))
    )


def one_order(frames: Sequence[Frame]) -> int:
    """The number of atoms of frames of one molecule, in one order.

    **Raises:** `InputError` naming a frame with other atoms.
    """
    for frame in frames:
        if not np.array_equal(frame.numbers, frames[0].numbers):
            raise InputError(
                f"{frame.place}: has other atoms, or others in order, than {frames[0].place}: a naive network knows "
                "one molecule only, so choose gto or radial."
            )
    return len(frames[0].numbers)


def _baseline(net: GaussianNetwork, atoms: Atoms, real: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The energy per bound atom of each element: one for all where compositions cannot tell them apart."""
    bonds = np.asarray(coordination(atoms.neighbours, net.cutoff), np.float64)
    counts = np.zeros((len(net.elements), bonds.size))
    counts[np.asarray(atoms.species)[real], real] = bonds[real]
    counts = counts.reshape(len(net.elements), len(wanted), -1).sum(axis=2).T
    common = wanted.sum() / max(counts.sum(), 1e-6)
    left = wanted - common * counts.sum(axis=1)
    ridge = counts.T @ counts + len(wanted) * np.eye(len(net.elements))
    return common + np.linalg.solve(ridge, counts.T @ left)


def force_unit(frames: Sequence[Frame]) -> float:
    """The root mean square of all components of the forces, in eV/A."""
    total = np.concatenate([frame.forces.ravel() for frame in frames if frame.forces is not None])
    return float(max(np.sqrt(np.mean(total**2)), 1e-3))


# One for each recipe: a new one would compile the training anew for every member of a committee.
@functools.cache
def optimiser(recipe: Recipe) -> optax.GradientTransformation:
    """What a recipe trains with: SOAP after clipping, on a warm-up and half a cosine."""
    warmup = min(recipe.warmup, recipe.steps // 2)
    schedule = optax.warmup_cosine_decay_schedule(0.0, recipe.rate, warmup, recipe.steps, recipe.rate * 0.005)
    return optax.chain(optax.clip_by_global_norm(recipe.clip), soap(schedule, largest=_LARGEST))


def fit(
    net: AbstractNetwork,
    frames: Sequence[Frame],
    energies: Mapping[int, float],
    recipe: Recipe,
    *,
    seed: int,
    hooks: tuple[Hook, ...] = (),
    throw: bool = True,
) -> AbstractNetwork:
    """Train a network on frames: the `value` of `learnt`, the moving average of the network."""
    return learnt(net, frames, energies, recipe, seed=seed, hooks=hooks, throw=throw).value


def learnt(
    net: AbstractNetwork,
    frames: Sequence[Frame],
    energies: Mapping[int, float],
    recipe: Recipe,
    *,
    seed: int,
    hooks: tuple[Hook, ...] = (),
    trace: Trace | None = None,
    throw: bool = True,
) -> Solution:
    """Train a network on frames; where JAX has several devices, they share every batch.

    **Arguments:** `net`, in the precision to train in; `frames` with energies and forces; `energies` of isolated
    atoms in eV; `hooks` of the training: a checkpoint among them makes it go on bit for bit; `trace`, what to record;
    `throw`, whether a training that was stopped is an error.

    **Returns:** the solution of `train`, whose value is the moving average of the network.

    **Raises:** `WalkError` where the training breaks.
    """
    dtype = jax.tree.leaves(_floats(net))[0].dtype
    arrays = framed(frames, net.elements, net.cutoff, dtype)
    wanted = labels(frames, energies, arrays.positions.shape[2], dtype)
    rule = Matching(
        jnp.asarray(force_unit(frames), dtype),
        jnp.asarray(recipe.energy, dtype),
        jnp.asarray(recipe.stress, dtype),
        jnp.asarray(math.ceil(0.8 * recipe.steps), jnp.int32),
        recipe.turned,
    )
    size = min(recipe.batch, len(frames))
    return train(
        net, rule, Batches((arrays, wanted), size), optimiser(recipe), key=jax.random.key(seed + 1),
        steps=recipe.steps, ema=recipe.decay, devices=dividing(jax.local_devices(), size), trace=trace,
        on_chunk=hooks, throw=throw,
    )  # fmt: skip
