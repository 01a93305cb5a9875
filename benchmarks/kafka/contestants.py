"""Those who run beside Tidings: the same topics, the same conditions by hand, and all but one the same transaction.

Each is a process that says `begun` at its first records and `done` after its last commit, and stays until its standard
input is closed, so that whoever measures can look at it. It imports nothing of ours.

    python -m benchmarks.kafka.contestants NAME '{"bootstrap": …, "dsn": …, "prefix": …, "partitions": …, "stop": …}'
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.by_hand import ISSUED, PAID, TOPICS, Deciding, Row, complete, matches
from benchmarks.kafka.transaction import Hand

BATCH = 1_000
"""Records of a transaction at most: as many as our transport brings."""


@dataclass(frozen=True)
class Course:
    """Where it runs, and how far."""

    bootstrap: str
    dsn: str
    prefix: str
    partitions: int
    """Of each topic."""
    stop: int
    """After how many records it is enough."""

    @property
    def topics(self) -> list[str]:
        """Names in Kafka."""
        return [self.prefix + topic for topic in TOPICS]

    @property
    def group(self) -> str:
        """A group that nobody has used: each process begins at the start."""
        return f"{self.prefix}bench-{os.getpid()}"


class Track:
    """Counts, and says when it begins and ends."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.count = 0
        self.over = asyncio.Event()

    def begin(self) -> None:
        """Note that there are records; the clock starts at the first."""
        if self.count == 0:
            say("begun")

    def add(self, count: int) -> None:
        """Note records that are done with."""
        self.count += count
        if self.count >= self.course.stop and not self.over.is_set():
            self.over.set()
            say("done", events=self.count)


class Bare(Deciding):
    """The conditions by hand, and nowhere to write: images are forgotten after each batch, no invoice waits."""

    def waiting(self, k: bytes) -> list[Row]:
        """Return nothing."""
        return []

    def is_waiting(self, k: bytes, order: Row) -> bool:
        """Say no."""
        return False

    def look(self, value: bytes) -> int:
        """Decode, and ask every rule; return how many hold."""
        kind, meta, data = self.decode(value)
        if kind in (ISSUED, PAID):
            return self.item(kind, meta, data, "") is not None
        if "before" in data:
            complete(data, meta["occurred_at"], None)
        return len(matches(kind, data))


async def bare(course: Course, track: Track) -> None:
    """Aiokafka's `getmany`, fastavro, the conditions; no database."""
    by_hand = Bare()
    held = 0

    async def apply(records: Sequence[Any]) -> None:
        nonlocal held
        held += sum(by_hand.look(one.value) for one in records)

    await in_a_loop(course, track, apply)


async def hand(course: Course, track: Track) -> None:
    """The same loop with the transaction by hand."""
    by_hand = await Hand.open(course.dsn, course.prefix)

    async def apply(records: Sequence[Any]) -> None:
        await by_hand.batch(records)
        await by_hand.ticks()

    await in_a_loop(course, track, apply)


async def in_a_loop(course: Course, track: Track, apply: Callable[[Sequence[Any]], Awaitable[None]]) -> None:
    """Consume with aiokafka alone, up to `BATCH` records at a time, until it is enough."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    consumer = AIOKafkaConsumer(bootstrap_servers=course.bootstrap, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(topic, at) for topic in course.topics for at in range(course.partitions)])
    await consumer.seek_to_beginning()
    while not track.over.is_set():
        fetched = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
        records = [record for those in fetched.values() for record in those]
        if records:
            track.begin()
            await apply(records)
            track.add(len(records))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await consumer.stop()


async def faststream(course: Course, track: Track) -> None:
    """FastStream, batches, the same transaction."""
    from faststream import AckPolicy
    from faststream.kafka import KafkaBroker, KafkaMessage

    by_hand = await Hand.open(course.dsn, course.prefix)
    broker = KafkaBroker(course.bootstrap, logger=None)

    @broker.subscriber(
        *course.topics, batch=True, max_records=BATCH, group_id=course.group, auto_offset_reset="earliest",
        ack_policy=AckPolicy.ACK, decoder=lambda message: message.body,
    )  # fmt: skip
    async def take(message: KafkaMessage) -> None:
        if track.over.is_set():
            return
        records = message.raw_message
        track.begin()
        await by_hand.batch(records)
        await by_hand.ticks()
        track.add(len(records))

    async with broker:
        await broker.start()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def faust_one(course: Course, track: Track) -> None:
    """Plain Faust: `async for`, a transaction an event."""
    await _faust(course, track, 1)


async def faust_take(course: Course, track: Track) -> None:
    """Faust's `take`: the same transaction for as many events as came within 50 ms."""
    await _faust(course, track, BATCH)


async def _faust(course: Course, track: Track, size: int) -> None:
    import faust

    by_hand = await Hand.open(course.dsn, course.prefix)
    with tempfile.TemporaryDirectory() as folder:
        app = faust.App(
            course.group, broker=f"kafka://{course.bootstrap}", store="memory://", datadir=folder, web_enabled=False,
            topic_disable_leader=True, consumer_auto_offset_reset="earliest", value_serializer="raw",
            key_serializer="raw", stream_buffer_maxsize=4 * BATCH,
        )  # fmt: skip
        channel = app.topic(*course.topics, value_serializer="raw", key_serializer="raw")

        async def apply(events: Sequence[Any]) -> None:
            track.begin()
            await by_hand.batch([_Record(event.message) for event in events])
            await by_hand.ticks()
            track.add(len(events))

        @app.agent(channel, name="bench")
        async def agent(stream: Any) -> None:
            if size == 1:
                async for event in stream.events():
                    if not track.over.is_set():
                        await apply([event])
                return
            async for events in stream.take_events(size, within=0.05):
                if not track.over.is_set():
                    await apply(events)

        app.finalize()
        await app.start()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await app.stop()


class _Record:
    """Faust's message as a record: its time is in seconds."""

    def __init__(self, message: Any) -> None:
        self.topic, self.partition, self.offset = message.topic, message.partition, message.offset
        self.timestamp = round(message.timestamp * 1000)
        self.key, self.value = message.key, message.value


CONTESTANTS = {one.__name__: one for one in (bare, hand, faststream, faust_one, faust_take)}


def say(what: str, **more: int) -> None:
    """Tell whoever measures."""
    print(json.dumps({"what": what, **more}), flush=True)


async def _run(name: str, course: Course) -> None:
    await CONTESTANTS[name](course, Track(course))


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], Course(**json.loads(sys.argv[2]))))
