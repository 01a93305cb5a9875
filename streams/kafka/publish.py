"""Publishing records that stand elsewhere already: what a repair or a redrive puts behind the others, on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, errors

from streams.embedded_log import Append
from streams.kafka.cluster import Refused, opened
from streams.kafka.connection import Connection
from streams.kafka.reach import Away, refusal

IN_FLIGHT = 1_000
"""Records that wait for their acknowledgement at once."""


async def publish(connection: Connection, appends: Sequence[Append]) -> int:
    """Publish records, each acknowledged by all in-sync copies; return how many.

    A record keeps its partition, and with it its order among those of its key.

    Raises:
        Away: a broker does not answer; some may have been published.
        Refused: there is no such topic or partition (nothing was published), or the cluster forbids it.
    """
    async with opened(connection) as cluster:
        known = await cluster.topics()
    for topic, partition in sorted({(one.topic, one.partition) for one in appends}):
        if topic not in known or partition >= known[topic].partitions:
            text = f"there is no {topic}[{partition}]; see 'tidings topics plan'"
            raise Refused(text)
    producer: Any = AIOKafkaProducer(**connection.options(), acks="all", enable_idempotence=True)
    try:
        await producer.start()
        for start in range(0, len(appends), IN_FLIGHT):
            sent = [
                await producer.send(
                    connection.prefix + one.topic, one.value, one.key, one.partition, headers=list(one.headers)
                )
                for one in appends[start : start + IN_FLIGHT]
            ]
            await asyncio.gather(*sent)
    except errors.KafkaError as fault:
        if fault.retriable:
            raise Away(refusal(fault, "publishing", connection)) from fault
        raise Refused(refusal(fault, "publishing", connection)) from fault
    finally:
        await producer.stop()
    return len(appends)
