"""Genes of an annotation beside what a scan of whole sequences found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook, Store
from thalweg.genome.data.genes import Gene
from thalweg.genome.data.labels import labelled, strand_labels
from thalweg.genome.data.region import Region
from thalweg.genome.data.sequence import Sequence as Bases
from thalweg.genome.data.tracks import Sites
from thalweg.genome.model.network import SpliceNetwork
from thalweg.genome.tasks.evaluate import predict
from thalweg.genome.tasks.identity import fingerprint
from thalweg.genome.tasks.scan import KINDS, Scan
from thalweg.methods.parts import in_parts, part_name

_PART = 2**20  # bases of genes that are kept at once


class InGenes(NamedTuple):
    """Sites that were found in genes, each read in its direction.

    **Fields:** by `donor` and `acceptor`, the sites gene by gene; `result`, how they and those of a scan agree with the
    annotation.
    """

    sites: dict[str, list[Sites]]
    result: dict[str, Any]


def scan_genes(
    net: SpliceNetwork,
    sequences: Mapping[str, Bases],
    genes: Sequence[Gene],
    beside: Scan,
    *,
    region: Region | None = None,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
) -> InGenes:
    """The sites of genes whose strand and ends are known, as they are trained on, beside those of whole sequences.

    **Arguments:** `genes` that lie on the sequences, as from `placed`; `beside`, the scan, with whose threshold sites
    are taken; `region`, of which only genes within count.

    **Returns:** `genes`; for each kind `annotated` sites, and with the threshold the `recall` and `precision` of what
    was found in genes (`in_genes`) and in whole sequences (`genome_wide`: its precision counts every site that the
    annotation lacks as wrong).

    **Raises:** `InputError` if no gene lies in the region; `WalkError` where a hook stopped it.
    """
    inside = [gene for gene in genes if gene.chromosome in sequences and (region is None or region.holds(gene))]
    if not inside:
        raise InputError("scan: no gene of the annotation lies in the region: choose another, or leave out one.")
    network = fingerprint(net).hex()
    groups = {_name(group, sequences, network, beside.threshold): group for group in _groups(inside)}
    kept = in_parts(
        list(groups),
        lambda name: _found(net, sequences, groups[name], beside.threshold),
        done=done,
        hooks=hooks,
        task="scan of genes",
    )
    sites: dict[str, list[Sites]] = {name: [] for name in KINDS}
    for name, group in groups.items():
        for kind, code in KINDS.items():
            arrays = kept[name]
            for number, gene in enumerate(group):
                of = arrays[f"{kind}_gene"] == number
                kinds = np.full(np.count_nonzero(of), code, np.int8)
                sites[kind].append(
                    Sites(gene.chromosome, gene.strand, arrays[f"{kind}_at"][of], kinds, arrays[kind][of])
                )
    return InGenes(sites, _result(sequences, inside, sites, beside))


def _groups(genes: Iterable[Gene]) -> list[list[Gene]]:
    found: list[list[Gene]] = []
    room = 0
    for gene in genes:
        if not found or room + gene.end - gene.start > _PART:
            found.append([])
            room = 0
        found[-1].append(gene)
        room += gene.end - gene.start
    return found


def _name(group: Sequence[Gene], sequences: Mapping[str, Bases], network: str, threshold: float) -> str:
    codes = [sequences[gene.chromosome].codes[max(gene.start - 1000, 0) : gene.end + 1000] for gene in group]
    places = [[gene.chromosome, gene.start, gene.end, gene.strand] for gene in group]
    return part_name("genes", net=network, codes=np.concatenate(codes), places=places, threshold=threshold)


def _found(
    net: SpliceNetwork, sequences: Mapping[str, Bases], group: Sequence[Gene], threshold: float
) -> dict[str, np.ndarray]:
    given = labelled(sequences, group)
    chances, of_base = predict(net, given).chances, _places(given, net.margin)
    found: dict[str, np.ndarray] = {}
    for name, kind in KINDS.items():
        numbers, positions = of_base
        at = np.flatnonzero((chances[:, kind] >= threshold) & (numbers >= 0))
        order = np.lexsort((positions[at], numbers[at]))
        found |= {
            f"{name}_gene": numbers[at][order],
            f"{name}_at": positions[at][order],
            name: chances[at, kind][order],
        }
    return found


def _places(given: Sequence[Any], margin: int) -> tuple[np.ndarray, np.ndarray]:
    """The number of the gene of every base of packed genes, -1 outside of them, and its place on the plus strand."""
    numbers, positions = [np.full(margin, -1)], [np.zeros(margin, np.int64)]
    for number, each in enumerate(given):
        gene, size = each.gene, each.codes.size
        here = np.full(size, -1)
        here[each.scored] = number
        along = np.arange(size) - each.flank
        numbers += [here, np.full(margin, -1)]
        positions += [gene.start + along if gene.strand > 0 else gene.end - 1 - along, np.zeros(margin, np.int64)]
    return np.concatenate(numbers), np.concatenate(positions)


def _result(sequences, genes: Sequence[Gene], sites: dict[str, list[Sites]], beside: Scan) -> dict[str, Any]:
    known = _annotated(sequences, genes)
    result: dict[str, Any] = {"genes": len(genes)}
    for name in KINDS:
        for where, some in (("in_genes", sites[name]), ("genome_wide", list(beside.sites(name)))):
            found = {(one.chromosome, one.strand, int(at)) for one in some for at in one.positions}
            both = len(found & known[name])
            result[f"{name}_{where}"] = {
                "found": len(found),
                "recall": both / len(known[name]) if known[name] else None,
                "precision": both / len(found) if found else None,
            }
        result[f"{name}s_annotated"] = len(known[name])
    return result


def _annotated(sequences: Mapping[str, Bases], genes: Sequence[Gene]) -> dict[str, set[tuple[str, int, int]]]:
    found: dict[str, set[tuple[str, int, int]]] = {name: set() for name in KINDS}
    for chromosome in dict.fromkeys(gene.chromosome for gene in genes):
        for strand in (1, -1):
            labels = strand_labels(sequences[chromosome], genes, strand)
            for name, kind in KINDS.items():
                found[name] |= {(chromosome, strand, int(at)) for at in np.flatnonzero(labels == kind)}
    return found
