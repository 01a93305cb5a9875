"""Contracts compiled to Python: from an event in plain JSON to the bytes of its record in one pass, and nothing between.

What a compiled function returns is what `json_events.from_json` and then `quick_avro.writer` would have made; a test
compares them for every contract. Whatever is not the plain case raises `Slowly`: then those are asked, which have the
words for it. Contracts never become code: names, symbols and defaults stand in the function's constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from typing import Any

from streams.json_events import MAX_LONG, TIME
from tidings.contract import NO_DEFAULT, Contract, Field, Type
from tidings.event import Micros

Written = tuple[str, str, Micros, bytes, bytes]
"""Source and id of an event, its instant, and the key and the Avro of its record."""
Write = Callable[[Mapping[str, Any], str], Written]
"""From an event and the tenant that it belongs to."""

META = (
    "event_id", "type", "source", "subject", "occurred_at", "recorded_at", "actor", "tenant", "correlation_id",
    "causation_id", "sequence",
)  # fmt: skip
"""The envelope's fields in their order, as the functions here write them."""
NEEDED = 5
"""Names that every event has: id, source, type, time, data."""
LONGEST = 512
"""Bytes of a part of an event's name, and of its key, that are written here; what is longer is somebody's mistake."""
DEEPEST = 20
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


ABSENT: Any = object()
MOST = 4_096
"""Beginnings of instants that are remembered."""
_UPPER: dict[int, bytes] = {}
"""By an instant without its last second or so: the last bytes of its number. Events of one time share them."""


_SECONDS: dict[str, Micros] = {}
"""By the text of an instant in UTC up to its second. Events of one moment share them."""
TO_SECOND, LONG = len("2026-11-26T12:00:00"), len("2026-11-26T12:00:00.123456Z")


class Slowly(Exception):
    """It is not the plain case."""


class _Otherwise(Exception):
    """The contract has something that is not compiled."""


def number(value: int) -> bytes:
    """Return a whole number as Avro.

    Raises:
        Slowly: it has more than 64 bits.
    """
    if not -MAX_LONG <= value <= MAX_LONG:
        raise Slowly
    left = (value << 1) ^ (value >> 63)
    out = bytearray()
    while left > 127:  # noqa: PLR2004 - what one byte holds
        out.append(left & 127 | 128)
        left >>= 7
    out.append(left)
    return bytes(out)


SMALL: Sequence[bytes] = tuple(map(number, range(1024)))
NULL, VALUE = b"\x00", b"\x02"
"""Which branch of a union follows; a null has nothing more, and neither has the end of a list."""


def text(value: Any) -> bytes:
    """Return a text as Avro.

    Raises:
        Slowly: it is none.
    """
    if type(value) is not str:
        raise Slowly
    raw = value.encode()
    size = len(raw)
    return (SMALL[size] if size < 1024 else number(size)) + raw  # noqa: PLR2004 - of SMALL


_tenanted = lru_cache(64)(text)
"""There are few of them."""


def _short(value: Any) -> bytes:
    """Return a part of the envelope as Avro, null for what is not there."""
    if value is None:
        return NULL
    if not value:
        raise Slowly
    found = text(value)
    if len(found) > LONGEST:
        raise Slowly
    return VALUE + found


def _instant(value: Any) -> Micros:
    if type(value) is not str:
        raise Slowly
    if len(value) == LONG and value[TO_SECOND] == "." and value[-1] == "Z":
        second, micros = _SECONDS.get(value[:TO_SECOND]), value[TO_SECOND + 1 : -1]
        if second is not None and micros.isascii() and micros.isdigit():
            return second + int(micros)
    if TIME.fullmatch(value) is None:
        raise Slowly
    try:
        since = datetime.fromisoformat(value) - EPOCH
    except (ValueError, OverflowError):
        raise Slowly from None
    whole = (since.days * 86_400 + since.seconds) * 1_000_000
    if value[-1] == "Z":
        if len(_SECONDS) >= MOST:
            _SECONDS.clear()
        _SECONDS[value[:TO_SECOND]] = whole
    return whole + since.microseconds


def _rest(event: Mapping[str, Any], tenant: str) -> tuple[bytes, bytes]:
    """Return what of the envelope most events have not: the subject, and what follows the tenant."""
    names = event.keys() - {"id", "source", "type", "time", "data"}
    if not names <= {"subject", "tenant", "correlation_id", "causation_id", "sequence"}:
        raise Slowly
    if event.get("tenant", tenant) != tenant:
        raise Slowly
    sequence = event.get("sequence")
    if sequence is None:
        last = NULL
    elif type(sequence) is int:
        last = VALUE + number(sequence)
    else:
        raise Slowly
    return _short(event.get("subject")), _short(event.get("correlation_id")) + _short(event.get("causation_id")) + last


def _stamp(at: Micros) -> bytes:
    """Return an instant as Avro."""
    left = at << 1
    upper = _UPPER.get(left >> 21)
    if upper is None:
        whole = number(at)
        if len(whole) > 3 and at > 0:  # noqa: PLR2004 - those that are not remembered
            if len(_UPPER) >= MOST:
                _UPPER.clear()
            _UPPER[left >> 21] = whole[3:]
        return whole
    return bytes((left & 127 | 128, left >> 7 & 127 | 128, left >> 14 & 127 | 128)) + upper


def compiled(contract: Contract, schema: Any) -> Write | None:
    """Return what writes events of a contract; `schema` is its own, every type written out (`wire.plain`).

    None: it has something that is not compiled.
    """
    fields = [one["name"] for one in schema["fields"]]
    first = schema["fields"][0]["type"]
    if fields != ["meta", *contract.fields] or tuple(one["name"] for one in first["fields"]) != META:
        return None
    try:
        return _Source(contract).made()
    except _Otherwise:
        return None


HEAD = """
def write(event, tenant):
    try:
        k = b""
        if event["type"] != TYPE: raise Slowly
        source = event["source"]; name = event["id"]; at = instant(event["time"])
        if type(source) is not str or not source or type(name) is not str or not name: raise Slowly
        s = source.encode(); i = name.encode()
        ns = len(s); ni = len(i)
        if ns > LONGEST or ni > LONGEST: raise Slowly
        if len(event) == NEEDED: subject = NULL; rest = ABSENCES
        else: subject, rest = more(event, tenant)
        d = event["data"]
"""
TAIL = """
        if not k or len(k) > LONGEST: raise Slowly
        return source, name, at, k, b"".join(({parts}))
    except (KeyError, UnicodeEncodeError): raise Slowly from None
"""


class _Source:
    """The text of one function, a line a step; the parts of the record are joined at its end."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.lines: list[str] = []
        self.numbers: Iterator[int] = count()
        self.constants: dict[str, Any] = {
            "Slowly": Slowly, "ABSENT": ABSENT, "SMALL": SMALL, "NULL": NULL, "VALUE": VALUE, "NEEDED": NEEDED,
            "LONGEST": LONGEST, "ABSENCES": NULL * 3, "TYPE": contract.type, "NAMED": text(contract.type),
            "number": number, "text": text, "instant": _instant, "stamp": _stamp, "more": _rest, "tenanted": _tenanted,
        }  # fmt: skip

    def made(self) -> Write:
        parts = [
            "SMALL[ni]", "i", "NAMED", "SMALL[ns]", "s", "subject", "stamp(at)", "NULL", "NULL", "tenanted(tenant)", "rest",
        ]  # fmt: skip
        parts += self._record(self.contract.fields, "d", (), 2)
        if not any("k = " in line for line in self.lines):
            raise _Otherwise  # its key is no text and no number
        whole = HEAD + "\n".join(self.lines)
        exec(whole + TAIL.format(parts=", ".join(parts)), self.constants)  # noqa: S102 - made of steps, never of names
        write: Write = self.constants["write"]
        return write

    def _add(self, depth: int, *lines: str) -> None:
        self.lines += ["    " * depth + line for line in lines]

    def _new(self) -> str:
        return f"v{next(self.numbers)}"

    def _constant(self, value: Any) -> str:
        name = f"c{next(self.numbers)}"
        self.constants[name] = value
        return name

    def _record(self, fields: Mapping[str, Field], holder: str, path: tuple[str, ...], depth: int) -> list[str]:
        """Add the steps that write a record, and return the parts that it has."""
        if len(path) > DEEPEST:
            raise _Otherwise
        self._add(depth, f"if type({holder}) is not dict: raise Slowly")
        used, parts = self._new(), []
        needed = sum(one.default is NO_DEFAULT for one in fields.values())
        self._add(depth, f"{used} = {needed}")
        for name, one in fields.items():
            value, key = self._new(), self._constant(name)
            here = (*path, name)
            if one.default is NO_DEFAULT:
                self._add(depth, f"{value} = {holder}[{key}]")
                parts += self._value(one.type, value, here, depth)
                continue
            part = self._new()
            self._add(depth, f"{value} = {holder}.get({key}, ABSENT)")
            self._add(depth, f"if {value} is ABSENT:", f"    {part} = {self._constant(_default(one))}")
            if here == self.contract.key and one.default is not None:
                raise _Otherwise
            self._add(depth, "else:", f"    {used} += 1")
            inner = self._value(one.type, value, here, depth + 1)
            self._add(depth + 1, f"{part} = {_joined(inner)}")
            parts.append(part)
        self._add(depth, f"if len({holder}) != {used}: raise Slowly")
        return parts

    def _value(self, kind: Type, value: str, path: tuple[str, ...], depth: int) -> list[str]:
        if not kind.nullable:
            return self._bare(kind, value, path, depth)
        part = self._new()
        self._add(depth, f"if {value} is None: {part} = NULL", "else:")
        inner = self._bare(kind, value, path, depth + 1)
        self._add(depth + 1, f"{part} = {_joined(['VALUE', *inner])}")
        return [part]

    def _bare(self, kind: Type, value: str, path: tuple[str, ...], depth: int) -> list[str]:
        part = self._new()
        match kind.kind:
            case "string":
                size = self._new()
                self._add(
                    depth,
                    f"if type({value}) is not str: raise Slowly",
                    f"{part} = {value}.encode()",
                    f"{size} = len({part})",
                    f"{size} = SMALL[{size}] if {size} < {len(SMALL)} else number({size})",
                )
                if path == self.contract.key:
                    self._add(depth, f"k = {part}")
                return [size, part]
            case "long":
                self._add(
                    depth,
                    f"if type({value}) is not int: raise Slowly",
                    f"{part} = SMALL[{value}] if 0 <= {value} < {len(SMALL)} else number({value})",
                )
                if path == self.contract.key:
                    self._add(depth, f"k = str({value}).encode() if {value} else b''")
                return [part]
            case "boolean":
                self._add(
                    depth,
                    f"if type({value}) is not bool: raise Slowly",
                    f"{part} = b'\\x01' if {value} else b'\\x00'",
                )
            case "timestamp":
                self._add(depth, f"{part} = stamp(instant({value}))")
            case "enum":
                symbols = self._constant({name: number(at) for at, name in enumerate(kind.symbols)})
                self._add(
                    depth,
                    f"{part} = {symbols}.get({value}) if type({value}) is str else None",
                    f"if {part} is None: raise Slowly",
                )
            case "money" | "record":
                return self._record(kind.fields, value, path, depth)
            case "array" if kind.item is not None:
                one = self._new()
                self._add(
                    depth,
                    f"if type({value}) is not list: raise Slowly",
                    f"{part} = [number(len({value}))] if {value} else []",
                    f"for {one} in {value}:",
                )
                inner = self._value(kind.item, one, (*path, "[]"), depth + 1)
                self._add(depth + 1, f"{part}.append({_joined(inner)})")
                self._add(depth, f"{part}.append(NULL)", f"{part} = b''.join({part})")
            case _:
                raise _Otherwise
        return [part]


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else " + ".join(parts) if parts else "b''"


def _default(one: Field) -> bytes:
    """Return the Avro of a field that is not given."""
    value, kind = one.default, one.type
    if value is None and kind.nullable:
        return NULL
    head = VALUE if kind.nullable else b""
    match kind.kind:
        case "string" if isinstance(value, str):
            return head + text(value)
        case "long" if type(value) is int:
            return head + number(value)
        case "boolean" if isinstance(value, bool):
            return head + bytes([value])
        case "enum" if value in kind.symbols:
            return head + number(kind.symbols.index(value))
        case "array" if value == []:
            return head + NULL
    raise _Otherwise
