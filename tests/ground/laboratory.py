"""A reader of one topic on real servers: it fetches with the cluster's tools and decides with the real worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from schemas import contracts
from streams.codec import Codec
from streams.embedded import wall_clock
from streams.kafka.cluster import opened, record_of
from streams.kafka.connection import Connection
from streams.kafka.ground import Ground
from streams.loops import RealRuntime
from streams.processors import detect
from streams.processors.ground import Source
from streams.processors.worker import Worker
from tidings.ports import Put, Row, Scan, Store, Transaction
from tidings.rule import RuleSet
from tidings.watermark import GRACE

TOPIC = "billing.payment.failed.v1"
EMPTY = RuleSet("empty", (), {})
GROUP = "worker"


@dataclass
class Laboratory:
    """Two partitions of a topic, a store, and a reader."""

    connection: Connection
    store: Store
    admin: Any
    producer: Any
    ground: Ground = field(init=False)

    def __post_init__(self) -> None:
        self.use(self.store)

    def use(self, store: Store) -> None:
        """Go on upon another database."""
        self.store = store
        self.ground = Ground(self.connection, store, [detect.READER], GROUP)

    @property
    def name(self) -> str:
        """The topic, as Kafka knows it."""
        return self.connection.prefix + TOPIC

    async def make(self, partitions: int = 2) -> None:
        async with opened(self.connection) as cluster:
            assert await cluster.create(TOPIC, partitions, 1, {"message.timestamp.type": "LogAppendTime"})

    async def connect(self, partitions: int = 2) -> None:
        places = [(TOPIC, partition) for partition in range(partitions)]
        await self.store.run(detect.connect(places, wall_clock(), grace=GRACE, history="live"))
        await self.store.run(detect.switch(None, EMPTY, b"", grace=GRACE))

    async def decide_nothing(self) -> None:
        """Take the place of whatever rule set is active."""

        def body() -> Transaction[None]:
            yield Put("epochs", [{"name": detect.EPOCH, "value": EMPTY.hash}])

        await self.store.run(body)

    async def delete(self) -> None:
        await self.admin.delete_topics([self.name])
        async with opened(self.connection) as cluster:
            while TOPIC in await cluster.topics():  # noqa: ASYNC110 - a broker has no event for it
                await asyncio.sleep(0.05)

    async def remake(self, partitions: int = 2) -> None:
        """Delete the topic, and make it again."""
        await self.delete()
        await self.make(partitions)

    async def produce(self, count: int, partition: int = 0, word: bytes = b"record") -> None:
        jobs = [await self.producer.send(self.name, b"%b %d" % (word, n), partition=partition) for n in range(count)]
        await asyncio.gather(*jobs)

    async def expire(self, before: int, partition: int = 0) -> None:
        """Do what retention does."""
        await self.admin.delete_records({TopicPartition(self.name, partition): RecordsToDelete(before)})

    async def read(self, most: int = 100_000, *, look: bool = True) -> int:
        """Read what is not held, as a worker does; return how many records were decided."""
        places = sorted({(topic, partition) for _, topic, partition in await self.sources() if topic == TOPIC})
        held = await self.ground.check(places) if look else {}
        rows = await self.sources()
        worker = Worker(
            self.store, None, RealRuntime(wall_clock), Codec(contracts()).decode, EMPTY, lambda _: EMPTY, GRACE  # type: ignore[arg-type]
        )  # fmt: skip
        consumer = AIOKafkaConsumer(**self.connection.options(), group_id=None, auto_offset_reset="none")
        await consumer.start()
        decided = 0
        try:
            for place in places:
                if place in held:
                    continue
                row = rows[detect.READER, *place]
                at, end = TopicPartition(self.name, place[1]), row["next_offset"] - row["base"]
                consumer.assign([at])
                consumer.seek(at, end)
                last = min((await consumer.end_offsets([at]))[at], end + most)
                while end < last:
                    found = (await consumer.getmany(at, timeout_ms=1000, max_records=last - end)).get(at, [])
                    if found:
                        records = [record_of(self.connection, one, row["base"]) for one in found]
                        await worker.apply(records, {place: end + row["base"]})
                        decided += len(records)
                        end = found[-1].offset + 1
        finally:
            await consumer.stop()
        return decided

    async def sources(self) -> dict[Source, Row]:
        return {(r["reader"], r["topic"], r["partition"]): r for r in await self.rows("sources")}

    async def rows(self, table: str) -> list[Row]:
        def body() -> Transaction[list[Row]]:
            return (yield Scan(table))  # type: ignore[no-any-return]

        return await self.store.read(body)

    async def commit(self, offsets: dict[int, int]) -> None:
        """Commit offsets to Kafka, as workers do."""
        consumer = AIOKafkaConsumer(
            **self.connection.options(), group_id=self.connection.prefix + GROUP, enable_auto_commit=False
        )
        consumer.assign([TopicPartition(self.name, partition) for partition in offsets])
        await consumer.start()
        await consumer.commit({TopicPartition(self.name, p): offset for p, offset in offsets.items()})
        await consumer.stop()


@asynccontextmanager
async def laboratory(connection: Connection, store: Store, *, last: bool = True) -> AsyncIterator[Laboratory]:
    """Open everything; delete the topic after the last time."""
    admin = AIOKafkaAdminClient(**connection.options())
    producer = AIOKafkaProducer(**connection.options(), acks="all")
    await admin.start()
    await producer.start()
    lab = Laboratory(connection, store, admin, producer)
    try:
        yield lab
    finally:
        await producer.stop()
        if last:
            await admin.delete_topics([lab.name])
        await admin.close()
