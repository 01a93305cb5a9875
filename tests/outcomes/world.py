"""Outcome topics, a consumer of them, and rows of an outbox with nothing behind them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from schemas import contracts
from streams.codec import Codec
from streams.kafka.cluster import New, opened, record_of
from streams.kafka.connection import Connection
from streams.kafka.outcome_log import number_of
from streams.processors.outcomes import telling
from tidings import canonical
from tidings.event import Event
from tidings.log import LogRecord, Partition
from tidings.outcomes import MESSAGES, TOPICS
from tidings.ports import Body, Exclude, Insert, Row, Scan, Store, Transaction

PARTITIONS = 3
ENDED = f"{MESSAGES}.v1"


@asynccontextmanager
async def topics(connection: Connection, partitions: int = PARTITIONS) -> AsyncIterator[None]:
    """Make the outcome topics, and delete them afterwards."""
    await make(connection, partitions)
    try:
        yield
    finally:
        await drop(connection)


async def make(connection: Connection, partitions: int = PARTITIONS) -> None:
    made = [New(topic, partitions, 1, {"message.timestamp.type": "LogAppendTime"}) for topic in TOPICS]
    async with opened(connection) as cluster:
        await cluster.create_all(made)


async def drop(connection: Connection) -> None:
    admin = AIOKafkaAdminClient(**connection.options())
    await admin.start()
    await admin.delete_topics([connection.prefix + topic for topic in TOPICS])
    await admin.close()


async def read(connection: Connection, partitions: int = PARTITIONS) -> dict[Partition, list[LogRecord]]:
    """Read all committed outcomes, as any consumer would."""
    consumer = AIOKafkaConsumer(
        **connection.options(), group_id=None, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    found: dict[Partition, list[LogRecord]] = defaultdict(list)
    try:
        places = [TopicPartition(connection.prefix + topic, p) for topic in TOPICS for p in range(partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        await consumer.seek_to_beginning(*places)
        for at in places:
            while await consumer.position(at) < ends[at]:
                for record in (await consumer.getmany(at, timeout_ms=500)).get(at, []):
                    ours = record_of(connection, record)
                    found[ours.topic, ours.partition].append(ours)
    finally:
        await consumer.stop()
    return found


def numbers(found: Mapping[Partition, Iterable[LogRecord]]) -> dict[Partition, list[int | None]]:
    return {place: [number_of(record) for record in records] for place, records in found.items() if records}


def events(found: Mapping[Partition, Iterable[LogRecord]]) -> list[Event]:
    codec = Codec(contracts())
    return [codec.decode(record) for records in found.values() for record in records]


def without_gap_or_repeat(found: Mapping[Partition, Iterable[LogRecord]]) -> bool:
    return all(those == list(range(1, len(those) + 1)) for those in numbers(found).values())


def ended(name: str, who: str = "customer:c-1", state: str = "accepted", **more: Any) -> Row:
    """Return the row of a message that has ended."""
    row = {
        "message_id": name, "tenant": "default", "recipient": who, "run_id": f"run-{name}", "firing_id": f"firing-{name}",
        "rule": "late", "role": "notice", "step": 0, "channel": "email", "state": state, "reason": None, "open": None,
        "due_at": None, "created_at": 1, "deadline": 10**15, "start_by": None, "seen": 0, "rev": 0, "owner": None, "reference": None,
        "attempt": 1, "on_unknown": "resend", "receipt": None, "body": canonical.dumps({"reference": f"ref-{name}"}),
    }  # fmt: skip
    return {**row, **more}


def write(rows: list[Row]) -> Body[None]:
    """Return a body that ends messages, under one lock for all."""

    def body() -> Transaction[None]:
        yield Exclude("writer")
        yield Insert("messages", rows)

    return telling(body)


async def rows(store: Store, table: str) -> list[Row]:
    def body() -> Transaction[list[Row]]:
        return (yield Scan(table))  # type: ignore[no-any-return]

    return await store.read(body)


async def until(relay: Any, *, quiet: int = 3) -> None:
    """Step until nothing is left."""
    for _ in range(600):
        if not await relay.step() and relay.leads:
            quiet -= 1
            if not quiet:
                return
        else:
            await asyncio.sleep(0.01)
    raise AssertionError("it never came to rest")
