"""From a genome and its annotation to a trained network with its card."""

from __future__ import annotations

import dataclasses
import datetime
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook, Report
from thalweg.genome.data.annotation import read_annotation
from thalweg.genome.data.genes import Gene, genes, placed
from thalweg.genome.data.labels import FLANK, LabelledGene, labelled
from thalweg.genome.data.paralogs import without_paralogs
from thalweg.genome.data.region import Region, region, resolved, split
from thalweg.genome.data.sequence import read_fasta
from thalweg.genome.model.build import Shape
from thalweg.genome.model.network import SpliceNetwork
from thalweg.genome.tasks.evaluate import evaluate, glance
from thalweg.genome.tasks.prepare import packed
from thalweg.genome.tasks.train import Recipe, learnt, parameters, started
from thalweg.genome.tasks.trained import FILE, Trained, save_trained

Note = Callable[[str], object]
HookMaker = Callable[[str, str, Callable[[Any], Mapping[str, Any]]], tuple[Hook, ...]]
_SHARE, _MOST = 0.05, 300  # of the genes, and genes, that are held out for validation by default
_WATCHED = 200_000  # bases that are looked at while training
_PATIENCE = 40  # times what a look takes must pass before the next one


class Material(NamedTuple):
    """What a network is made from.

    **Fields:** `training` genes; `validation`, held out to watch and to choose by; `held_out`, for the test alone;
    `told`, where they come from and how many there are, in words and numbers.
    """

    training: list[LabelledGene]
    validation: list[LabelledGene]
    held_out: list[LabelledGene]
    told: dict[str, Any]


def material(
    fasta: str,
    annotation: str,
    *,
    holdout: Sequence[str] = (),
    validation: Sequence[str] = (),
    isoforms: Any = "longest",
    flank: int = FLANK,
    paralogs: bool = False,
    note: Note | None = None,
) -> Material:
    """Read a genome and its annotation, label its genes and part them by position.

    A gene across the end of a region belongs to no part. Genes that are too similar to held-out ones are dropped.
    Where no region is named for validation, it is the last twentieth of the genes, at most 300, of the chromosome with
    most genes to learn from.

    **Arguments:** `holdout` and `validation`, regions such as `chr1` or `chr1:24000000-30427671`; `isoforms`, as `kind`
    of `genes`; `flank`, bases that are read on either side of a gene; `paralogs`, whether similar genes are kept.

    **Raises:** `InputError` where the files do not fit each other or a part is empty.
    """
    told = note or (lambda sentence: None)
    sequences = read_fasta(fasta, note=told)
    every = placed(sequences, genes(read_annotation(annotation, note=told), isoforms, note=told), note=told)
    regions = [resolved(region(one), sequences, note=told) for one in holdout]
    watched = [resolved(region(one), sequences, note=told) for one in validation]
    parts = split(every, regions, watched or [_last(split(every, regions).training)])
    if not paralogs:
        parts = without_paralogs(sequences, parts, note=told)
    for words, part in (("to learn from", parts.training), ("for validation", parts.validation)):
        if not part:
            raise InputError(f"{annotation}: no gene is left {words}: hold out less.")
    if holdout and not parts.held_out:
        raise InputError(f"{annotation}: no gene lies in {', '.join(holdout)}: hold out a larger region.")
    about = {
        "fasta": str(fasta),
        "annotation": str(annotation),
        "holdout": list(holdout),
        "validation": list(validation) or "the last genes of the training region",
        "isoforms": isoforms,
        "flank": flank,
        "border_genes": len(parts.border),
        "paralogs_dropped": len(parts.paralogs),
    }
    found = Material(
        labelled(sequences, parts.training, flank=flank, note=told),
        labelled(sequences, parts.validation, flank=flank),
        labelled(sequences, parts.held_out, flank=flank),
        about,
    )
    for words, part in (("to learn from", found.training), ("for validation", found.validation)):
        if not any(gene.labels.any() for gene in part):
            raise InputError(f"{annotation}: none of the {len(part)} genes {words} has an intron: hold out less.")
    return found


def _last(training: list[Gene]) -> Region:
    names = [gene.chromosome for gene in training]
    if not names:
        raise InputError("train: every gene is held out: hold out less.")
    most = max(dict.fromkeys(names), key=names.count)
    here = sorted((gene for gene in training if gene.chromosome == most), key=lambda gene: gene.start)
    many = min(_MOST, max(1, math.ceil(_SHARE * len(here))))
    return Region(most, here[-many].start, max(gene.end for gene in here[-many:]))


class Watch:
    """A hook that looks now and then how well held-out genes are done, by the moving average of the network.

    It changes no bit of the training. `read` says the loss and what it saw last.
    """

    def __init__(self, genes: Sequence[LabelledGene], margin: int):
        self._material = packed(_some(genes, _WATCHED), margin)
        self._seen = {f"{name}_{what}": math.nan for name in ("donor", "acceptor") for what in ("topk", "ap")}
        self._due = 0.0

    def __call__(self, report: Report) -> None:
        if time.process_time() < self._due and report.step < report.steps:
            return
        began = time.process_time()
        if report.step > report.first:  # the first look would compile, and there is nothing to see
            self._seen = glance(report.state.average, self._material)
        self._due = time.process_time() + max(_PATIENCE * (time.process_time() - began), 5.0)

    def read(self, state: Any) -> dict[str, Any]:
        """The loss, and top-k and average precision of both kinds of sites when they were last looked at."""
        return {"loss": state.metrics["loss"], **self._seen}


def _some(genes: Sequence[LabelledGene], bases: int) -> list[LabelledGene]:
    """Genes from all over, of so many bases together."""
    total = sum(gene.codes.size for gene in genes)
    every = max(1, math.ceil(total / bases))
    return list(genes[::every])


def trained_network(
    given: Material, *, shape: Shape, recipe: Recipe, seed: int, hooks: HookMaker, init: Trained | None = None
) -> Trained:
    """Train a network and measure it on the genes for validation.

    **Arguments:** `hooks`, from the words for a progress bar, the name of a checkpoint and what reads metrics off a
    state to the hooks of the training; `init`, a network to go on from, whose shape and prior are kept.

    **Raises:** `WalkError` where the training breaks.
    """
    start, shape = begun(given, shape, seed=seed, init=init)
    watch = Watch(given.validation, start.margin)
    solution = learnt(
        start, packed(given.training, start.margin), recipe, seed=seed,
        hooks=(watch, *hooks("training", "state", watch.read)),
    )  # fmt: skip
    net = solution.value
    measured = evaluate(net, given.validation, seed=seed)
    return Trained(net, shape, _card(given, net, shape, recipe, seed, init, measured))


def begun(given: Material, shape: Shape, *, seed: int, init: Trained | None = None) -> tuple[SpliceNetwork, Shape]:
    """What a training starts from: a fresh network of some shape, or a trained one with its own."""
    if init is not None:
        return init.net, init.shape
    return started(shape, packed(given.training, shape.window // 2), seed=seed), shape


def kept(folder: Path, trained: Trained) -> Path:
    """Write a network into a run's directory."""
    return save_trained(folder / FILE, trained)


def _card(
    given: Material, net: SpliceNetwork, shape: Shape, recipe: Recipe, seed: int, init: Trained | None,
    measured: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **given.told,
        "training_genes": len(given.training),
        "validation_genes": len(given.validation),
        "held_out_genes": len(given.held_out),
        "training_bases": int(sum(gene.codes.size for gene in given.training)),
        "init": None if init is None else init.name,
        "shape": dataclasses.asdict(shape),
        "recipe": dataclasses.asdict(recipe),
        "parameters": parameters(net),
        "random_seed": seed,
        "device": jax.default_backend(),
        "validation_figures": _plain(measured),
    }


def _plain(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Figures without what is not a number, which JSON does not know."""
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in measured.items()
        if name != "reliability" and not name.endswith("_interval")
    }
