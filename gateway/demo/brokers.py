"""The shop on Kafka and PostgreSQL: its topics and its database are made anew or gone on with, and events are published.

The shop's clock runs fast, so its topics carry the producers' times, where an installation has the brokers'.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

import asyncpg
from aiokafka import AIOKafkaProducer

from gateway.demo.shop import Fact
from gateway.demo.stage import ROW, encoded
from schemas import Contracts
from streams.codec import Codec
from streams.embedded_log import Append
from streams.kafka import topics
from streams.kafka.cluster import opened
from streams.kafka.connection import Connection
from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from streams.stores.postgres_connections import connect
from tidings.errors import Misconfigured
from tidings.event import SECOND, Micros
from tidings.ports import Put, Transaction

PARTITIONS = 3
"""Of each topic: so that three workers have something each."""
PREFIX = "demo."
DATABASE = "tidings_demo"
GRACE: Micros = SECOND // 2
"""Real time that a record may be on its way from its stamp to the log: producer and workers share one clock."""
CREATE_TIME = {topics.STAMP: "CreateTime", "message.timestamp.after.max.ms": str(2**63 - 1)}
"""The broker lets times through that lie far ahead of its own clock."""


async def prepared(place: Place, *, anew: bool) -> bool:
    """Make the database, or take the one that is there; return whether it was there. `anew` drops it first.

    Raises:
        Misconfigured: we may not make one.
        StoreUnavailable: the server cannot be reached.
    """
    server = await connect(replace(place, database="postgres"))
    try:
        if anew:
            await server.execute(f'DROP DATABASE IF EXISTS "{place.database}" WITH (FORCE)')
        there = await server.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", place.database) is not None
        if not there:
            await server.execute(f'CREATE DATABASE "{place.database}"')
    except asyncpg.InsufficientPrivilegeError as fault:
        text = f"{place}: the demonstration makes a database of its own, which user {place.user} may not"
        raise Misconfigured(text) from fault
    finally:
        await server.close()
    await migrate(place)
    return there


async def connected(
    connection: Connection, store: PostgresStore, contracts: Contracts, now: Micros, grace: Micros
) -> None:
    """Make the topics that are missing, with the rows of their readers."""
    async with opened(connection) as cluster:
        wanted = [
            replace(one, settings={**one.settings, **CREATE_TIME})
            for one in topics.wanted(contracts, partitions=PARTITIONS, replicas=1, brokers=1)
            if one.readers
        ]
        await topics.apply(cluster, store, wanted, now=now, grace=grace, history="live")


async def forgotten(connection: Connection) -> None:
    """Delete the shop's topics."""
    async with opened(connection) as cluster:
        await cluster.delete(await cluster.topics())


@dataclass
class Brokers:
    """The cluster as a stage."""

    connection: Connection
    store: PostgresStore
    contracts: Contracts
    clock: Callable[[], Micros]
    check: Callable[[], None]
    codec: Codec = field(init=False)
    producer: AIOKafkaProducer = field(init=False)

    def __post_init__(self) -> None:
        self.codec = Codec(self.contracts)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Connect the producer while the context lasts."""
        self.producer = AIOKafkaProducer(**self.connection.options(), acks="all", enable_idempotence=True, linger_ms=0)
        await self.producer.start()
        try:
            yield
        finally:
            await self.producer.stop()

    async def happen(self, facts: Sequence[Fact], number: int) -> None:
        """Publish events as of this instant. The next free number is kept first, so that nothing bears a name twice."""

        def keep() -> Transaction[None]:
            yield Put("epochs", [{"name": ROW, "value": str(number)}])

        await self.store.run(keep)
        now = self.clock()
        await self._send(list(encoded(self.codec, facts, now)), now)

    async def publish(self, topic: str, key: bytes, value: bytes) -> None:
        """Publish bytes as they are."""
        await self._send([Append(topic, key, value)], self.clock())

    async def _send(self, records: Sequence[Append], now: Micros) -> None:
        # A thousandth up, never down: an event's time must not lie behind its record's.
        stamp = -(-now // 1000)
        sent = [
            await self.producer.send(self.connection.prefix + one.topic, one.value, key=one.key, timestamp_ms=stamp)
            for one in records
        ]
        await asyncio.gather(*sent)
