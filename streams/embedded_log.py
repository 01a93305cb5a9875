"""The embedded log: partitions of records in the tables of the store; append time stamped in the append transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tidings import canonical
from tidings.event import SECOND, Micros
from tidings.log import Fetched, LogRecord, Partition
from tidings.ports import Body, Find, Insert, Lock, Now, Put, Read, Row, Scan, Store, StoreUnavailable, Transaction

BARRIER_EVERY: Micros = SECOND
"""How often the log asks the writer since when it is empty, and so how often W moves where nothing happens."""

NO_HEADERS = b"[]"


class Append(NamedTuple):
    """A record to append."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int = 0


class NoTopic(StoreUnavailable):
    """Some of the topics are missing; nothing of what was given together was written."""

    def __init__(self, text: str, topics: frozenset[str]) -> None:
        super().__init__(text)
        self.topics = topics


def append(records: Sequence[Append]) -> Body[list[tuple[str, int, int]]]:
    """Return the body that appends records; its result: topic, partition and offset of each.

    The append time never goes back inside a partition, whatever the clock does.
    """

    def body() -> Transaction[list[tuple[str, int, int]]]:
        places = sorted({(record.topic, record.partition) for record in records})
        held = yield Lock("log_heads", places)
        ends = {place: 0 if (row := held[place]) is None else row["next_offset"] for place in places}
        last = yield Read("log", [(*place, ends[place] - 1) for place in places])
        times = {(row["topic"], row["partition"]): row["appended_at"] for row in last.values()}
        now = yield Now()
        stamps = {place: max(now, times.get(place, now)) for place in places}
        rows: list[Row] = []
        for record in records:
            place = (record.topic, record.partition)
            rows.append(_row(record, ends[place], stamps[place]))
            ends[place] += 1
        yield Insert("log", rows, blind=True)
        yield Put("log_heads", [{"topic": t, "partition": p, "next_offset": ends[t, p]} for t, p in places])
        return [(row["topic"], row["partition"], row["offset"]) for row in rows]

    return body


def create(places: Sequence[Partition]) -> Body[None]:
    """Return the body that makes partitions that are not there yet."""

    def body() -> Transaction[None]:
        yield Insert("log_heads", [{"topic": t, "partition": p, "next_offset": 0} for t, p in sorted(places)])

    return body


def log_row(record: LogRecord) -> Row:
    """Return the row of a record in `log`."""
    return _row(record, record.offset, record.appended_at)


def _row(record: Append | LogRecord, offset: int, appended_at: Micros) -> Row:
    headers = NO_HEADERS
    if record.headers:
        headers = canonical.dumps([[name, raw.hex()] for name, raw in record.headers])
    return {
        "topic": record.topic, "partition": record.partition, "offset": offset, "appended_at": appended_at, "key": record.key, "value": record.value, "headers": headers,
    }  # fmt: skip


def read_record(row: Row) -> LogRecord:
    """Return the record of a row of `log`."""
    headers: tuple[tuple[str, bytes], ...] = ()
    if row["headers"] != NO_HEADERS:
        headers = tuple((name, bytes.fromhex(raw)) for name, raw in canonical.loads(row["headers"]))
    return LogRecord(
        row["topic"], row["partition"], row["offset"], row["appended_at"], row["key"], row["value"], headers
    )


@dataclass
class EmbeddedLog:
    """The log port over a store."""

    store: Store
    barrier_every: Micros = BARRIER_EVERY
    _since: Micros = 0

    async def append(self, records: Sequence[Append]) -> list[tuple[str, int, int]]:
        """Append records durably; see `append`."""
        return await self.store.run(append(records))

    async def partitions(self, topics: Sequence[str]) -> Sequence[Partition]:
        """Return the partitions of some topics."""

        def body() -> Transaction[list[Partition]]:
            rows = yield Scan("log_heads")
            return [(row["topic"], row["partition"]) for row in rows if row["topic"] in topics]

        return await self.store.read(body)

    async def fetch(self, positions: Mapping[Partition, int], limit: int) -> Sequence[Fetched]:
        """Fetch from every partition.

        An append stamps its time before it commits, so a reader's own clock could claim that nothing came until an
        instant at which something was being written. `sent_at` is therefore told by the writer itself: whatever was
        stamped before it has been committed before this fetch looks.
        """
        now = await self.store.read(_now)
        if now - self._since >= self.barrier_every or now < self._since:
            self._since = await self.store.run(_barrier)
        since = self._since

        def body() -> Transaction[list[Fetched]]:
            heads = yield Read("log_heads", sorted(positions))
            found = []
            for place in sorted(positions):
                position = positions[place]
                end = heads[place]["next_offset"] if place in heads else 0
                rows = []
                if position < end:
                    rows = yield Find("log", "by_offset", place, above=position - 1, limit=limit)
                found.append(Fetched(place, position, [read_record(row) for row in rows], end, since))
            return found

        return await self.store.read(body)


def _now() -> Transaction[int]:
    now: int = yield Now()
    return now


def _barrier() -> Transaction[int]:
    # The lock makes it a writer's transaction; nothing is ever stored under this key.
    yield Lock("log_heads", [("", -1)])
    now: int = yield Now()
    return now
