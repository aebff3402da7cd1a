"""What the experiment shows: frontiers of gain and retention, paired by seed, and the verdict that was fixed before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from thalweg.diagnostics.paired import Paired, holm, paired
from thalweg.genome.tasks.plasticity.arms import MAPS, PLAIN
from thalweg.genome.tasks.plasticity.lab import MEASURES, MapSeen, Outcomes

PRIMARY = ("uniform", "permuted")  # methylation must beat both of them on the primary measure
PRIMARY_MEASURE = "retained_methylated"
RETAINED = MEASURES[1:]
MARGIN = 0.05  # of the frontier's area: a smaller difference would not matter to anybody

Verdict = Literal["supported", "opposed", "null", "uninformative"]


def analysed(found: Outcomes, *, margin: float = MARGIN) -> dict[str, Any]:
    """The whole analysis in plain numbers, for JSON.

    **Returns:**

    - `before`: scores of the pretrained networks, by measure;
    - `curves`: for each arm and strength the changes of each measure since, and for maps also the difference from the
      uniform map (`over_uniform`) and of methylated from unmethylated genes in it (`specific`);
    - `areas`: for each retention measure and arm the area under the frontier (see `area`), per seed;
    - `contrasts`: differences of areas of the methylation arm and every other, with Holm's `adjusted` p for those that
      are not primary;
    - `maps`: of each map over connections the `mean`, the standard deviation `sd`, the `repeatability` by halves of the
      genes and the `likeness` to that of methylation, by seed (see `MapSeen`), and the `histogram`;
    - `verdict` and `reason`, a sentence, of the primary measure; `verdicts`, of each.
    """
    change = changes(found)
    areas = {measure: areas_of(change, measure) for measure in RETAINED}
    contrasts = {measure: _contrasts(areas[measure]) for measure in RETAINED}
    verdicts = {measure: judged(change, measure, contrasts[measure], margin) for measure in RETAINED}
    return {
        "seeds": found.plan.seeds,
        "ranked": found.plan.ranked,
        "before": {name: paired(found.before[name]).plain for name in MEASURES},
        "curves": {arm: _curve(found, change, arm) for arm in found.plan.arms},
        "areas": {m: {arm: None if a is None else a.tolist() for arm, a in areas[m].items()} for m in RETAINED},
        "contrasts": {m: _plain_contrasts(contrasts[m], primary=m == PRIMARY_MEASURE) for m in RETAINED},
        "maps": {arm: _map(seen) for arm, seen in found.maps.items()},
        "margin": margin,
        "verdict": verdicts[PRIMARY_MEASURE][0],
        "reason": verdicts[PRIMARY_MEASURE][1],
        "verdicts": {m: {"verdict": verdict, "reason": reason} for m, (verdict, reason) in verdicts.items()},
    }  # fmt: skip


def _map(seen: MapSeen) -> dict[str, Any]:
    def number(values: Float[np.ndarray, " seeds"]) -> dict[str, Any]:
        known = [None if np.isnan(value) else float(value) for value in values]
        return {"mean": None if None in known else float(values.mean()), "values": known}

    told: dict[str, Any] = {"mean": float(seen.mean.mean()), "sd": float(seen.sd.mean())}
    told |= {"repeatability": number(seen.repeatability), "likeness": number(seen.likeness)}
    return told | {"histogram": seen.counts.tolist()}


def changes(found: Outcomes) -> dict[str, dict[str, Float[np.ndarray, "strengths seeds"]]]:
    """For each arm and measure, the score after the fine-tuning less that before."""
    return {arm: {name: of[name] - found.before[name] for name in MEASURES} for arm, of in found.after.items()}


def area(gains: Float[np.ndarray, " points"], losses: Float[np.ndarray, " points"], box: tuple[float, float]) -> float:
    """The share of a box under the frontier of gain against loss: at each loss, the best gain that costs no more.

    To have learnt nothing (no gain, no loss) is always possible.

    **Arguments:** `gains` and `losses` of the points; the `box`, the largest gain and loss.

    **Returns:** an area in units of the box; it exceeds 1 where points gain more than the box is high.
    """
    order = np.argsort(losses, kind="stable")
    at = np.clip(losses[order], 0.0, None)
    best = np.maximum.accumulate(np.clip(gains[order], 0.0, None))
    inside = at < box[1]
    starts, heights = np.append(0.0, at[inside]), np.append(0.0, best[inside])
    return float(heights @ np.diff(np.append(starts, box[1])) / (box[0] * box[1]))


def areas_of(
    change: Mapping[str, Mapping[str, Float[np.ndarray, "strengths seeds"]]], measure: str
) -> dict[str, Float[np.ndarray, " seeds"] | None]:
    """For each arm the area under its frontier, per seed; `None` where the plain arm neither gained nor lost.

    The box is the same for all arms and seeds: the mean gain and the mean loss of the plain arm. Every frontier also
    has the point of the plain arm of its seed, which is a strength of zero in every arm.
    """
    plain = change[PLAIN]
    box = float(plain["gain"].mean()), float(-plain[measure].mean())
    if min(box) <= 0:
        return dict.fromkeys(change, None)
    found: dict[str, Float[np.ndarray, " seeds"] | None] = {}
    for arm, of in change.items():
        gains = of["gain"] if arm == PLAIN else np.concatenate([of["gain"], plain["gain"]])
        losses = -(of[measure] if arm == PLAIN else np.concatenate([of[measure], plain[measure]]))
        found[arm] = np.array([area(g, loss, box) for g, loss in zip(gains.T, losses.T, strict=True)])
    return found


def _contrasts(areas: Mapping[str, Float[np.ndarray, " seeds"] | None]) -> dict[str, Paired]:
    ours = areas.get("methylation")
    if ours is None:
        return {}
    return {arm: paired(ours - of) for arm, of in areas.items() if of is not None and arm != "methylation"}


def judged(
    change: Mapping[str, Mapping[str, Float[np.ndarray, "strengths seeds"]]],
    measure: str,
    contrasts: Mapping[str, Paired],
    margin: float,
) -> tuple[Verdict, str]:
    """The verdict by the rules that were fixed before the data were seen, and a sentence."""
    plain = change[PLAIN]
    for name, kept in (("gain", plain["gain"]), (measure, -plain[measure])):
        if paired(kept[0]).low <= 0:
            what = "learns nothing of the second species" if name == "gain" else "forgets nothing of the first one"
            return "uninformative", f"The plain arm {what} that its interval tells from zero: there is no trade-off."
    if missing := [arm for arm in PRIMARY if arm not in contrasts]:
        return "uninformative", f"The arm {missing[0]} was not run, or methylation was not."
    both: Sequence[Paired] = [contrasts[arm] for arm in PRIMARY]
    told = "; ".join(
        f"{arm} {of.mean:+.3f} ({of.low:+.3f} to {of.high:+.3f})" for arm, of in zip(PRIMARY, both, strict=True)
    )
    if all(of.low > 0 for of in both):
        return "supported", f"Methylation has the larger area than both controls: {told}."
    if all(of.high < 0 for of in both):
        return "opposed", f"Methylation has the smaller area than both controls: {told}."
    small = all(-margin < of.low and of.high < margin for of in both)
    more = f"both intervals lie within {margin}, so that an effect that matters is excluded" if small else (
        f"an effect beyond {margin} is not excluded"
    )  # fmt: skip
    return "null", f"No difference from both controls that the intervals tell from zero; {more}: {told}."


def _plain_contrasts(contrasts: Mapping[str, Paired], *, primary: bool) -> dict[str, Any]:
    first = set(PRIMARY) if primary else set()
    adjusted = holm({arm: of.p for arm, of in contrasts.items() if arm not in first})
    return {arm: of.plain | {"primary": arm in first, "adjusted": adjusted.get(arm)} for arm, of in contrasts.items()}


def _curve(
    found: Outcomes, change: Mapping[str, Mapping[str, Float[np.ndarray, "strengths seeds"]]], arm: str
) -> list[dict[str, Any]]:
    own, uniform = change[arm], change.get("uniform")
    specific = own["retained_methylated"] - own["retained_unmethylated"]
    points = []
    for place, strength in enumerate(found.plan.strengths(arm)):
        point: dict[str, Any] = {"strength": strength, "specific": paired(specific[place]).plain}
        point |= {name: paired(own[name][place]).plain for name in MEASURES}
        if arm in MAPS and arm != "uniform" and uniform is not None:
            point["over_uniform"] = {name: paired(own[name][place] - uniform[name][place]).plain for name in MEASURES}
            beside = uniform["retained_methylated"][place] - uniform["retained_unmethylated"][place]
            point["specific_over_uniform"] = paired(specific[place] - beside).plain
        points.append(point)
    return points
