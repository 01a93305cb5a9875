"""Taking records in again that could not be read: what they would be now, and doing it, for pages and whoever else asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.cli.ingest import mapped
from gateway.intake.would import LEAVES, would
from gateway.letters import INGESTED, Again, again_of
from gateway.site import Site
from streams.embedded_log import read_record
from streams.processors import detect, people
from streams.redrive import Redriven, marked, redrive_by_person
from tidings.ports import Body, Read, Row, Transaction

READERS = (detect.READER, people.READER)
"""A record that both could not read is one record."""
Place = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass(frozen=True)
class Tried:
    """What chosen records would be now."""

    again: Sequence[Again]
    would: Mapping[str, Any] | None

    @property
    def readable(self) -> list[Again]:
        """Those that can be read."""
        return [one for one in self.again if one.appends]

    @property
    def leaving(self) -> int:
        """Messages that would leave at once."""
        return 0 if self.would is None else sum(one["state"] == LEAVES for one in self.would["messages"])


def vars_of(letter: Any) -> Row:
    """Return the place of a letter as a row has it."""
    return {"topic": letter.topic, "partition": letter.partition, "offset": letter.offset}


def name_of(letter: Any) -> str:
    """Return the place of a letter or a row as a URL carries it."""
    row = letter if isinstance(letter, dict) else vars_of(letter)
    return f"{row['topic']}/{row['partition']}/{row['offset']}"


def read_place(text: str) -> Place | None:
    """Return what `name_of` wrote, or None."""
    topic, _, rest = text.partition("/")
    partition, _, offset = rest.partition("/")
    plain = len(text) <= 300 and partition.isdecimal() and offset.isdecimal() and text.isascii()  # noqa: PLR2004 - a topic has 249
    return (topic, int(partition), int(offset)) if plain and int(offset) < 2**63 and int(partition) < 2**31 else None


def keys_of(row: Row) -> list[tuple[str, str, int, int]]:
    """Return the keys under which a record may lie, one for each reader."""
    return [
        (reader, row["topic"], row["partition"], row["offset"]) for reader in dict.fromkeys((row["reader"], *READERS))
    ]


def rows_of(places: Sequence[Place]) -> Body[list[Row]]:
    """Return the body that reads records, each once."""

    def body() -> Transaction[list[Row]]:
        found = yield Read("dead_letters", [(reader, *place) for place in places for reader in READERS])
        once: dict[Place, Row] = {}
        for row in sorted(found.values(), key=lambda row: READERS.index(row["reader"])):
            once.setdefault((row["topic"], row["partition"], row["offset"]), row)
        return [once[place] for place in places if place in once]

    return body


async def again(site: Site, places: Sequence[Place]) -> list[Again]:
    """Return what records are now; those that were redriven are left out.

    Raises:
        RegistryUnavailable: it cannot be said now.
        Told: the mapping of payloads has mistakes.
    """
    rows = [row for row in await site.store.read(rows_of(places)) if row["redriven_at"] is None]
    foreign = any(row["topic"].startswith(INGESTED) for row in rows)
    mapping = mapped(None, None if site.settings is None else site.settings.rules) if foreign else None
    await site.codec.ready(read_record(row) for row in rows if row["value"] is not None)
    await site.codec.enlist()
    return [again_of(site.codec, row, mapping, site.now()) for row in rows]


async def tried(site: Site, places: Sequence[Place]) -> Tried:
    """Return what records would be now, and whom that would tell; nothing is written."""
    found = await again(site, places)
    appends = [one for each in found for one in each.appends]
    return Tried(found, await would(site, appends, texts=False) if appends else None)


async def redrive(site: Site, places: Sequence[Place], who: str, reason: str) -> int:
    """Take in again what can be read, once, and write it down; return how many records.

    Raises:
        RegistryUnavailable, Told: as `again`.
        StoreUnavailable: it is not known to be durable; once more does no harm.
    """
    readable = [one for one in await again(site, places) if one.appends]
    letters = [
        Redriven(key, one.appends if key[0] == one.row["reader"] else ())
        for one in readable
        for key in keys_of(one.row)
    ]
    if not readable:
        return 0
    if await site.store.read(_in_store(readable[0].appends[0].topic)):
        await site.store.run(redrive_by_person(letters, who, reason))
    else:
        # Published, then marked: cut off between, they come twice, and a repeat is known by its event.
        fresh = await site.store.read(_fresh([letter.place for letter in letters]))
        await site.publish([one for letter in letters if letter.place in fresh for one in letter.appends])
        await site.store.run(marked(letters, who, reason))
    return len(readable)


def _in_store(topic: str) -> Body[bool]:
    def body() -> Transaction[bool]:
        return bool((yield Read("log_heads", [(topic, 0)])))

    return body


def _fresh(places: Sequence[tuple[str, str, int, int]]) -> Body[set[tuple[str, str, int, int]]]:
    def body() -> Transaction[set[tuple[str, str, int, int]]]:
        rows = yield Read("dead_letters", list(places))
        return {place for place, row in rows.items() if row["redriven_at"] is None}

    return body
