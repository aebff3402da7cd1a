"""Closure under refinement: whether the mismatch of work and energy falls as a path is looked at more closely."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from thalweg.core.energy import AbstractHostField
from thalweg.core.errors import InputError
from thalweg.diagnostics.segments import (
    DEEPEST,
    FIRST,
    Asking,
    Curves,
    FieldOf,
    Segments,
    coarsest,
    halves_of,
    rounding_of,
    shortest,
)

_LAST = 4  # halvings over which a mismatch that rounding hides at the end must not have fallen, to count


class Refined(NamedTuple):
    """The closure of a field along curves, under refinement.

    **Fields:** for each curve the `work`; the `fall` E(start) - E(end); `climb`, all that the energy rises and falls or
    that the work amounts to, whichever is more; `error`, by how much the last refinement changed the work; `rounding`,
    what rounding can do to the mismatch of one segment; `mismatch`, the sum of |work - fall| over segments so short
    that an honest field would have closed on them, with the median deviation `spread` of its estimates; `flat`, whether
    the energy does not rise above rounding. Over the levels of refinement the `gradients` per curve and the `gaps`,
    work minus fall. `asked`, all gradients that were computed.
    """

    work: Float[np.ndarray, " n"]
    fall: Float[np.ndarray, " n"]
    climb: Float[np.ndarray, " n"]
    error: Float[np.ndarray, " n"]
    rounding: Float[np.ndarray, " n"]
    mismatch: Float[np.ndarray, " n"]
    spread: Float[np.ndarray, " n"]
    flat: Bool[np.ndarray, " n"]
    gradients: Int[np.ndarray, "levels n"]
    gaps: Float[np.ndarray, "levels n"]
    asked: int


def refine(
    field: AbstractHostField | FieldOf,
    curves: Curves,
    *,
    gradients: int = 256,
    most: int = 2048,
    descents: int = 5,
    negligible: float = 1e-5,
    closed: float = 1e-3,
    batch: int | None = 128,
    seeds: Sequence[int | Sequence[int]] | None = None,
    names: Sequence[str] | None = None,
) -> Refined:
    """Compare the work of a field with the fall of its energy along curves, ever more closely where they differ.

    Simpson's rule on segments, of which those with the largest mismatch |work - fall| are halved until `gradients` are
    spent: for a force that is minus the gradient of the energy, the mismatch of a segment is the error of the rule, and
    falls. Whether it does at scales that no budget resolves everywhere is then seen by random descents: a segment is
    drawn in proportion to its mismatch, halved, one half drawn in the same way, and so on down to the length of
    rounding; the product of the ratios of the mismatch is an unbiased estimate of its sum over the whole curve at that
    scale. It tends to zero for a true gradient, however stiff, and for any other field to what is missing; the median
    over the descents is reported. Rounding is measured by moving points by a unit in their last place.

    **Arguments:**

    - `field`: energies and forces -dE/dx of a batch; or, where each curve has an energy of its own, a function from
      the curves `[n]` that the items of a batch belong to, to such a field.
    - `curves`: what to go along; `names`, of the curves, for messages.
    - `gradients`: per curve, before the `descents`; `most`, where these say that the field is honest but stiff.
    - `negligible`, `closed`: the mismatch, as a part of the climb, below which a descent stops, and below which a field
      is as good as honest.
    - `batch`: the size of every batch that the field is asked for, the last one filled up, so that it is compiled once;
      `None` for batches as they come.
    - `seeds`: one for each curve, so that the answer does not depend on which others stand beside it.

    **Raises:** `InputError` for a field that is not finite, or too few gradients.

    **Source:** The descents are sequential importance sampling: J. M. Hammersley & D. C. Handscomb, Monte Carlo Methods
    (1964), ch. 5 and 8.
    """
    if gradients < 4 * FIRST:
        raise InputError(f"closure: {gradients} gradients per curve are too few: allow at least {4 * FIRST}.")
    asking, count = Asking(field, curves, batch, names), len(curves.start)
    random = [np.random.default_rng(seed) for seed in (range(count) if seeds is None else seeds)]
    segments = coarsest(asking, count)
    rounding = rounding_of(asking, random, segments)
    start = _State(segments, np.full(count, 2 * FIRST + 1))
    state, levels = _followed(asking, start, rounding, gradients, lambda state: np.ones(count, bool))
    climb = _climb(state.segments, count)
    mismatch, spread = _descend(asking, random, state.segments, rounding, climb, descents, negligible)
    honest = mismatch <= closed * climb
    state, further = _followed(asking, state, rounding, most, lambda state: honest & (abs(state.gap) > closed * climb))
    spent, works = (np.stack(column) for column in zip(start.level, *levels, *further, strict=True))
    fall = state.segments.total(state.segments.fall, count)
    return Refined(
        works[-1], fall, climb, _last_change(works), rounding, mismatch, spread, climb <= 10 * rounding, spent,
        works - fall, asking.asked,
    )  # fmt: skip


class _State(NamedTuple):
    """The segments of all curves, and the gradients spent on each curve."""

    segments: Segments
    spent: np.ndarray

    @property
    def level(self) -> tuple[np.ndarray, np.ndarray]:
        return self.spent, self.segments.total(self.segments.work, len(self.spent))

    @property
    def gap(self) -> np.ndarray:
        return self.segments.total(self.segments.work - self.segments.fall, len(self.spent))


def _followed(
    asking: Asking, state: _State, rounding: np.ndarray, last: int, wanted: Callable[[_State], np.ndarray]
) -> tuple[_State, list[tuple[np.ndarray, np.ndarray]]]:
    """The state after the budget of the `wanted` curves was doubled up to `last`, and its levels on the way."""
    levels, budget = [], int(state.spent.max(initial=0))
    while budget < last and (chosen := wanted(state)).any():
        budget = min(2 ** int(np.log2(budget + 1) + 1), last)
        state = _refined(asking, state, rounding, np.where(chosen, budget, 0))
        levels.append(state.level)
    return state, levels


def _climb(segments: Segments, count: int) -> np.ndarray:
    rises = np.abs(np.diff(segments.energy, axis=1)).sum(axis=1)
    return np.maximum(segments.total(np.abs(segments.work), count), segments.total(rises, count))


def _last_change(works: np.ndarray) -> np.ndarray:
    """By how much the last refinement of each curve changed its work."""
    changes = np.abs(np.diff(works, axis=0))
    last = len(changes) - 1 - (changes[::-1] > 0).argmax(axis=0)
    return changes[last, np.arange(works.shape[1])]


def _refined(asking: Asking, state: _State, rounding: np.ndarray, budget: np.ndarray) -> _State:
    """The segments after the worst were halved until the budget of each curve is spent."""
    segments, spent = state
    while len(chosen := _worst(segments, rounding, np.maximum(budget - spent, 0))):
        spent = spent + 2 * np.bincount(segments.curve[chosen], minlength=len(spent))
        kept = segments.take(np.setdiff1d(np.arange(len(segments.a)), chosen))
        halves = halves_of(asking, segments.take(chosen))
        segments = Segments(*map(np.concatenate, zip(kept, *halves, strict=True)))
    return _State(segments, spent)


def _worst(segments: Segments, rounding: np.ndarray, left: np.ndarray) -> np.ndarray:
    """A quarter of the segments of each curve, those that close worst, as far as gradients are left for them."""
    gap = segments.open(rounding)
    order = np.lexsort((segments.a, -gap, segments.curve))
    curve = segments.curve[order]
    counts = np.bincount(curve, minlength=len(left))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    wanted = np.minimum(np.maximum(counts // 4, 2), left // 2)
    worse = (gap[order] > 0) & (segments.width[order] > DEEPEST)
    return order[(rank < wanted[curve]) & worse]


def _descend(
    asking: Asking,
    random: list[np.random.Generator],
    segments: Segments,
    rounding: np.ndarray,
    climb: np.ndarray,
    descents: int,
    negligible: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the mismatches at the smallest scale, and the standard error of its estimate, for each curve."""
    count = len(random)
    gap = segments.open(rounding)
    whole = np.bincount(segments.curve, gap, count)
    chosen, walks = [], []
    for curve in np.flatnonzero(whole > negligible * climb):
        inside = np.flatnonzero(segments.curve == curve)
        inside = inside[np.argsort(segments.a[inside])]
        sums = np.cumsum(gap[inside])
        places = (np.arange(descents) + random[curve].uniform()) / descents * sums[-1]
        chosen += list(inside[np.minimum(np.searchsorted(sums, places, side="right"), len(inside) - 1)])
        walks += [curve] * descents
    weight = np.zeros((count, descents))
    if chosen:
        curves, walk = np.array(walks), np.tile(np.arange(descents), len(walks) // descents)
        weight[curves, walk] = _walked(
            asking, random, segments.take(np.array(chosen)), whole[curves], rounding, negligible * climb
        )
    middle = np.median(weight, axis=1)
    return middle, np.median(np.abs(weight - middle[:, None]), axis=1)


def _walked(
    asking: Asking,
    random: list[np.random.Generator],
    here: Segments,
    weight: np.ndarray,
    rounding: np.ndarray,
    negligible: np.ndarray,
) -> np.ndarray:
    """The weights at the ends of descents from the segments `here`."""
    weight, before = weight.copy(), np.full((len(weight), _LAST), np.inf)
    least = shortest(asking.curves)[here.curve]
    going = np.flatnonzero(here.width > least)
    while len(going):
        at = here.take(going)
        halves = halves_of(asking, at)
        gaps = np.stack([half.gap for half in halves])
        lost = ~np.any([half.open(rounding) for half in halves], axis=0)
        draws = np.array([random[curve].uniform() for curve in at.curve])
        second = draws * gaps.sum(axis=0) >= gaps[0]
        before[going] = np.column_stack([before[going, 1:], weight[going]])
        weight[going] *= gaps.sum(axis=0) / at.gap
        # Where rounding hides the rest, it counts only if it did not fall before: a corner's halves with each halving.
        weight[going] *= ~lost | (weight[going] > 0.25 * before[going, 0])
        for leaf, left, right in zip(here, *halves, strict=True):
            leaf[going] = np.where(second.reshape(-1, *[1] * (left.ndim - 1)), right, left)
        over = lost | (weight[going] <= negligible[at.curve]) | (here.width[going] <= least[going])
        going = going[~over]
    return weight
