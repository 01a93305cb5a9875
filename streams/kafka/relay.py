"""The relay: what the outbox holds goes to the outcome topics, numbered without gaps, each once, in order.

Any number of processes may try; one publishes. Whose turn it is stands in a row with an end, so that a process that
sleeps holds up nobody for longer; and who wakes up late cannot commit any more, because the next one's
`transactional.id` has fenced it off. Numbers are committed to the database before they are published. So whoever takes
over reads the last number in each partition, lets go of the rows up to it, and publishes the rest: neither gap nor
repeat, whoever died where. Whatever fails ends in the same way: let go, and take over anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer, errors
from aiokafka.partitioner import murmur2

from streams.codec import Codec
from streams.json_events import rfc3339
from streams.kafka.cluster import Refused
from streams.kafka.connection import Connection
from streams.kafka.outcome_log import NUMBER, last_numbers, partitions, places_of
from streams.kafka.reach import Away, refusal
from streams.processors import outcomes
from streams.processors.outcomes import Published, TookOver
from streams.processors.setbacks import InternalError
from streams.registry.client import RegistryUnavailable
from tidings import canonical
from tidings.errors import BadContract, Misconfigured, Refusal
from tidings.event import SECOND, Micros
from tidings.log import Partition
from tidings.outcomes import TOPICS
from tidings.ports import Row, Store

logger = logging.getLogger("tidings.relay")

LEASE = 10 * SECOND
"""How long a relay that says nothing keeps its turn."""
LOOK = 30.0
"""Seconds between two looks whether a topic has more partitions."""
STAND_BY = 0.5
"""Seconds until the turn is tried for again."""
AGAIN = 5.0
"""Seconds until the brokers are tried again."""
WITHIN = 30.0
"""Seconds for one transaction of Kafka, its start and its end."""
OPEN_MS = 20_000
"""After so long the broker itself takes a transaction back that nobody ends; until then readers wait behind it."""
LIMIT = 500
"""Rows of one topic and transaction."""
FAULTS = (
    Away, Refused, Misconfigured, RegistryUnavailable, BadContract, errors.KafkaError, TimeoutError, OSError,
)  # fmt: skip
"""What makes outcomes wait, and nothing else: deliveries go on."""


@dataclass
class Relay:
    """One process that publishes, or stands by. `step` does one round."""

    store: Store
    connection: Connection
    codec: Codec
    name: str
    """Of this process; no other one has it."""
    observe: Callable[[object], None] = lambda _: None
    lease: Micros = LEASE
    limit: int = LIMIT
    behind: Mapping[Partition, tuple[int, int]] = field(default_factory=dict)
    """Where the topics know more than the database: nothing is published until `tidings ground rebuild`."""
    away_since: float | None = None
    """Since when the brokers take nothing (`time.monotonic`)."""
    full: bool = False
    """Whether the last round took as much as it may, so that more waits."""
    _producer: Any = None
    _counts: Mapping[str, int] = field(default_factory=dict)
    _looked: float = 0.0
    _told: float = 0.0
    """When the database last heard that we are there."""
    _next: float = 0.0
    _said: str = ""

    @property
    def leads(self) -> bool:
        """Whether this process publishes."""
        return self._producer is not None

    async def step(self) -> bool:
        """Publish what waits; stand by where another does."""
        if time.monotonic() < self._next:
            return False
        try:
            if self._producer is None and not await self._take_over():
                return False
            return await self._relay()
        except FAULTS as fault:
            await self._let_go()
            self._next = time.monotonic() + AGAIN
            self.away_since = self.away_since or time.monotonic()
            said = (
                refusal(fault, "publishing outcomes", self.connection) if isinstance(fault, errors.KafkaError) else ""
            )
            self._say(f"outcomes wait: {said or str(fault) or type(fault).__name__}")
            return False
        except BaseException:
            await self._let_go()
            raise

    async def stop(self) -> None:
        """Let another process take over at once."""
        await self._let_go()
        with contextlib.suppress(Exception):
            await self.store.run(outcomes.leave(self.name))

    async def _relay(self) -> bool:
        now = time.monotonic()
        if not await self.store.read(outcomes.find_open) and now - self._told < self.lease / SECOND / 3:
            return False
        if now - self._looked > LOOK:
            self._counts, self._looked = await partitions(self.connection), now
        unfit: dict[str, BadContract] = {}

        def writable(row: Row) -> bool:
            try:
                self._encode(row)
            except BadContract as fault:
                if fault.reason is Refusal.UNKNOWN_SCHEMA:
                    raise  # it is the installation that does not fit, not the row
                unfit[row["id"]] = fault
            return row["id"] not in unfit

        body = outcomes.number(self.name, self.lease, self._partition_of, self.limit, writable)
        rows = await self.store.run(body)
        for name, fault in unfit.items() if rows is not None else ():
            logger.error(
                "outcome %s fits no contract (%s): kept back in the outbox, the others go on", name, fault.reason
            )
            self.observe(InternalError("outcomes"))
        if rows is None:
            await self._let_go()
            self._say("another process publishes the outcomes now")
            return False
        self._told = now
        if not rows:
            return False
        self.full = len(rows) >= self.limit
        await self._publish(rows)
        await self.store.run(outcomes.published(rows))
        for topic in TOPICS:
            if count := sum(row["topic"] == topic for row in rows):
                self.observe(Published(topic, count))
        return True

    def _encode(self, row: Row) -> tuple[Mapping[str, Any], bytes, bytes]:
        payload = canonical.loads(row["body"])
        return (payload, *self.codec.encode(TOPICS[row["topic"]], payload))

    async def _publish(self, rows: Sequence[Row]) -> None:
        """Write rows in one transaction of Kafka; when this returns they are committed."""
        producer = self._producer
        records = []
        for row in rows:
            payload, key, value = self._encode(row)
            records.append((row, key, value, headers(row["number"], payload["meta"])))
        async with asyncio.timeout(WITHIN):
            await producer.begin_transaction()
            waiting = [
                _heard(
                    await producer.send(
                        self.connection.prefix + row["topic"], value, key, partition=row["partition"], headers=said
                    )
                )
                for row, key, value, said in records
            ]
            # A batch that the broker refused does not keep the client from committing the others.
            await asyncio.gather(*waiting)
            await producer.commit_transaction()

    async def _take_over(self) -> bool:
        if not await self.store.run(outcomes.lead(self.name, self.lease)):
            self._next = time.monotonic() + STAND_BY
            self._say("another process publishes the outcomes; this one stands by")
            return False
        self._told = self._looked = time.monotonic()
        self._counts = await partitions(self.connection)
        await self.codec.enlist()
        self._producer = AIOKafkaProducer(
            **self.connection.options(), transactional_id=f"{self.connection.prefix}relay",
            transaction_timeout_ms=OPEN_MS, client_id=f"tidings-relay-{self.name}",
        )  # fmt: skip
        async with asyncio.timeout(WITHIN):
            await self._producer.start()  # fences whoever published before, and ends what they had begun
        last = await last_numbers(self.connection, places_of(self._counts))
        settled = await self.store.run(outcomes.settle(self.name, last))
        if settled is None:
            await self._let_go()
            return False
        self.behind = settled.behind
        if settled.behind:
            await self._let_go()
            self._next = time.monotonic() + AGAIN
            more = sum(at - ours for ours, at in settled.behind.values())
            self._say(f"the topics know {more} outcomes that this database does not: tidings ground rebuild")
            return False
        for (topic, partition), (ours, at) in sorted(settled.lost.items()):
            logger.warning(
                "%s[%d] ends with number %d, and %d was published: it has lost outcomes", topic, partition, at, ours
            )
        self.away_since, self._said = None, ""
        logger.info("this process publishes the outcomes now", extra={"fields": {"published": settled.published}})
        self.observe(TookOver(settled.published))
        return True

    def _partition_of(self, topic: str, key: str) -> int:
        """Return where Kafka's own clients put the key."""
        return int((murmur2(key.encode()) & 0x7FFFFFFF) % self._counts[topic])

    async def _let_go(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            async with asyncio.timeout(2):
                await producer.stop()
        except BaseException as fault:
            # What still waits in it must never leave: the connections are cut first.
            with contextlib.suppress(Exception):
                await asyncio.wait_for(producer.client.close(), 2)
            if isinstance(fault, asyncio.CancelledError):
                raise
        finally:
            # The client notes a fault there that nobody waits for.
            if (waiter := producer._txn_manager._transaction_waiter) is not None:  # noqa: SLF001
                _heard(waiter)

    def _say(self, text: str) -> None:
        """Log once, until it is something else."""
        if text != self._said:
            logger.warning(text)
        self._said = text


def _heard(future: asyncio.Future[Any]) -> asyncio.Future[Any]:
    """Return a future whose fault counts as heard: the first one is enough for us."""
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


def headers(number: int, meta: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """Return the headers of an outcome: its number, and CloudEvents' attributes as `meta` has them (binary mode)."""
    said = {
        "ce_specversion": "1.0", "ce_id": meta["event_id"], "ce_type": meta["type"], "ce_source": meta["source"],
        "ce_subject": meta["subject"], "ce_time": rfc3339(meta["occurred_at"]), "ce_tenant": meta["tenant"],
        "ce_correlationid": meta["correlation_id"], "ce_causationid": meta["causation_id"],
        "content-type": "application/avro",
    }  # fmt: skip
    return [
        (NUMBER, str(number).encode()),
        *((name, value.encode()) for name, value in said.items() if value is not None),
    ]
