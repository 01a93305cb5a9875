"""Messages in flight: a slot that becomes free is filled again, so that a slow message holds up no other.

At most `concurrency` of the deliverer are begun and not written; exactly so many can be of unknown outcome after a
crash.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from streams.processors.deliverer import Deliverer
from streams.processors.dispatch import Who
from tidings.ports import Outgoing

LOOK = 1.0
"""Seconds between two signs of life while nothing becomes free."""


@dataclass
class Flights:
    """The sending half of one deliverer."""

    deliverer: Deliverer
    under_way: set[asyncio.Task[None]] = field(default_factory=set)
    asked: dict[str, float] = field(default_factory=dict)
    """By message: since when its provider is asked (`time.monotonic`)."""

    async def step(self) -> bool:
        """Fill what is free; say whether there was anything to do.

        Raises:
            Exception: whatever ended a sending, which nothing but a bug does.
        """
        self._landed()
        free = self.deliverer.concurrency - len(self.under_way)
        if not free:
            await asyncio.wait(self.under_way, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
            return True
        taken = await self.deliverer.take(free)
        for outgoing, who in taken or ():
            self.under_way.add(asyncio.create_task(self._fly(outgoing, who)))
        return taken is not None

    def since(self) -> float:
        """Return since when nothing moves: a provider that never answers shows here, while others are delivered."""
        return min(self.asked.values(), default=time.monotonic())

    async def finish(self, seconds: float) -> int:
        """Wait for what is under way, then cut it off: its lease makes it unknown. Return how many were cut off."""
        if self.under_way:
            await asyncio.wait(self.under_way, timeout=seconds)
        cut = [task for task in self.under_way if not task.done()]
        for task in cut:
            task.cancel()
        await asyncio.gather(*cut, return_exceptions=True)
        self._landed()
        return len(cut)

    async def _fly(self, outgoing: Outgoing, who: Who) -> None:
        self.asked[outgoing.message_id] = time.monotonic()
        try:
            outcome = await self.deliverer.ask(outgoing)
        finally:
            del self.asked[outgoing.message_id]
        await self.deliverer.settle(outgoing, who, outcome)

    def _landed(self) -> None:
        for task in [task for task in self.under_way if task.done()]:
            self.under_way.discard(task)
            if not task.cancelled():
                task.result()
