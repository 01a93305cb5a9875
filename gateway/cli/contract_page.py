"""What `tidings contracts show` says of an event or of a type: its fields down to the last, and one example."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from schemas import contracts
from schemas.examples import described, example_of
from tidings.contract import NO_DEFAULT, Contract, Field, Type

LEGEND = "A field with '?' may be null or left out, one with 'else' left out; every other must be given."
MONEY = 'In events {"amount_minor": 12000, "currency": "EUR"}, in conditions money(120, "EUR"): both are 120 euros.'


@dataclass(slots=True)
class Named:
    """A record or an enum of its own, and the events that hold it."""

    type: Type
    doc: str
    used_by: list[str] = field(default_factory=list)

    @property
    def short(self) -> str:
        """Return the name without its namespace: `Money`."""
        return str(self.type.name).rpartition(".")[2]


def named(known: Iterable[Contract]) -> dict[str, Named]:
    """Return every type that has a name, by its full name."""
    found: dict[str, Named] = {}
    for contract in known:
        docs = dict(_docs(contracts().schema(contract.full_name)))
        for kind in _kinds(contract.fields):
            name = str(kind.name)
            one = found.setdefault(name, Named(replace(kind, nullable=False), docs.get(name, "")))
            if contract.type not in one.used_by:
                one.used_by.append(contract.type)
    return found


def find(name: str, among: Mapping[str, Named]) -> str | None:
    """Return the full name of a type that is written `money`, `Money`, `customer_row` or in full."""
    wanted = name.replace("_", "").lower()
    return next((full for full in among if wanted in (full.lower(), full.rpartition(".")[2].lower())), None)


def event(contract: Contract) -> dict[str, Any]:
    """Return an event contract as JSON."""
    return {
        "type": contract.type, "doc": contract.doc, "topic": contract.topic, "version": contract.version,
        "schema_id": contract.schema_id, "owner": contract.owner, "key": ".".join(contract.key),
        "customer": None if contract.customer is None else ".".join(contract.customer), "entity": contract.entity,
        "entity_key": [".".join(path) for path in contract.entity_key], "retention_days": contract.retention_days,
        "fields": _fields(contract.fields), "example": described(contract),
    }  # fmt: skip


def type_of(one: Named) -> dict[str, Any]:
    """Return a type as JSON."""
    return {"name": one.type.name, "doc": one.doc, **_kind(one.type), "used_by": one.used_by,
            "example": example_of(one.type)}  # fmt: skip


def event_lines(contract: Contract) -> list[str]:
    """Return an event contract as text."""
    said = "no field" if contract.customer is None else ".".join(contract.customer)
    entity = ""
    if contract.entity is not None:
        entity = (
            f"; entity {contract.entity}, told apart by {', '.join('.'.join(path) for path in contract.entity_key)}"
        )
    return [
        f"{contract.type}  {contract.doc}",
        f"  topic {contract.topic}, key {'.'.join(contract.key)}, owner {contract.owner}, schema id {contract.schema_id}",
        f"  customer: {said}{entity}",
        "",
        *_table(contract.fields),
        *_example(described(contract), 'One event; with "specversion": "1.0" beside its id, \'ingest\' takes it too:'),
    ]


def type_lines(one: Named) -> list[str]:
    """Return a type as text."""
    form = [f"  {MONEY}"] if one.type.kind == "money" else []
    lines = [f"{one.short}  {one.doc}", *form, f"  part of {', '.join(one.used_by)}", ""]
    if one.type.symbols:
        return [*lines, f"  one of {', '.join(one.type.symbols)}"]
    return [*lines, *_table(one.type.fields), *_example(example_of(one.type), "One of them:")]


def _example(body: Any, title: str) -> list[str]:
    return ["", title, *json.dumps(body, indent=1, ensure_ascii=False).splitlines()]


def _table(fields: Mapping[str, Field]) -> list[str]:
    rows = list(_rows(fields, "  ", {}, ""))
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"{name:{first}}  {kind:{second}}  {text}" for name, kind, text in rows]
    return [*lines, "", LEGEND] if any(one.default is not NO_DEFAULT for one in fields.values()) else lines


def _rows(
    fields: Mapping[str, Field], margin: str, told: dict[str, str], before: str
) -> Iterator[tuple[str, str, str]]:  # fmt: skip
    """Yield name, kind and text of every field; a record that was told further up is not told again."""
    for one in fields.values():
        inner = _inner(one.type)
        place = before + one.name
        marks: list[str] = [] if one.pii == "none" else [one.pii]
        marks += ["deprecated"] if one.deprecated else []
        if one.default is not NO_DEFAULT and one.default is not None:
            marks.append(f"else {json.dumps(one.default, ensure_ascii=False)}")
        text = one.doc + (f" ({', '.join(marks)})" if marks else "")
        if inner.symbols:
            text += f" One of {', '.join(inner.symbols)}."
        known = told.get(str(inner.name)) if inner.fields else None
        yield margin + one.name, _word(one.type), text + (f" Fields as in {known}." if known else "")
        if inner.fields and known is None:
            told[str(inner.name)] = place
            yield from _rows(inner.fields, margin + "  ", told, place + ".")


def _word(kind: Type) -> str:
    """Return a type in a word: `string?`, `money`, `[string]`."""
    item = "" if kind.item is None else _word(kind.item)
    word = {"array": f"[{item}]", "map": f"{{{item}}}"}.get(kind.kind, kind.kind)
    return word + ("?" if kind.nullable else "")


def _inner(kind: Type) -> Type:
    return kind if kind.item is None else _inner(kind.item)


def _kinds(fields: Mapping[str, Field]) -> Iterator[Type]:
    for one in fields.values():
        inner = _inner(one.type)
        if inner.name is not None:
            yield inner
        yield from _kinds(inner.fields)


def _docs(schema: Any) -> Iterator[tuple[str, str]]:
    if isinstance(schema, dict):
        if "name" in schema and "namespace" in schema:
            yield f"{schema['namespace']}.{schema['name']}", schema.get("doc", "")
        for part in schema.values():
            yield from _docs(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _docs(part)


def _fields(fields: Mapping[str, Field]) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name, "doc": one.doc, **_kind(one.type), "personal_data": one.pii,
            "needed": one.default is NO_DEFAULT, "deprecated": one.deprecated,
            **({} if one.default is NO_DEFAULT else {"default": one.default}),
            **({} if one.example is None else {"example": one.example}),
        }
        for one in fields.values()
    ]  # fmt: skip


def _kind(kind: Type) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": kind.kind, "nullable": kind.nullable}
    if kind.symbols:
        found["symbols"] = list(kind.symbols)
    if kind.fields:
        found["fields"] = _fields(kind.fields)
    if kind.item is not None:
        found["item"] = _kind(kind.item)
    return found
