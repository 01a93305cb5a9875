"""Values of a mapping: where in a foreign record a field of a contract comes from.

`path.to.field` takes a value as it is; a text with `{path}` in it is filled in; the rest are mappings with one of the
words of `WORDS`. What is missing is null, and the contract says whether that may be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from streams.json_events import rfc3339
from streams.sources.foreign import instant
from tidings.money import money

Path = tuple[str, ...]
Expression = Callable[[Any], Any]

PLACE = re.compile(r"\{([A-Za-z0-9_$.\-]+)\}")
PATH = re.compile(r"[A-Za-z0-9_$\-]+(\.[A-Za-z0-9_$\-]+)*")
WORDS = ("const", "first", "minor", "major", "time", "text", "size", "upper", "bool")
DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,6})?")


class Wrong(ValueError):
    """An expression that means nothing; the text says why."""


def compiled(source: Any) -> tuple[Expression, frozenset[Path]]:
    """Return the function of an expression, and the paths that it reads.

    Raises:
        Wrong: it is none.
    """
    if isinstance(source, str):
        return _text(source)
    if isinstance(source, Mapping):
        words = [word for word in source if word in WORDS]
        extra = set(source) - set(WORDS) - {"currency"}
        if len(words) != 1 or extra:
            text = f"one of {', '.join(WORDS)} is needed here" + (f", not {', '.join(sorted(extra))}" if extra else "")
            raise Wrong(text)
        return _word(words[0], source)
    text = "a path, a text with {path}, or a mapping is needed here"
    raise Wrong(text)


def value_at(record: Any, path: Path) -> Any:
    """Return what stands at a path, or None; names are matched without regard to case where the exact one is missing.

    Databases differ in how they write the names of columns; a number is the place in a list.
    """
    for part in path:
        if isinstance(record, Sequence) and not isinstance(record, str):
            at = int(part) if part.isdigit() else len(record)
            record = record[at] if at < len(record) else None
        elif isinstance(record, Mapping):
            if part in record:
                record = record[part]
            else:
                record = next((value for name, value in record.items() if str(name).lower() == part.lower()), None)
        else:
            return None
    return record


def _path(text: Any) -> Path:
    if not isinstance(text, str) or PATH.fullmatch(text) is None:
        message = f"{text!r} is no path, as in customer.id"
        raise Wrong(message)
    return tuple(text.split("."))


def _text(source: str) -> tuple[Expression, frozenset[Path]]:
    if "{" not in source and "}" not in source:
        path = _path(source)
        return (lambda record: value_at(record, path)), frozenset({path})
    paths = [_path(name) for name in PLACE.findall(source)]
    if not paths or PLACE.sub("", source).count("{") or PLACE.sub("", source).count("}"):
        text = f"{source!r} has a brace that names no path"
        raise Wrong(text)
    pieces = PLACE.split(source)[::2]

    def fill(record: Any) -> Any:
        values = [value_at(record, path) for path in paths]
        if any(value is None or isinstance(value, (Mapping, list)) for value in values):
            return None
        return pieces[0] + "".join(str(value) + piece for value, piece in zip(values, pieces[1:], strict=True))

    return fill, frozenset(paths)


def _word(word: str, source: Mapping[str, Any]) -> tuple[Expression, frozenset[Path]]:
    argument = source[word]
    if word == "const":
        return (lambda _: argument), frozenset()
    if word == "first":
        if not isinstance(argument, list) or not argument:
            text = "first needs a list, as in { first: [charge, id] }"
            raise Wrong(text)
        parts = [compiled(part) for part in argument]
        functions = [function for function, _ in parts]
        paths = frozenset(path for _, found in parts for path in found)
        return (lambda record: next((v for f in functions if (v := f(record)) is not None), None)), paths
    inner, paths = compiled(argument)
    if word in ("minor", "major"):
        if "currency" not in source:
            text = f"{word} needs a currency, as in {{ {word}: total, currency: currency }}"
            raise Wrong(text)
        currency, more = compiled(source["currency"])
        return (lambda record: _money(inner(record), currency(record), word)), paths | more
    convert = {"time": _time, "text": _as_text, "size": _size, "upper": _upper, "bool": _bool}[word]
    return (lambda record: convert(inner(record))), paths


def _money(amount: Any, currency: Any, unit: str) -> Any:
    """Return money; an amount in major units may be a decimal text, and is exact to the last unit or refused later."""
    if amount is None or not isinstance(currency, str):
        return None
    currency = currency.upper()
    if unit == "minor":
        return {"amount_minor": amount, "currency": currency}
    if DECIMAL.fullmatch(str(amount)) is None:
        # The contract refuses it, with its place.
        return {"amount_minor": amount, "currency": currency}
    try:
        return money(Fraction(str(amount)), currency)
    except ValueError:
        return {"amount_minor": amount, "currency": currency}


def _time(value: Any) -> Any:
    at = instant(value)
    return value if at is None else rfc3339(at)


def _as_text(value: Any) -> Any:
    return value if value is None or isinstance(value, (Mapping, list)) else str(value)


def _size(value: Any) -> Any:
    return len(value) if isinstance(value, (list, Mapping)) else None


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _bool(value: Any) -> Any:
    return bool(value) if value in (0, 1) else value
