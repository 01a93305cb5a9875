"""Example events: those that stand under `avro/examples`, and those that the contracts themselves describe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any

from schemas.loading import root
from tidings.contract import NO_DEFAULT, Contract, Field, Type


@dataclass(frozen=True, slots=True)
class Example:
    """An event in plain JSON; `refused_at` holds the JSON pointers of its mistakes, empty where it is valid."""

    file: str
    full_name: str
    event: Any
    refused_at: tuple[str, ...]


def examples(folder: Traversable | None = None) -> Iterator[Example]:
    """Yield the examples of the contracts, in order of name."""
    top = (root() / "examples") if folder is None else folder
    for entry in sorted(top.iterdir(), key=lambda one: one.name):
        for file in sorted(entry.iterdir(), key=lambda one: one.name):
            body = json.loads(file.read_text("utf-8"))
            name = f"examples/{entry.name}/{file.name}"
            yield Example(name, entry.name, body["event"], tuple(body.get("refused_at", ())))


def described(contract: Contract, *, full: bool = True) -> dict[str, Any]:
    """Return the event that the examples of the fields make: with every field, or with those only that must be given."""
    return {
        "id": f"{contract.full_name.rpartition('.')[2]}-1",
        "type": contract.type,
        "source": contract.owner.removeprefix("team-"),
        "time": "2026-03-05T10:00:00Z",
        "data": _record(contract.fields, full=full),
    }


def example_of(kind: Type) -> Any:
    """Return a value of a type, as the examples of its fields make it."""
    return _value(kind, None, full=True)


def _record(fields: Mapping[str, Field], *, full: bool) -> dict[str, Any]:
    return {
        name: _value(field.type, field.example, full=full)
        for name, field in fields.items()
        if full or field.default is NO_DEFAULT
    }


def _value(kind: Type, example: Any, *, full: bool) -> Any:
    if example is not None:
        return example
    match kind.kind:
        case "record" | "money":
            return _record(kind.fields, full=full)
        case "enum":
            return kind.symbols[-1]
        case "array" if kind.item is not None:
            return [_value(kind.item, None, full=full)]
        case _:
            return None
