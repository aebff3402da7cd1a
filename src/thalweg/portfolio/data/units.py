"""Units of emissions and money as tables spell them."""

from __future__ import annotations

import re

_MASS = {
    "g": 1e-6, "kg": 1e-3, "t": 1.0, "ton": 1.0, "tons": 1.0, "tonne": 1.0, "tonnes": 1.0, "metric tons": 1.0,
    "metric tonnes": 1.0, "mt": 1e6, "kt": 1e3, "gt": 1e9, "thousand t": 1e3, "thousand tonnes": 1e3, "million t": 1e6,
    "millions t": 1e6, "million tonnes": 1e6, "million tons": 1e6, "mmt": 1e6, "lb": 0.45359237e-3,
}  # fmt: skip
_GAS = re.compile(r"\s*\(?\s*(co2\s*-?\s*(?:e|eq|equiv|equivalents?)?)\)?$")
_MONEY = re.compile(r"\[\s*([^\]]+?)\s*\]|\(\s*([A-Za-z]{3})\s*\)$")
# Quotes of exchanges in hundredths; only so spelled, for `gbp` is a pound.
_HUNDREDTHS = {"GBp": "GBP", "GBX": "GBP", "ZAc": "ZAR", "ILA": "ILS"}
_SCALE = {"k": 1e3, "kilo": 1e3, "mega": 1e6, "giga": 1e9, "m": 1e6, "mn": 1e6, "million": 1e6, "millions": 1e6,
          "bn": 1e9, "b": 1e9, "billion": 1e9, "billions": 1e9, "thousand": 1e3, "thousands": 1e3}  # fmt: skip


def tonnes(unit: str) -> tuple[float, str] | None:
    """What a unit of emissions is in tonnes, and of which gas; None for units of anything else.

    **Arguments:** `unit` as spelled: `kt CO2e`, `Millions t CO2e`, `Mt`, `kg`. `mt` is a million tonnes only when it
    is written with a capital; in small letters it is a metric tonne to some and refused.

    **Returns:** tonnes in one unit, and `CO2e` or `CO2` (a unit that names no gas is taken for CO2e).
    """
    plain = unit.strip().replace("₂", "2").replace("\N{NO-BREAK SPACE}", " ")
    small = re.sub(r"\s+", " ", plain.lower())
    gas = _GAS.search(small)
    mass = small[: gas.start()].strip() if gas else small
    if mass in ("t", "kt", "mt", "gt", "g", "kg") and gas and not small.startswith(mass):
        return None
    if mass == "mt" and not plain.startswith("M"):
        return None
    if mass not in _MASS:
        return None
    return _MASS[mass], "CO2" if gas and gas[1].replace(" ", "") == "co2" else "CO2e"


def currency_of(heading: str) -> str:
    """The currency that a heading names: `investment_value [EUR]`, `value (USD)`; empty for none."""
    match = _MONEY.search(heading)
    return (match[1] or match[2]).strip() if match else ""


def money(currency: str) -> tuple[float, str]:
    """A currency with a scale before or after it: `megaEUR`, `EUR million`, `kUSD`, `USD`; `GBp` and `GBX` are pence.

    **Returns:** how much of the currency one unit is, and the currency's code in capitals.
    """
    if currency.strip() in _HUNDREDTHS:
        return 0.01, _HUNDREDTHS[currency.strip()]
    match = re.fullmatch(r"([A-Za-z]*?)\s*([A-Z]{3})\s*([A-Za-z]*)", currency.strip())
    if match:
        scale = (match[1] or match[3]).lower()
        if scale in _SCALE:
            return _SCALE[scale], match[2]
    return 1.0, currency.strip().upper()
