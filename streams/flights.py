"""Messages in flight: a slot that becomes free is filled again, so that a slow message holds up no other.

At most `concurrency` of the deliverer are begun and not written; exactly so many can be of unknown outcome after a
crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

from streams.processors.deliverer import Deliverer
from streams.processors.dispatch import Who
from streams.processors.results import Result
from tidings.ports import Outgoing

GATHER = 0.05
"""Seconds that a free slot waits at most for others to become free with it."""
LOOK = 1.0
"""Seconds between two signs of life while nothing becomes free."""


@dataclass
class Flights:
    """The sending half of one deliverer."""

    deliverer: Deliverer
    begun: dict[tuple[str, int], Outgoing] = field(default_factory=dict)
    """Attempts of which nobody has written what became of them."""
    under_way: set[asyncio.Task[None]] = field(default_factory=set)
    asked: dict[str, float] = field(default_factory=dict)
    """By message: since when its provider is asked (`time.monotonic`)."""
    took: float = 0.0
    """Seconds that it took to fill slots the last time."""
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.deliverer.results.written = self._written
        self.deliverer.results.before = lambda: asyncio.sleep(0)

    async def step(self) -> bool:
        """Fill what is free; say whether there was anything to do.

        Raises:
            Exception: whatever ended a sending, which nothing but a bug does.
        """
        self._landed()
        if self.free <= 0:
            await self._move(LOOK)
            return True
        await self._gather_slots()
        began = time.monotonic()
        taken = await self.deliverer.take(self.free)
        self.took = time.monotonic() - began
        for outgoing, who in taken or ():
            self.begun[outgoing.message_id, outgoing.attempt] = outgoing
            task = asyncio.create_task(self._fly(outgoing, who))
            task.add_done_callback(lambda _: self.moved.set())
            self.under_way.add(task)
        return taken is not None

    @property
    def free(self) -> int:
        """How many messages may be begun now."""
        return self.deliverer.concurrency - len(self.begun)

    async def _gather_slots(self) -> None:
        """Wait until half of the slots is free, for as long as it takes to fill them: four would cost as much as eight."""
        end = time.monotonic() + min(self.took, GATHER)
        while self.free < self.deliverer.concurrency // 2 and (left := end - time.monotonic()) > 0:
            await self._move(left)

    async def _move(self, seconds: float) -> None:
        """Wait until a slot becomes free, or a flight has ended; not longer than some seconds."""
        self.moved.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.moved.wait(), seconds)

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
        return len(self.begun)

    async def _fly(self, outgoing: Outgoing, who: Who) -> None:
        self.asked[outgoing.message_id] = time.monotonic()
        try:
            outcome = await self.deliverer.ask(outgoing)
        finally:
            del self.asked[outgoing.message_id]
        await self.deliverer.settle(outgoing, who, outcome)

    def _written(self, result: Result) -> None:
        self.begun.pop((result.outgoing.message_id, result.outgoing.attempt), None)
        self.moved.set()

    def _landed(self) -> None:
        for task in [task for task in self.under_way if task.done()]:
            self.under_way.discard(task)
            if not task.cancelled():
                task.result()
