"""What the value of a holding is divided by: PCAF's denominators of attribution, by class of asset."""

from __future__ import annotations

import re
from typing import NamedTuple

from thalweg.core.errors import InputError
from thalweg.portfolio.data.fundamentals import Fundamental

EDITION = "PCAF Global GHG Standard, Part A, second edition (December 2022)"


class Denominator(NamedTuple):
    """How one class of assets is attributed: the `section` of the standard; `choices`, sums of amounts, best first."""

    section: str
    choices: tuple[tuple[str, ...], ...]


DENOMINATORS = {
    "listed equity": Denominator("5.1, listed companies: enterprise value including cash", (("evic",),)),
    "corporate bond": Denominator("5.1, listed companies: enterprise value including cash", (("evic",),)),
    "private corporate bond": Denominator(
        "5.1, bonds of private companies: total equity and debt", (("equity", "debt"), ("assets",))
    ),
    "business loan": Denominator("5.2, borrowers that are listed: enterprise value including cash", (("evic",),)),
    "private business loan": Denominator(
        "5.2, private borrowers: total equity and debt, otherwise the balance sheet's total",
        (("equity", "debt"), ("assets",)),
    ),
    "unlisted equity": Denominator(
        "5.2, private companies: total equity and debt, otherwise the balance sheet's total",
        (("equity", "debt"), ("assets",)),
    ),
    "project finance": Denominator("5.3: total equity and debt of the project", (("equity", "debt"),)),
    "commercial real estate": Denominator("5.4: the property's value at origination", (("origination_value",),)),
    "mortgage": Denominator("5.5: the property's value at origination", (("origination_value",),)),
    "motor vehicle loan": Denominator("5.6: the vehicle's total value at origination", (("origination_value",),)),
    "sovereign debt": Denominator("5.7: gross domestic product at purchasing-power parity", (("gdp",),)),
}
_SPELLINGS = {
    "": "listed equity", "equity": "listed equity", "equities": "listed equity", "stock": "listed equity",
    "share": "listed equity", "listed": "listed equity", "bond": "corporate bond", "corporate debt": "corporate bond",
    "loan": "business loan", "private equity": "unlisted equity", "private": "unlisted equity",
    "private loan": "private business loan", "private bond": "private corporate bond", "real estate":
    "commercial real estate", "sovereign bond": "sovereign debt", "government bond": "sovereign debt",
}  # fmt: skip


def asset_class(spelled: str) -> str:
    """A class of assets by the name that PCAF has for it; without one, listed equity.

    **Raises:** `InputError` for a class that is not in the table.
    """
    plain = spelled.strip().lower().replace("_", " ").replace("-", " ")
    plain = plain if plain in DENOMINATORS or plain in _SPELLINGS else re.sub(r"ies$", "y", plain).removesuffix("s")
    found = _SPELLINGS.get(plain, plain)
    if found not in DENOMINATORS:
        raise InputError(f"there is no class of assets {spelled!r}: write one of {', '.join(DENOMINATORS)}.")
    return found


def denominator(company: Fundamental, kind: str) -> tuple[float, tuple[str, ...]] | str:
    """What a holding of some class is divided by, in the currency of the figures, and the amounts it is the sum of.

    **Arguments:** `company`; `kind`, as `asset_class` returns it.

    **Returns:** the positive sum with the names of the amounts, or the reason why there is none.
    """
    told = "is missing"
    for names in DENOMINATORS[kind].choices:
        if all(name in company.amounts for name in names):
            total = sum(company.amounts[name] for name in names)
            if total > 0:
                return total, names
            told = f"is {total:g}"
    names = " + ".join(DENOMINATORS[kind].choices[0])
    return f"{names.upper() if names == 'evic' else names} of {company.company} {told}"
