"""How well a network finds the sites of labelled genes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from thalweg.core.errors import InputError
from thalweg.genome.data.labels import ACCEPTOR, DONOR, LabelledGene
from thalweg.genome.model.network import SpliceNetwork
from thalweg.genome.model.streaming import probabilities
from thalweg.genome.model.window import IGNORED
from thalweg.genome.tasks.metrics import as_lists, average_precision, ranked, reliability, top_k, with_intervals
from thalweg.genome.tasks.prepare import Packed, packed

SITES = {"donor": DONOR, "acceptor": ACCEPTOR}
_TOGETHER = 2**19  # bases that are computed in one piece


class Predicted(NamedTuple):
    """What a network says of packed genes.

    **Fields:** `material`; `chances [bases, 3]` of none, donor and acceptor, zero between genes; `cpu_seconds` that the
    network took.
    """

    material: Packed
    chances: Float[np.ndarray, "bases 3"]
    cpu_seconds: float


def predict(net: SpliceNetwork, genes: Sequence[LabelledGene]) -> Predicted:
    """The chances of sites at every base of genes, each read in one piece."""
    material = packed(genes, net.margin)
    _warm(net)
    began = time.process_time()
    chances = _chances(net, material)
    return Predicted(material, chances, time.process_time() - began)


def evaluate(net: SpliceNetwork, genes: Sequence[LabelledGene], *, seed: int = 0) -> dict[str, Any]:
    """How well the sites of genes are found.

    **Returns:** for donors and acceptors `topk` and `ap` with intervals over genes, as `donor_topk` and
    `donor_topk_interval`, and once more with sites of other transcripts left out, as `donor_topk_masked`; `donors`,
    `acceptors`, `genes` and `bases`, how many there are; `kbp_per_cpu_second` of the network; `calibration_error` and
    the bins of a reliability diagram for each kind of site among bases with a chance of at least 1 %.

    **Raises:** `InputError` for genes without a site: nothing could be found in them.
    """
    if not any((gene.labels == kind).any() for gene in genes for kind in SITES.values()):
        raise InputError(f"evaluate: none of the {len(genes)} genes has an intron: name a larger region.")
    return figures(predict(net, genes), seed=seed)


def figures(found: Predicted, *, seed: int = 0) -> dict[str, Any]:
    """The figures of merit of what was predicted, as `evaluate` returns them."""
    material = found.material
    scored = material.targets != IGNORED
    counted = int(np.count_nonzero(scored))
    result: dict[str, Any] = {}
    errors, bins = [], {}
    for name, kind in SITES.items():
        for suffix, seen in (("", scored), ("_masked", scored & (material.elsewhere == 0))):
            measured = with_intervals(_ranked(found, kind, seen), seed)
            result |= {f"{name}_{key.replace('_interval', '')}{suffix}" + ("_interval" if "_int" in key else ""): value
                       for key, value in measured.items()}  # fmt: skip
        diagram = reliability(found.chances[scored, kind], material.targets[scored] == kind)
        errors.append(diagram.error)
        bins[name] = as_lists(diagram)
    result |= {f"{name}s": int(np.count_nonzero(material.targets == kind)) for name, kind in SITES.items()}
    result |= {
        "genes": int(material.gene.max()) + 1,
        "bases": counted,
        "cpu_seconds": found.cpu_seconds,
        "kbp_per_cpu_second": material.codes.size / 1e3 / max(found.cpu_seconds, 1e-9),
        "calibration_error": float(np.mean(errors)),
        "reliability": bins,
    }
    return result


def glance(net: SpliceNetwork, material: Packed) -> dict[str, float]:
    """Top-k and average precision of packed genes, without intervals: `donor_topk` and so on."""
    found, result = Predicted(material, _chances(net, material), 0.0), {}
    for name, kind in SITES.items():
        one = _ranked(found, kind, material.targets != IGNORED)
        result |= {f"{name}_topk": top_k(one), f"{name}_ap": average_precision(one)}
    return result


def _chances(net: SpliceNetwork, material: Packed) -> Float[np.ndarray, "bases 3"]:
    chances = np.zeros((material.codes.size, 3), np.float32)
    for part in _parts(material):
        chances[part] = probabilities(
            net, material.codes[part], material.first[part], material.last[part], held=part.stop - part.start
        )
    return chances


def _ranked(found: Predicted, kind: int, seen: Bool[np.ndarray, " bases"]):
    material = found.material
    return ranked(
        found.chances[seen, kind], material.targets[seen] == kind, material.gene[seen], int(material.gene.max()) + 1
    )


def _parts(material: Packed) -> list[slice]:
    """Stretches of whole genes of about the same length, short enough to be held in memory unless a gene is longer."""
    ends = np.flatnonzero(material.last) + 1
    found, start = [], 0
    while start < ends[-1]:
        fitting = ends[(ends > start) & (ends <= start + _TOGETHER)]
        stop = int(fitting[-1]) if fitting.size else int(ends[ends > start][0])
        found.append(slice(start, stop))
        start = stop
    return found


def _warm(net: SpliceNetwork) -> None:
    """Compile, so that what is timed is the network."""
    probabilities(net, np.zeros(1, np.int8))
