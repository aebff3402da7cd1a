"""Chapter 6: learning rates of single connections, slowed where the DNA that taught them is methylated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from thalweg.methods.plasticity import fitted, followed, mobility, plastic, scale_by_plasticity
from thalweg.report.blocks import Block, Citations, Claim, PlotlyFigure, Prose, Table
from thalweg.report.chapter import Chapter, Stopwatch, Telling

_COMMAND = (
    "thalweg genome plasticity --fasta first.fa --annotation first.gff3 --methylation first.bedmethyl "
    "--to-fasta second.fa --to-annotation second.gff3"
)
_BETA, _RATE = 0.75, 1e-3
_GENES, _STEPS = {"quick": 16, "default": 96, "full": 400}, {"quick": 0, "default": 0, "full": 4000}
_BATCHES, _LENGTH, _POINTS = 3, 512, 1500
_MADE = (0.8, 0.02)  # levels of a quarter of the genes, and of the others, where none are at hand
_TEMPERATURE, _CHAINS = 0.5, 256
_ALARM = 1e-4  # the rate at which a right law would fail
_BIAS = 0.4  # standard errors: what the first-order scheme adds to the weight on the ridge at this time step
_STORY = (
    "Each connection has a learning rate of its own, `alpha = eta (1 - beta m)`: it is the less plastic, the more of "
    "the energy of its gradient comes from methylated DNA. As physics, `1 - beta m` is a mobility: it changes the way "
    "down, not where it ends, and in a heat bath it keeps the Boltzmann law, if the drift is right. There is no "
    "biological law behind it: methylation trains nothing. Whether its pattern is a useful prior is a question for an "
    "experiment."
)


class _Seen(NamedTuple):
    """A network, how far each of its numbers is held (`held`), the maps of halves of the genes, and some gradients."""

    held: Float[np.ndarray, " numbers"]
    halves: tuple[Float[np.ndarray, " connections"], Float[np.ndarray, " connections"]]
    agreement: float
    slopes: Float[np.ndarray, "batches numbers"]


def _plastic(telling: Telling) -> Iterator[Block]:
    from thalweg.methods.overdamped import Overdamped

    watch = Stopwatch()
    yield Prose(_STORY)
    telling.note("reading genes and their methylation")
    genes, levels, said = _levels(_GENES[telling.effort])
    telling.note("compiling, and measuring where gradients come from")
    seen = _measured(genes, levels, _STEPS[telling.effort])
    yield Prose(f"{said} Two maps, each of one half of the {len(genes)} genes, agree with a correlation of "
                f"{seen.agreement:.2f}: what does not repeat is noise of the measurement.")  # fmt: skip
    yield _halves_figure(seen)
    yield from _move_claims(seen, f"A splice network on {len(genes)} genes of Arabidopsis. {said}", watch)
    telling.note("sampling with a mobility that varies")
    yield from _law_claims(watch)
    yield from _experiment()
    yield Citations([Overdamped.bibtex])


def _levels(most: int) -> tuple[list[Any], Float[np.ndarray, " genes"], str]:
    """Some genes of the sample, their methylation, and a sentence on where that is from."""
    from thalweg import datasets
    from thalweg.genome.data.annotation import read_annotation
    from thalweg.genome.data.genes import genes
    from thalweg.genome.data.labels import labelled
    from thalweg.genome.data.methylation import read_methylation
    from thalweg.genome.data.sequence import read_fasta
    from thalweg.genome.tasks.plasticity.pair import known_levels

    sequences, found = read_fasta("cress"), genes(read_annotation("cress"))
    name = "arabidopsis-methylation"
    if datasets.where(datasets.catalogue()[name]) in ("mirror", "downloaded"):
        bases = next(iter(sequences.values())).codes.size
        known = known_levels(read_methylation(name), sequences, found, f"chr1:1-{bases}")
        some = slice(None, None, max(1, len(known.genes) // most))
        return labelled(sequences, known.genes[some]), known.level[some], "Levels are measured: Dowen et al. (2012)."
    some = found[:: max(1, len(found) // most)]
    made = np.where(np.random.default_rng(0).uniform(size=len(some)) < 0.25, *_MADE)
    return labelled(sequences, some), made, "Levels are made up: the package ships no methylation (its licence)."


def _measured(genes: list[Any], levels: Float[np.ndarray, " genes"], steps: int) -> _Seen:
    from thalweg.genome.model.build import Shape
    from thalweg.genome.tasks.plasticity.arms import pooled
    from thalweg.genome.tasks.plasticity.experiment import joined, repeatability
    from thalweg.genome.tasks.plasticity.species import energies_of
    from thalweg.genome.tasks.prepare import on_device, packed, prior
    from thalweg.genome.tasks.train import Recipe, learnt

    shape = Shape(blocks=1, channels=16, width=16, features=16)
    material = packed(genes, shape.window // 2)
    net = _begun(shape, prior(material))
    if steps:
        net = learnt(net, material, Recipe(steps=steps, length=_LENGTH), seed=0).value
    one, other = energies_of(net, material, levels, length=_LENGTH, seed=0)
    genome = on_device(material, net.margin, _LENGTH)
    slopes = _slopes(net, genome, jnp.arange(2 * _BATCHES).reshape(_BATCHES, 2) * _LENGTH)
    params = eqx.filter(net, eqx.is_inexact_array)
    nothing = lambda leaf, m: np.zeros(leaf.shape) if m is None else m  # noqa: E731
    held = jax.tree.map(nothing, params, fitted(joined(one, other), params))
    parts = one.marked, one.total, other.marked, other.total
    a, b, c, d = (pooled(part) for part in parts)
    reached = (b > 0) & (d > 0)
    halves = a[reached] / b[reached], c[reached] / d[reached]
    rows = np.concatenate([np.asarray(leaf).reshape(_BATCHES, -1) for leaf in jax.tree.leaves(slopes)], axis=1)
    return _Seen(pooled(held), halves, repeatability(one, other), rows)


@eqx.filter_jit
def _begun(shape: Any, prior: Float[np.ndarray, "2 25"]) -> PyTree:
    """A fresh network; compiled as a whole, since its parts one by one take longer."""
    from thalweg.genome.model.build import network

    return network(shape, prior, jax.random.key(0))


@eqx.filter_jit
def _slopes(net: PyTree, genome: Any, starts: Array) -> PyTree:
    """Gradients of the loss on some batches of crops, one after the other."""
    from thalweg.genome.energy import surprise

    arrays, rest = eqx.partition(net, eqx.is_inexact_array)

    def loss(trained: PyTree, at: Array) -> Array:
        return surprise(eqx.combine(trained, rest), genome.cut(at, _LENGTH), None)[0]

    return jax.lax.map(lambda at: jax.grad(loss)(arrays, at), starts)


def _halves_figure(seen: _Seen) -> PlotlyFigure:
    from thalweg.report import plotly_lines

    one, other = (half[:: max(1, len(half) // _POINTS)] for half in seen.halves)
    figure = plotly_lines([], {}, x_title="m, from every other gene", y_title="m, from the others")
    figure.add_scatter(x=one, y=other, mode="markers", marker={"size": 4, "opacity": 0.5})
    return PlotlyFigure(figure, "How far connections are held, measured twice: each point is a connection.")


@eqx.filter_jit
def _moves(optimiser: Any, slopes: Float[Array, "batches numbers"]) -> Float[Array, " numbers"]:
    """The last one of the moves that an optimiser makes of some gradients in a row."""
    state, move = optimiser.init(slopes[0]), slopes[0]
    for slope in slopes:
        move, state = optimiser.update(slope, state, move)
    return move


def _move_claims(seen: _Seen, system: str, watch: Stopwatch) -> Iterator[Claim]:
    slopes, held = (jnp.asarray(array, jnp.float32) for array in (seen.slopes, seen.held))
    # With an `eps` that no gradient comes near: a size that Adam adds would not cancel.
    adam, beta = optax.adam(_RATE, eps=1e-30), jnp.asarray(_BETA, jnp.float32)
    moved = {"plain": adam, "off": plastic(adam, held, 0), "after": plastic(adam, held, beta),
             "before": followed(scale_by_plasticity(held, beta), adam)}  # fmt: skip
    found = {name: np.asarray(_moves(optimiser, slopes), np.float64) for name, optimiser in moved.items()}
    factor = 1 - _BETA * seen.held
    shared = {"system": system, "expected": 0.0, "command": _COMMAND}
    differing = int((found["off"] != found["plain"]).sum())
    yield Claim(
        id="plastic-off", statement=f"With beta = 0 all {len(factor):,} moves have the bits of plain Adam.",
        measured=differing, tolerance="exact", holds=differing == 0, seconds=watch.lap(), unit="moves",
        source="The identity", **shared,
    )  # fmt: skip
    gap = float(np.abs(found["after"] - factor * found["plain"]).max() / _RATE)
    slowest, fastest = factor.min(), factor.max()
    yield Claim(
        id="plastic-on", measured=gap, tolerance=1e-6, holds=bool(gap <= 1e-6 and slowest < 1), seconds=watch.lap(),
        statement=f"With beta = {_BETA} each connection moves by 1 - beta m of it, {slowest:.3f} to {fastest:.3f}.",
        unit="of the learning rate", source="alpha = eta (1 - beta m); rounding of some products in float32", **shared,
    )  # fmt: skip
    changed, lost = (float(np.abs(found[name] - found["plain"]).max() / _RATE) for name in ("after", "before"))
    yield Claim(
        id="plastic-before", measured=lost, tolerance=1e-5, holds=lost <= 1e-5 < changed, seconds=watch.lap(),
        statement=f"Before Adam the same map cancels; after it, moves change by up to {changed:.2f}.",
        unit="of the learning rate", source="Adam divides by the size of the gradients; rounding in float32", **shared,
    )  # fmt: skip


class _Held(eqx.Module):
    """A mobility that is high on the ridge: `1 - beta (1 - exp(-2 x^2))`."""

    beta: Array

    def __call__(self, x: Array) -> Array:
        return mobility(1 - jnp.exp(-2 * x**2), self.beta, x)


class _Drift(eqx.Module):
    """Its divergence, times `share`."""

    beta: Array
    share: Array

    def __call__(self, x: Array) -> Array:
        return -self.share * self.beta * 4 * x * jnp.exp(-2 * x**2)


def _away(share: float) -> Float[np.ndarray, "3"]:
    """Deviations of <x^2>, <x^4> and of the weight on the ridge from quadrature, in standard errors of the chains."""
    from thalweg.landscapes import DoubleWell
    from thalweg.methods.overdamped import Overdamped
    from thalweg.methods.trace import Trace
    from thalweg.verbs.sample import sample

    beta = jnp.asarray(0.8)
    method = Overdamped(dt=0.005, mobility=_Held(beta), divergence=_Drift(beta, jnp.asarray(share)))
    found = sample(
        DoubleWell(), jnp.ones(1), method, key=jax.random.key(5), steps=3000, warmup=600, chains=_CHAINS,
        temperature=_TEMPERATURE, trace=Trace(_moments, every=5),
    )  # fmt: skip
    grid = np.linspace(-3, 3, 6001)
    weights = np.exp(-((grid**2 - 1) ** 2) / _TEMPERATURE)
    expected = weights @ np.stack([grid**2, grid**4, np.abs(grid) < 0.5], -1) / weights.sum()
    means = np.asarray(found.trace, np.float64).mean(0)
    return (means.mean(0) - expected) / (means.std(0, ddof=1) / np.sqrt(len(means)))


def _moments(state: Any) -> Array:
    x = state.x[0]
    return jnp.stack([x**2, x**4, jnp.abs(x) < 0.5])


def _law_claims(watch: Stopwatch) -> Iterator[Claim]:
    from scipy.stats import norm

    allowed = float(norm.isf(_ALARM / 2 / 3)) + _BIAS  # three quantities, two sides
    system = f"A double well at T = {_TEMPERATURE}; D = 1 - 0.8 m with m = 1 - exp(-2 x^2); {_CHAINS} chains"
    kept, broken = float(np.abs(_away(1.0)).max()), float(np.abs(_away(0.0)).min())
    shared = {"system": system, "unit": "standard errors", "command": _COMMAND}
    yield Claim(
        id="plastic-law", measured=kept, expected=0.0, tolerance=allowed, holds=kept <= allowed, seconds=watch.lap(),
        statement="With noise sqrt(2 T D) and drift T div D, moments and the weight on the ridge are Boltzmann's.",
        source=f"Quadrature; false alarms below {10 * _ALARM:g}", **shared,
    )  # fmt: skip
    yield Claim(
        id="plastic-drift", measured=broken, expected="above 10", tolerance="one-sided", holds=broken > 10,
        statement="Without the drift T div D all three are wrong.", seconds=watch.lap(), source="Quadrature", **shared,
    )  # fmt: skip


def _experiment() -> Iterator[Block]:
    """What the recorded run of the experiment showed, with its date and file."""
    from thalweg.genome.figures.plasticity import contrast_table, frontier_figure, maps_table
    from thalweg.genome.tasks import plasticity

    file = files(plasticity) / "recorded.json"
    if not file.is_file():
        yield Prose("The experiment takes hours and no result of it is recorded here: run it with the command above.")
        return
    result = json.loads(file.read_text(encoding="utf-8"))
    yield Prose(f"The experiment takes hours, and is told from a record (`{file.name}`, {result['date']}). "
                f"{result['what']} Its verdict by the rules that were fixed beforehand: {result['verdict']}. "
                f"{result['reason']}")  # fmt: skip
    yield frontier_figure(result, "retained_methylated")
    tables: list[Table] = [contrast_table(result), maps_table(result)]
    yield from tables


def chapters() -> tuple[Chapter, ...]:
    """The chapter of plasticity."""
    return (Chapter("plastic", 6, "Connections that methylation holds", _COMMAND, 30.0, _plastic),)
