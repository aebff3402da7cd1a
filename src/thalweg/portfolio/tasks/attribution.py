"""Attribution: which share of each company's emissions a portfolio finances."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError
from thalweg.portfolio.data.fundamentals import Fundamental, Fundamentals
from thalweg.portfolio.data.holdings import Holding, Holdings, valid_isin
from thalweg.portfolio.data.places import Note, Place, silent
from thalweg.portfolio.tasks.denominators import EDITION, asset_class, denominator


class Line(NamedTuple):
    """What became of one holding.

    **Fields:** the `holding`; `company`, the identifier its figures were found under, empty if they were not; `by`,
    which identifier that was; `value` in the portfolio's currency; `share` of the company that it is; `kind` of asset;
    `why` it is not attributed, empty if it is; `places` of every number behind the share.
    """

    holding: Holding
    company: str
    by: str
    value: float
    share: float
    kind: str
    why: str
    places: dict[str, tuple[Place, ...]]


class Attribution(NamedTuple):
    """What a portfolio finances of each company.

    **Fields:**

    - `companies`: those whose share is known, in the order of the holdings.
    - `factor`: share of each company's emissions that the portfolio finances.
    - `value`: what is held of it, in `currency`.
    - `revenue` and `market_cap` of the company in `currency`, NaN where missing.
    - `quality`: data-quality score that the holdings state, NaN where they state none.
    - `sector`, `names` of the companies.
    - `currency`; `total`, the value of all holdings, those without a share included.
    - `lines`, what became of every holding; `edition` of the table of denominators.
    """

    companies: tuple[str, ...]
    factor: Float[np.ndarray, " companies"]
    value: Float[np.ndarray, " companies"]
    revenue: Float[np.ndarray, " companies"]
    market_cap: Float[np.ndarray, " companies"]
    quality: Float[np.ndarray, " companies"]
    sector: tuple[str, ...]
    names: tuple[str, ...]
    currency: str
    total: float
    lines: tuple[Line, ...]
    edition: str = EDITION

    def over(self, companies: tuple[str, ...]) -> Float[np.ndarray, " companies"]:
        """The share of each of some companies, 0 for those that are not held: for the rows of a panel."""
        known = dict(zip(self.companies, self.factor, strict=True))
        return np.array([known.get(company, 0.0) for company in companies])


def attributed(holdings: Holdings, fundamentals: Fundamentals, *, note: Note = silent) -> Attribution:
    """The share of each company's emissions that a portfolio finances.

    `share = outstanding amount / denominator`, where the denominator depends on the class of asset: the enterprise
    value including cash (EVIC) for listed equity and bonds of listed companies, total equity and debt for private ones
    (see `denominators.DENOMINATORS`). Source: PCAF, The Global GHG Accounting and Reporting Standard, Part A, second
    edition, 2022, chapter 5. The share drifts with the market's value even when nobody trades, so that footprints of
    different days compare only under EVIC of one date.

    A holding is found by its identifier, otherwise by its ISIN, otherwise by what stands before a `+` in its identifier
    (the ITR template's way to name a business of a company): the company itself is then what is financed.

    **Arguments:** `holdings`; `fundamentals`; `note`, told what the user ought to know.

    **Raises:** `InputError` with row and column for holdings and figures in different currencies without an exchange
    rate, holdings in several currencies, a holding worth more than its company, an unknown class of assets, and a
    portfolio of which nothing is found.
    """
    currency = _common(holdings)
    lines = tuple(_line(holding, fundamentals, currency, holdings) for holding in holdings.lines)
    if not any(line.company for line in lines):
        raise InputError(f"{holdings.source}: none of the {len(lines)} holdings is in {fundamentals.source}: check "
                         "that both name companies by the same identifiers.")  # fmt: skip
    if all(line.why for line in lines):
        raise InputError(f"{holdings.source}: none of the {len(lines)} holdings can be attributed; of the first, "
                         f"{lines[0].why}.")  # fmt: skip
    _notes(lines, holdings, fundamentals, note)
    held: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if not line.why:
            held[line.company].append(line)
    companies = tuple(held)
    figures = [fundamentals.of[company] for company in companies]
    for company, several in held.items():
        if sum(line.share for line in several) > 1:
            raise InputError(f"{several[-1].holding.places['value']}: the holdings of {company} are worth "
                             f"{sum(line.share for line in several):.3g} times the whole company: check units and "
                             "currencies.")  # fmt: skip
    return Attribution(
        companies,
        np.array([sum(line.share for line in several) for several in held.values()], np.float64),
        np.array([sum(line.value for line in several) for several in held.values()], np.float64),
        np.array([amount(each, "revenue", currency) for each in figures], np.float64),
        np.array([amount(each, "market_cap", currency) for each in figures], np.float64),
        np.array([_quality(several) for several in held.values()], np.float64),
        tuple(each.sector or "without a sector" for each in figures),
        tuple(each.name or each.company for each in figures),
        currency,
        sum(line.value for line in lines),
        lines,
    )


def amount(company: Fundamental, name: str, currency: str) -> float:
    """A positive amount of a company in some currency, NaN where it is missing or not positive.

    **Raises:** `InputError` where it is in another currency and no exchange rate is given.
    """
    found = company.amounts.get(name, 0.0)
    return found * exchange(company, currency) if found > 0 else float("nan")


def exchange(company: Fundamental, currency: str) -> float:
    """What one unit of a company's currency is in another one, by the rate in its own row.

    **Raises:** `InputError` with row and column if that rate is missing.
    """
    place = company.row
    if not company.currency:
        raise InputError(f"{place}: the figures of {company.company} name no currency: add a column currency.")
    if company.currency == currency:
        return 1.0
    if company.fx_rate is not None and company.fx_quote == currency:
        return company.fx_rate
    into = "" if company.fx_rate is None else f" (its fx_rate is into {company.fx_quote or 'no named currency'})"
    raise InputError(f"{place}: the figures of {company.company} are in {company.currency} and the holdings in "
                     f"{currency}{into}: add its fx_rate with the fx_quote {currency}.")  # fmt: skip


def _common(holdings: Holdings) -> str:
    first = holdings.lines[0]
    for line in holdings.lines:
        if line.currency != first.currency:
            raise InputError(f"{line.places['value']}: the holding of {line.company} is in {line.currency}, the first "
                             f"one in {first.currency}: convert the values into one currency.")  # fmt: skip
    return first.currency


def _line(holding: Holding, fundamentals: Fundamentals, currency: str, holdings: Holdings) -> Line:
    try:
        kind = asset_class(holding.asset_class)
    except InputError as error:
        raise InputError(f"{holdings.source}, row {holding.places['value'].row}: {error}") from None
    company, by = _found(holding, fundamentals)
    places: dict[str, tuple[Place, ...]] = {"value": (holding.places["value"],)}
    if company is None:
        digit = "" if valid_isin(holding.company.partition("+")[0][:12]) else ", and it is no valid ISIN"
        why = f"{holding.company} is not among the fundamentals{digit}"
        return Line(holding, "", "", holding.value, float("nan"), kind, why, places)
    if not holding.asset_class and company.asset_class:
        try:
            kind = asset_class(company.asset_class)
        except InputError as error:
            raise InputError(f"{fundamentals.source}, row {company.row.row}: {error}") from None
    found = denominator(company, kind)
    if isinstance(found, str):
        return Line(holding, company.company, by, holding.value, float("nan"), kind, found, places)
    total, names = found
    places["denominator"] = tuple(company.places[name] for name in names)
    share = holding.value / (total * exchange(company, currency))
    why = "" if share <= 1 else (f"the holding of {company.company} is worth {share:.3g} times its {' + '.join(names)} "
                                 f"in row {places['denominator'][0].row}, as if units or currencies "
                                 "differed")  # fmt: skip
    return Line(holding, company.company, by, holding.value, share, kind, why, places)


def _found(holding: Holding, fundamentals: Fundamentals) -> tuple[Fundamental | None, str]:
    tries = (("identifier", holding.company), ("ISIN", holding.isin), ("issuer", holding.company.partition("+")[0]))
    for by, name in tries:
        if name and name in fundamentals.of:
            return fundamentals.of[name], by
    return None, ""


def _quality(lines: list[Line]) -> float:
    stated = [line.holding.quality for line in lines if line.holding.quality is not None]
    return max(stated) if stated else float("nan")


def _notes(lines: tuple[Line, ...], holdings: Holdings, fundamentals: Fundamentals, note: Note) -> None:
    parts = [line for line in lines if line.by in ("ISIN", "issuer")]
    if parts:
        note(f"{holdings.source}: {len(parts)} holdings name a business of a company that has no figures of its own; "
             "they are attributed to the company as a whole.")  # fmt: skip
    if lost := [line for line in lines if line.why]:
        note(f"{holdings.source}: {len(lost)} of {len(lines)} holdings cannot be attributed; the report lists them.")
    days = sorted({each.date for line in lines if not line.why and (each := fundamentals.of[line.company]).date})
    if len(days) > 1:
        note(f"{fundamentals.source}: figures are from {days[0]} to {days[-1]}; shares drift with the market's value, "
             "--evic-date freezes them.")  # fmt: skip
