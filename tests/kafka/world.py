"""A corner of a real broker and a real database, with the topics of a few contracts, for workers to run in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from schemas import Contracts, contracts
from streams import rule_switch
from streams.codec import Codec
from streams.embedded import wall_clock
from streams.kafka import topics
from streams.kafka.cluster import opened
from streams.kafka.connection import Connection
from streams.kafka.transport import Pace
from streams.kafka.worker_process import WorkerProcess
from streams.rule_book import RuleBook
from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tests import services
from tests.live.cluster import rule_set
from tidings.ports import Row, Scan
from tidings.watermark import GRACE

PARTITIONS = 2
TYPES = (
    "billing.invoice.issued", "billing.invoice.paid", "billing.invoice.voided", "billing.payment.failed",
    "billing.payment.succeeded", "customer.profile.changed", "sales.order.placed",
)  # fmt: skip
QUICK = Pace(session=6.0, rebalance=6.0, request=6.0)


def known(types: Iterable[str] = TYPES) -> Contracts:
    """A few contracts: fewer topics are made sooner."""
    names = set(types)
    whole = contracts()
    found = {name: one for name, one in whole.by_full_name.items() if one.type in names}
    released = {number: one for number, one in whole.released.items() if one.full_name in found}
    return Contracts(found, released)


@dataclass
class World:
    connection: Connection
    place: Place
    store: PostgresStore
    contracts: Contracts
    producer: Any
    codec: Codec = field(default_factory=lambda: Codec(contracts()))

    async def apply(self, rules: bytes, templates: dict[str, str]) -> rule_switch.Applied:
        book = RuleBook(contracts(), self.store)
        found = await rule_switch.apply(self.store, book, *rule_set(rules, templates), grace=GRACE)
        assert not found.why, found.why
        return found

    async def send(self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None) -> Any:
        """Hand a record to the producer; the answer is a future of its place."""
        return await self.producer.send(self.connection.prefix + topic, value, key=key, partition=partition)

    async def publish(self, events: Iterable[tuple[str, dict[str, Any]]]) -> None:
        jobs = []
        for kind, payload in events:
            key, value = self.codec.encode(kind, payload)
            jobs.append(await self.send(contracts().by_type[kind].topic, key, value))
        await asyncio.gather(*jobs)

    @asynccontextmanager
    async def worker(self, name: str = "w", **words: Any) -> AsyncIterator[WorkerProcess]:
        """A worker in this process, with a store of its own."""
        store = words.pop("store", None) or await PostgresStore.open(self.place)
        words.setdefault("pace", QUICK)
        words.setdefault("contracts", self.contracts)
        process = WorkerProcess(store, self.connection, clock=words.pop("clock", wall_clock), name=name, **words)
        try:
            await process.start()
            yield process
        finally:
            await process.stop()
            await store.close()

    async def rows(self, table: str) -> list[Row]:
        def body() -> Any:
            return list((yield Scan(table)))

        return await self.store.read(body)

    async def lag(self) -> int:
        """How many records some reader has not taken."""
        sources = [row for row in await self.rows("sources") if row["reader"] != "archive"]
        async with opened(self.connection) as cluster:
            ends = await cluster.ends(sorted({(row["topic"], row["partition"]) for row in sources}))
        at = ((row, ends[row["topic"], row["partition"]][1]) for row in sources)
        return sum(max(0, end + row["base"] - row["next_offset"]) for row, end in at)

    async def taken(self, seconds: float = 60.0, *processes: WorkerProcess) -> None:
        """Wait until every record is taken."""

        async def all_taken() -> bool:
            for process in processes:
                process.check()
            return await self.lag() == 0

        await until(all_taken, seconds)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in other processes
            await asyncio.sleep(0.1)


@asynccontextmanager
async def world(
    place: Place, partitions: int = PARTITIONS, types: Iterable[str] = TYPES, connection: Connection | None = None
) -> AsyncIterator[World]:
    """Make the topics, and delete them afterwards."""
    connection = connection or services.kafka()
    await migrate(place)
    store = await PostgresStore.open(place)
    found = known(types)
    producer = AIOKafkaProducer(**connection.options(), linger_ms=2)
    try:
        async with opened(connection) as cluster:
            wanted = topics.wanted(found, partitions=partitions, replicas=1, brokers=1)
            wanted = [replace(one, settings={**one.settings, "min.insync.replicas": "1"}) for one in wanted]
            await topics.apply(cluster, store, wanted, now=wall_clock(), grace=GRACE, history="live")
        await producer.start()
        yield World(connection, place, store, found, producer)
    finally:
        with suppress(Exception):
            await producer.stop()
        await store.close()
        await _forget(connection)


async def _forget(connection: Connection) -> None:
    admin = AIOKafkaAdminClient(**connection.options())
    with suppress(Exception):
        await admin.start()
        mine = [name for name in await admin.list_topics() if name.startswith(connection.prefix)]
        if mine:
            await admin.delete_topics(mine)
    with suppress(Exception):
        await admin.close()
