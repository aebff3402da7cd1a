"""Figures of merit of predicted splice sites, with intervals over genes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

LEVEL = 0.95
_RESAMPLES = 300
_DEEP = 4  # times the number of sites: as far down the list as resamples look
_BINS = 15


class Ranked(NamedTuple):
    """The bases of one kind of site, those with the highest scores first.

    **Fields:** `hits`, which are true; `gene`, the number of the gene of each; `sites`, how many true ones each gene
    has.
    """

    hits: Bool[np.ndarray, " bases"]
    gene: Int[np.ndarray, " bases"]
    sites: Int[np.ndarray, " genes"]

    def top(self, many: int) -> Ranked:
        """Those with the highest scores alone."""
        return Ranked(self.hits[:many], self.gene[:many], self.sites)


def ranked(
    scores: Float[np.ndarray, " bases"],
    hits: Bool[np.ndarray, " bases"],
    gene: Int[np.ndarray, " bases"],
    genes: int,
) -> Ranked:
    """Bases by falling score, down to the lowest true one; true ones last among equals: ties flatter nobody."""
    kept = np.flatnonzero(scores >= scores[hits].min()) if hits.any() else np.zeros(0, np.int64)
    kept = kept[np.lexsort((hits[kept], -scores[kept]))]
    return Ranked(hits[kept], gene[kept], np.bincount(gene[hits], minlength=genes))


def top_k(one: Ranked, times: Int[np.ndarray, " genes"] | None = None) -> float:
    """The share of true sites among the k highest scores, where k is the number of true sites.

    **Arguments:** `times`, how often each gene counts.

    **Source:** Jaganathan et al., Cell 176, 535 (2019): top-k accuracy.
    """
    times = np.ones(one.sites.size, np.int64) if times is None else times
    weight, total = times[one.gene], int(one.sites @ times)
    if total == 0:
        return float("nan")
    reached = np.cumsum(weight)
    # The last one may count more often than there is room for it.
    room = np.clip(total - (reached - weight), 0, weight)
    return float(np.sum(room * one.hits) / total)


def average_precision(one: Ranked, times: Int[np.ndarray, " genes"] | None = None) -> float:
    """The area below the curve of precision over recall, in steps at every true site."""
    times = np.ones(one.sites.size, np.int64) if times is None else times
    weight, total = times[one.gene], int(one.sites @ times)
    if total == 0:
        return float("nan")
    true = weight * one.hits
    precision = np.cumsum(true) / np.maximum(np.cumsum(weight), 1)
    return float(np.sum(precision * true) / total)


def with_intervals(one: Ranked, seed: int = 0) -> dict[str, float | list[float] | None]:
    """`topk` and `ap` with intervals of 95 % over genes drawn again with replacement; `None` for a single gene's.

    What sites far down the list add to the average precision, a few in a thousand of it, is not drawn again.
    """
    generator, genes = np.random.default_rng(seed), one.sites.size
    head = one.top(_DEEP * int(one.sites.sum()))
    drawn = [np.bincount(generator.integers(genes, size=genes), minlength=genes) for _ in range(_RESAMPLES)]
    result: dict[str, float | list[float] | None] = {}
    for name, measure in (("topk", top_k), ("ap", average_precision)):
        value = measure(one)
        values = np.array([measure(head, times) for times in drawn]) + value - measure(head)
        some = values[np.isfinite(values)]
        interval = None
        if np.count_nonzero(one.sites) > 1:
            interval = np.quantile(some, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
        result |= {name: value, f"{name}_interval": interval}
    return result


class Reliability(NamedTuple):
    """How often what is predicted comes true, in bins of predicted probability on a logistic scale.

    **Fields:** `predicted`, the mean probability in each bin; `observed`, the share of true sites; `count`; `error`,
    the expected calibration error: the mean distance of the two, weighted with the counts.
    """

    predicted: Float[np.ndarray, " bins"]
    observed: Float[np.ndarray, " bins"]
    count: Int[np.ndarray, " bins"]
    error: float


def reliability(
    chance: Float[np.ndarray, " bases"], hits: Bool[np.ndarray, " bases"], *, least: float = 0.01
) -> Reliability:
    """Compare predicted chances with what is there, among bases with a chance of at least `least`.

    Nearly all bases are hopeless: with them any finder of rare sites would look calibrated.

    **Source:** Naeini, Cooper & Hauskrecht, AAAI 2015: expected calibration error.
    """
    kept = chance >= least
    chance, hits = chance[kept].astype(np.float64), hits[kept]
    edges = np.linspace(0, 1, _BINS + 1)
    place = np.clip(np.searchsorted(edges, chance, side="right") - 1, 0, _BINS - 1)
    count = np.bincount(place, minlength=_BINS)
    some = np.maximum(count, 1)
    predicted = np.bincount(place, weights=chance, minlength=_BINS) / some
    observed = np.bincount(place, weights=hits, minlength=_BINS) / some
    error = float(np.sum(count * np.abs(predicted - observed)) / max(count.sum(), 1))
    filled = count > 0
    return Reliability(predicted[filled], observed[filled], count[filled], error)


def as_lists(found: Reliability) -> dict[str, Any]:
    """The bins of a reliability diagram, for JSON."""
    return {"predicted": found.predicted.tolist(), "observed": found.observed.tolist(), "count": found.count.tolist()}
