"""The catalogue: by which words each record of the log can be found again. Ids of the event, its keys, its customer.

Words are kept as numbers, in blocks of consecutive records of a partition: a block's part of the index is small and
is written at its end, and a search asks every block. (One index over everything would touch a page of its own for every
word of every record.) Different words with one number are told apart by whoever reads the record.

Embedded a reader of its own follows the log, behind those who work; on a cluster the archive writes it with the records.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from streams.embedded_log import read_record
from streams.processors import detect
from tidings.contract import Contract, value_at
from tidings.errors import BadContract
from tidings.event import Event
from tidings.log import Decoder, LogRecord, Partition
from tidings.ports import Body, Find, Insert, Put, Row, Scan, Store, Transaction

logger = logging.getLogger("tidings.catalogue")

BLOCK = 4_096
"""Offsets of a block. A batch of 500 records writes 1.7 kB of pages a record at worst; a million records are 245 blocks."""
BATCH = 200
"""Records of one round."""
BACKLOG = 1_000
"""Records that detection has not taken, from which on it is behind, and we rest."""
SHARE = 25
"""While detection is behind, a round is followed by a rest so many times as long."""
LONGEST = 256
"""Characters of a word; longer ones are not looked up."""


_paths: dict[int, tuple[Contract, tuple[tuple[str, ...], ...]]] = {}


def paths_of(contract: Contract) -> tuple[tuple[str, ...], ...]:
    """Return where events of a contract hold what they are found by: keys, the customer, and every text named `…_id`."""
    known = _paths.get(contract.schema_id)
    if known is not None and known[0] is contract:
        return known[1]
    named = [(name,) for name, one in contract.fields.items() if name.endswith("_id") and one.type.kind == "string"]
    paths = [contract.key, *contract.entity_key, *([] if contract.customer is None else [contract.customer]), *named]
    found = tuple(dict.fromkeys(paths))
    _paths[contract.schema_id] = (contract, found)
    return found


def words_of(event: Event, contract: Contract) -> set[str]:
    """Return the words by which an event is found: its id, our reference, its keys, its customer."""
    found = {event.id, event.ref}
    for path in paths_of(contract):
        value = value_at(event.data, path)
        if value is not None and value != "":
            found.add(str(value))
    return {word for word in found if len(word) <= LONGEST}


def number_of(tenant: str, word: str) -> int:
    """Return the number of a word."""
    raw = blake2b(f"{tenant}\n{word}".encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(raw, "big", signed=True)


Entries = tuple[Sequence[Row], Sequence[Row]]
"""Rows of `catalogue` and of `blocks`."""


def entries(events: Iterable[Event], contracts: Mapping[str, Contract]) -> Entries:
    """Return the rows of `catalogue` and `blocks` for events, in the order of their keys."""
    rows: list[Row] = []
    blocks: dict[tuple[str, int, int], int] = {}
    for event in events:
        contract = contracts.get(event.type)
        if contract is None:
            continue
        try:
            words = list(words_of(event, contract))
        except Exception as fault:  # noqa: BLE001 - as in `readable`
            _without_words(event, fault)
            continue
        block = event.offset // BLOCK
        blocks.setdefault((event.topic, event.partition, block), event.appended_at)
        rows += [
            {
                "topic": event.topic, "partition": event.partition, "block": block, "tenant": event.tenant,
                "term": number_of(event.tenant, word), "offset": event.offset,
                "appended_at": event.appended_at,
            }
            for word in words
        ]  # fmt: skip
    rows.sort(key=lambda row: (row["topic"], row["partition"], row["block"], row["tenant"], row["term"], row["offset"]))
    made = [{"topic": t, "partition": p, "block": b, "appended_at": at} for (t, p, b), at in sorted(blocks.items())]
    return rows, made


def readable(records: Iterable[LogRecord], decode: Decoder) -> list[Event]:
    """Return the events among records; what cannot be read is among the dead letters, and found there.

    So is what our own code fails on: detection has told that fault, and nobody's search ends a process for it.
    """
    found = []
    for record in records:
        try:
            found.append(decode(record))
        except BadContract:
            continue
        except Exception as fault:  # noqa: BLE001 - whatever it is
            _without_words(record, fault)
    return found


def _without_words(one: LogRecord | Event, fault: Exception) -> None:
    """Say that a record is not found by its words; nothing of what it holds."""
    logger.error("%s[%d]@%d is not found by its words: %s", one.topic, one.partition, one.offset, type(fault).__name__)


def write(found: Entries) -> Transaction[None]:
    """Write entries; those that are there already stay."""
    rows, blocks = found
    if blocks:
        yield Insert("blocks", blocks, blind=True)
        yield Insert("catalogue", rows, blind=True)


@dataclass(frozen=True, slots=True)
class Ahead:
    """What the catalogue has not read, and how far detection is behind."""

    records: Sequence[LogRecord]
    positions: Mapping[Partition, int]
    behind: int


def ahead(limit: int) -> Body[Ahead]:
    """Return the body that reads the next records, those of the partition that is furthest behind first."""

    def body() -> Transaction[Ahead]:
        heads = {(row["topic"], row["partition"]): row["next_offset"] for row in (yield Scan("log_heads"))}
        done = {(row["topic"], row["partition"]): row["next_offset"] for row in (yield Scan("catalogued"))}
        taken = yield Find("sources", "by_topic", (detect.READER,))
        behind = sum(max(0, heads.get((row["topic"], row["partition"]), 0) - row["next_offset"]) for row in taken)
        records: list[LogRecord] = []
        positions: dict[Partition, int] = {}
        for place in sorted(heads, key=lambda place: done.get(place, 0) - heads[place]):
            start = done.get(place, 0)
            if start >= heads[place] or len(records) >= limit:
                break
            rows = yield Find("log", "by_offset", place, above=start - 1, limit=limit - len(records))
            records += map(read_record, rows)
            if rows:
                positions[place] = rows[-1]["offset"] + 1
        return Ahead(records, positions, behind)

    return body


def follow(found: Entries, positions: Mapping[Partition, int]) -> Body[None]:
    """Return the body that writes entries and how far the catalogue has read. One process runs it."""

    def body() -> Transaction[None]:
        yield from write(found)
        yield Put(
            "catalogued", [{"topic": t, "partition": p, "next_offset": at} for (t, p), at in sorted(positions.items())]
        )

    return body


@dataclass
class CatalogueReader:
    """Follows the log of an embedded file; `step` does one round, and slows nobody down who works."""

    store: Store
    decode: Decoder
    contracts: Mapping[str, Contract]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def step(self) -> bool:
        """Read the next records, and rest: as long as it took, or many times so where detection is behind."""
        begun = self.clock()
        found = await self.store.read(ahead(BATCH))
        if not found.records:
            return False
        made = entries(readable(found.records, self.decode), self.contracts)
        await self.store.run(follow(made, found.positions))
        await self.sleep((self.clock() - begun) * (SHARE if found.behind > BACKLOG else 1))
        return True
