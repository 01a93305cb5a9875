"""The lock: what was released stays as it was, and what is in the sources is released."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from schemas.gate.catalogue import Catalogue, Finding
from schemas.loading import Json, digest, schema_id

RELEASE = "run: python -m schemas.release"


def frozen(catalogue: Catalogue) -> list[Finding]:
    """Return where released files and `lock.json` are not what they were at their release."""
    return list(_frozen(catalogue))


def unreleased(catalogue: Catalogue) -> list[Finding]:
    """Return the events whose sources are not their newest released version."""
    return [
        Finding("C306", one.file, "was never released", RELEASE)
        if one.number == 1
        else Finding("C307", one.file, f"differs from version {one.number - 1}, which was released last", RELEASE)
        for one in due(catalogue)
    ]


@dataclass(frozen=True, slots=True)
class Due:
    """A version that the sources hold and nobody released."""

    full_name: str
    number: int
    file: str
    schema: Json


def due(catalogue: Catalogue) -> list[Due]:
    """Return what a release would freeze, in order of name."""
    found = []
    for name, schema in sorted(catalogue.events().items()):
        entry = catalogue.lock.get(name, {"current": 0})
        last = entry["current"]
        if not last or entry["versions"][str(last)]["sha256"] != digest(schema):
            found.append(Due(name, last + 1, catalogue.file_of(name), schema))
    return found


def _frozen(catalogue: Catalogue) -> Iterator[Finding]:
    ids: dict[int, str] = {}
    for name, entry in catalogue.lock.items():
        for number, version in entry["versions"].items():
            place = f"released/{name}/{number}.avsc"
            schema = catalogue.released.get(name, {}).get(int(number))
            if schema is None:
                yield Finding(
                    "C301", place, "is in lock.json, and missing", "bring it back: its records may be on the wire"
                )
                continue
            sha256 = digest(schema)
            if sha256 != version["sha256"]:
                yield Finding(
                    "C302", place, "was changed after its release", "bring it back; release a new version instead"
                )
            if version["schema_id"] != schema_id(version["sha256"]):
                mend = f"it is {schema_id(version['sha256'])}"
                yield Finding("C303", "lock.json", f"{name} {number} has a wrong schema id", mend)
            if (other := ids.setdefault(version["schema_id"], place)) != place:
                yield Finding("C304", place, f"has the schema id of {other}", "change a doc of one before its release")
    for name, versions in catalogue.released.items():
        for number in versions:
            if str(number) not in catalogue.lock.get(name, {}).get("versions", {}):
                mend = "bring lock.json back, or remove the file: a release writes it anew"
                yield Finding("C305", f"released/{name}/{number}.avsc", "is not in lock.json", mend)
