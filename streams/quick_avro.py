"""Writing Avro quickly: one writer is built for each schema, from closures over its fields.

Written are the shapes that the contracts have and nothing else: records, enums, arrays and unions of null with one
other, over text, whole numbers, booleans and instants. The bytes are fastavro's, which looks every value of a union up
among its branches; a test compares them for every contract.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Write = Callable[[bytearray, Any], None]
LEAST, MOST = -(2**63), 2**63 - 1
BYTE = 0x80


class NoWriter(Exception):
    """The schema has a shape that is not written here."""


class NoFit(ValueError):
    """A value does not fit its schema."""


def writer(schema: Any) -> Callable[[Mapping[str, Any]], bytes]:
    """Return what writes payloads of a schema, every type of it written out (`schemas.Contracts.schema`).

    Raises:
        NoWriter: it has another shape. What is returned raises `NoFit`.
    """
    write = _writer(schema, {})

    def written(payload: Mapping[str, Any]) -> bytes:
        out = bytearray()
        try:
            write(out, payload)
        except (KeyError, TypeError, AttributeError, UnicodeEncodeError) as fault:
            raise NoFit(f"{type(fault).__name__}: {fault}") from fault
        return bytes(out)

    return written


def _writer(schema: Any, named: dict[str, Write]) -> Write:
    if isinstance(schema, list):
        return _union(schema, named)
    if isinstance(schema, str):
        found = named.get(schema) or SIMPLE.get(schema)
        if found is None:
            raise NoWriter(schema)
        return found
    match schema["type"]:
        case "record":
            return _named(
                schema, named, _record([(one["name"], _writer(one["type"], named)) for one in schema["fields"]])
            )
        case "enum":
            return _named(schema, named, _enum(schema["symbols"]))
        case "array":
            return _array(_writer(schema["items"], named))
        case str(kind) if kind in SIMPLE:
            return SIMPLE[kind]
    raise NoWriter(str(schema["type"]))


def _named(schema: Mapping[str, Any], named: dict[str, Write], write: Write) -> Write:
    name, space = schema["name"], schema.get("namespace")
    named[name if space is None or "." in name else f"{space}.{name}"] = write
    return write


def _union(branches: list[Any], named: dict[str, Write]) -> Write:
    if len(branches) != 2 or branches[0] != "null":  # noqa: PLR2004 - null and one other
        raise NoWriter(str(branches))
    inner = _writer(branches[1], named)

    def write(out: bytearray, value: Any) -> None:
        if value is None:
            out.append(0)
        else:
            out.append(2)
            inner(out, value)

    return write


def _record(parts: list[tuple[str, Write]]) -> Write:
    names = {name for name, _ in parts}

    def write(out: bytearray, value: Any) -> None:
        if len(value) != len(parts):
            missing, more = sorted(names - set(value)), sorted(set(value) - names)
            raise NoFit(f"missing: {', '.join(missing) or 'nothing'}; unknown: {', '.join(more) or 'nothing'}")
        for name, inner in parts:
            inner(out, value[name])

    return write


def _enum(symbols: list[str]) -> Write:
    numbers = {name: at for at, name in enumerate(symbols)}

    def write(out: bytearray, value: Any) -> None:
        _long(out, numbers[value])

    return write


def _array(inner: Write) -> Write:
    def write(out: bytearray, value: Any) -> None:
        if type(value) is not list:
            raise NoFit("a list is needed")
        if value:
            _long(out, len(value))
            for part in value:
                inner(out, part)
        out.append(0)

    return write


def _long(out: bytearray, value: Any) -> None:
    if type(value) is not int or not LEAST <= value <= MOST:
        raise NoFit("a whole number of 64 bits is needed")
    value = (value << 1) ^ (value >> 63)
    while value >= BYTE:
        out.append(value & 0x7F | BYTE)
        value >>= 7
    out.append(value)


def _text(out: bytearray, value: Any) -> None:
    raw = value.encode()
    size = len(raw)
    if size < BYTE >> 1:
        out.append(size << 1)
    else:
        _long(out, size)
    out += raw


def _boolean(out: bytearray, value: Any) -> None:
    if type(value) is not bool:
        raise NoFit("true or false is needed")
    out.append(value)


SIMPLE: Mapping[str, Write] = {"string": _text, "long": _long, "boolean": _boolean}
