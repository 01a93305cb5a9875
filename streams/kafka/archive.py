"""The archive: every record of the topics that are read, copied into the table `log`, off the hot path.

`verify`, `explain` and backtests then read the same table as on one file. Positions stand in `sources` under the reader
`archive`, and are advanced by comparing them in the transaction that writes the rows: no gap, no repeat, whoever dies
where. One process copies, by an advisory lock of its session; others stand by, and take over within a second of its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition, errors

from streams.codec import Codec
from streams.embedded_log import log_row
from streams.kafka.cluster import Refused, record_of
from streams.kafka.connection import Connection
from streams.kafka.ground import RECHECK, Ground
from streams.kafka.reach import Away, reachable
from streams.processors import catalogue
from streams.processors.catalogue import Entries
from streams.processors.detect import Skipped
from streams.processors.ground import ARCHIVE
from streams.stores.place import Place
from streams.stores.postgres_connections import connect
from streams.stores.postgres_transaction import SERVER_FAULTS, lock_number
from tidings.log import LogRecord, Partition, fingerprint
from tidings.ports import Body, Find, Insert, Lock, Put, Row, Store, StoreUnavailable, Transaction

logger = logging.getLogger("tidings.archive")

LOOK = 30.0
"""Seconds between two looks for new partitions, and at the brokers when they are silent."""
POLL_MS = 500
BATCH = 2_000
"""Records of one transaction."""
BATCH_BYTES = 8 * 1024 * 1024
"""Of its keys and values, but for a single record that is larger."""
FETCH_BYTES = 16 * 1024 * 1024
AGAIN = 60.0
"""Seconds after which it is said again that no broker answers."""
LONG = 300.0
"""Seconds without any broker after which the process ends, for something outside to start it again."""


def keep(
    records: Sequence[LogRecord], starts: Mapping[Partition, int], found_by: Entries = ((), ())
) -> Body[int | Skipped]:  # fmt: skip
    """Return the body that writes records which follow `starts`, and by what they are found.

    *Skipped*: somebody else has moved a position.
    """
    by_place: dict[Partition, LogRecord] = {(record.topic, record.partition): record for record in records}
    places = sorted((ARCHIVE, *place) for place in by_place)

    def body() -> Transaction[int | Skipped]:
        held = yield Lock("sources", places)
        found = {(t, p): -1 if (row := held[r, t, p]) is None else row["next_offset"] for r, t, p in places}
        if any(at != starts[place] for place, at in found.items()):
            return Skipped(found)
        yield Insert("log", [log_row(record) for record in records], blind=True)
        yield from catalogue.write(found_by)
        rows: list[Row] = []
        for source in places:
            last = by_place[source[1], source[2]]
            rows.append({**held[source], "next_offset": last.offset + 1, "fingerprint": fingerprint(last)})
        yield Put("sources", rows)
        return len(records)

    return body


def _sources() -> Transaction[list[Row]]:
    return (yield Find("sources", "by_topic", (ARCHIVE,)))  # type: ignore[no-any-return]


def batches(records: Sequence[LogRecord]) -> Iterator[Sequence[LogRecord]]:
    """Yield records in their order, in parts that one transaction takes."""
    part: list[LogRecord] = []
    size = 0
    for record in records:
        weight = len(record.key or b"") + len(record.value or b"")
        if part and (len(part) == BATCH or size + weight > BATCH_BYTES):
            yield part
            part, size = [], 0
        part.append(record)
        size += weight
    if part:
        yield part


@dataclass
class Archive:
    """One process that copies, or stands by. `step` does one round."""

    store: Store
    place: Place
    connection: Connection
    codec: Codec | None = None
    """Reads by what records are found; None: they are not."""
    copied: int = 0
    """Records since the start."""
    positions: dict[Partition, int] = field(default_factory=dict)
    """In the store's offsets; empty while standing by."""
    bases: dict[Partition, int] = field(default_factory=dict)
    held: frozenset[Partition] = frozenset()
    """Partitions whose log is not the one that was read; `tidings sources list` says why."""
    away_since: float | None = None
    """Since when no broker answers (`time.monotonic`)."""
    _leader: asyncpg.Connection | None = None
    _consumer: Any = None
    _looked: float = 0.0
    _said: str = ""
    _said_at: float = 0.0

    async def step(self) -> bool:
        """Copy what has come; stand by where another does."""
        if not await self._leads():
            return False
        try:
            if time.monotonic() - self._looked >= (RECHECK if self.held or self.away_since else LOOK):
                await self._look()
            busy = await self._copy()
        except (Away, Refused, errors.KafkaError) as fault:
            await self._let_go()
            now = time.monotonic()
            self.away_since = self.away_since or now
            if now - self._said_at >= AGAIN:
                self._said = ""
            self._say(f"no broker answers: {str(fault) or type(fault).__name__}")
            return False
        except BaseException:
            await self._let_go()
            raise
        return busy

    @property
    def lag(self) -> dict[Partition, int]:
        """Return how many records each partition holds that were not copied, as far as a fetch has told."""
        found = {}
        for place in self.positions:
            end = None if self._consumer is None else self._consumer.highwater(self._there(place))
            if end is not None:
                found[place] = max(0, end + self.bases[place] - self.positions[place])
        return found

    def check(self) -> None:
        """Raise where nothing outside has answered for long.

        Raises:
            Away: no broker.
        """
        if self.away_since is not None and time.monotonic() - self.away_since > LONG:
            text = f"no broker has answered for {LONG:.0f} s"
            raise Away(text)

    async def close(self) -> None:
        """Let go of the brokers, and of the lock."""
        await self._let_go()
        if self._leader is not None:
            self._leader.terminate()
            self._leader = None

    async def _leads(self) -> bool:
        """Return whether this process is the one that copies."""
        if self._leader is not None and not self._leader.is_closed():
            return True
        await self._let_go()
        self._leader = None
        session = await connect(self.place)
        try:
            number = lock_number(self.place.schema, ARCHIVE)
            if await session.fetchval("SELECT pg_try_advisory_lock($1)", number):
                self._leader = session
                logger.info("this process copies the records now")
                return True
        except SERVER_FAULTS as fault:
            text = f"{self.place}: {type(fault).__name__}"
            raise StoreUnavailable(text) from fault
        finally:
            if self._leader is None:
                session.terminate()
        self._say("another process copies the records; this one stands by")
        return False

    async def _look(self) -> None:
        """Read where to go on, and see that the logs are those that were read."""
        rows = await self.store.read(_sources)
        places = sorted((row["topic"], row["partition"]) for row in rows)
        if not places:
            self._say("there is nothing to copy yet: tidings topics apply")
        await reachable(self.connection)
        found = await Ground(self.connection, self.store, (ARCHIVE,), ARCHIVE).check(places)
        self._looked = time.monotonic()
        if self.away_since is not None:
            logger.info("the brokers are back")
        self.away_since = None
        self.held = frozenset(found)
        read = [row for row in rows if (row["topic"], row["partition"]) not in found]
        if self._consumer is not None and set(self.positions) == {(row["topic"], row["partition"]) for row in read}:
            return
        await self._let_go()
        if not read:
            return
        self._consumer = AIOKafkaConsumer(
            **self.connection.options(), group_id=None, enable_auto_commit=False, auto_offset_reset="none",
            isolation_level="read_committed", fetch_max_bytes=FETCH_BYTES,
        )  # fmt: skip
        await self._consumer.start()
        self._consumer.assign([self._there((row["topic"], row["partition"])) for row in read])
        for row in read:
            place = (row["topic"], row["partition"])
            self.bases[place] = row["base"]
            self._seek(place, row["next_offset"])
        logger.info("copies from %d partitions", len(read))

    async def _copy(self) -> bool:
        if self._consumer is None:
            return False
        fetched = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=2 * BATCH)
        records = [
            record_of(self.connection, record, self.bases[self._ours(at)])
            for at, some in fetched.items()
            for record in some
        ]
        for part in batches(records):
            starts = {place: self.positions[place] for place in {(one.topic, one.partition) for one in part}}
            if isinstance(await self.store.run(keep(part, starts, await self._found_by(part))), Skipped):
                # A process that took us for dead has been faster: go on from where it came.
                await self._let_go()
                return True
            self.positions.update({(one.topic, one.partition): one.offset + 1 for one in part})
            self.copied += len(part)
        return bool(records)

    async def _found_by(self, records: Sequence[LogRecord]) -> Entries:
        if self.codec is None:
            return ((), ())
        await self.codec.ready(records)
        return catalogue.entries(catalogue.readable(records, self.codec.decode), self.codec.contracts.by_type)

    def _seek(self, place: Partition, at: int) -> None:
        self.positions[place] = at
        self._consumer.seek(self._there(place), at - self.bases[place])

    async def _let_go(self) -> None:
        self._looked = 0.0
        self.positions.clear()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(errors.KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(consumer.stop(), 5)

    def _there(self, place: Partition) -> TopicPartition:
        return TopicPartition(self.connection.prefix + place[0], place[1])

    def _ours(self, at: TopicPartition) -> Partition:
        return (at.topic.removeprefix(self.connection.prefix), at.partition)

    def _say(self, text: str) -> None:
        """Log once, until it is something else."""
        if text != self._said:
            logger.warning(text)
            self._said_at = time.monotonic()
        self._said = text
