"""Plays the shop on a stage: stories begin by chance, and what they hold happens in its time."""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass, field
from pathlib import Path

from gateway.demo.customers import customers, everybody, registered, snapshot
from gateway.demo.shop import FIRST_NUMBER, Fact, Happening, Shop
from gateway.demo.stage import Stage, number
from gateway.demo.stories import SLOW, STORIES
from tidings.event import Micros

STORY_EVERY = 0.75
"""Seconds between two stories."""
BROKEN_EVERY = 40
"""Stories between two records that nobody can read."""
BROKEN_FIRST = 6
STEP = 0.03
"""Seconds between two looks at what is due."""


@dataclass
class Play:
    """Stories as they go on."""

    stage: Stage
    shop: Shop
    planned: list[tuple[Micros, int, Happening]] = field(default_factory=list)
    begun: int = 0
    count: int = 0
    told: str | None = None
    """Id of an event that is worth explaining: the newest failed payment or complaint."""

    @classmethod
    async def on(cls, stage: Stage, folder: Path, seed: int) -> Play:
        """Return the play on a stage; on a new one, the customers are made known first."""
        people = everybody(folder)
        known = await stage.store.read(number)
        people += await stage.store.read(lambda: registered({one.id for one in people}))
        play = cls(stage, Shop(people, STORIES, SLOW, seed, FIRST_NUMBER if known is None else known))
        if known is None:
            now = stage.clock()
            introduced = (*customers(folder, now), *(snapshot(one.facts, now) for one in people))
            await stage.happen([Fact(kind, event, happened=True) for kind, event in introduced], play.shop.number)
        return play

    async def go(self, stop: asyncio.Event, *, seconds: float | None) -> None:
        """Begin stories for some time, or until it is stopped; then only what was begun goes on, until `stop`."""
        clock = asyncio.get_running_loop().time
        began = next_story = clock()
        while not stop.is_set():
            self.stage.check()
            if clock() >= next_story and (seconds is None or clock() - began < seconds):
                next_story += STORY_EVERY
                await self._begin()
            now = self.stage.clock()
            due = []
            while self.planned and self.planned[0][0] <= now:
                due.append(heapq.heappop(self.planned)[2].fact)
            if due:
                await self._happen(due)
            await asyncio.sleep(STEP)

    async def _begin(self) -> None:
        now = self.stage.clock()
        for one in self.shop.story(now):
            self.count += 1
            heapq.heappush(self.planned, (now + one.delay, self.count, one))
        self.begun += 1
        if self.begun % BROKEN_EVERY == BROKEN_FIRST:
            topic = self.stage.contracts.by_type["billing.invoice.paid"].topic
            await self.stage.publish(topic, b"inv-broken", b"\x00\x00\x00\x00\x07not what it says")

    async def _happen(self, facts: list[Fact]) -> None:
        await self.stage.happen(facts, self.shop.number)
        worth = [fact for fact in facts if fact.type in ("billing.payment.failed", "crm.complaint.opened")]
        if worth:
            self.told = worth[-1].body["id"]
