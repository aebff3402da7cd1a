"""Temperature scores of companies as one score of a portfolio: the seven aggregations of SBTi's finance tool.

Source: Science Based Targets initiative, Financial Sector Science-Based Targets Guidance, version 1.1, 2022, appendix
on temperature scoring; the formulas are those of its reference program `sbti-finance-tool`, 1.3.1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError

METHODS = {
    "wats": "value of the holdings",
    "tets": "emissions of the companies",
    "mots": "emissions owned by market value",
    "eots": "emissions owned by enterprise value",
    "ecots": "emissions owned by enterprise value and cash",
    "aots": "emissions owned by assets",
    "rots": "emissions owned by revenue",
}
NEEDS = {"mots": ("market_cap",), "eots": ("ev",), "ecots": ("ev", "cash"), "aots": ("assets",), "rots": ("revenue",)}


def aggregated(
    method: str,
    score: Float[np.ndarray, " companies"],
    value: Float[np.ndarray, " companies"],
    emissions: Float[np.ndarray, " companies"],
    amounts: Mapping[str, Float[np.ndarray, " companies"]],
) -> Float[np.ndarray, " companies"]:
    """What each company contributes to the temperature score of a portfolio; the sum is the portfolio's score.

    Let `I_c` be the value held, `E_c` the emissions of the scopes that the score speaks of, `T_c` the score:

    - `wats`, weighted average temperature score: `I_c / sum(I) T_c`.
    - `tets`, total emissions weighted: `E_c / sum(E) T_c`.
    - `mots`, market owned emissions weighted: `O_c / sum(O) T_c` with `O_c = I_c / market_cap_c E_c`.
    - `eots`, enterprise owned: the same with `O_c = I_c / ev_c E_c`.
    - `ecots`, enterprise value and cash owned: the same with `O_c = I_c / (ev_c + cash_c) E_c`.
    - `aots`, total assets owned: the same with `O_c = I_c / assets_c E_c`.
    - `rots`, revenue owned: the same with `O_c = I_c / revenue_c E_c`.

    Source: `sbti-finance-tool` 1.3.1, `portfolio_aggregation.py`.

    **Arguments:** `method`, one of those seven; `score` in degrees; `value`, `emissions` in any one unit; `amounts`,
    from `market_cap`, `ev`, `cash`, `assets`, `revenue` to what the method needs, in the currency of `value`.

    **Raises:** `InputError` for a method that there is not, amounts that are missing or zero, and a total of zero.
    """
    name = method.lower()
    if name not in METHODS:
        raise InputError(f"there is no aggregation {method!r}: choose one of {', '.join(METHODS)}.")
    score, value = _whole(score, "score", name), _whole(value, "value held", name)
    weight = value
    if name != "wats":
        emitted = _whole(emissions, "value of emissions", name)
        weight = emitted if name == "tets" else value / _base(name, amounts) * emitted
    total = float(weight.sum())
    if total == 0:
        raise InputError(f"{name}: the total to weight by is zero: the portfolio has no score.")
    return weight / total * score


def _base(name: str, amounts: Mapping[str, np.ndarray]) -> np.ndarray:
    for each in NEEDS[name]:
        if each not in amounts:
            raise InputError(f"{name}: needs the companies' {each}: add the column.")
    total = np.sum([_whole(amounts[each], each, name) for each in NEEDS[name]], axis=0)
    if (total == 0).any():
        raise InputError(f"{name}: {' + '.join(NEEDS[name])} of company {int(np.flatnonzero(total == 0)[0])} is zero: "
                         "leave the company out.")  # fmt: skip
    return total


def _whole(values: np.ndarray, what: str, name: str) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        first = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(f"{name}: company {first} has no {what}: leave the company out, or complete it.")
    return values
