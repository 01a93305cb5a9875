"""Breaking changes: Avro's resolution rules in both directions against every version, and what Avro lets pass."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from schemas.gate.catalogue import Catalogue, Finding
from schemas.loading import Json

SAME = ("event_type", "topic", "key", "owner", "customer", "entity", "namespace", "name")


def breaking(catalogue: Catalogue) -> list[Finding]:
    """Return every change that a reader or a writer of a released version would not survive."""
    found: list[Finding] = []
    now = catalogue.events()
    for name, versions in sorted(catalogue.released.items()):
        file = catalogue.file_of(name)
        if name not in now:
            text = "is released, and its source is gone"
            found.append(Finding("C201", name, text, "bring the source back; deprecate it instead"))
            continue
        for number, old in sorted(versions.items()):
            where = f"{file} against version {number}"
            found += _avro(where, old, now[name])
            found += _meaning(where, old, now[name])
    return found


def _avro(where: str, old: Json, new: Json) -> Iterator[Finding]:
    from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
    from avro.errors import AvroException
    from avro.schema import parse

    # `avro` knows every attribute that stands for something else in its own words; ours are not its affair.
    try:
        former, latter = parse(json.dumps(_bare(old))), parse(json.dumps(_bare(new)))
    except AvroException as fault:
        yield Finding("C207", where, f"Avro does not take it: {fault}", "write what Avro's specification allows there")
        return
    for reader, writer, what in ((latter, former, "old records"), (former, latter, "new records with the old schema")):
        checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
        result = checker.get_compatibility(reader, writer)
        if result.compatibility is not SchemaCompatibilityType.compatible:
            reasons = "; ".join(sorted(str(text) for text in result.messages))
            places = ", ".join(sorted(str(place) for place in result.locations))
            text = f"nobody could read {what}: {reasons} ({places})"
            yield Finding("C202", where, text, "only add: nullable with default null, or a new major version")


def _bare(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_bare(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    words = ("type", "name", "namespace", "fields", "symbols", "default", "items", "values")
    kept = {word: schema[word] for word in words if word in schema}
    for word in ("type", "items", "values"):
        if word in kept:
            kept[word] = _bare(kept[word])
    if "fields" in kept:
        kept["fields"] = [_bare(field) for field in kept["fields"]]
    return kept


def _meaning(where: str, old: Json, new: Json) -> Iterator[Finding]:
    for word in SAME:
        if old.get(word) != new.get(word):
            text = f"{word} was {old.get(word)!r}, is {new.get(word)!r}"
            yield Finding("C203", where, text, "that is another event: a new major version, published beside this one")
    before, after = dict(_walk(old, "")), dict(_walk(new, ""))
    for path, was in before.items():
        now = after.get(path)
        if now is None:
            text = "is gone; rules may read it"
            yield Finding("C204", f"{where}#{path}", text, "keep it, marked deprecated")
            continue
        for word, value in was.items():
            if word == "symbols":
                if now[word][: len(value)] != value:
                    text = "a symbol was removed or moved"
                    yield Finding("C205", f"{where}#{path}", text, "append new symbols at the end")
            elif now.get(word) != value:
                text = f"{word} was {value!r}, is {now.get(word)!r}"
                yield Finding(
                    "C206", f"{where}#{path}", text, "a value's meaning is part of the contract: add a new field"
                )


def _walk(schema: Json, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield for every field its meaning: shape, logical type, class of personal data, default, symbols."""
    for field in schema.get("fields", ()):
        name = f"{path}{field['name']}"
        kind = field["type"]
        nullable = isinstance(kind, list)
        inner = kind[1] if nullable else kind
        meaning: dict[str, Any] = {"pii": field.get("pii"), "nullable": nullable}
        if "default" in field:
            meaning["default"] = field["default"]
        while isinstance(inner, dict) and inner.get("type") in ("array", "map"):
            meaning["container"] = (*meaning.get("container", ()), inner["type"])
            inner = inner["items" if inner["type"] == "array" else "values"]
        if isinstance(inner, dict):
            meaning["logical type"] = inner.get("logicalType")
            meaning["kind"] = f"{inner['namespace']}.{inner['name']}" if "name" in inner else inner["type"]
            if "symbols" in inner:
                meaning["symbols"] = inner["symbols"]
            yield from _walk(inner, f"{name}.")
        else:
            meaning["logical type"], meaning["kind"] = None, inner
        yield name, meaning
