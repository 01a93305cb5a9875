"""The outcome topics, read as others read them: numbers without a gap, and exactly what was committed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas import contracts
from streams.codec import Codec
from streams.kafka.cluster import record_of
from tests.proofs.stand import Stand

FIRINGS, ENDS = "decision.firing.recorded.v1", "notification.message.ended.v1"


@dataclass(frozen=True)
class Outcomes:
    firings: int
    ends: int
    partitions: int
    missing: int
    """Records and ends in the database that no topic has, and the other way round."""
    gaps: int
    """Numbers that are not one higher than the one before."""


async def published(stand: Stand, seconds: float = 60.0) -> None:
    """Wait until nothing waits in the outbox."""
    end = time.monotonic() + seconds
    while (await stand.ask("SELECT count(*) FROM outbox"))[0][0]:
        assert time.monotonic() < end, "outcomes are not published"
        await asyncio.sleep(0.5)


async def read(stand: Stand) -> Mapping[str, list[tuple[int, int, Any]]]:
    """Return partition, number and event of all that is committed in the outcome topics."""
    codec, found = Codec(contracts()), dict[str, list[tuple[int, int, Any]]]({FIRINGS: [], ENDS: []})
    consumer: Any = AIOKafkaConsumer(
        **stand.kafka.connection().options(), isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        places = [TopicPartition(topic, p) for topic in found for p in range(stand.partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, records in (await consumer.getmany(timeout_ms=500)).items():
                for record in records:
                    number = int(dict(record.headers)["tidings-number"])
                    event = codec.decode(record_of(stand.kafka.connection(), record))
                    found[place.topic].append((place.partition, number, event))
    finally:
        await consumer.stop()
    return found


async def checked(stand: Stand) -> Outcomes:
    """See that numbers have no gap and no repeat, and that what is published is what is in the database, each once.

    Raises:
        AssertionError: it is not so.
    """
    found = await read(stand)
    gaps = 0
    for topic, rows in found.items():
        for partition in range(stand.partitions):
            numbers = [number for place, number, _ in rows if place == partition]
            odd = sum(number != at for at, number in enumerate(numbers, 1))
            assert not odd, f"{topic}[{partition}] has a gap or a repeat"
            gaps += odd
    firings = [(event.data["firing_id"], event.data["kind"], event.data["n"]) for _, _, event in found[FIRINGS]]
    recorded = {(r[0], r[1], r[2]) for r in await stand.ask("SELECT firing_id, kind, n FROM records")}
    assert len(firings) == len(set(firings))
    assert set(firings) == recorded, f"{len(recorded - set(firings))} missing, {len(set(firings) - recorded)} extra"
    ends = {event.data["message_id"]: event.data["state"] for _, _, event in found[ENDS]}
    assert len(ends) == len(found[ENDS]), "a message has ended twice"
    ended = {r[0]: r[1] for r in await stand.ask("SELECT message_id, state FROM messages WHERE open IS NULL")}
    assert ends == ended
    missing = len(recorded ^ set(firings)) + len(ended.items() ^ ends.items())
    return Outcomes(len(firings), len(ends), 2 * stand.partitions, missing, gaps)
