"""The shop on Kafka and PostgreSQL: its topics and its database are made anew or gone on with, and events are published.

The shop's clock runs fast, so its topics carry the producers' times, where an installation has the brokers'.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer

from gateway.demo.members import Group
from gateway.demo.shop import Fact
from gateway.demo.stage import ROW, encoded
from gateway.demo.watcher import Outside
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
from streams.stores.postgres_counts import totals
from tidings.errors import Misconfigured
from tidings.event import SECOND, Micros
from tidings.log import Partition
from tidings.ports import Put, Transaction
from tidings.reasons import MessageState

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


UNDER_WAY = (MessageState.PENDING, MessageState.CLAIMED, MessageState.SENDING)


async def connected(
    connection: Connection, store: PostgresStore, contracts: Contracts, now: Micros, grace: Micros
) -> list[Partition]:
    """Make the topics, with the rows of their readers; return their partitions."""
    async with opened(connection) as cluster:
        wanted = [
            replace(one, settings={**one.settings, **CREATE_TIME})
            for one in topics.wanted(contracts, partitions=PARTITIONS, replicas=1, brokers=1)
            if one.readers
        ]
        await topics.apply(cluster, store, wanted, now=now, grace=grace, history="live")
    return [(one.name, partition) for one in wanted for partition in range(PARTITIONS)]


async def forgotten(connection: Connection) -> None:
    """Delete the topics of shops, as they are named below a prefix."""
    async with opened(connection) as cluster:
        await cluster.delete(sorted(await cluster.topics()))


@dataclass
class Brokers:
    """The cluster as a stage: what is played here, the workers decide, and this process dispatches and delivers."""

    connection: Connection
    store: PostgresStore
    codec: Codec
    clock: Callable[[], Micros]
    outside: Outside
    checks: Sequence[Callable[[], None]]
    producer: AIOKafkaProducer = field(init=False)

    @property
    def contracts(self) -> Contracts:
        """Return the codec's."""
        return self.codec.contracts

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

    def check(self) -> None:
        """Raise what ended a part of the system."""
        for check in self.checks:
            check()

    async def at_rest(self) -> bool:
        """Return whether everything was decided, heard, and is not under way."""
        heads, taken = await self.outside.heads(), await self.outside.taken()
        if any(taken.get(place, 0) < end for place, end in heads.items()):
            return False
        waiting = await self.store.waiting(within=1.0)
        return not waiting.records and not any(waiting.messages.get(str(state)) for state in UNDER_WAY)

    async def count(self) -> dict[str, Any]:
        """Count what the database holds, and what the brokers have besides."""
        heads = await self.outside.heads()
        counts = await totals(self.store.place)
        taken = await self.outside.taken()
        counts["events"] = sum(heads.values())
        counts["untaken"] = sum(max(0, end - taken.get(place, 0)) for place, end in heads.items())
        # Read one after the other, while it goes on: what was taken meanwhile counts as taken.
        counts["untaken"] -= max(0, counts["decided"] + counts["dead_letters"] + counts["untaken"] - counts["events"])
        return counts

    async def group(self) -> Group | None:
        """Return who reads what."""
        return await self.outside.group()

    async def _send(self, records: Sequence[Append], now: Micros) -> None:
        # A thousandth up, never down: an event's time must not lie behind its record's.
        stamp = -(-now // 1000)
        sent = [
            await self.producer.send(self.connection.prefix + one.topic, one.value, key=one.key, timestamp_ms=stamp)
            for one in records
        ]
        await asyncio.gather(*sent)
