"""Publishing by hand: what a person gives, or gives again, becomes records; acknowledged by every copy before it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer, errors

from streams.embedded_log import Append
from streams.kafka.cluster import Refused, opened
from streams.kafka.connection import Connection
from streams.kafka.reach import Away, reachable, refusal

PATIENCE_MS = 20_000
"""For one record, repeats by the client included."""


@dataclass(frozen=True, slots=True)
class Published:
    """Where a record came to be."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """Return the place as dead letters name theirs."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


class Partly(Exception):
    """Some records were taken, and some were not; `done` are those that were, in their order."""

    def __init__(self, text: str, done: Sequence[Published]) -> None:
        super().__init__(text)
        self.done = tuple(done)


async def publish(
    connection: Connection, appends: Sequence[Append], *, place: Sequence[int | None] | None = None
) -> list[Published]:
    """Publish records in their order; `place` names a partition for some, the others go where their key belongs.

    Raises:
        Away, Refused, Misconfigured: nothing was published.
        Partly: some of it was.
    """
    await reachable(connection)
    await _see_topics(connection, {append.topic for append in appends})
    partitions = [None] * len(appends) if place is None else place
    producer = AIOKafkaProducer(
        **connection.options(), acks="all", enable_idempotence=True, request_timeout_ms=PATIENCE_MS
    )
    try:
        await producer.start()
    except errors.KafkaError as fault:
        raise Refused(refusal(fault, "publishing", connection)) from fault
    done: list[Published] = []
    try:
        waiting = [
            await producer.send(
                connection.prefix + one.topic, one.value, one.key, partition=partition, headers=list(one.headers)
            )
            for one, partition in zip(appends, partitions, strict=True)
        ]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        faults = [one for one in answers if isinstance(one, BaseException)]
        for one, answer in zip(appends, answers, strict=True):
            if not isinstance(answer, BaseException):
                done.append(Published(one.topic, answer.partition, answer.offset))
    except errors.KafkaError as fault:
        faults = [fault]
    finally:
        await producer.stop()
    if not faults:
        return done
    first = faults[0]
    if not isinstance(first, errors.KafkaError):
        raise first
    text = refusal(first, "publishing", connection)
    if not done:
        raise Away(text) if first.retriable else Refused(text)
    raise Partly(f"{text}; {len(done)} of {len(appends)} were published", done)


async def _see_topics(connection: Connection, names: set[str]) -> None:
    """A topic that is made by a first record has none of the settings that it needs, and no reader has rows for it."""
    async with opened(connection) as cluster:
        missing = sorted(names - set(await cluster.topics()))
    if missing:
        text = f"there is no topic {', '.join(connection.prefix + name for name in missing)}: tidings topics apply"
        raise Refused(text)
