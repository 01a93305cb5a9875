"""A real worker in a process of its own, to be killed: `python -m tests.kafka.run_worker BROKER PREFIX HOST PORT DATABASE`."""

import asyncio
import os
import sys

from streams.embedded import wall_clock
from streams.kafka.connection import Connection
from streams.kafka.worker_process import WorkerProcess
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tests.kafka.world import QUICK, known


class Slowly(PostgresStore):
    """Takes its time, so that one process does not decide everything before it can be killed."""

    async def run(self, body, *, urgent=False):
        done = await super().run(body, urgent=urgent)
        await asyncio.sleep(0.3)
        return done


async def run(broker: str, prefix: str, host: str, port: int, database: str) -> None:
    store = await Slowly.open(Place(host, port, database, "postgres"))
    name = f"w{os.getpid()}"
    process = WorkerProcess(store, Connection((broker,), prefix=prefix), known(), wall_clock, name, pace=QUICK)
    await process.start()
    while True:
        process.check()
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]))
