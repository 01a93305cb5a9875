"""The shape of a contract: what a schema must have, and what it must never hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from schemas.gate.catalogue import Catalogue, Finding, full_name
from schemas.gate.form import form
from schemas.loading import PRIMITIVES, Json, bundle, digest, event_type_of, schema_id

FIELD = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
NAME = re.compile(r"([A-Z][a-z0-9]+)+")
NAMESPACE = re.compile(r"tidings\.[a-z][a-z0-9]*\.v[1-9][0-9]*")
PII = ("none", "pseudonymous", "personal", "sensitive")
META = "tidings.common.v1.EventMeta"
EVENT_WORDS = ("owner", "topic", "key", "retention_days")
JSON_KINDS = {"string": str, "long": int, "int": int, "boolean": bool}
COVERAGE = "tidings.common.v1.SnapshotCoverage"


def lint(catalogue: Catalogue) -> list[Finding]:
    """Return every breach of the shape."""
    found = [*catalogue.unread]
    for file, schema in catalogue.sources.items():
        found += form(file, schema)
    if found:
        return found
    known = catalogue.by_name()
    ids: dict[int, str] = {}
    for file, schema in catalogue.sources.items():
        found += [*_named(file, schema), *_examples(file, schema, known)]
        name = full_name(schema)
        try:
            bundled = bundle(name, known)
        except KeyError as fault:
            found.append(
                Finding("C110", file, str(fault.args[0]), "name a type of the catalogue; recursion is refused")
            )
            continue
        if "event_type" in schema:
            found += _event(file, schema, bundled)
            number = schema_id(digest(bundled))
            if (other := ids.setdefault(number, file)) != file:
                found.append(Finding("C119", file, f"has the schema id of {other}", "change a doc of one of them"))
    return found


def _named(file: str, schema: Json) -> Iterator[Finding]:
    name = full_name(schema)
    expected = f"{name.replace('.', '/')}.avsc"
    if file != expected:
        yield Finding("C101", file, f"holds {name}", f"its file is {expected}")
    if not NAMESPACE.fullmatch(schema.get("namespace", "")) or not NAME.fullmatch(schema.get("name", "")):
        yield Finding("C102", file, f"the name is {name!r}", "names are tidings.<area>.v<major>.<CamelCase>")
    if not str(schema.get("doc", "")).strip():
        yield Finding("C103", file, "has no doc", "say in a sentence what it is")
    if schema.get("type") == "enum":
        yield from _enum(file, schema)
    elif schema.get("type") == "record":
        if not schema.get("fields"):
            yield Finding("C104", file, "has no fields", "an empty record has no width; a bomb needs few bytes of it")
        for field in schema.get("fields", ()):
            yield from _field(file, field)
    else:
        yield Finding("C105", file, f"is {schema.get('type')!r}", "a file holds a record or an enum")


def _enum(file: str, schema: Json) -> Iterator[Finding]:
    symbols = schema.get("symbols") or [""]
    if symbols[0].upper() != "UNKNOWN" or schema.get("default") != symbols[0]:
        text = f"starts with {symbols[0]!r}, default {schema.get('default')!r}"
        yield Finding("C106", file, text, "UNKNOWN comes first and is the default: an old reader needs it")


def _field(file: str, field: Json) -> Iterator[Finding]:
    name = str(field.get("name", ""))
    where = f"{file}#{name}"
    if FIELD.fullmatch(name) is None:
        yield Finding("C111", where, "is not snake_case", "fields are lower-case words joined by '_'")
    if not str(field.get("doc", "")).strip():
        yield Finding("C103", where, "has no doc", "say in a sentence what it is")
    if field.get("pii") not in PII:
        yield Finding("C112", where, f"pii is {field.get('pii')!r}", f"one of {', '.join(PII)}")
    kind = field.get("type")
    yield from _type(where, kind)
    nullable = isinstance(kind, list)
    if nullable and ("default" not in field or field["default"] is not None):
        yield Finding("C113", where, "may be null, without null as default", 'add "default": null')
    if not nullable and isinstance(kind, dict) and "logicalType" in kind and "default" in field:
        yield Finding("C114", where, "a logical type has a default", "libraries read it differently: leave it out")
    if _scalar(kind) and "example" not in field:
        yield Finding("C115", where, "has no example", "give one; documentation and mocks use it")


def _examples(file: str, schema: Json, known: Mapping[str, Json]) -> Iterator[Finding]:
    for field in schema.get("fields", ()):
        if field.get("example") is not None and not _fits(field["example"], field["type"], known):
            where = f"{file}#{field['name']}"
            yield Finding("C126", where, "has an example of another kind", "write it as a producer does in JSON")


def _fits(value: Any, kind: Any, known: Mapping[str, Json]) -> bool:
    """Say whether a value can be one of a type; of types that are refused elsewhere it says nothing."""
    if isinstance(kind, list):
        return any(_fits(value, branch, known) for branch in kind if branch != "null")
    if isinstance(kind, dict):
        if kind.get("type") == "array":
            return isinstance(value, list) and all(_fits(one, kind.get("items"), known) for one in value)
        return isinstance(value, str) or "logicalType" not in kind
    if kind in JSON_KINDS:
        return type(value) is JSON_KINDS[kind]
    symbols = known.get(str(kind), {}).get("symbols")
    return symbols is None or value in symbols


def _scalar(kind: Any) -> bool:
    if isinstance(kind, list):
        return any(_scalar(branch) for branch in kind if branch != "null")
    return "logicalType" in kind if isinstance(kind, dict) else kind in PRIMITIVES


def _type(where: str, kind: Any) -> Iterator[Finding]:
    if isinstance(kind, list):
        if len(kind) != 2 or kind[0] != "null" or isinstance(kind[1], list):  # noqa: PLR2004 - null and one type
            yield Finding("C116", where, "is a union of something else", 'unions are ["null", T] only')
        for branch in kind:
            if branch != "null":
                yield from _type(where, branch)
        return
    if kind in ("float", "double"):
        yield Finding("C117", where, f"is a {kind}", "money is tidings.common.v1.Money; other numbers are long")
    elif kind == "null":
        yield Finding("C117", where, f"is {kind}", "a value without width is a bomb in an array")
    elif isinstance(kind, dict):
        yield from _complex(where, kind)
    elif not isinstance(kind, str):
        yield Finding("C105", where, "has no type", "name one")


def _complex(where: str, kind: Json) -> Iterator[Finding]:
    inner = kind.get("type")
    if inner in ("array", "map"):
        yield from _type(where, kind.get("items" if inner == "array" else "values"))
    elif "logicalType" in kind:
        if (inner, kind["logicalType"]) != ("long", "timestamp-micros"):
            text = f"is {kind['logicalType']} on {inner}"
            yield Finding("C117", where, text, "times are timestamp-micros on long; there are no decimals")
    elif inner in ("record", "enum"):
        yield Finding("C118", where, "defines a type in place", "give it a file of its own and name it")
    else:
        yield Finding("C117", where, f"is {inner}", "use a plain type, a record, an enum, an array or a map")


def _event(file: str, source: Json, bundled: Json) -> Iterator[Finding]:
    fields = source.get("fields") or [{}]
    if fields[0].get("name") != "meta" or fields[0].get("type") != META:
        yield Finding("C120", file, "the first field is not meta", f"meta: {META} comes first in every event")
    name = full_name(source)
    expected = event_type_of(name) if name.count(".") == 3 else ""  # noqa: PLR2004 - tidings.area.v1.Name
    if source["event_type"] != expected:
        yield Finding("C121", file, f"event_type is {source['event_type']!r}", f"by the one rule it is {expected!r}")
    for word in EVENT_WORDS:
        if not source.get(word):
            yield Finding("C122", file, f"has no {word}", f"events name their {', '.join(EVENT_WORDS)}")
    major = source.get("namespace", "").rpartition(".")[2]
    if source.get("topic") != f"{expected}.{major}":
        yield Finding("C123", file, f"topic is {source.get('topic')!r}", f"it is {expected}.{major}")
    if not isinstance(source.get("retention_days", 1), int):
        yield Finding("C122", file, "retention_days is no number", "say for how many days the topic keeps it")
    paths = [("key", source.get("key")), ("customer", source.get("customer"))]
    paths += [("entity key", path) for path in source.get("entity", {}).get("key", ())]
    for what, path in paths:
        if path is not None:
            yield from _path(file, what, path, bundled)
    yield from _change(file, source)


def _path(file: str, what: str, path: str, schema: Json) -> Iterator[Finding]:
    """Yield why a path does not lead to a text that is always there."""
    before = ""
    for part in path.split("."):
        fields = schema.get("fields", ()) if isinstance(schema, dict) else ()
        kinds = {field["name"]: field["type"] for field in fields}
        texts = [before + name for name, kind in kinds.items() if kind == "string"]
        if part not in kinds:
            near = get_close_matches(before + part, texts, 1)
            mend = f"did you mean {near[0]!r}?" if near else _texts(texts)
            yield Finding("C124", file, f"the {what} {path!r} is no field", mend)
            return
        schema, before = kinds[part], f"{before}{part}."
    if schema != "string":
        text = "may be null" if isinstance(schema, list) else "is no text"
        yield Finding("C124", file, f"the {what} {path!r} {text}", _texts(texts))


def _texts(names: Sequence[str]) -> str:
    return "name a field that is a text and never null" + (f": {', '.join(names)}" if names else "")


def _change(file: str, source: Json) -> Iterator[Finding]:
    fields = {field.get("name"): field.get("type") for field in source.get("fields", ())}
    if "before" not in fields and "after" not in fields:
        return
    for name in ("before", "after"):
        if not isinstance(fields.get(name), list):
            yield Finding("C125", f"{file}#{name}", "must be nullable", "a creation has no before, a deletion no after")
        if fields.get(f"{name}_coverage") != COVERAGE:
            text = f"a change event says how much it knows: {name}_coverage is {COVERAGE}"
            yield Finding("C125", f"{file}#{name}_coverage", "is missing", text)
    if "changed_fields" not in fields:
        yield Finding("C125", f"{file}#changed_fields", "is missing", "a change event names the fields that changed")
    if "entity" not in source:
        yield Finding("C125", file, "has no entity", "a change event names the entity and its key")
