"""Tidings' own processors and store in a plain aiokafka loop: what is left of the worker without Faust around it.

python -m benchmarks.kafka.core core '{"bootstrap": …}'
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from benchmarks.kafka.contestants import Course, Track, in_a_loop
from benchmarks.kafka.transaction import TICK_EVERY
from benchmarks.workload import rule_set
from schemas import contracts
from streams.codec import Codec
from streams.embedded import calm_collector
from streams.kafka.cluster import record_of
from streams.kafka.connection import Connection
from streams.processors.outcomes import Telling
from streams.processors.worker import Worker
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tidings.watermark import GRACE

RULES = 10


async def core(course: Course, track: Track) -> None:
    """Consume by hand, decide by Tidings."""
    at = urlsplit(course.dsn)
    place = Place(str(at.hostname), at.port or 5432, at.path[1:], str(at.username))
    store = await PostgresStore.open(place)
    active, _ = rule_set(RULES)
    worker = Worker(
        Telling(store), None, None, Codec(contracts()).decode, active, {active.hash: active}.__getitem__, GRACE  # type: ignore[arg-type]
    )  # fmt: skip
    connection = Connection((course.bootstrap,), prefix=course.prefix)
    ticked = 0.0
    calm_collector()

    async def apply(found: Sequence[Any]) -> None:
        nonlocal ticked
        records = [record_of(connection, one, 0) for one in found]
        starts = {(one.topic, one.partition): one.offset for one in reversed(records)}
        await worker.apply(records, starts)
        if monotonic() - ticked >= TICK_EVERY:
            await worker.tick()
            ticked = monotonic()

    await in_a_loop(course, track, apply)
    await store.close()


if __name__ == "__main__":
    _course = Course(**json.loads(sys.argv[2]))
    asyncio.run(core(_course, Track(_course)))
