"""Plays the shop on an engine: each event is stamped by the transaction that appends it."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.demo.customers import customers, everybody, registered, snapshot
from gateway.demo.shop import FIRST_NUMBER, Fact, Happening, Shop
from gateway.demo.stories import SLOW, STORIES
from streams.embedded import Engine
from streams.embedded_log import Append, append
from streams.json_events import from_json
from tidings.event import Micros
from tidings.ports import Body, Now, Put, Read, Transaction

STORY_EVERY = 0.75
"""Seconds between two stories."""
BROKEN_EVERY = 40
"""Stories between two records that nobody can read."""
BROKEN_FIRST = 6
STEP = 0.03
"""Seconds between two looks at what is due."""
ROW = "shop"
"""Name of the epoch row with the next number that nothing bears yet."""


@dataclass
class Play:
    """Stories as they go on."""

    engine: Engine
    shop: Shop
    planned: list[tuple[Micros, int, Happening]] = field(default_factory=list)
    begun: int = 0
    count: int = 0
    told: str | None = None
    """Id of an event that is worth explaining: the newest failed payment or complaint."""

    @classmethod
    async def on(cls, engine: Engine, folder: Path, seed: int) -> Play:
        """Return the play on a file; on a new one, the customers are made known first."""

        def number() -> Transaction[int | None]:
            row = (yield Read("epochs", [(ROW,)])).get((ROW,))
            return None if row is None else int(row["value"])

        people = everybody(folder)
        known = await engine.store.read(number)
        people += await engine.store.read(lambda: registered({one.id for one in people}))
        play = cls(engine, Shop(people, STORIES, SLOW, seed, FIRST_NUMBER if known is None else known))
        if known is None:
            now = engine.clock()
            introduced = (*customers(folder, now), *(snapshot(one.facts, now) for one in people))
            await engine.store.run(play._append([Fact(kind, event, happened=True) for kind, event in introduced]))
        return play

    async def go(self, stop: asyncio.Event, *, seconds: float | None) -> None:
        """Begin stories for some time, or until it is stopped; then only what was begun goes on, until `stop`."""
        clock = asyncio.get_running_loop().time
        began = next_story = clock()
        while not stop.is_set():
            self.engine.check()
            if clock() >= next_story and (seconds is None or clock() - began < seconds):
                next_story += STORY_EVERY
                await self._begin()
            now = self.engine.clock()
            due = []
            while self.planned and self.planned[0][0] <= now:
                due.append(heapq.heappop(self.planned)[2].fact)
            if due:
                await self._happen(due)
            await asyncio.sleep(STEP)

    async def _begin(self) -> None:
        now = self.engine.clock()
        for one in self.shop.story(now):
            self.count += 1
            heapq.heappush(self.planned, (now + one.delay, self.count, one))
        self.begun += 1
        if self.begun % BROKEN_EVERY == BROKEN_FIRST:
            topic = self.engine.contracts.by_type["billing.invoice.paid"].topic
            await self.engine.log.append([Append(topic, b"inv-broken", b"\x00\x00\x00\x00\x07not what it says")])

    async def _happen(self, facts: list[Fact]) -> None:
        await self.engine.store.run(self._append(facts))
        worth = [fact for fact in facts if fact.type in ("billing.payment.failed", "crm.complaint.opened")]
        if worth:
            self.told = worth[-1].body["id"]

    def _append(self, facts: Sequence[Fact]) -> Body[None]:
        """Return the body that appends facts as of its own instant.

        The clock runs so fast that an event which is stamped first and appended a moment later would be hours late.
        The next free number goes with them, so that a crash lets nothing bear a name twice.
        """

        def body() -> Transaction[None]:
            now = yield Now()
            records = []
            for fact in facts:
                contract = self.engine.contracts.by_type[fact.type]
                key, value = self.engine.codec.encode(fact.type, from_json(contract, fact.at(now)))
                records.append(Append(contract.topic, key, value))
            yield from append(records)()
            yield Put("epochs", [{"name": ROW, "value": str(self.shop.number)}])

        return body
