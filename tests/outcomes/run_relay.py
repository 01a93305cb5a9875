"""A relay in a process of its own, to be killed: `python -m tests.outcomes.run_relay HOST PORT DATABASE BROKER PREFIX LEASE`."""

import asyncio
import os
import sys

from schemas import contracts
from streams.codec import Codec
from streams.kafka.connection import Connection
from streams.kafka.relay import Relay
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tidings.ports import StoreUnavailable


async def run(place: Place, connection: Connection, lease: int) -> None:
    store = await PostgresStore.open(place)
    relay = Relay(store, connection, Codec(contracts()), f"r{os.getpid()}", lease=lease, limit=20)
    led = False
    while True:
        try:
            busy = await relay.step()
        except StoreUnavailable:
            busy = False  # as every loop does: a transaction that slept for long was cut off by the server
        if not busy:
            await asyncio.sleep(0.02)
        if relay.leads != led:
            led = relay.leads
            print("leads" if led else "stands by", flush=True)


if __name__ == "__main__":
    host, port, database, broker, prefix, lease = sys.argv[1:]
    asyncio.run(run(Place(host, int(port), database, "postgres"), Connection((broker,), prefix=prefix), int(lease)))
