"""Loads the contracts: sources under `avro/tidings`, released versions under `avro/released`, `avro/lock.json`.

A source names other types by their full name; `bundle` writes them out where they are used first, which is the form
that every Avro library reads and that a release freezes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from tidings.contract import NO_DEFAULT, Contract, Field, Type

Json = Any
PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


def root() -> Traversable:
    """Return the folder of the contracts."""
    return files("schemas") / "avro"


def walk(folder: Traversable) -> Iterator[Traversable]:
    """Yield every `.avsc` below a folder, in order of name."""
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if entry.is_dir():
            yield from walk(entry)
        elif entry.name.endswith(".avsc"):
            yield entry


def bundle(full_name: str, known: Mapping[str, Json]) -> Json:
    """Return a schema of `known`, which holds all by full name, with every named type written out at its first use.

    Raises:
        KeyError: a type is named that no source defines, or that contains itself.
    """
    return _bundle(full_name, known, set(), ())


def _bundle(schema: Json, known: Mapping[str, Json], written: set[str], inside: tuple[str, ...]) -> Json:
    if isinstance(schema, str):
        if schema in inside:
            text = f"{schema} contains itself"
            raise KeyError(text)
        if schema in PRIMITIVES or schema in written:
            return schema
        if schema not in known:
            text = f"{schema} is not defined"
            raise KeyError(text)
        written.add(schema)
        return _bundle(known[schema], known, written, (*inside, schema))
    if isinstance(schema, list):
        return [_bundle(branch, known, written, inside) for branch in schema]
    result = dict(schema)
    for part in ("items", "values"):
        if part in result:
            result[part] = _bundle(result[part], known, written, inside)
    if "fields" in result:
        result["fields"] = [
            {**field, "type": _bundle(field["type"], known, written, inside)} for field in result["fields"]
        ]
    return result


def digest(schema: Json) -> str:
    """Return the sha256 of a bundled schema, defaults and logical types included (Avro fingerprints leave them out)."""
    return hashlib.sha256(json.dumps(schema, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def schema_id(sha256: str) -> int:
    """Return the 31-bit id of a schema, which is what the wire carries."""
    return int(sha256[:8], 16) & 0x7FFFFFFF


def event_type_of(full_name: str) -> str:
    """Return the event type by the one mechanical rule: `tidings.billing.v1.InvoiceIssued` is `billing.invoice.issued`."""
    _, area, _, name = full_name.split(".")
    return ".".join([area, *(word.lower() for word in re.findall("[A-Z][a-z0-9]*", name))])


@dataclass(frozen=True)
class Released:
    """One released version of an event."""

    full_name: str
    version: int
    schema_id: int
    schema: Json


@dataclass(frozen=True)
class Contracts:
    """Every contract, by its names."""

    by_full_name: Mapping[str, Contract]
    released: Mapping[int, Released]
    """By schema id; all versions that may still be on the wire."""

    @cached_property
    def by_type(self) -> Mapping[str, Contract]:
        """Contracts by event type."""
        return {contract.type: contract for contract in self.by_full_name.values()}

    @cached_property
    def by_topic(self) -> Mapping[str, Contract]:
        """Contracts by topic."""
        return {contract.topic: contract for contract in self.by_full_name.values()}

    def schema(self, full_name: str) -> Json:
        """Return the bundled Avro schema of the current version."""
        return self.released[self.by_full_name[full_name].schema_id].schema


def read_lock() -> dict[str, Any]:
    """Return `lock.json`: full name → version → sha256, schema id, status."""
    file = root() / "lock.json"
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return found


@cache
def contracts() -> Contracts:
    """Return the contracts that this package ships, in their released versions."""
    found: dict[str, Contract] = {}
    released: dict[int, Released] = {}
    for full_name, entry in read_lock().items():
        for number, version in entry["versions"].items():
            file = root() / "released" / full_name / f"{number}.avsc"
            schema = json.loads(file.read_text("utf-8"))
            released[version["schema_id"]] = Released(full_name, int(number), version["schema_id"], schema)
        current = entry["versions"][str(entry["current"])]
        found[full_name] = contract_of(released[current["schema_id"]])
    return Contracts(found, released)


def contract_of(released: Released) -> Contract:
    """Return the contract that a bundled event schema states."""
    schema = released.schema
    named: dict[str, Type] = {}
    fields = _fields(schema, named)
    fields.pop("meta")
    entity = schema.get("entity", {})
    return Contract(
        type=schema["event_type"],
        full_name=released.full_name,
        topic=schema["topic"],
        version=released.version,
        schema_id=released.schema_id,
        owner=schema["owner"],
        doc=schema["doc"],
        key=tuple(schema["key"].split(".")),
        fields=fields,
        customer=tuple(schema["customer"].split(".")) if "customer" in schema else None,
        entity=entity.get("name"),
        entity_key=tuple(tuple(path.split(".")) for path in entity.get("key", ())),
        retention_days=schema["retention_days"],
    )


def _fields(schema: Json, named: dict[str, Type]) -> dict[str, Field]:
    return {
        field["name"]: Field(
            field["name"], type_of(field["type"], named), field.get("doc", ""), field.get("pii", "none"),
            bool(field.get("deprecated", False)), field.get("default", NO_DEFAULT), field.get("example"),
        )
        for field in schema["fields"]
    }  # fmt: skip


def type_of(schema: Json, named: dict[str, Type]) -> Type:
    """Return the type of a bundled schema; `named` holds the named types that were met before."""
    if isinstance(schema, list):
        (branch,) = (one for one in schema if one != "null")
        inner = type_of(branch, named)
        return Type(inner.kind, True, inner.name, inner.symbols, inner.fields, inner.item)
    if isinstance(schema, str):
        if schema in named:
            return named[schema]
        return Type({"int": "long", "float": "double"}.get(schema, schema))  # type: ignore[arg-type]
    kind = schema["type"]
    if kind == "record":
        full_name = f"{schema['namespace']}.{schema['name']}"
        is_money = schema["name"] == "Money"
        named[full_name] = Type("money" if is_money else "record", name=full_name, fields=_fields(schema, named))
        return named[full_name]
    if kind == "enum":
        full_name = f"{schema['namespace']}.{schema['name']}"
        named[full_name] = Type("enum", name=full_name, symbols=tuple(schema["symbols"]))
        return named[full_name]
    if kind in ("array", "map"):
        return Type(kind, item=type_of(schema["items" if kind == "array" else "values"], named))
    if schema.get("logicalType") == "timestamp-micros":
        return Type("timestamp")
    return type_of(kind, named)
