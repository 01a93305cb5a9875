"""Amounts of money as people write them where an expression needs `money(…)`."""

from __future__ import annotations

import re
from fractions import Fraction

from handlers.rules.conditions.syntax import Node
from tidings.money import money

TEXT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?) ?([A-Z]{3})|([A-Z]{3}) ?([0-9]{1,15}(?:\.[0-9]{1,3})?)")


def meant(node: Node) -> str | None:
    """Return the call that says what a number or a text such as `50.00 EUR` means; None where it is no amount."""
    if node.kind == "literal" and node.op == "number":
        return _call(Fraction(node.value), "EUR")
    if node.kind == "literal" and node.op == "string" and (match := TEXT.fullmatch(node.value)) is not None:
        return _call(Fraction(match[1] or match[4]), match[2] or match[3])
    return None


def _call(number: Fraction, currency: str) -> str | None:
    try:
        money(number, currency)
    except ValueError:
        return None
    whole, rest = divmod(number, 1)
    decimals = f".{int(rest * 1000):03}".rstrip("0") if rest else ""
    return f'money({whole}{decimals}, "{currency}")'
