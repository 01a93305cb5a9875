"""A real deliverer in a process of its own, to be killed: `python -m tests.live.run_deliver HOST PORT DATABASE CATCHER`."""

import asyncio
import os
import sys

from handlers.providers.catcher import SocketCatcher
from schemas import contracts
from streams.deliver_process import DeliverProcess
from streams.embedded import wall_clock
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tidings.delivery import Pace
from tidings.event import SECOND

CONCURRENCY = 8
PACE = Pace(lease=SECOND, settle=SECOND // 2, retry_least=SECOND // 5, retry_most=SECOND)


class Slowly(SocketCatcher):
    """Takes as long as a provider, so that something is in flight when the process is killed."""

    lease = SECOND

    async def send(self, outgoing):
        outcome = await super().send(outgoing)
        await asyncio.sleep(0.05)
        return outcome


async def run(place: Place, port: int) -> None:
    store = await PostgresStore.open(place)
    catcher = Slowly(port, wall_clock, lease=SECOND)
    process = DeliverProcess(
        store, contracts(), lambda _: catcher, wall_clock, f"d{os.getpid()}", pace=PACE, concurrency=CONCURRENCY
    )
    await process.start()
    while True:
        process.check()
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(run(Place(sys.argv[1], int(sys.argv[2]), sys.argv[3], "postgres"), int(sys.argv[4])))
