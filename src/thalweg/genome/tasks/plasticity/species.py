"""The experiment on two real species: their genes, the network's training, and the methylation of the first one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.genome.data.labels import LabelledGene
from thalweg.genome.energy import surprise
from thalweg.genome.model.build import Shape
from thalweg.genome.model.window import IGNORED, Window
from thalweg.genome.tasks.evaluate import SITES, Predicted, predict
from thalweg.genome.tasks.metrics import ranked, top_k
from thalweg.genome.tasks.plasticity.lab import AbstractLab
from thalweg.genome.tasks.plasticity.measure import SquaredSlopes, watched
from thalweg.genome.tasks.plasticity.network_taps import network_energies
from thalweg.genome.tasks.prepare import Crops, Packed, crops, packed
from thalweg.genome.tasks.train import Recipe, learnt, optimiser, started
from thalweg.methods.data import AbstractData, Drawn
from thalweg.methods.gradient_energy import Energies

METHYLATED, UNMETHYLATED = 0.2, 0.05  # above and below: nearly all CG methylation of gene bodies is one or the other
PASSES = 2  # over the genes in which maps are measured: of a few hundred crops two measurements hardly agree


class Genes(NamedTuple):
    """Labelled genes and the methylation `levels` of each, in [0, 1]."""

    genes: Sequence[LabelledGene]
    levels: Float[np.ndarray, " genes"]


class Two(NamedTuple):
    """What is known of the two species.

    **Fields:** `learnt`, genes of the first one to pretrain on; `measured`, those of them whose methylation is known;
    `retained`, held-out genes of it whose methylation is known; `second`, genes to fine-tune on; `gained`, held out.
    """

    learnt: Sequence[LabelledGene]
    measured: Genes
    retained: Genes
    second: Sequence[LabelledGene]
    gained: Sequence[LabelledGene]


class MarkedCrops(AbstractData):
    """Crops of packed genes with the mark of every base, and 1 where it belongs to the first half of the genes."""

    plain: Crops
    marks: Float[Array, " bases"]
    half: Float[Array, " bases"]

    def init(self, key) -> Drawn:
        return self.plain.init(key)

    def next(
        self, cursor: Drawn
    ) -> tuple[tuple[Window, Float[Array, "batch time"], Float[Array, "batch time"]], Drawn]:
        window, after = self.plain.next(cursor)
        return (window, self._cut(self.marks, cursor), self._cut(self.half, cursor)), after

    def _cut(self, marks: Float[Array, " bases"], cursor: Drawn) -> Float[Array, "batch time"]:
        # Where the bases are cut: as the targets of a second genome of the same crops.
        return eqx.tree_at(lambda of: of.genome.targets, self.plain, marks).next(cursor)[0].targets


def marked_crops(
    material: Packed, levels: Float[np.ndarray, " genes"], margin: int, length: int, batch: int
) -> MarkedCrops:
    """Crops of packed genes, each base marked with the level of its gene; 0 in between, where nothing is scored.

    Every other gene belongs to the first half: neighbours, which resemble each other in methylation, are parted.
    """
    plain = crops(material, margin, length, batch)
    room = plain.genome.targets.shape[0] - material.gene.size

    def spread(values: Float[np.ndarray, " genes"]) -> Array:
        table = np.append(np.asarray(values, np.float32), np.float32(0))  # -1, between genes, is the last one
        return jnp.asarray(np.pad(table[material.gene], (0, room)))

    return MarkedCrops(plain, spread(levels), spread(np.arange(len(levels)) % 2 == 0))


def energies_of(
    model: PyTree, material: Packed, levels: Float[np.ndarray, " genes"], *, length: int, batch: int = 2,
    passes: int = PASSES, seed: int,
) -> tuple[Energies, Energies]:  # fmt: skip
    """Gradient energies of a network on both halves of some genes, over some passes in random crops."""
    data = marked_crops(material, levels, model.margin, length, batch)
    looks = passes * -(-material.codes.size // (length * batch))
    return watched(_energies, model, data, steps=looks, key=jax.random.key(seed))


def _energies(model: PyTree, batch: Any) -> tuple[Energies, Energies]:
    return network_energies(model, *batch)


def _crop_loss(model: PyTree, item: Window) -> Float[Array, ""]:
    one = jax.tree.map(lambda leaf: leaf[None], item)
    # Of the labels of a whole crop: what is independent of another crop is squared.
    return surprise(model, one, None)[0] * jnp.sum(one.targets != IGNORED)


_FISHER = SquaredSlopes(_crop_loss)


class Species(AbstractLab):
    """A pair of species, a shape of network, and how it is trained on each.

    **Arguments:** `two`, the genes; `shape`; the recipes of the `pretraining` and of the `tuning`, whose moving average
    of the network is what is scored; `passes` over the genes in which maps are measured. The Fisher information is
    summed over as many batches of all genes of the first species.
    """

    def __init__(self, two: Two, shape: Shape, pretraining: Recipe, tuning: Recipe, *, passes: int = PASSES):
        self._shape, self.pretraining, self.tuning, self._passes = shape, pretraining, tuning, passes
        self._measured, self._margin = two.measured, shape.window // 2
        levels = np.asarray(two.retained.levels)
        self._parts = {"retained": np.ones(len(levels), bool), "retained_methylated": levels > METHYLATED,
                       "retained_unmethylated": levels < UNMETHYLATED}  # fmt: skip
        for name, chosen in self._parts.items():
            if not chosen.any():
                raise InputError(f"plasticity: no held-out gene is {name.replace('_', ', ')}: choose another region.")
        if len(two.measured.levels) < 2:
            raise InputError("plasticity: fewer than two genes are left to measure maps in: hold out less.")
        self._learnt, self._second = packed(two.learnt, self._margin), packed(two.second, self._margin)
        self._retained, self._gained = two.retained.genes, two.gained

    @property
    def told(self) -> Mapping[str, Any]:
        genes = {"measured": self._measured.genes, "retained": self._retained, "gained": self._gained}
        packs = {"learnt": self._learnt, "second": self._second}
        packs |= {name: packed(some, self._margin) for name, some in genes.items()}
        return {
            "shape": dataclasses.asdict(self._shape), "pretraining": dataclasses.asdict(self.pretraining),
            "tuning": dataclasses.asdict(self.tuning), "passes": self._passes,
            "parts": np.stack(list(self._parts.values())),
        } | {f"genes_{name}": np.stack([of.codes, of.targets]) for name, of in packs.items()}  # fmt: skip

    @property
    def levels(self) -> Float[np.ndarray, " genes"]:
        return np.asarray(self._measured.levels)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        return optimiser(self.tuning)

    def introns(self) -> Int[np.ndarray, " genes"]:
        """Introns of each gene in which maps are measured, for strata."""
        return np.array([int(np.sum(gene.labels == 1)) for gene in self._measured.genes])

    def pretrained(self, seed: int, hooks: tuple[Hook, ...]) -> PyTree:
        start = started(self._shape, self._learnt, seed=seed)
        return learnt(start, self._learnt, self.pretraining, seed=seed, hooks=hooks).value

    def template(self) -> PyTree:
        return started(self._shape, self._learnt, seed=0)

    def energies(self, model: PyTree, levels: Float[np.ndarray, " genes"], seed: int) -> tuple[Energies, Energies]:
        of, material = self.pretraining, packed(self._measured.genes, model.margin)
        return energies_of(model, material, levels, length=of.length, batch=of.batch, passes=self._passes, seed=seed)

    def fisher(self, model: PyTree, seed: int) -> PyTree:
        of = self.pretraining
        measured = sum(gene.codes.size for gene in self._measured.genes)
        data = crops(self._learnt, model.margin, of.length, of.batch)
        looks = self._passes * -(-measured // (of.length * of.batch))
        return watched(_FISHER, model, data, steps=looks, key=jax.random.key(seed))

    def tuned(
        self, model: PyTree, optimiser: optax.GradientTransformation, seed: int, hooks: tuple[Hook, ...]
    ) -> PyTree:
        return learnt(model, self._second, self.tuning, seed=seed, hooks=hooks, transform=optimiser).value

    def scores(self, model: PyTree) -> Mapping[str, float]:
        seen = predict(model, self._retained)
        return {"gain": _found(predict(model, self._gained), np.ones(len(self._gained), bool))} | {
            name: _found(seen, part) for name, part in self._parts.items()
        }


def _found(seen: Predicted, chosen: Bool[np.ndarray, " genes"]) -> float:
    """The mean of donor and acceptor top-k over the chosen ones of some genes."""
    material = seen.material
    of = (material.targets != IGNORED) & np.append(chosen, False)[material.gene]  # -1, between genes, is the last one
    kinds = [
        ranked(seen.chances[of, kind], material.targets[of] == kind, material.gene[of], len(chosen))
        for kind in SITES.values()
    ]
    return float(np.mean([top_k(one) for one in kinds]))
