"""Score how variants change splicing: delta scores in the sense of SpliceAI, for every record of a VCF file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook, Store
from thalweg.genome.data.genes import Gene
from thalweg.genome.data.sequence import Sequence as Bases
from thalweg.genome.data.text import Note, silent
from thalweg.genome.data.vcf import SPLICEAI, SPLICEAI_HEADER, Variants, annotated, write_vcf
from thalweg.genome.model.network import SpliceNetwork
from thalweg.genome.tasks.variant_alleles import REASONS, Skipped, Task, judged
from thalweg.genome.tasks.variant_scores import Delta, written
from thalweg.genome.tasks.variant_stretches import REACH
from thalweg.genome.tasks.variant_window import CONTEXT, Reads
from thalweg.genome.tasks.variant_work import CHECK, Options, Work
from thalweg.methods.parts import in_parts

SKIPPED = "SpliceAI_SKIPPED"
SKIPPED_HEADER = (
    f'##INFO=<ID={SKIPPED},Number=.,Type=String,Description="Alternatives without scores and why. '
    f'Format: ALLELE|REASON; reasons are {", ".join(REASONS)}">'
)
_PART = 1000  # alleles in genes that are kept at once: some seconds
_CHECKED = 8  # of them that are read once more with their whole gene


class Scored(NamedTuple):
    """What became of the records of a VCF file.

    **Fields:** `variants` as they were read; `genes`; for each of the `tasks`, in the order of the records, its
    `deltas`; `skipped` alternatives; `result`, the figures.
    """

    variants: Variants
    genes: Sequence[Gene]
    tasks: list[Task]
    deltas: list[Delta]
    skipped: list[Skipped]
    result: dict[str, Any]

    def lines(self) -> list[str]:
        """One line for every record, in order, with the entries of its alternatives in INFO and nothing else changed.

        What another program left under the same keys is taken out.
        """
        scores: dict[int, list[str]] = {}
        reasons: dict[int, list[str]] = {}
        for task, found in zip(self.tasks, self.deltas, strict=True):
            allele = self.variants.records[task.record].alternatives[task.alternative]
            scores.setdefault(task.record, []).append(written(allele, self.genes[task.gene], found))
        for one in self.skipped:
            reasons.setdefault(one.record, []).append(f"{one.allele}|{one.reason}")
        return [
            _line(record, {SPLICEAI: scores.get(number), SKIPPED: reasons.get(number)})
            for number, record in enumerate(self.variants.records)
        ]

    def write(self, path: str | Path) -> Path:
        """Write them as VCF, packed if the name ends in `.gz`, whole or not at all."""
        return write_vcf(path, self.variants, self.lines(), info=(SPLICEAI_HEADER, SKIPPED_HEADER))


def _line(record: Any, entries: Mapping[str, list[str] | None]) -> str:
    fields = record.fields
    kept = [item for item in fields[7].split(";") if item.partition("=")[0] not in entries]
    if len(kept) < fields[7].count(";") + 1:
        fields[7] = ";".join(kept) or "."
        record = record._replace(raw="\t".join(fields))
    return annotated(record, {key: ",".join(found) for key, found in entries.items() if found})


def variants(
    model: SpliceNetwork | Reads,
    sequences: Mapping[str, Bases],
    genes: Sequence[Gene],
    vcf: Variants,
    *,
    distance: int = 50,
    mask: bool = False,
    context: int = CONTEXT,
    reach: int = REACH,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
    note: Note = silent,
) -> Scored:
    """Delta scores of every alternative of every record in every gene that it overlaps.

    Each gene is read in its direction with the bases around it, as in the training. `delta` says what the scores are.

    **Arguments:**

    - `model`: a network, of which only a window is computed for each allele (`windowed`), or any function from base
      codes to the chances of none, donor and acceptor at each, which reads whole genes.
    - `sequences`; `genes` that lie on them, as from `placed`; `vcf`, as from `read_vcf`.
    - `distance`: bases on either side of a record's position where its effect is looked for.
    - `mask`: gains at the annotated end of an exon that is nearest to the position, and losses elsewhere, count
      nothing.
    - `context` and `reach`, as in `windowed`.
    - `done`: where finished parts are kept; a call with the same network, genes and variants goes on from them.
    - `hooks`, called after each part; `note`, told of chromosomes found under other names, and of an error of the
      windows that shows in the second decimal.

    **Returns:** `records`, of which `scored` have at least one score and `skipped` none; `alternatives` scored;
    `scores`, one for each allele and gene; `reasons`, how many alternatives were skipped for which; `variants_per_hour`
    and `cpu_seconds` of what was computed in this call; `largest_error`: how far scores of a few alleles are from those
    of whole genes at most.

    **Raises:** `InputError` for a distance below 1, a context below 0, or `done` for a model that is no network;
    `WalkError` where a hook stopped it.
    """
    _check(model, Options(distance, mask, context, reach), done)
    tasks, skipped = judged(vcf.records, sequences, genes, distance, note=note)
    order = sorted(range(len(tasks)), key=lambda n: (tasks[n].gene, vcf.records[tasks[n].record].position, n))
    work = Work(model, sequences, genes, vcf.records, tasks, Options(distance, mask, context, reach))
    parts = {work.name(part): part for part in _parts(order)}
    checked = tuple(order[:: max(1, len(order) // _CHECKED)][:_CHECKED])
    if checked and isinstance(model, SpliceNetwork):
        parts[work.name(checked, CHECK)] = checked
    kept = in_parts(
        list(parts),
        lambda name: work.compute(parts[name], name.startswith(CHECK)),
        done=done,
        hooks=hooks,
        task="variants",
    )
    deltas, errors = _gathered(len(tasks), parts, kept)
    result = _result(vcf, tasks, skipped, work, max(errors, default=None))
    if result["largest_error"] is not None and result["largest_error"] > 0.005:
        note(f"Scores are up to {result['largest_error']:.3f} from those of whole genes: choose a context of more than "
             f"{context} bases.")  # fmt: skip
    return Scored(vcf, genes, tasks, deltas, skipped, result)


def _gathered(
    count: int, parts: Mapping[str, tuple[int, ...]], kept: Mapping[str, Mapping[str, np.ndarray]]
) -> tuple[list[Delta], list[float]]:
    """The deltas of all tasks in their order, and how far those that were checked are from whole genes."""
    deltas: list[Any] = [None] * count
    errors = []
    for name, part in parts.items():
        for number, scores, positions in zip(part, kept[name]["scores"], kept[name]["positions"], strict=True):
            if not name.startswith(CHECK):
                deltas[number] = Delta(scores, positions)
            elif not np.isnan(scores).any():  # its gene was not too long
                errors.append(float(np.max(np.abs(scores - deltas[number].scores))))
    return deltas, errors


def _check(model: SpliceNetwork | Reads, options: Options, done: Store | None) -> None:
    if options.distance < 1 or options.context < 0 or options.reach < 1:
        raise InputError(f"variants: distance {options.distance}, context {options.context}, reach {options.reach}: "
                         "choose at least 1, 0 and 1 bases.")  # fmt: skip
    if done is not None and not isinstance(model, SpliceNetwork):
        raise InputError("variants: what a function computed cannot be told from what another did: keep no parts.")


def _parts(order: Sequence[int]) -> list[tuple[int, ...]]:
    return [tuple(order[at : at + _PART]) for at in range(0, len(order), _PART)]


def _result(vcf: Variants, tasks: list[Task], skipped: list[Skipped], work: Work, error: float | None) -> dict:
    scored = len({task.record for task in tasks})
    return {
        "records": len(vcf.records),
        "scored": scored,
        "skipped": len(vcf.records) - scored,
        "alternatives": len({(task.record, task.alternative) for task in tasks}),
        "scores": len(tasks),
        "reasons": dict(sorted(Counter(one.reason for one in skipped).items())),
        "variants_per_hour": 3600 * work.alleles / work.seconds if work.alleles else None,
        "cpu_seconds": work.cpu_seconds,
        "largest_error": error,
    }
