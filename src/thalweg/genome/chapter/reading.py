"""Chapter 5: a recurrent network reads DNA and learns where introns are cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from thalweg.report.blocks import Block, Citations, Claim, Prose
from thalweg.report.chapter import Chapter, Stopwatch, Telling

_COMMAND = "thalweg genome train --fasta your_genome.fa --annotation your_genes.gff3 --minutes 30"
_SYSTEM = "The first 3 million bases of Arabidopsis chromosome 1; learnt from the first 2.4 million"
_HOLDOUT = "cress_chr1_start:2400001-3001362"
_STEPS = {"quick": 150, "default": 700, "full": 4000}
_DRAWN = 2000  # times that genes are drawn anew for an interval
_ALARM = 5e-4  # of an interval that excludes zero by chance
_STORY = (
    "A network reads a gene base by base, from both ends, and keeps what it needs in its memory. What it says wrongly "
    "at a splice site is propagated back through time, over all bases that it read. The landscape is the mean surprise "
    "per base over the weights; training walks down."
)


def _reading(telling: Telling) -> Iterator[Block]:
    from thalweg.genome.figures.landscape import landscape_slider
    from thalweg.genome.figures.train import SPLICEAI
    from thalweg.genome.model.build import Shape
    from thalweg.genome.model.streaming import HELD
    from thalweg.genome.tasks.evaluate import predict
    from thalweg.genome.tasks.prepare import packed
    from thalweg.genome.tasks.train import Recipe, learnt, started
    from thalweg.genome.tasks.training import material

    watch = Stopwatch()
    yield Prose(_STORY)
    telling.note("labelling the genes of three million bases")
    given = material("cress", "cress", holdout=[_HOLDOUT])
    steps = _STEPS[telling.effort]
    shape = Shape()
    genes = packed(given.training, shape.window // 2)
    start = started(shape, genes, seed=0)
    telling.note(f"compiling, and {steps} steps of back-propagation through time")
    net = learnt(start, genes, Recipe(steps=steps), seed=0).value
    telling.note("reading the held-out genes")
    found = predict(net, given.held_out)
    yield landscape_slider(start, net, given.held_out)
    yield from _floor_claims(genes, found, watch)
    telling.note("differences of the loss in double precision")
    yield _slope_claim(net, given.held_out[0], watch)
    telling.note("reading in pieces")
    yield _pieces_claim(net, found.material.codes[: HELD // 8], watch)
    yield Citations([SPLICEAI, type(net.blocks[0].forward.cell).bibtex])


def _floor_claims(genes: Any, found: Any, watch: Stopwatch) -> Iterator[Claim]:
    """The network against the floor on the same bases, with paired intervals over genes."""
    from thalweg.genome.model.markov import markov
    from thalweg.genome.model.window import IGNORED
    from thalweg.genome.tasks.evaluate import SITES
    from thalweg.genome.tasks.metrics import ranked, top_k

    floor = markov(genes.codes, genes.targets, genes.targets != IGNORED)(found.material.codes)
    seen = found.material.targets != IGNORED
    number, count = found.material.gene[seen], int(found.material.gene.max()) + 1
    random = np.random.default_rng(0)
    drawn = [np.bincount(random.integers(count, size=count), minlength=count) for _ in range(_DRAWN)]
    for name, kind in SITES.items():
        hits = found.material.targets[seen] == kind
        mine, theirs = (ranked(chances[seen, kind], hits, number, count) for chances in (found.chances, floor))
        gains = np.array([top_k(mine, times) - top_k(theirs, times) for times in drawn])
        least = float(np.quantile(gains, _ALARM))
        yield Claim(
            id=f"reading-{name}s",
            system=_SYSTEM,
            statement=f"The network finds more {name}s of {count} held-out genes than a Markov chain of the bases "
            "around a site.",
            measured=f"top-k {top_k(mine):.3f} against {top_k(theirs):.3f}",
            expected="more, for genes drawn anew",
            tolerance=f"the lower end of a one-sided interval, level {_ALARM:g}, is above 0: {least:+.3f}",
            holds=least > 0,
            seconds=watch.lap(),
            source="Top-k accuracy: Jaganathan et al., Cell 176, 535 (2019); floor: Zhang & Marr, CABIOS 9, 499 (1993)",
            command=_COMMAND,
        )


def _slope_claim(net: Any, gene: Any, watch: Stopwatch) -> Claim:
    from thalweg.genome.energy import SpliceLoss

    double = jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if eqx.is_inexact_array(leaf) else leaf, net)
    loss = SpliceLoss(_window(gene, net.margin))
    leaves, tree = jax.tree.flatten(double)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    way = tree.unflatten(
        [jax.random.normal(one, leaf.shape, leaf.dtype) for one, leaf in zip(keys, leaves, strict=True)]
    )
    # Nowhere before the stem's units: one that passed its kink between the two places would count as an error.
    way = eqx.tree_at(lambda one: [one.stem.kernel, one.stem.bias], way, replace_fn=jnp.zeros_like)
    slope, differences = map(float, _sloped(loss, double, way))
    gap = abs(slope - differences) / abs(differences)
    return Claim(
        id="reading-slope",
        system=f"The trained network on {gene.gene.symbol or gene.gene.name}, {gene.codes.size} bases, in float64",
        statement="The slope propagated back through all bases is the slope of the loss.",
        measured=gap,
        expected=0.0,
        tolerance=1e-6,
        holds=gap <= 1e-6,
        seconds=watch.lap(),
        source="Central differences along a random direction in the weights behind the stem's kinks",
        command="thalweg genome memory your_run --fasta your_genome.fa --annotation your_genes.gff3 --region chr1",
        unit="of the slope",
    )


@eqx.filter_jit
def _sloped(loss: Any, net: Any, way: Any) -> tuple[Any, Any]:
    """The slope along a way by back-propagation, and by central differences."""
    slopes = eqx.filter_grad(lambda one: loss(one))(net)
    # The prior is measured and not learnt: no slope goes there, and no difference is taken.
    way = eqx.tree_at(lambda one: one.prior, way, jnp.zeros_like(way.prior))
    slope = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(slopes), jax.tree.leaves(way), strict=True))

    def along(step: Any) -> Any:
        return loss(jax.tree.map(lambda leaf, push: leaf + step * push, net, way))

    step = 1e-6
    ahead, behind = jax.lax.map(along, step * jnp.array([1.0, -1.0]))
    return slope, (ahead - behind) / (2 * step)


def _window(gene: Any, margin: int) -> Any:
    from thalweg.genome.tasks.prepare import on_device, packed

    material = packed([gene], margin)
    return on_device(material, margin, material.codes.size).cut(jnp.zeros(1, jnp.int32), material.codes.size)


def _pieces_claim(net: Any, codes: Any, watch: Stopwatch) -> Claim:
    from thalweg.genome.model.streaming import probabilities

    whole = probabilities(net, codes, held=codes.size)
    pieces = probabilities(net, codes, held=0)
    gap = float(np.abs(whole - pieces).max())
    return Claim(
        id="reading-pieces",
        system=f"The trained network on {codes.size:,} bases, in float32",
        statement="Read back and forth in pieces, with memory that does not grow, a sequence scores as if read whole.",
        measured=gap,
        expected=0.0,
        tolerance=1e-5,
        holds=gap <= 1e-5,
        seconds=watch.lap(),
        source="States at the borders of pieces are carried both ways; 1e-5 is 80 roundings of float32",
        command="thalweg genome scan your_run --fasta your_genome.fa",
        unit="probability",
    )


def chapters() -> tuple[Chapter, ...]:
    """The chapter of the network that reads."""
    return (Chapter("reading", 5, "A network reads DNA and finds where introns are cut", _COMMAND, 60.0, _reading),)
