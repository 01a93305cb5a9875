"""Money: exact amounts in minor units, with the number of decimals that a currency has (ISO 4217)."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

NO_DECIMALS = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())
THREE_DECIMALS = frozenset("BHD IQD JOD KWD LYD OMR TND".split())


def decimals(currency: str) -> int:
    """Return how many decimals a currency has; two, unless ISO 4217 says otherwise."""
    return 0 if currency in NO_DECIMALS else 3 if currency in THREE_DECIMALS else 2


def money(major: Fraction | int, currency: str) -> dict[str, Any]:
    """Return an amount of major units.

    Raises:
        ValueError: the currency has no such small unit.
    """
    minor = major * 10 ** decimals(currency)
    if minor != int(minor):
        text = f"{currency} has {decimals(currency)} decimals"
        raise ValueError(text)
    return {"amount_minor": int(minor), "currency": currency}


def major_text(value: Mapping[str, Any]) -> str:
    """Return an amount as text: `120.00 EUR`."""
    places = decimals(value["currency"])
    minor = value["amount_minor"]
    sign, minor = ("-", -minor) if minor < 0 else ("", minor)
    whole, rest = divmod(minor, 10**places)
    return f"{sign}{whole}{f'.{rest:0{places}d}' if places else ''} {value['currency']}"
