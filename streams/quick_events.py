"""Plain JSON events that keep their contract, read quickly; of any other, `json_events.from_json` tells what is wrong.

One reader is built for each contract, from closures over its fields, so that nothing of the contract is looked up
while events are read. A reader returns exactly what `from_json` returns, or raises `Slowly`: a test compares them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from streams.json_events import ENVELOPE, MAX_LONG, OPTIONAL, TIME, micros
from tidings.contract import NO_DEFAULT, Contract, Field, Type

Read = Callable[[Any], Any]
KNOWN = frozenset(ENVELOPE)
ABSENT: Any = object()
SIMPLE = frozenset({str, int, bool, type(None)})
"""Defaults that may be shared."""


class Slowly(Exception):
    """It is not the plain case: ask `from_json`."""


def reader(contract: Contract) -> Callable[[Mapping[str, Any], str], dict[str, Any]]:
    """Return what reads events of a contract; see `from_json`.

    Raises:
        Slowly: (what is returned) the event may have mistakes.
    """
    kind = contract.type
    data_of = _record(contract.fields)

    def read(event: Mapping[str, Any], tenant: str) -> dict[str, Any]:
        if not event.keys() <= KNOWN or event.get("type", kind) != kind or event.get("tenant", tenant) != tenant:
            raise Slowly
        name, source, sequence = event.get("id"), event.get("source"), event.get("sequence")
        if type(name) is not str or not name or type(source) is not str or not source:
            raise Slowly
        if sequence is not None and (type(sequence) is not int or not -MAX_LONG <= sequence <= MAX_LONG):
            raise Slowly
        optional = [event.get(one) for one in OPTIONAL]
        for value in optional:
            if value is not None and (type(value) is not str or not value):
                raise Slowly
        meta = {
            "event_id": name, "type": kind, "source": source, "subject": optional[0],
            "occurred_at": _time(event.get("time")), "recorded_at": None, "actor": None, "tenant": tenant,
            "correlation_id": optional[1], "causation_id": optional[2], "sequence": sequence,
        }  # fmt: skip
        return {"meta": meta, **data_of(event.get("data"))}

    return read


def _record(fields: Mapping[str, Field]) -> Read:
    parts = [(name, _value(one.type), one.default) for name, one in fields.items()]

    def read(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise Slowly
        found = {}
        used = 0
        for name, inner, default in parts:
            given = value.get(name, ABSENT)
            if given is not ABSENT:
                used += 1
                found[name] = inner(given)
            elif default is NO_DEFAULT:
                raise Slowly
            else:
                found[name] = default if type(default) in SIMPLE else copy.copy(default)
        if used != len(value):
            raise Slowly
        return found

    return read


def _value(kind: Type) -> Read:
    inner = _bare(kind)
    if not kind.nullable:
        return inner
    return lambda value: None if value is None else inner(value)


def _bare(kind: Type) -> Read:
    match kind.kind:
        case "string":
            return _text
        case "long":
            return _long
        case "boolean":
            return _boolean
        case "timestamp":
            return _time
        case "enum":
            return _symbol(frozenset(kind.symbols))
        case "money" | "record":
            return _record(kind.fields)
        case "array" if kind.item is not None:
            return _list(_value(kind.item))
    return _never


def _text(value: Any) -> str:
    if type(value) is not str:
        raise Slowly
    return value


def _long(value: Any) -> int:
    if type(value) is not int or not -MAX_LONG <= value <= MAX_LONG:
        raise Slowly
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise Slowly
    return value


def _time(value: Any) -> int:
    if type(value) is not str or TIME.fullmatch(value) is None:
        raise Slowly
    try:
        return micros(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        raise Slowly from None


def _symbol(symbols: frozenset[str]) -> Read:
    def read(value: Any) -> str:
        if type(value) is not str or value not in symbols:
            raise Slowly
        return value

    return read


def _list(inner: Read) -> Read:
    def read(value: Any) -> list[Any]:
        if type(value) is not list:
            raise Slowly
        return [inner(part) for part in value]

    return read


def _never(_: Any) -> Any:
    raise Slowly
