"""Everything that the gate looks at, read once, as plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any

from schemas.loading import Json, bundle, root, walk


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: where, what, and how to mend it."""

    code: str
    where: str
    """File below `schemas/avro`, with the field after a `#`."""
    text: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.code} {self.text}\n    {self.mend}"


@dataclass(frozen=True)
class Catalogue:
    """Sources by file, released versions, and the lock."""

    sources: Mapping[str, Json]
    """File below `schemas/avro` → schema."""
    released: Mapping[str, Mapping[int, Json]]
    lock: Mapping[str, Any]
    unread: Sequence[Finding] = ()
    """Files that are no JSON; nothing else can be judged before they are mended."""

    def by_name(self) -> dict[str, Json]:
        """Return the sources by full name."""
        return {full_name(schema): schema for schema in self.sources.values()}

    def events(self) -> dict[str, Json]:
        """Return every event, bundled, by full name."""
        known = self.by_name()
        return {name: bundle(name, known) for name, schema in known.items() if "event_type" in schema}

    def file_of(self, name: str) -> str:
        """Return the file that holds a full name."""
        return next((file for file, schema in self.sources.items() if full_name(schema) == name), name)


def full_name(schema: Json) -> str:
    """Return the full name of a named type."""
    return f"{schema.get('namespace', '')}.{schema.get('name', '')}"


def read(folder: Traversable | None = None) -> Catalogue:
    """Read the catalogue below a folder; without one, that of this package."""
    top = root() if folder is None else folder
    unread: list[Finding] = []
    sources = {_below(top, file): _json(top, file, unread) for file in walk(top / "tidings")}
    released: dict[str, dict[int, Json]] = {}
    for file in walk(top / "released"):
        name, number = _below(top, file).split("/")[1:3]
        released.setdefault(name, {})[int(number.removesuffix(".avsc"))] = _json(top, file, unread)
    return Catalogue(sources, released, _json(top, top / "lock.json", unread), unread)


def _json(top: Traversable, file: Traversable, unread: list[Finding]) -> Json:
    """Return the JSON of a file, or note why it is none."""
    where = _below(top, file)
    try:
        found = json.loads(file.read_text("utf-8"))
        if isinstance(found, dict):
            return found
        text = "an object is needed here"
    except json.JSONDecodeError as fault:
        where, text = f"{where}:{fault.lineno}:{fault.colno}", fault.msg
    except UnicodeDecodeError as fault:
        text = f"byte {fault.start} is not UTF-8"
    except (ValueError, RecursionError) as fault:
        text = str(fault)
    mend = "mend it there" if where.startswith("tidings/") else "bring it back as it was released"
    unread.append(Finding("C100", where, f"this is no JSON object: {text}", mend))
    return {}


def _below(top: Traversable, file: Traversable) -> str:
    return str(file).removeprefix(str(top)).replace("\\", "/").lstrip("/")
