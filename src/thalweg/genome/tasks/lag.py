"""How far back the error travels: the slope of a site's score by what is read at each base, over the distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int8

from thalweg.core.errors import InputError
from thalweg.genome.data.labels import LabelledGene
from thalweg.genome.model.network import SpliceNetwork
from thalweg.genome.tasks.evaluate import SITES
from thalweg.genome.tasks.site_windows import REACH, Places, around, batches, drawn_again, interval, signature, sites_of
from thalweg.methods.parts import World, in_parts, part_name

BEYOND = (10, 50, 200, 1000)  # bases
FLOOR = float(np.finfo(np.float32).tiny)  # what is smaller becomes zero in float32
_SHARE = 0.9
_TOGETHER = 64  # sites in a part
_BINS = 36


class Slopes(NamedTuple):
    """The slopes of the scores of some sites.

    **Fields:** `kind`, 1 donors and 2 acceptors; `gene`; `norms`, in the sense of the gene with the site in the middle;
    `real`, which bases the gene has.
    """

    kind: Int[np.ndarray, " sites"]
    gene: Int[np.ndarray, " sites"]
    norms: Float[np.ndarray, "sites time"]
    real: Bool[np.ndarray, "sites time"]


def after_stem(
    net: SpliceNetwork,
    x: Float[Array, "time batch channels"],
    codes: Int8[Array, "around batch"],
    first: Bool[Array, "time batch"] | None = None,
    last: Bool[Array, "time batch"] | None = None,
) -> Float[Array, "time batch 3"]:
    """The scores of a network of which the stem has said `x`."""
    for block, left, right in zip(net.blocks, *net.rest(codes.shape[1]), strict=True):
        read = block.read(x)
        ahead, _ = block.forward(read, left, first)
        back, _ = block.backward(read, right, last, reverse=True)
        x = block.joined(x, ahead, back)
    return net.scores(x, codes)


@eqx.filter_jit
def slopes(
    net: SpliceNetwork,
    codes: Int8[Array, "around batch"],
    first: Bool[Array, "time batch"],
    last: Bool[Array, "time batch"],
    kind: Int[Array, " batch"],
) -> Float[Array, "time batch channels"]:
    """The slopes of the log-odds of the middle bases, of being a site of some kind against none.

    They are by what the stem says of each base, which the recurrences of all blocks read: by zero taps on it, one
    back-propagation for the whole window. Between different bases there is no way but through recurrences; at the site
    itself there is also the way around them. Slopes by the states of one recurrence would leave out those of the
    others.
    """
    x = net.stem(codes)
    middle = x.shape[0] // 2

    def odds(taps: Array) -> Array:
        scores = after_stem(net, x + taps, codes, first, last)[middle]
        return jnp.sum(jnp.take_along_axis(scores, kind[:, None], axis=1)[:, 0] - scores[:, 0])

    return jax.grad(odds)(jnp.zeros_like(x))


@jax.jit
def _norm(slope: Float[Array, "*shape channels"]) -> Float[Array, "*shape"]:
    """Euclidean norms; squares of small numbers would become zero long before these do."""
    largest = jnp.max(jnp.abs(slope), axis=-1)
    scale = jnp.where(largest > 0, largest, 1.0)
    return largest * jnp.sqrt(jnp.sum((slope / scale[..., None]) ** 2, axis=-1))


def site_slopes(
    net: SpliceNetwork,
    genes: Sequence[LabelledGene],
    *,
    seed: int,
    sites: int = 256,
    reach: int = REACH,
    world: World | None = None,
) -> Slopes:
    """The slopes around sites of genes, drawn at random, at most `sites` donors and as many acceptors.

    A gene is read up to `reach` bases away from the site.

    **Raises:** `InputError` for genes without sites; `WalkError` where a hook stops the task.
    """
    world, generator = world or World(), np.random.default_rng(seed)
    chosen = {kind: _some(sites_of(genes, kind), sites, generator) for kind in SITES.values()}
    if not all(at.gene.size for at in chosen.values()):
        raise InputError("memory: the genes of the region have no introns: choose a larger region.")
    jobs, own = {}, signature(net, genes)
    for kind, at in chosen.items():
        for start in range(0, at.gene.size, _TOGETHER):
            some = Places(*(leaf[start : start + _TOGETHER] for leaf in at))
            jobs[part_name("lag", of=own, site=kind, gene=some.gene, place=some.place, reach=reach)] = kind, some

    def one(name: str) -> dict[str, np.ndarray]:
        kind, at = jobs[name]
        seen = around(genes, at, reach, net.margin)
        real = seen.real[:, net.margin : -net.margin]
        norms = np.empty(real.shape, np.float32)
        for rows, some in batches(seen):
            kinds = jnp.full(len(some.codes), kind, jnp.int32)
            found = _norm(slopes(net, *(jnp.asarray(leaf.T) for leaf in some[:3]), kind=kinds))
            norms[rows] = np.asarray(found).T[: rows.stop - rows.start]
        return {"norms": norms, "real": real}

    done = in_parts(list(jobs), one, done=world.done, hooks=world.parts("gradient against lag"), task="memory")
    kinds = np.concatenate([np.full(at.gene.size, kind) for kind, at in jobs.values()])
    number = np.concatenate([at.gene for _, at in jobs.values()])
    return Slopes(
        kinds, number, *(np.concatenate([part[name] for part in done.values()]) for name in ("norms", "real"))
    )


def _some(at: Places, most: int, generator: np.random.Generator) -> Places:
    kept = np.sort(generator.permutation(at.gene.size)[:most])
    return Places(at.gene[kept], at.place[kept])


def lag_figures(found: Slopes, *, seed: int = 0) -> dict[str, Any]:
    """What slopes say of how far back the error travels, with intervals of 95 % over genes.

    **Returns:** `floor`, what is smaller became zero; for `donor` and `acceptor`: `sites` and `genes`; `distance`,
    middles of bins, and in them the mean slope `upstream` and `downstream` of the site over sites and bases, with
    `_interval`; `beyond`: for 10, 50, 200 and 1000 bases the `share` of the sum of all slopes that lies farther away;
    `within`, the distance within which 90 % of that sum lies; `zero_share`, the share of bases with a slope of zero.
    Only bases that the gene has count.
    """
    result: dict[str, Any] = {"floor": FLOOR}
    for name, kind in SITES.items():
        own = found.kind == kind
        genes, number = np.unique(found.gene[own], return_inverse=True)
        norms, real = np.where(found.real[own], found.norms[own], 0).astype(np.float64), found.real[own]
        times = drawn_again(genes.size, seed)
        reach = norms.shape[1] // 2
        sides = {"upstream": np.s_[:, reach - 1 :: -1], "downstream": np.s_[:, reach + 1 :]}
        told = {"sites": int(own.sum()), "genes": int(genes.size)}
        for side, cut in sides.items():
            told |= _binned(side, _by_gene(norms[cut], number), _by_gene(real[cut], number), times)
        far = norms[sides["upstream"]] + norms[sides["downstream"]]
        told |= _shares(_by_gene(np.concatenate([norms[:, reach : reach + 1], far], axis=1), number), times)
        result[name] = told | {"zero_share": float(np.mean(norms[real] == 0))}
    return result


def _by_gene(values: np.ndarray, number: Int[np.ndarray, " sites"]) -> Float[np.ndarray, "genes distance"]:
    summed = np.zeros((number.max() + 1, values.shape[1]))
    np.add.at(summed, number, values)
    return summed


def _binned(side: str, sums: np.ndarray, counts: np.ndarray, times: np.ndarray) -> dict[str, Any]:
    edges = np.unique(np.geomspace(1, sums.shape[1] + 1, _BINS).astype(int))
    sums, counts = (np.add.reduceat(values, edges[:-1] - 1, axis=1) for values in (sums, counts))
    # A resample may have no gene that is so long.
    with np.errstate(invalid="ignore", divide="ignore"):
        value, values = sums.sum(axis=0) / counts.sum(axis=0), (times @ sums) / (times @ counts)
    kept = counts.sum(axis=0) > 0
    middle = np.sqrt(edges[:-1] * (edges[1:] - 1.0))
    return {
        f"{side}_distance": middle[kept].tolist(),
        side: value[kept].tolist(),
        f"{side}_interval": interval(values[:, kept]),
    }


def _shares(sums: Float[np.ndarray, "genes distance"], times: np.ndarray) -> dict[str, Any]:
    """Shares of the sum of slopes by distance, the site's own base at distance zero."""

    def shares(totals: np.ndarray) -> np.ndarray:
        return np.cumsum(totals, axis=-1) / totals.sum(axis=-1, keepdims=True)

    value, values = shares(sums.sum(axis=0)), shares(times @ sums)
    beyond = {
        str(far): {"share": float(1 - value[far]), "share_interval": interval(1 - values[:, far])}
        for far in BEYOND
        if far < value.size
    }
    within = np.argmax(values >= _SHARE, axis=1).astype(float)
    return {"beyond": beyond, "within": int(np.argmax(value >= _SHARE)), "within_interval": interval(within)}
