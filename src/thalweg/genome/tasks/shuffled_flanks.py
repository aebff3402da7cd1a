"""Whether what lies far away is used: sites found where all but the bases near them are shuffled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int8

from thalweg.core.errors import InputError
from thalweg.genome.data.labels import LabelledGene
from thalweg.genome.data.shuffle import shuffled
from thalweg.genome.model.markov import markov
from thalweg.genome.model.network import SpliceNetwork
from thalweg.genome.model.window import IGNORED
from thalweg.genome.tasks.evaluate import SITES, Predicted, predict
from thalweg.genome.tasks.metrics import ranked, top_k
from thalweg.genome.tasks.site_windows import REACH, Around, Places, around, batches, drawn_again, interval, signature
from thalweg.methods.parts import World, in_parts, part_name

DISTANCES = (10, 25, 50, 100, 200, 400, 1000)  # bases that are left as they are on either side
WHOLE = "whole"


class Sample(NamedTuple):
    """All sites of one kind in some genes, and some of their other bases.

    **Fields:** `at`; `hits`, which are sites; `weight`, how many bases each stands for: 1 of a site, of another base
    one over the chance with which it was drawn; `chance` that the network gives it in its whole gene.
    """

    at: Places
    hits: Bool[np.ndarray, " places"]
    weight: Float[np.ndarray, " places"]
    chance: Float[np.ndarray, " places"]


def shuffled_flanks(
    net: SpliceNetwork,
    genes: Sequence[LabelledGene],
    *,
    seed: int,
    distances: Sequence[int] = DISTANCES,
    sites: int = 200,
    reach: int = REACH,
    world: World | None = None,
) -> dict[str, Any]:
    """Top-k of donors and acceptors where everything farther than some distance from the base in question is shuffled.

    Genes are taken at random until they have `sites` donors. Every site in them is looked at, and as many other bases,
    drawn one by one with chances that rise with what a Markov chain and the network itself say of them; each of these
    stands for as many bases as are drawn as rarely. The share of sites above the score above which all bases together
    weigh as much as there are sites is an estimate of the top-k of these genes: for the network as it is both are told.

    A base is looked at in a copy of its gene, read up to `reach` bases away, in which both stretches beyond the
    distance are shuffled, each for itself and with the same dinucleotides (so that there are as many GT and AG).

    **Returns:** for `donor` and `acceptor`: `sites`; `others` that were drawn; `topk` and `topk_interval` for each
    distance and for the `whole` gene, as estimated from the sample; `lost` and `lost_interval`, how much more the same
    sample gives with whole genes; `exact`, the top-k with whole genes from all bases. Intervals of 95 % are over genes.

    **Raises:** `InputError` for distances that are none; `WalkError` where a hook stops the task.
    """
    if not distances or min(distances) < 0 or max(distances) >= reach:
        raise InputError(f"memory: distances {list(distances)} must lie between 0 and {reach}: choose others.")
    world = world or World()
    some = _genes(genes, sites, np.random.default_rng(seed))
    found = predict(net, some)
    samples = {name: _sample(found, kind, seed) for name, kind in SITES.items()}
    own = signature(net, some)
    names = {
        part_name("flanks", of=own, site=name, distance=distance, reach=reach, seed=seed): (name, distance)
        for name in SITES
        for distance in distances
    }

    def one(part: str) -> dict[str, np.ndarray]:
        name, distance = names[part]
        seen = around(some, samples[name].at, reach, net.margin)
        return {"chance": chances(net, _far_shuffled(seen, distance, seed), SITES[name])}

    done = in_parts(list(names), one, done=world.done, hooks=world.parts("shuffled flanks"), task="memory")
    result: dict[str, Any] = {"genes": len(some), "distances": list(distances), "reach": reach}
    times = drawn_again(len(some), seed)
    for name, sample in samples.items():
        by_distance = {str(names[part][1]): kept["chance"] for part, kept in done.items() if names[part][0] == name}
        result[name] = _figures(sample, by_distance | {WHOLE: sample.chance}, times)
        result[name]["exact"] = _exact(found, SITES[name])
    return result


def _genes(genes: Sequence[LabelledGene], sites: int, generator: np.random.Generator) -> list[LabelledGene]:
    order = generator.permutation(len(genes))
    counted = np.cumsum([np.count_nonzero(genes[number].labels == SITES["donor"]) for number in order])
    if not counted[-1]:
        raise InputError("memory: the genes of the region have no introns: choose a larger region.")
    enough = int(np.searchsorted(counted, min(sites, counted[-1]))) + 1
    return [genes[number] for number in np.sort(order[:enough])]


def _sample(found: Predicted, kind: int, seed: int) -> Sample:
    """All sites, and other bases by Poisson sampling: each is drawn or not whatever becomes of the others."""
    material, generator = found.material, np.random.default_rng([seed, kind])
    scored = material.targets != IGNORED
    hits = scored & (material.targets == kind)
    others = np.flatnonzero(scored & ~hits)
    chain = markov(material.codes, material.targets, scored)(material.codes)[others, kind]
    chance = found.chances[:, kind].astype(np.float64)
    likely = 1 / others.size + chain / chain.sum() + chance[others] / max(chance[others].sum(), 1e-300)
    drawn_with = np.minimum(1.0, np.count_nonzero(hits) * likely / 3)
    kept = generator.random(others.size) < drawn_with
    rows = np.concatenate([np.flatnonzero(hits), others[kept]])
    weight = np.concatenate([np.ones(np.count_nonzero(hits)), 1 / drawn_with[kept]])
    begins = np.flatnonzero(material.first)
    at = Places(material.gene[rows].astype(np.int64), rows - begins[material.gene[rows]])
    return Sample(at, hits[rows], weight, found.chances[rows, kind])


def _far_shuffled(seen: Around, distance: int, seed: int) -> Around:
    codes = seen.codes.copy()
    middle = codes.shape[1] // 2
    for row, real in enumerate(seen.real):
        generator = np.random.default_rng([seed, row, distance])
        inside = np.flatnonzero(real)
        before = slice(inside[0], max(inside[0], middle - distance))
        behind = slice(min(inside[-1], middle + distance) + 1, inside[-1] + 1)
        for part in before, behind:
            codes[row, part] = shuffled(codes[row, part], generator)
    return seen._replace(codes=codes)


@eqx.filter_jit
def _middle(
    net: SpliceNetwork, codes: Int8[Array, "around batch"], first: Bool[Array, "time batch"],
    last: Bool[Array, "time batch"],
) -> Float[Array, "batch 3"]:  # fmt: skip
    scores, _ = net(codes, first, last)
    return jax.nn.softmax(scores[scores.shape[0] // 2], axis=-1)


def chances(net: SpliceNetwork, seen: Around, kind: int) -> Float[np.ndarray, " places"]:
    """The chances that the middle bases of windows are sites of some kind."""
    found = np.empty(len(seen.codes), np.float32)
    for rows, some in batches(seen):
        chance = np.asarray(_middle(net, *(jnp.asarray(leaf.T) for leaf in some[:3])))[:, kind]
        found[rows] = chance[: rows.stop - rows.start]
    return found


def weighted_top_k(
    chance: Float[np.ndarray, " places"],
    sample: Sample,
    times: Int[np.ndarray, " genes"] | None = None,
) -> float:
    """The share of sites among the highest chances that together weigh as much as all sites do.

    **Arguments:** `times`, how often each gene counts. **Source:** Horvitz & Thompson, J. Am. Stat. Assoc. 47, 663
    (1952), for the weights.
    """
    weight = sample.weight if times is None else sample.weight * times[sample.at.gene]
    order = np.lexsort((sample.hits, -chance))
    weight, hits = weight[order], sample.hits[order]
    total, reached = weight[hits].sum(), np.cumsum(weight)
    if total == 0:
        return float("nan")
    return float(np.clip(total - (reached - weight), 0, weight) @ hits / total)


def _figures(sample: Sample, scored: Mapping[str, np.ndarray], times: np.ndarray) -> dict[str, Any]:
    topk = {name: weighted_top_k(chance, sample) for name, chance in scored.items()}
    drawn = {name: np.array([weighted_top_k(chance, sample, one) for one in times]) for name, chance in scored.items()}
    sites = int(np.count_nonzero(sample.hits))
    return {
        "sites": sites,
        "others": int(sample.hits.size - sites),
        "topk": topk,
        "topk_interval": {name: interval(values) for name, values in drawn.items()},
        "lost": {name: topk[WHOLE] - value for name, value in topk.items()},
        "lost_interval": {name: interval(drawn[WHOLE] - values) for name, values in drawn.items()},
    }


def _exact(found: Predicted, kind: int) -> float:
    material = found.material
    seen = material.targets != IGNORED
    return top_k(
        ranked(
            found.chances[seen, kind], material.targets[seen] == kind, material.gene[seen], int(material.gene.max()) + 1
        )
    )
