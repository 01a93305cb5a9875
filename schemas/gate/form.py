"""What makes JSON a schema at all: every later check reads its parts without asking again what they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from schemas.gate.catalogue import Finding
from schemas.loading import Json

TEXTS = ("namespace", "name", "doc", "event_type", "owner", "topic", "key", "customer")


def form(file: str, schema: Json) -> Iterator[Finding]:
    """Yield where a part of a source is not of the kind that Avro, or our words beside it, need."""
    for word in TEXTS:
        if word in schema and not isinstance(schema[word], str):
            yield _not(file, word, "a text")
    yield from _parts(file, schema)
    entity = schema.get("entity", {})
    if not isinstance(entity, dict) or not isinstance(entity.get("name", ""), str) or not _texts(entity.get("key", [])):
        yield _not(file, "entity", 'an object, as {"name": "crm.customer", "key": ["customer_id"]}')


def _parts(where: str, schema: Json) -> Iterator[Finding]:
    if not _texts(schema.get("symbols", [])):
        yield _not(where, "symbols", "a list of texts")
    fields = schema.get("fields", [])
    if not isinstance(fields, list):
        yield _not(where, "fields", "a list")
        return
    for number, field in enumerate(fields, 1):
        if not isinstance(field, dict) or not isinstance(field.get("name"), str):
            yield _not(where, f"field {number}", "an object with a name and a type")
        elif "type" not in field:
            yield Finding("C105", f"{where}#{field['name']}", "has no type", "name one")
        else:
            yield from _kind(f"{where}#{field['name']}", field["type"])


def _kind(where: str, kind: Any) -> Iterator[Finding]:
    if isinstance(kind, list):
        for branch in kind:
            yield from _kind(where, branch)
    elif isinstance(kind, dict):
        for word in ("items", "values"):
            if word in kind:
                yield from _kind(where, kind[word])
        yield from _parts(where, kind)
    elif not isinstance(kind, str):
        yield _not(where, "the type", "the name of a type, a list or an object")


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _not(where: str, what: str, wanted: str) -> Finding:
    return Finding("C107", where, f"{what} is not what a schema has there", f"it is {wanted}")
