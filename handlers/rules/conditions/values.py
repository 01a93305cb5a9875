"""Operations on values at run time, three-valued: what cannot be known is `UNKNOWN`. Compiled code calls these."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from typing import Any

from tidings.unknown import UNKNOWN

Ordering = Callable[[Any, Any], bool]

ORDERINGS: Mapping[str, Ordering] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip

LIMIT = 2**200
"""Numbers beyond this are unknown: nothing in a contract comes near, and arithmetic stays cheap."""


def missing(value: Any) -> bool:
    """Return whether a value is null or unknown."""
    return value is None or value is UNKNOWN


def compare(op: str, left: Any, right: Any) -> Any:
    """Return True, False, or UNKNOWN where a side is null, or the two are money of different currencies."""
    if missing(left) or missing(right):
        return UNKNOWN
    if isinstance(left, Mapping):
        if left["currency"] != right["currency"]:
            return UNKNOWN
        left, right = left["amount_minor"], right["amount_minor"]
    return ORDERINGS[op](left, right)


lt, le, gt, ge, eq, ne = (partial(compare, op) for op in ("<", "<=", ">", ">=", "==", "!="))


def is_null(value: Any) -> Any:
    """Return whether a value is null; what is unknown stays so."""
    return UNKNOWN if value is UNKNOWN else value is None


def is_in(value: Any, options: Any) -> Any:
    """Return whether a value is one of `options`."""
    if missing(value) or missing(options):
        return UNKNOWN
    found: Any = False
    for option in options:
        same = compare("==", value, option)
        if same is True:
            return True
        if same is UNKNOWN:
            found = UNKNOWN
    return found


def arithmetic(op: str, left: Any, right: Any) -> Any:
    """Return the exact result; UNKNOWN for null, a division by zero, two currencies, or what grows beyond `LIMIT`."""
    if missing(left) or missing(right):
        return UNKNOWN
    if isinstance(left, Mapping) or isinstance(right, Mapping):
        return _money(op, left, right)
    if op in "/%" and right == 0:
        return UNKNOWN
    match op:
        case "+":
            result = left + right
        case "-":
            result = left - right
        case "*":
            result = left * right
        case "/":
            result = Fraction(left) / Fraction(right)
        case _:
            # As in CEL: the sign of the left side, so that -7 % 3 is -1.
            result = left - right * int(Fraction(left) / Fraction(right))
    return whole(result)


def whole(result: Any) -> Any:
    """Return a number in its simplest form, or UNKNOWN beyond the limit."""
    if isinstance(result, Fraction):
        if result.denominator == 1:
            result = int(result)
        elif result.denominator > LIMIT:
            return UNKNOWN
    if not isinstance(result, str) and not -LIMIT < result < LIMIT:
        return UNKNOWN
    return result


def of_duration(result: Any) -> Any:
    """Return a duration or an instant as whole microseconds, rounded down."""
    return result if missing(result) else int(result // 1)


def _money(op: str, left: Any, right: Any) -> Any:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        if left["currency"] != right["currency"]:
            return UNKNOWN
        if op == "/":
            return arithmetic("/", left["amount_minor"], right["amount_minor"])
        minor = arithmetic(op, left["amount_minor"], right["amount_minor"])
        currency = left["currency"]
    else:
        amount, factor = (left, right) if isinstance(left, Mapping) else (right, left)
        minor = arithmetic(op, amount["amount_minor"], factor)
        currency = amount["currency"]
    # A part of a cent is kept: a condition may compare it, and nobody is charged here.
    return UNKNOWN if minor is UNKNOWN else {"amount_minor": minor, "currency": currency}


def negative(value: Any) -> Any:
    """Return the negative of a value."""
    if missing(value):
        return UNKNOWN
    if isinstance(value, Mapping):
        return {**value, "amount_minor": -value["amount_minor"]}
    return -value


def call(name: str, target: Any, argument: Any = None) -> Any:
    """Return the result of a function on texts (and the size of lists)."""
    if missing(target) or (name in TWO and missing(argument)):
        return UNKNOWN
    match name:
        case "startsWith":
            return target.startswith(argument)
        case "endsWith":
            return target.endswith(argument)
        case "contains":
            return argument in target
        case "size":
            return len(target)
        case _:
            # CEL folds ASCII only.
            return "".join(chr(ord(letter) + 32) if "A" <= letter <= "Z" else letter for letter in target)


TWO = frozenset({"startsWith", "endsWith", "contains"})
"""Functions that take an argument."""
