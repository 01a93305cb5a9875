"""The log port over Kafka, for tools: plain fetches at positions that the caller keeps. No group, nothing committed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition, errors
from faust.types import TP

from streams.kafka.cluster import opened, record_of
from streams.kafka.connection import Connection
from streams.kafka.ends import Ends
from streams.kafka.reach import Away
from tidings.event import Micros
from tidings.log import Fetched, LogRecord, Partition

POLL_MS = 200


def _wall() -> Micros:
    return time.time_ns() // 1000


class KafkaLog:
    """See the module. Positions are those of the store; `bases` says by how much they are higher than Kafka's."""

    def __init__(
        self, connection: Connection, bases: Mapping[Partition, int] | None = None, clock: Callable[[], Micros] = _wall
    ) -> None:
        self.connection = connection
        self.bases = dict(bases or {})
        self.clock = clock
        self._ends = Ends(connection)
        self._consumer: Any = None
        self._markers: dict[TopicPartition, tuple[int, int]] = {}
        """From where to where a partition holds no records, but markers of transactions."""

    async def fetch(self, positions: Mapping[Partition, int], limit: int) -> Sequence[Fetched]:
        """Fetch what is there of each partition, up to `limit` records of each.

        Raises:
            Away: no broker answers, or none has these partitions.
        """
        if not positions:
            return []
        sent = self.clock()
        ends = await self._ends.ask(TP(*self._there(place)) for place in positions)
        try:
            found, reached = await self._fetch(positions, limit)
        except (errors.KafkaError, OSError, TimeoutError) as fault:
            await self.close()
            text = f"records cannot be fetched: {type(fault).__name__}: {fault}"
            raise Away(text) from fault
        fetched = []
        for place, position in positions.items():
            end = ends.get(TP(*self._there(place)))
            records = found.get(place, ())
            if end is None:
                continue
            # Markers of transactions are no records: a position before them alone is the end of the log.
            only_markers = not records and reached[place] >= end
            high = position if only_markers else end + self.bases.get(place, 0)
            fetched.append(Fetched(place, position, records, high, sent))
        return fetched

    async def partitions(self, topics: Sequence[str]) -> Sequence[Partition]:
        """Return the partitions of those topics that exist."""
        async with opened(self.connection) as cluster:
            known = await cluster.topics()
        return [(name, number) for name in topics if name in known for number in range(known[name].partitions)]

    async def close(self) -> None:
        """Hang up."""
        await self._ends.close()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(errors.KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(consumer.stop(), 5)

    async def _fetch(
        self, positions: Mapping[Partition, int], limit: int
    ) -> tuple[dict[Partition, list[LogRecord]], dict[Partition, int]]:
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(
                **self.connection.options(), group_id=None, enable_auto_commit=False, auto_offset_reset="none",
                isolation_level="read_committed", fetch_max_wait_ms=POLL_MS,
            )  # fmt: skip
            await self._consumer.start()
        consumer = self._consumer
        there = {self._there(place): place for place in positions}
        if consumer.assignment() != set(there):
            consumer.assign(list(there))
            for at, place in there.items():
                consumer.seek(at, positions[place] - self.bases.get(place, 0))
        for at, place in there.items():
            wanted = positions[place] - self.bases.get(place, 0)
            stands = await consumer.position(at)
            if stands != wanted and self._markers.get(at) != (wanted, stands):
                consumer.seek(at, wanted)
        got = await consumer.getmany(timeout_ms=POLL_MS, max_records=limit)
        found = {
            there[at]: [record_of(self.connection, record, self.bases.get(there[at], 0)) for record in records]
            for at, records in got.items()
        }
        reached = {place: await consumer.position(at) for at, place in there.items()}
        for at, place in there.items():
            if place not in found:
                self._markers[at] = (positions[place] - self.bases.get(place, 0), reached[place])
        return found, reached

    def _there(self, place: Partition) -> TopicPartition:
        return TopicPartition(self.connection.prefix + place[0], place[1])
