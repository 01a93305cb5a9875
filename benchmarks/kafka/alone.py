"""What dispatch and delivery alone cost: firings that wait are worked off in this process, by a provider that says yes.

python -m benchmarks.kafka.alone HOST PORT DATABASE prints, for each half, processor time of this process and of the
database server, statements, and commits that wrote, all a message.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from benchmarks.kafka.meter import Server
from handlers.channels.content import Contents
from schemas import contracts
from streams.delivering import Delivering
from streams.embedded import calm_collector, wall_clock
from streams.processors.outcomes import Telling
from streams.rule_book import RuleBook
from streams.stores import postgres_connections
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tidings.errors import Misconfigured
from tidings.event import SECOND, Micros
from tidings.ports import Outcome, Outgoing

HALVES = ("dispatch", "deliver")
OPEN = "SELECT count(*) FROM messages WHERE state = 'pending'"
TAKEN = "SELECT count(*) FROM messages WHERE state = 'accepted'"


class Agreeing:
    """Takes every message at once."""

    name = "agreeing"
    lease: Micros = 30 * SECOND
    can_look_up = False
    idempotent = False

    async def send(self, _outgoing: Outgoing) -> Outcome:
        """Say yes."""
        return Outcome("accepted", reference="r", first_byte_at=wall_clock())

    async def look_up(self, _message_id: str) -> str | None:
        """Keep no books."""
        return None


class Alone:
    """A deliverer over a database, and what it asks of it."""

    def __init__(self, store: PostgresStore, server: Server, watch: asyncpg.Connection, asked: Counter[str]) -> None:
        self.store, self.server, self.watch, self.asked = store, server, watch, asked

    async def halves(self) -> dict[str, dict[str, float]]:
        """Work off what waits: first all passes, then all messages."""
        book = RuleBook(contracts(), self.store)
        rules = await book.active()
        if rules is None:
            raise Misconfigured("no rule set is active")
        agreeing = Agreeing()
        delivering = Delivering(
            "alone", Telling(self.store), book, rules, lambda _: agreeing, Contents(), wall_clock, lambda _: None
        )
        (flights,) = delivering.flights.values()
        calm_collector()
        return {
            "dispatch": await self.measured(delivering.attending.dispatch, lambda: False, OPEN),
            "deliver": await self.measured(flights.step, lambda: bool(flights.begun), TAKEN),
        }

    async def measured(self, step: Callable[[], Awaitable[bool]], going: Callable[[], bool], count: str) -> Any:
        """Take steps until there is nothing to do, and count what became of it."""
        before = int(await self.watch.fetchval(count))
        server, cpu, wall = await self.server.look(), time.process_time(), time.perf_counter()
        self.asked.clear()
        while await step() or going():  # noqa: ASYNC110 - steps, not a condition that somebody else brings about
            await asyncio.sleep(0)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        asked = dict(self.asked)
        server = await self.server.look() - server
        done = int(await self.watch.fetchval(count)) - before
        if done <= 0:
            raise Misconfigured("nothing was done: no firings waited")
        return {
            "messages": done, "rate": done / wall, "client": cpu / done * 1e6, "server": server / done * 1e6,
            "statements": sum(asked.values()) / done, "commits": asked.get("COMMIT", 0) / done,
        }  # fmt: skip


async def main(place: Place) -> None:
    """Measure, and print."""
    asked: Counter[str] = Counter()
    connect = postgres_connections.connect

    async def counted(*where: Any) -> asyncpg.Connection:
        connection = await connect(*where)
        connection.add_query_logger(lambda said: asked.update((said.query.split(None, 1)[0],)))
        return connection

    postgres_connections.connect = counted
    dsn = f"postgresql://{place.user}@{place.host}:{place.port}"
    admin = await asyncpg.connect(f"{dsn}/postgres")
    watch = await asyncpg.connect(f"{dsn}/{place.database}", server_settings={"search_path": "tidings"})
    store = await PostgresStore.open(place, wall_clock)
    try:
        found = await Alone(store, Server(admin, place.database, watch.get_server_pid()), watch, asked).halves()
    finally:
        await store.close()
        await watch.close()
        await admin.close()
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(Place(sys.argv[1], int(sys.argv[2]), sys.argv[3], "postgres")))
