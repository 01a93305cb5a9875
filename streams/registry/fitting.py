"""Whether the schema of another writer can be read as one of our contracts; everything about it is mistrusted.

A registry takes what anybody registers. What is refused here is what the library would read wrongly, or never finish:

- a type that contains itself;
- a value without width (null outside of a union, an empty record): an array of it costs nothing to announce;
- an array of which no item tells that the record has ended. fastavro skips booleans, floats and fixed values of fields
  that the reader does not have without looking, so that nine bytes announce 2^62 of them, and keep it busy for years;
- a field of ours in another type or unit: a registry lets milliseconds become microseconds.
"""

from __future__ import annotations

import json
from typing import Any

import fastavro
from fastavro.schema import to_parsing_canonical_form

from schemas import Contracts
from streams.registry.client import Registered
from streams.wire import MAX_BYTES, MAX_DEPTH, SchemaName, Wire, depth_of, plain
from tidings.errors import BadContract, Refusal

MOST_TYPES = 5000
"""Of a schema, every mention counted; the largest of ours has some 200."""

SEEN_AT_ITS_END = frozenset({"int", "long", "string", "bytes"})
UNSEEN = frozenset({"boolean", "float", "double"})


class _Unfit(Exception):
    """Why a schema is not read."""


def fitted(name: SchemaName, found: Registered, known: Contracts) -> Wire:
    """Return how records of a registered schema are read.

    Raises:
        BadContract: they are not, and never will be: a registered schema does not change.
    """
    number = name if isinstance(name, int) else None
    try:
        return _judged(name, found, known)
    except _Unfit as fault:
        raise BadContract(Refusal.WRONG_SCHEMA, f"schema {name} of the registry {fault}", number) from fault
    except BadContract:
        raise
    except Exception as fault:
        # Not every fault of a schema is found where it is parsed; whatever it is, it is the schema's.
        text = f"schema {name} of the registry cannot be parsed ({type(fault).__name__}: {str(fault)[:200]})"
        raise BadContract(Refusal.WRONG_SCHEMA, text, number) from fault


def _judged(name: SchemaName, found: Registered, known: Contracts) -> Wire:
    schema = _parsed(found)
    _Guard(schema["__named_schemas"]).check(schema)
    full_name = schema["name"]
    contract = known.by_full_name.get(full_name)
    if contract is None:
        text = f"schema {name} of the registry is {full_name[:200]!r}, which is none of our contracts"
        raise BadContract(Refusal.UNKNOWN_SCHEMA, text, name if isinstance(name, int) else None)
    ours = known.schema(full_name)
    reader: Any = fastavro.parse_schema(ours)
    _Fit(schema["__named_schemas"], reader["__named_schemas"]).check(schema, reader, full_name)
    written, current = (fastavro.parse_schema(plain(one)) for one in (json.loads(found.text), ours))
    same = to_parsing_canonical_form(written) == to_parsing_canonical_form(current)
    return Wire(name, full_name, contract, current if same else written, None if same else current)


def _parsed(found: Registered) -> Any:
    """Return the schema with every name written in full."""
    if found.kind != "AVRO":
        raise _Unfit(f"is {found.kind}, and no Avro")
    if found.references:
        raise _Unfit("refers to other schemas; register it written out, as 'tidings contracts publish' does")
    raw = found.text.encode("utf-8", "replace")
    if len(raw) > MAX_BYTES:
        raise _Unfit(f"has {len(raw)} bytes; at most {MAX_BYTES}")
    if depth_of(raw) > MAX_DEPTH:
        raise _Unfit(f"is nested deeper than {MAX_DEPTH}")
    schema = fastavro.parse_schema(json.loads(found.text))
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise _Unfit("is no record")
    return schema


class _Guard:
    """Walks every type of a schema once."""

    def __init__(self, named: dict[str, Any]) -> None:
        self.named = named
        self.inside: set[str] = set()
        self.seen: dict[str, bool] = {}
        self.count = 0

    def check(self, kind: Any) -> bool:
        """Return whether the end of a record is noticed where a value of this type is skipped."""
        self.count += 1
        if self.count > MOST_TYPES:
            raise _Unfit(f"has more than {MOST_TYPES} types")
        if isinstance(kind, list):
            for branch in kind:
                if branch != "null":
                    self.check(branch)
            return True
        if isinstance(kind, dict):
            return self._complex(kind)
        if kind in self.named:
            return self._named(kind)
        if kind in SEEN_AT_ITS_END:
            return True
        if kind in UNSEEN:
            return False
        raise _Unfit(f"has a {str(kind)[:40]} outside of a union: a value without width")

    def _named(self, name: str) -> bool:
        if name in self.inside:
            raise _Unfit(f"contains itself ({name[:200]})")
        if name not in self.seen:
            self.check(self.named[name])
        return self.seen[name]

    def _complex(self, kind: dict[str, Any]) -> bool:
        match kind["type"]:
            case "array":
                if not self.check(kind["items"]):
                    raise _Unfit("has an array of booleans, floating-point or fixed values, which nobody can skip")
                return True
            case "map":
                self.check(kind["values"])
                return True
            case "enum":
                self.seen[kind["name"]] = True
                return True
            case "fixed":
                if type(kind.get("size")) is not int or not 0 < kind["size"] <= MAX_BYTES:
                    raise _Unfit(f"has a fixed type of another size than 1 to {MAX_BYTES}")
                self.seen[kind["name"]] = False
                return False
            case "record":
                return self._record(kind)
            case "error" | "error_union" | "request":
                raise _Unfit("is of a protocol, not of a record")
            case inner:
                return self.check(inner)

    def _record(self, kind: dict[str, Any]) -> bool:
        name = kind["name"]
        if not kind["fields"]:
            raise _Unfit(f"has a record without fields ({name[:200]}): a value without width")
        self.inside.add(name)
        # Every field is walked: `any` alone would stop at the first that will do.
        noticed = any([self.check(field["type"]) for field in kind["fields"]])  # noqa: C419
        self.inside.discard(name)
        self.seen[name] = noticed
        return noticed


class _Fit:
    """Walks what both schemas have."""

    def __init__(self, written: dict[str, Any], ours: dict[str, Any]) -> None:
        self.written = written
        self.ours = ours
        self.done: set[str] = set()

    def check(self, theirs: Any, ours: Any, where: str) -> None:
        """Compare what is written with what is read."""
        if isinstance(ours, list):
            (ours,) = (branch for branch in ours if branch != "null")
        for branch in theirs if isinstance(theirs, list) else [theirs]:
            if branch != "null":
                self._one(branch, ours, where)

    def _one(self, theirs: Any, ours: Any, where: str) -> None:
        theirs, ours = _resolved(theirs, self.written), _resolved(ours, self.ours)
        kind, wanted = _kind(theirs), _kind(ours)
        if kind != wanted and (kind, wanted) != ("int", "long"):
            raise _Unfit(f"has {where} as {kind}, and {wanted} in our contract")
        unit, known = _unit(theirs), _unit(ours)
        if unit != known:
            raise _Unfit(f"has {where} as {unit or 'a plain number'}, and {known or 'a plain number'} in our contract")
        if kind == "array":
            self.check(theirs["items"], ours["items"], f"{where}[]")
        elif kind == "map":
            self.check(theirs["values"], ours["values"], f"{where}{{}}")
        elif kind in ("record", "enum"):
            if theirs["name"] != ours["name"]:
                raise _Unfit(f"has {where} as {theirs['name'][:200]}, and {ours['name']} in our contract")
            if kind == "record" and theirs["name"] not in self.done:
                self.done.add(theirs["name"])
                self._fields(theirs, ours, where)

    def _fields(self, theirs: Any, ours: Any, where: str) -> None:
        written = {field["name"]: field for field in theirs["fields"]}
        for field in ours["fields"]:
            place = f"{where}.{field['name']}"
            if field["name"] in written:
                self.check(written[field["name"]]["type"], field["type"], place)
            elif "default" not in field:
                raise _Unfit(f"lacks {place}, which has no default")


def _resolved(kind: Any, named: dict[str, Any]) -> Any:
    return named.get(kind, kind) if isinstance(kind, str) else kind


def _kind(kind: Any) -> str:
    return str(kind["type"] if isinstance(kind, dict) else kind)


def _unit(kind: Any) -> str | None:
    """Return what a number counts. A text that is said to be a UUID is a text."""
    unit = kind.get("logicalType") if isinstance(kind, dict) else None
    return None if unit == "uuid" else unit
