"""The floor that a network must beat: log-odds of the few bases around a site."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int8

from thalweg.core.errors import InputError

_LETTERS = 4
# Bases before and after the site's own base: 3 of the exon and 6 of the intron; 20 of the intron and 3 of the exon.
_AROUND = {1: (2, 6), 2: (20, 2)}


class Markov(NamedTuple):
    """A first-order Markov chain with its own step at every place around a site, against one of all bases.

    **Fields:** for donors and acceptors the log-odds `steps [places, 4, 4]` of each base after the one before it, those
    of the base of the first place, `begins [4]`, and the log-odds that any base is a site, `rates [2]`.

    **Source:** Zhang & Marr, CABIOS 9, 499 (1993); windows of Yeo & Burge, J. Comput. Biol. 11, 377 (2004).
    """

    steps: tuple[Float[np.ndarray, "places 4 4"], Float[np.ndarray, "places 4 4"]]
    begins: tuple[Float[np.ndarray, " 4"], Float[np.ndarray, " 4"]]
    rates: Float[np.ndarray, " 2"]

    def __call__(self, codes: Int8[np.ndarray, " bases"]) -> Float[np.ndarray, "bases 3"]:
        """The chances of none, donor and acceptor at every base; unknown bases speak for nothing."""
        odds = np.zeros((codes.size, 3))
        for kind, (before, after) in _AROUND.items():
            padded = np.concatenate([np.full(before, 4, np.int8), codes, np.full(after, 4, np.int8)]).astype(np.int64)
            begins = np.append(self.begins[kind - 1], 0.0)
            odds[:, kind] = self.rates[kind - 1] + begins[padded[: codes.size]]
            for place, table in enumerate(self.steps[kind - 1], start=1):
                wide = np.pad(table, ((0, 1), (0, 1)))
                odds[:, kind] += wide[padded[place - 1 :][: codes.size], padded[place:][: codes.size]]
        odds -= odds.max(axis=1, keepdims=True)
        chances = np.exp(odds)
        return chances / chances.sum(axis=1, keepdims=True)


def markov(
    codes: Int8[np.ndarray, " bases"], targets: Int8[np.ndarray, " bases"], scored: Bool[np.ndarray, " bases"]
) -> Markov:
    """Count the chains in labelled bases, with one more of everything.

    **Arguments:** `codes`, 0 to 3 and 4 for unknown; `targets`, 1 at donors and 2 at acceptors; `scored`, which bases
    have a target.

    **Raises:** `InputError` where a kind of site is missing.
    """
    pairs = _counted(codes[:-1][scored[1:]], codes[1:][scored[1:]])
    steps, begins, rates = [], [], []
    for kind, (before, after) in _AROUND.items():
        at = np.flatnonzero(scored & (targets == kind))
        at = at[(at >= before) & (at < codes.size - after)]
        if not at.size:
            raise InputError("markov: the genes hold no donor or no acceptor: choose genes with introns.")
        around = codes[at[:, None] + np.arange(-before, after + 1)]
        usual, usually = _conditional(pairs), np.log(pairs.sum(axis=0) / pairs.sum())
        found = [_conditional(_counted(around[:, n - 1], around[:, n])) - usual for n in range(1, around.shape[1])]
        first = np.bincount(around[around[:, 0] < _LETTERS, 0], minlength=_LETTERS) + 1.0
        steps.append(np.stack(found))
        begins.append(np.log(first / first.sum()) - usually)
        rates.append(np.log(at.size / (np.count_nonzero(scored) - at.size)))
    return Markov((steps[0], steps[1]), (begins[0], begins[1]), np.array(rates))


def _counted(one: Int8[np.ndarray, " n"], after: Int8[np.ndarray, " n"]) -> Float[np.ndarray, "4 4"]:
    known = (one < _LETTERS) & (after < _LETTERS)
    place = one[known].astype(np.int64) * _LETTERS + after[known]
    return np.bincount(place, minlength=_LETTERS**2).reshape(_LETTERS, _LETTERS) + 1.0


def _conditional(counts: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    return np.log(counts / counts.sum(axis=1, keepdims=True))
