"""The chances of sites around alleles, without reading whole genes again for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int8

from thalweg.genome.data.sequence import UNKNOWN
from thalweg.genome.model.network import Ends, SpliceNetwork
from thalweg.genome.tasks.variant_scores import changed
from thalweg.genome.tasks.variant_stretches import BATCH, GRID, REACH, Chances, Job, Stretch, stretches

Reads = Callable[[Int8[np.ndarray, " bases"]], Chances]

CONTEXT = 384  # bases on either side of what is compared that are read again


def whole(reads: Reads, jobs: Sequence[Job]) -> Iterator[tuple[Chances, Chances]]:
    """For each job the chances without and with its allele from `low` to `high`, with the gene read in one piece.

    **Arguments:** `reads`, from base codes to the chances of none, donor and acceptor at each; `jobs`, those of one
    gene together.
    """
    gene, reference = None, None
    for job in jobs:
        if reference is None or job.gene is not gene:
            gene, reference = job.gene, reads(job.gene.codes)
        low, high = job.change.low, job.change.high
        yield reference[low:high], reads(changed(job.gene, job.change))[low : high + job.change.longer]


def windowed(
    net: SpliceNetwork, jobs: Sequence[Job], *, context: int = CONTEXT, reach: int = REACH
) -> list[tuple[Chances, Chances]]:
    """As `whole`, with only some bases on either side of the allele read again.

    The gene is read once without variants and the states of all recurrences are kept every 64 bases. With an allele
    only a window is read, which starts at both ends from the states that were kept: they hold all of the gene outside.
    What is left out is how the allele changes a state outside of the window that comes back into it: it has to pass
    `context` bases out and as many back.

    **Arguments:** `jobs`, those of one gene together; `context`, bases on either side of what is compared; `reach`:
    genes longer than that on both sides of their variants are read so far around them only.
    """
    found: list[tuple[Chances, Chances] | None] = [None] * len(jobs)
    waiting: dict[int, list[_Window]] = {}
    for number, stretch in stretches(net, jobs, reach):
        job = jobs[number]
        window = _window(net, number, job, stretch, context)
        low, high = job.change.low - stretch.start, job.change.high - stretch.start
        found[number] = stretch.chances[low:high].copy(), stretch.chances[:0]
        same = waiting.setdefault(_room(window.length, job, context), [])
        same.append(window)
        if len(same) == BATCH:
            _read(net, same, jobs, found, _room(window.length, job, context))
    for room, some in waiting.items():
        if some:
            _read(net, some, jobs, found, room)
    return found  # type: ignore[return-value]


class _Window(NamedTuple):
    """What is read for one allele.

    **Fields:** the `number` of its job; `codes`, with the stem's margin; `length` without it; `offset` from its start
    to what is compared; `ends`, the states there.
    """

    number: int
    codes: Int8[np.ndarray, " around"]
    length: int
    offset: int
    ends: Ends


def _room(length: int, job: Job, context: int) -> int:
    """The bases of the window of a changed base, or of the least doubling of it that holds the allele's."""
    room = 2 * (context + GRID) + -(-(job.change.high - job.change.low) // GRID) * GRID
    while room < length:
        room *= 2
    return room


def _window(net: SpliceNetwork, number: int, job: Job, stretch: Stretch, context: int) -> _Window:
    gene, change = job
    size = stretch.chances.shape[0]
    first = max(change.low - stretch.start - context, 0) // GRID
    last = -(-min(change.high - stretch.start + context, size) // GRID)
    start, stop = stretch.start + first * GRID, stretch.start + min(last * GRID, size)
    margin = net.margin
    left, right = max(start - margin, 0), min(stop + margin, gene.codes.size)
    middle = np.concatenate([gene.codes[left : change.start], change.codes, gene.codes[change.stop : right]])
    codes = np.pad(middle, (left - start + margin, stop + margin - right), constant_values=UNKNOWN)
    ends = Ends(
        jax.tree.map(lambda leaf: leaf[first], stretch.ahead), jax.tree.map(lambda leaf: leaf[last], stretch.back)
    )
    return _Window(number, codes, stop - start + change.longer, change.low - start, ends)


def _read(net: SpliceNetwork, some: list[_Window], jobs: Sequence[Job], found: list, room: int) -> None:
    """Read some windows at once, the last one again where there are too few, and take them off the list."""
    full = some + some[-1:] * (BATCH - len(some))
    codes = np.full((BATCH, room + 2 * net.margin), UNKNOWN, np.int8)
    for row, window in zip(codes, full, strict=True):
        row[: window.codes.size] = window.codes
    ends = jax.tree.map(lambda *leaves: np.stack(leaves), *(window.ends for window in full))
    lengths = np.array([window.length for window in full], np.int32)
    chances = np.asarray(_chances(net, jnp.asarray(codes), jnp.asarray(lengths), ends))
    for row, window in zip(chances, some, strict=False):
        change = jobs[window.number].change
        after = row[window.offset : window.offset + change.high - change.low + change.longer]
        found[window.number] = found[window.number][0], after.copy()
    some.clear()


@eqx.filter_jit
def _chances(
    net: SpliceNetwork, codes: Int8[Array, "batch around"], lengths: Int[Array, " batch"], ends: Ends
) -> Float[Array, "batch time 3"]:
    """Chances in windows of several lengths, which stand at the left; what comes after them is of no meaning."""
    codes = codes.T
    x = net.stem(codes)
    time = jnp.arange(x.shape[0])[:, None]
    # For the way back they stand at the right, where all of them begin with their states.
    to_right, to_left = (time + lengths) % x.shape[0], (time - lengths) % x.shape[0]
    for block, ahead, back in zip(net.blocks, *ends, strict=True):
        read = block.read(x)
        forth, _ = block.forward(read, ahead, None)
        turned, _ = block.backward(_moved(read, to_right), back, None, reverse=True)
        x = block.joined(x, forth, _moved(turned, to_left))
    return jnp.swapaxes(jax.nn.softmax(net.scores(x, codes), axis=-1), 0, 1)


def _moved(x: Float[Array, "time batch channels"], places: Int[Array, "time batch"]) -> Array:
    return jnp.take_along_axis(x, places[:, :, None], axis=0, mode="promise_in_bounds")
