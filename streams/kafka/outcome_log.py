"""The outcome topics as they are: the last number of each partition, and what comes after one.

Only what is committed counts. The last record may lie far before the end: markers of transactions have offsets as
well, and so have records of transactions that were taken back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition, errors

from streams.kafka.cluster import Refused, opened, record_of
from streams.kafka.connection import Connection
from streams.kafka.reach import PATIENCE, Away, refusal
from streams.processors import outcomes
from tidings.log import LogRecord, Partition
from tidings.outcomes import TOPICS
from tidings.ports import Store

NUMBER = "tidings-number"
"""Header of every outcome: its number in its partition, from 1, without gaps."""
BACK = 16
"""Records before the end where the search for the last one begins; four times as many at each further try."""
WITHIN = 60.0
"""Seconds for one look at all partitions."""
POLL_MS = 500


def number_of(record: LogRecord) -> int | None:
    """Return the number of a record; None: it is not from a relay."""
    raw = next((value for name, value in record.headers if name == NUMBER), b"")
    return int(raw) if raw.isdigit() and len(raw) < 20 else None  # noqa: PLR2004 - 64 bits


async def partitions(connection: Connection, *, within: float = PATIENCE) -> dict[str, int]:
    """Return how many partitions each outcome topic has.

    Raises:
        Refused: one of them is missing.
        Away, Misconfigured: see `opened`.
    """
    async with opened(connection, within=within) as cluster:
        there = await cluster.topics()
    if missing := sorted(connection.prefix + topic for topic in TOPICS if topic not in there):
        text = f"there is no topic {', '.join(missing)}: tidings topics apply"
        raise Refused(text)
    return {topic: there[topic].partitions for topic in TOPICS}


async def last_numbers(connection: Connection, places: Sequence[Partition]) -> dict[Partition, int]:
    """Return the last committed number of each partition; 0: there is none.

    Raises:
        Away, Refused: it cannot be said now.
    """
    found = await _from_the_end(connection, places, lambda _, numbers: bool(numbers))
    return {place: max(records, default=0) for place, records in found.items()}


async def read_after(
    connection: Connection, last: Mapping[Partition, int], *, within: float = WITHIN
) -> dict[Partition, dict[int, LogRecord]]:
    """Return the records behind a number in each partition, by their numbers.

    Raises:
        Away, Refused: they cannot be read now.
    """
    places = sorted(last)
    found = await _from_the_end(
        connection, places, lambda place, ns: min(ns, default=last[place] + 2) <= last[place] + 1, within
    )
    return {
        place: {n: one for n, one in sorted(records.items()) if n > last[place]} for place, records in found.items()
    }


async def _from_the_end(
    connection: Connection,
    places: Sequence[Partition],
    enough: Callable[[Partition, Mapping[int, LogRecord]], bool],
    within: float = WITHIN,
) -> dict[Partition, dict[int, LogRecord]]:
    """Read each partition from its end backwards, until what was found is enough, or it begins."""
    found: dict[Partition, dict[int, LogRecord]] = {place: {} for place in places}
    async with _reading(connection, within) as reader:
        left = await reader.bounds(places)
        back = BACK
        while left:
            spans = {place: (max(start, end - back), end) for place, (start, end) in left.items()}
            for record in await reader.between(spans):
                if (number := number_of(record)) is not None:
                    found[record.topic, record.partition][number] = record
            left = {
                place: (start, spans[place][0])
                for place, (start, _) in left.items()
                if start < spans[place][0] and not enough(place, found[place])
            }
            back *= 4
    return found


def numbers(connection: Connection, store: Store) -> Callable[[], Awaitable[Mapping[Partition, tuple[int, int]]]]:
    """Return what `Ground` asks: by partition the last number in the database, and the last one in the topic.

    Where the topics are not there yet, nothing speaks against the database.
    """

    async def ask() -> Mapping[Partition, tuple[int, int]]:
        try:
            counts = await partitions(connection)
        except Refused:
            return {}
        # The topic first: numbers are in the database before they are in the topic.
        last = await last_numbers(connection, places_of(counts))
        heads = await store.read(outcomes.read_heads)
        return {place: (heads.get(place, 0), at) for place, at in last.items()}

    return ask


def places_of(counts: Mapping[str, int]) -> list[Partition]:
    """Return all partitions of topics with so many."""
    return [(topic, partition) for topic, count in sorted(counts.items()) for partition in range(count)]


class _Reader:
    """Reads stretches of partitions."""

    def __init__(self, connection: Connection, consumer: Any) -> None:
        self._connection = connection
        self._consumer = consumer

    async def bounds(self, places: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        """Return first and next committed offset of partitions that hold something."""
        asked = {self._there(place): place for place in places}
        if not asked:
            return {}
        await self._consumer._client.set_topics({at.topic for at in asked})  # noqa: SLF001 - else one after another
        starts = await self._consumer.beginning_offsets(list(asked))
        ends = await self._consumer.end_offsets(list(asked))
        return {place: (starts[at], ends[at]) for at, place in asked.items() if starts[at] < ends[at]}

    async def between(self, spans: Mapping[Partition, tuple[int, int]]) -> list[LogRecord]:
        """Return the committed records from the first to before the second offset of each partition."""
        waiting = {self._there(place): span for place, span in spans.items()}
        self._consumer.assign(list(waiting))
        for at, (begin, _) in waiting.items():
            self._consumer.seek(at, begin)
        found = []
        while waiting:
            got = await self._consumer.getmany(*waiting, timeout_ms=POLL_MS)
            for at, records in got.items():
                end = waiting[at][1]
                found += [record_of(self._connection, record) for record in records if record.offset < end]
            waiting = {at: span for at, span in waiting.items() if await self._consumer.position(at) < span[1]}
        return found

    def _there(self, place: Partition) -> TopicPartition:
        return TopicPartition(self._connection.prefix + place[0], place[1])


@asynccontextmanager
async def _reading(connection: Connection, within: float) -> AsyncIterator[_Reader]:
    consumer = AIOKafkaConsumer(
        **connection.options(), group_id=None, enable_auto_commit=False, auto_offset_reset="none",
        isolation_level="read_committed",
    )  # fmt: skip
    try:
        async with asyncio.timeout(within):
            await consumer.start()
            yield _Reader(connection, consumer)
    except TimeoutError as fault:
        text = f"the outcome topics: no answer within {within:g} s"
        raise Away(text) from fault
    except errors.KafkaError as fault:
        text = refusal(fault, "the outcome topics", connection)
        raise (Away if fault.retriable else Refused)(text) from fault
    finally:
        await consumer.stop()
