"""The lock: what was released stays as it was, and what is in the sources is released."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.gate.catalogue import Catalogue, Finding
from schemas.loading import digest, schema_id

RELEASE = "run: python -m schemas.release"


def lock(catalogue: Catalogue) -> list[Finding]:
    """Return where sources, released files and `lock.json` do not agree."""
    return [*_frozen(catalogue), *_current(catalogue)]


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
                yield Finding("C303", "lock.json", f"{name} {number} has a wrong schema id", RELEASE)
            if (other := ids.setdefault(version["schema_id"], place)) != place:
                yield Finding("C304", place, f"has the schema id of {other}", "change a doc of one before its release")
    for name, versions in catalogue.released.items():
        for number in versions:
            if str(number) not in catalogue.lock.get(name, {}).get("versions", {}):
                yield Finding(
                    "C305", f"released/{name}/{number}.avsc", "is not in lock.json", "remove it, or " + RELEASE
                )


def _current(catalogue: Catalogue) -> Iterator[Finding]:
    for name, schema in sorted(catalogue.events().items()):
        entry = catalogue.lock.get(name)
        file = catalogue.file_of(name)
        if entry is None:
            yield Finding("C306", file, "was never released", RELEASE)
        elif entry["versions"][str(entry["current"])]["sha256"] != digest(schema):
            yield Finding("C307", file, f"differs from version {entry['current']}, which was released last", RELEASE)
