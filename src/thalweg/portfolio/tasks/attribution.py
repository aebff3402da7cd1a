"""Attribution: which share of each company's emissions a portfolio finances."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError
from thalweg.portfolio.data.fundamentals import Fundamental, Fundamentals
from thalweg.portfolio.data.holdings import Holding, Holdings, valid_isin
from thalweg.portfolio.data.places import Note, Place, silent
from thalweg.portfolio.data.rates import Rate, Rates
from thalweg.portfolio.data.units import money
from thalweg.portfolio.tasks.denominators import EDITION, asset_class, denominator

_OFF = 1e-3  # between two rates of a currency, from which on the user is told


class Line(NamedTuple):
    """What became of one holding.

    **Fields:** the `holding`; `company`, the identifier its figures were found under, empty if they were not; `by`,
    which identifier that was; `value` in the portfolio's currency; `share` of the company that it is; `kind` of asset;
    `why` it is not attributed, empty if it is; `places` of every number behind the share, `rate` and `company rate`
    among them if the table of rates converted the holding or the company's figures; `rate`, what one unit of the
    holding's currency is in the portfolio's, None where both are the same.
    """

    holding: Holding
    company: str
    by: str
    value: float
    share: float
    kind: str
    why: str
    places: dict[str, tuple[Place, ...]]
    rate: Rate | None = None


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
    - `lines`, what became of every holding; `edition` of the table of denominators; `rates` into `currency`, if given.
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
    rates: Rates | None = None

    def over(self, companies: tuple[str, ...]) -> Float[np.ndarray, " companies"]:
        """The share of each of some companies, 0 for those that are not held: for the rows of a panel."""
        known = dict(zip(self.companies, self.factor, strict=True))
        return np.array([known.get(company, 0.0) for company in companies])


def attributed(
    holdings: Holdings,
    fundamentals: Fundamentals,
    *,
    rates: Rates | None = None,
    currency: str | None = None,
    note: Note = silent,
) -> Attribution:
    """The share of each company's emissions that a portfolio finances.

    `share = outstanding amount / denominator`, where the denominator depends on the class of asset: the enterprise
    value including cash (EVIC) for listed equity and bonds of listed companies, total equity and debt for private ones
    (see `denominators.DENOMINATORS`). Source: PCAF, The Global GHG Accounting and Reporting Standard, Part A, second
    edition, 2022, chapter 5. The share drifts with the market's value even when nobody trades, so that footprints of
    different days compare only under EVIC of one date.

    A holding is found by its identifier, otherwise by its ISIN, otherwise by what stands before a `+` in its identifier
    (the ITR template's way to name a business of a company): the company itself is then what is financed.

    Holdings in other currencies than the portfolio's are converted by `rates`; figures of companies by the rate in
    their own row, and by `rates` where that has none into the portfolio's currency.

    **Arguments:**

    - `holdings`, `fundamentals`, as read; `note`, told what the user ought to know.
    - `rates`: what one unit of other currencies is in the portfolio's.
    - `currency`: the portfolio's, in which values are told, such as `EUR`; by default the one of all holdings.

    **Raises:** `InputError` with row and column for holdings and figures in different currencies without an exchange
    rate, holdings in several currencies without `currency` and `rates`, a rate of the portfolio's own currency that is
    not 1, a holding worth more than its company, an unknown class of assets, and a portfolio of which nothing is found.
    """
    currency = _reporting(holdings, rates, currency)
    lines = tuple(_line(holding, fundamentals, currency, rates, holdings) for holding in holdings.lines)
    if not any(line.company for line in lines):
        raise InputError(f"{holdings.source}: none of the {len(lines)} holdings is in {fundamentals.source}: check "
                         "that both name companies by the same identifiers.")  # fmt: skip
    if all(line.why for line in lines):
        raise InputError(f"{holdings.source}: none of the {len(lines)} holdings can be attributed; of the first, "
                         f"{lines[0].why}.")  # fmt: skip
    _notes(lines, holdings, fundamentals, note)
    if rates is not None:
        _converted_notes(lines, holdings, fundamentals, currency, rates, note)
    held = _held(lines)
    companies = tuple(held)
    figures = [fundamentals.of[company] for company in companies]
    return Attribution(
        companies,
        np.array([sum(line.share for line in several) for several in held.values()], np.float64),
        np.array([sum(line.value for line in several) for several in held.values()], np.float64),
        np.array([amount(each, "revenue", currency, rates) for each in figures], np.float64),
        np.array([amount(each, "market_cap", currency, rates) for each in figures], np.float64),
        np.array([_quality(several) for several in held.values()], np.float64),
        tuple(each.sector or "without a sector" for each in figures),
        tuple(each.name or each.company for each in figures),
        currency,
        sum(line.value for line in lines),
        lines,
        rates=rates,
    )


def amount(company: Fundamental, name: str, currency: str, rates: Rates | None = None) -> float:
    """A positive amount of a company in some currency, NaN where it is missing or not positive.

    **Raises:** `InputError` where it is in another currency and no exchange rate is given.
    """
    found = company.amounts.get(name, 0.0)
    return found * exchange(company, currency, rates) if found > 0 else float("nan")


def exchange(company: Fundamental, currency: str, rates: Rates | None = None) -> float:
    """What one unit of a company's currency is in another one, by the rate in its own row, otherwise by `rates`.

    **Raises:** `InputError` with row and column if that rate is missing.
    """
    place = company.row
    if not company.currency:
        raise InputError(f"{place}: the figures of {company.company} name no currency: add a column currency.")
    if (own := _own(company, currency)) is not None:
        return own
    into = "" if company.fx_rate is None else f" (its fx_rate is into {company.fx_quote or 'no named currency'})"
    if rates is None:
        raise InputError(f"{place}: the figures of {company.company} are in {company.currency} and the holdings in "
                         f"{currency}{into}: add its fx_rate with the fx_quote {currency}.")  # fmt: skip
    scale, code = money(company.currency)
    if code == currency:
        return scale
    if code not in rates.of:
        raise InputError(f"{place}: the figures of {company.company} are in {company.currency} and the portfolio in "
                         f"{currency}{into}, but {rates.source} has no rate of {code}: add it there, or its fx_rate "
                         f"with the fx_quote {currency}.")  # fmt: skip
    return scale * rates.of[code].rate


def convertible(company: Fundamental, currency: str, rates: Rates | None = None) -> bool:
    """Whether a company's figures are in some currency, or state or find a rate into it."""
    code = money(company.currency)[1]
    return currency in (company.currency, company.fx_quote) or (
        rates is not None and (code == currency or code in rates.of)
    )


def converted(attribution: Attribution) -> dict[str, Any]:
    """How many holdings were converted, what they are worth in `currency`, and by which rates; empty for none."""
    lines = [line for line in attribution.lines if line.rate is not None]
    used = {line.rate.currency: line.rate.rate for line in lines if line.rate is not None}
    told = {"holdings": len(lines), "value": sum(line.value for line in lines), "currency": attribution.currency}
    return {"converted": {**told, "rates": used}} if lines else {}


def _own(company: Fundamental, currency: str) -> float | None:
    if company.currency == currency:
        return 1.0
    return company.fx_rate if company.fx_quote == currency else None


def _reporting(holdings: Holdings, rates: Rates | None, named: str | None) -> str:
    """The currency that a portfolio is told in."""
    if named is None:
        currency = holdings.lines[0].currency
        for line in holdings.lines:
            if line.currency != currency:
                remedy = ("give --currency and --rates, or convert the values into one currency" if rates is None else
                          f"name the currency that {rates.source} converts into with --currency")  # fmt: skip
                raise InputError(f"{line.places['value']}: the holding of {line.company} is in {line.currency}, the "
                                 f"first one in {currency}: {remedy}.")  # fmt: skip
    else:
        scale, currency = money(named)
        if scale != 1 or not currency:
            raise InputError(f"--currency {named!r}: name the portfolio's currency by its code alone, such as EUR.")
    same = None if rates is None else rates.of.get(currency)
    if same is not None and same.rate != 1:
        raise InputError(f"{same.place}: one {currency} is {same.rate:g}, but {currency} is the portfolio's currency: "
                         "write 1, remove the row, or name another --currency.")  # fmt: skip
    return currency


def _rate(holding: Holding, currency: str, rates: Rates | None) -> Rate | None:
    if holding.currency == currency:
        return None
    told = f"{holding.places['value']}: the holding of {holding.company} is in {holding.currency}"
    if rates is None:
        raise InputError(f"{told}, the portfolio in {currency}: give --rates, or convert the value into {currency}.")
    if holding.currency not in rates.of:
        raise InputError(f"{told}, the portfolio in {currency}, but {rates.source} has no rate of {holding.currency}: "
                         f"add it there, or convert the value into {currency}.")  # fmt: skip
    return rates.of[holding.currency]


def _line(holding: Holding, fundamentals: Fundamentals, currency: str, rates: Rates | None, holdings: Holdings) -> Line:
    try:
        kind = asset_class(holding.asset_class)
    except InputError as error:
        raise InputError(f"{holdings.source}, row {holding.places['value'].row}: {error}") from None
    company, by = _found(holding, fundamentals)
    rate = _rate(holding, currency, rates)
    value = holding.value if rate is None else holding.value * rate.rate
    places: dict[str, tuple[Place, ...]] = {"value": (holding.places["value"],)}
    if rate is not None:
        places["rate"] = (rate.place,)
    if company is None:
        digit = "" if valid_isin(holding.company.partition("+")[0][:12]) else ", and it is no valid ISIN"
        why = f"{holding.company} is not among the fundamentals{digit}"
        return Line(holding, "", "", value, float("nan"), kind, why, places, rate)
    if not holding.asset_class and company.asset_class:
        try:
            kind = asset_class(company.asset_class)
        except InputError as error:
            raise InputError(f"{fundamentals.source}, row {company.row.row}: {error}") from None
    found = denominator(company, kind)
    if isinstance(found, str):
        return Line(holding, company.company, by, value, float("nan"), kind, found, places, rate)
    total, names = found
    places["denominator"] = tuple(company.places[name] for name in names)
    share = value / (total * exchange(company, currency, rates))
    if rates is not None and _own(company, currency) is None and (code := money(company.currency)[1]) in rates.of:
        places["company rate"] = (rates.of[code].place,)
    why = "" if share <= 1 else (f"the holding of {company.company} is worth {share:.3g} times its {' + '.join(names)} "
                                 f"in row {places['denominator'][0].row}, as if units or currencies "
                                 "differed")  # fmt: skip
    return Line(holding, company.company, by, value, share, kind, why, places, rate)


def _found(holding: Holding, fundamentals: Fundamentals) -> tuple[Fundamental | None, str]:
    tries = (("identifier", holding.company), ("ISIN", holding.isin), ("issuer", holding.company.partition("+")[0]))
    for by, name in tries:
        if name and name in fundamentals.of:
            return fundamentals.of[name], by
    return None, ""


def _held(lines: tuple[Line, ...]) -> dict[str, list[Line]]:
    """The attributed holdings of each company."""
    held: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if not line.why:
            held[line.company].append(line)
    for company, several in held.items():
        if sum(line.share for line in several) > 1:
            raise InputError(f"{several[-1].holding.places['value']}: the holdings of {company} are worth "
                             f"{sum(line.share for line in several):.3g} times the whole company: check units and "
                             "currencies.")  # fmt: skip
    return held


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


def _converted_notes(
    lines: tuple[Line, ...], holdings: Holdings, fundamentals: Fundamentals, currency: str, rates: Rates, note: Note
) -> None:
    used = {line.rate.currency: line.rate for line in lines if line.rate is not None}
    if used:
        count = sum(line.rate is not None for line in lines)
        told = ", ".join(f"one {code} is {one.rate:.8g}" for code, one in used.items())
        note(f"{holdings.source}: {count} of {len(lines)} holdings are converted into {currency} by {rates.source}: "
             f"{told}.")  # fmt: skip
    figures = {line.company: fundamentals.of[line.company] for line in lines if not line.why}.values()
    codes = {money(each.currency)[1] for each in figures if _own(each, currency) is None}
    days = sorted({day for code in {*used, *codes} if code in rates.of and (day := rates.of[code].date) is not None})
    if len(days) > 1:
        note(f"{rates.source}: the rates that are used are from {days[0]} to {days[-1]}.")
    off = {each.company: each.fx_rate / rates.of[each.currency].rate - 1 for each in figures
           if each.currency != currency and each.fx_quote == currency and each.fx_rate is not None
           and each.currency in rates.of}  # fmt: skip
    if off and (far := max(map(abs, off.values()))) > _OFF:
        note(f"{fundamentals.source}: figures of {len(off)} companies are converted by the fx_rate in their own row, "
             f"which is up to {far:.1%} off the rate of {rates.source}: shares are off by as much where the holding is "
             "in the same currency.")  # fmt: skip
