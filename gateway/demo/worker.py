"""One worker of the demonstration: the real one, by the shop's clock. Run as a module, with one JSON argument."""

from __future__ import annotations

import asyncio
import json
import sys

from gateway.long_running import asked_to_stop, until_stopped
from schemas import contracts
from streams.clock import anchored
from streams.embedded import calm_collector
from streams.kafka.connection import Connection
from streams.kafka.transport import Pace
from streams.kafka.worker_process import WorkerProcess
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore

PACE = Pace(session=6.0, rebalance=8.0)
"""A worker that was killed is noticed after the session's time: short, so that it can be watched."""


async def work(told: dict[str, str]) -> None:
    """Work until SIGTERM."""
    stop = asked_to_stop()
    clock = anchored(told["clock"])
    host, port, database, user = told["postgres"].split(" ")
    store = await PostgresStore.open(Place(host, int(port), database, user), clock)
    connection = Connection((told["kafka"],), prefix=told["prefix"])
    process = WorkerProcess(
        store, connection, contracts(), clock, told["name"], pace=PACE, grace=int(told["grace"])
    )  # fmt: skip
    try:
        await process.start()
        calm_collector()
        await until_stopped(process, stop)
    finally:
        await process.stop()
        await store.close()


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
