"""Loops that run side by side in one process: rounds, rests, what ended one, and the end of all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from streams.processors.worker import Observe
from tidings.event import SECOND
from tidings.ports import StoreReplaced, StoreUnavailable

T = TypeVar("T")

logger = logging.getLogger("tidings.engine")

IDLE = 0.02
"""Seconds that a loop rests when it found nothing to do; a loop that feeds it wakes it at once."""
AWAY = 1.0
"""Seconds that it rests when the store did not take its round."""
AGAIN = 60.0
"""Seconds after which it is said again that the store is away."""
AWAY_LIMIT = 120.0
"""Seconds without the store after which a process ends, for something outside to start it again."""


@dataclass(frozen=True)
class RealRuntime:
    """The world as it is."""

    clock: Callable[[], int]

    def now(self) -> int:
        """Return the clock."""
        return self.clock()

    async def sleep(self, micros: int) -> None:
        """Wait."""
        await asyncio.sleep(micros / SECOND)

    async def gather(self, jobs: Sequence[Awaitable[T]]) -> list[T]:
        """Run jobs side by side; one that fails does not take the others with it."""
        results = await asyncio.gather(*jobs, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results  # type: ignore[return-value]


@dataclass(frozen=True)
class Loop:
    """One loop."""

    step: Callable[[], Awaitable[bool]]
    """One round; says whether there was anything to do."""
    rest: float = IDLE
    longest: float | None = None
    """A loop that finds nothing again and again rests twice as long each time, up to this; None: it does not."""
    since: Callable[[], float] = time.monotonic
    """Asked after a round: since when nothing moves, of which the round itself does not tell."""
    wakes: Callable[[], Collection[str]] = tuple
    """Asked after a round that had something to do: loops that have something to do now."""
    gather: Callable[[], float] = lambda: 0.0
    """Asked after a round that had something to do: how long it rests at most, and no longer than that round took. What
    comes meanwhile is done together, which costs hardly more than the first of it alone."""


class Maintained(Protocol):
    """A store that wants to be looked after now and then."""

    async def maintain(self) -> int:
        """Do what will be needed in days; return how much it was."""
        ...


def maintaining(store: Maintained) -> Callable[[], Coroutine[None, None, bool]]:
    """Return the round that looks after a store: one that failed is tried again an hour later, and ends no process.

    Whoever reads a partition for long keeps its lock from us; a store that is away is noticed by the loops that work.
    """

    async def step() -> bool:
        try:
            await store.maintain()
        except StoreReplaced:
            raise
        except StoreUnavailable as fault:
            logger.warning("partitions of the days to come were not made, tried again with the next round: %s", fault)
        return False

    return step


@dataclass
class Loops:
    """What runs in a process."""

    observe: Observe
    progress: dict[str, float] = field(default_factory=dict)
    """By loop: when it last finished a round, or was started, or until when it rests (`time.monotonic`)."""
    ending: bool = False
    unread: BrokenPipeError | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _bells: dict[str, asyncio.Event] = field(default_factory=dict)
    _away: dict[str, float] = field(default_factory=dict)

    @property
    def away_since(self) -> float | None:
        """Since when the store takes no round of some loop (`time.monotonic`); loops that do not ask it say nothing."""
        return min(self._away.values(), default=None)

    def start(self, loops: Mapping[str, Loop]) -> None:
        """Run loops, beside those that run."""
        self.ending = False
        self.progress |= dict.fromkeys(loops, time.monotonic())
        self._bells |= {name: asyncio.Event() for name in loops}
        self.tasks += [asyncio.create_task(self._forever(*loop), name=loop[0]) for loop in loops.items()]

    def watched(self, seen: object) -> None:
        """Tell the observer; one that fails must not stop what it watches."""
        try:
            self.observe(seen)
        except BrokenPipeError as fault:
            # Whoever read what it tells has gone; `check` says so to whoever runs us.
            self.unread = self.unread or fault
        except Exception:
            logger.exception("the observer failed on %s", type(seen).__name__)

    async def _forever(self, name: str, loop: Loop) -> None:
        """Run a loop; a store that is away ends none: nothing of the round was written, and it is tried again."""
        away, said = False, 0.0
        rest = loop.rest
        while not self.ending:
            self._bells[name].clear()
            began = time.monotonic()
            try:
                busy = await loop.step()
            except StoreReplaced:
                raise
            except StoreUnavailable as fault:
                away = True
                now = self.progress[name] = time.monotonic()
                gone = now - self._away.setdefault(name, now)
                if now - said >= AGAIN:
                    since = f" since {gone:.0f} s" if gone else ""
                    logger.error("%s: the store is away%s, tried again until it is back: %s", name, since, fault)  # noqa: TRY400
                    said = now
                await self._rest(name, AWAY)
                continue
            if away:
                logger.info("%s: the store is back", name)
            away, said = False, 0.0
            self._away.pop(name, None)
            self.progress[name] = loop.since()
            if busy:
                rest = loop.rest
                for other in loop.wakes():
                    self._bells[other].set()
                if not self.ending and (gather := min(loop.gather(), time.monotonic() - began)) > 0:
                    await asyncio.sleep(gather)
            else:
                self.progress[name] += rest
                woken = await self._rest(name, rest)
                rest = loop.rest if woken else min(2 * rest, loop.longest or loop.rest)

    async def _rest(self, name: str, seconds: float) -> bool:
        """Rest, unless somebody wakes it: then True."""
        try:
            return await asyncio.wait_for(self._bells[name].wait(), seconds)
        except TimeoutError:
            return False

    async def stop(self, seconds: float) -> None:
        """End the loops: each may finish its round, so that what it has begun is told; then it is cut off."""
        self.ending = True
        for bell in self._bells.values():
            bell.set()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=seconds)
        for task in self.tasks:
            task.cancel()
        # What ended one is told by `check`; here it must not keep the others from an end in order.
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks = []
        self.progress = {}

    def check_store(self, limit: float) -> None:
        """Raise where the store has taken no round of some loop for long.

        Raises:
            StoreUnavailable: for `limit` seconds.
        """
        since = self.away_since
        if since is not None and (gone := time.monotonic() - since) > limit:
            text = f"the database has been away for {gone:.0f} s"
            raise StoreUnavailable(text)

    def check(self) -> None:
        """Raise what ended a loop, if anything did; or that nobody reads any more what the observer tells."""
        if self.unread is not None:
            raise self.unread
        for task in self.tasks:
            if task.done() and not task.cancelled() and (fault := task.exception()) is not None:
                raise fault
