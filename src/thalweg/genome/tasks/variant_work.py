"""The parts in which variants are scored, with names that say all that their scores follow from."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from thalweg.genome.data.genes import Gene
from thalweg.genome.data.sequence import Sequence as Bases
from thalweg.genome.data.vcf import Variant
from thalweg.genome.model.network import SpliceNetwork
from thalweg.genome.model.streaming import probabilities
from thalweg.genome.tasks.identity import fingerprint
from thalweg.genome.tasks.variant_alleles import Task
from thalweg.genome.tasks.variant_scores import Sense, change, delta, nearest_boundary, sense
from thalweg.genome.tasks.variant_stretches import Chances, Job
from thalweg.genome.tasks.variant_window import Reads, whole, windowed
from thalweg.methods.parts import part_name

CHECK = "check"
_LONGEST = 200_000  # bases of a gene that is read whole to check


class Options(NamedTuple):
    """How variants are scored, as in `variants`."""

    distance: int
    mask: bool
    context: int
    reach: int


class Work:
    """What scores follow from, and how long they took.

    **Fields:** `alleles` that were scored; `seconds` and `cpu_seconds` of it, without what was compiled.
    """

    def __init__(
        self,
        model: SpliceNetwork | Reads,
        sequences: Mapping[str, Bases],
        genes: Sequence[Gene],
        records: Sequence[Variant],
        tasks: Sequence[Task],
        options: Options,
    ):
        self.alleles, self.seconds, self.cpu_seconds = 0, 0.0, 0.0
        self._model, self._sequences, self._genes = model, sequences, genes
        self._records, self._tasks, self._options = records, tasks, options
        self._warm = not isinstance(model, SpliceNetwork)
        self._network = fingerprint(model) if isinstance(model, SpliceNetwork) else b""

    def jobs(self, part: Sequence[int]) -> list[Job]:
        """The alleles of a part; those in one gene have the same `Sense`."""
        senses: dict[int, Sense] = {}
        found = []
        for number in part:
            task, record = self._tasks[number], self._records[self._tasks[number].record]
            if task.gene not in senses:
                gene = self._genes[task.gene]
                senses[task.gene] = sense(gene, self._sequences[task.sequence], self._options.distance)
            of = senses[task.gene]
            allele = record.alternatives[task.alternative]
            found.append(Job(of, change(record, allele, of, self._options.distance)))
        return found

    def name(self, part: Sequence[int], kind: str = "variants") -> str:
        """What the scores of a part are kept under."""
        told = hashlib.sha256(self._network)
        before = None
        for number, job in zip(part, self.jobs(part), strict=True):
            gene, by = job
            if gene is not before:
                told.update(gene.codes.tobytes())
                told.update(repr((gene.first, gene.strand, gene.inner)).encode())
                before = gene
            told.update(by.codes.tobytes())
            told.update(repr((by.start, by.stop, by.low, by.high, self._boundary(number))).encode())
        return part_name(kind, **self._options._asdict(), told=told.hexdigest())

    def compute(self, part: Sequence[int], check: bool) -> dict[str, np.ndarray]:
        """The `scores` and `positions` of a part; to `check`, from whole genes, and NaN for those that are too long."""
        jobs = self.jobs(part)
        if not self._warm and not check:  # so that what is timed is the network
            windowed(self._model, jobs[:1], context=self._options.context, reach=self._options.reach)  # type: ignore[arg-type]
            self._warm = True
        began = time.perf_counter(), time.process_time()
        scores = np.full((len(part), 4), np.nan, np.float32)
        positions = np.zeros((len(part), 4), np.int32)
        for row, found in enumerate(self._pairs(jobs, check)):
            if found is None:
                continue
            number, (gene, by) = part[row], jobs[row]
            record = self._records[self._tasks[number].record]
            scores[row], positions[row] = delta(
                *found, gene, by, record, self._options.distance, self._boundary(number)
            )
        if not check:
            self.alleles += len(part)
            self.seconds += time.perf_counter() - began[0]
            self.cpu_seconds += time.process_time() - began[1]
        return {"scores": scores, "positions": positions}

    def _pairs(self, jobs: Sequence[Job], check: bool) -> Iterator[tuple[Chances, Chances] | None]:
        model = self._model
        if not isinstance(model, SpliceNetwork):
            yield from whole(model, jobs)
        elif not check:
            yield from windowed(model, jobs, context=self._options.context, reach=self._options.reach)
        else:
            for job in jobs:
                short = job.gene.codes.size <= _LONGEST
                yield next(whole(_reading(model), [job])) if short else None

    def _boundary(self, number: int) -> int | None:
        if not self._options.mask:
            return None
        task = self._tasks[number]
        return nearest_boundary(self._genes[task.gene], self._records[task.record].position)


def _reading(net: SpliceNetwork) -> Callable[[np.ndarray], Chances]:
    return lambda codes: probabilities(net, codes)
