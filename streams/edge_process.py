"""A process that serves the HTTP edge of a cluster: any number of them stand beside each other, and share nothing.

The composition root below `tidings gateway`: it follows the rule set that decides, publishes what is given to it, and
works off what could not be published at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from schemas import Contracts
from streams.clock_guard import EVERY, ClockGuard
from streams.guarded import Guarded
from streams.kafka.publishing import REST, Publisher
from streams.loops import Loop, Loops
from streams.processors import endings
from streams.processors.outcomes import Telling
from streams.processors.worker import Observe
from streams.rule_book import RuleBook
from streams.stores.counts import Waiting
from streams.stores.postgres import PostgresStore
from tidings.rule import RuleSet

ROUND = 2.0
"""Seconds that the loops have for their last round."""
LOOK_FOR_RULES = 1.0
ENDINGS = 1.0
"""Seconds between two looks for stops that are ending, and that nobody goes on with."""
NONE_YET = RuleSet("", (), {})


@dataclass
class EdgeProcess(Guarded):
    """Made over an open store; `start` runs the loops, `stop` ends them."""

    store: PostgresStore
    contracts: Contracts
    publisher: Publisher
    observe: Observe = lambda _: None
    rules: RuleSet = field(default=NONE_YET, init=False)
    """The rule set in use; an empty one before there is any."""
    lags: Mapping[tuple[str, str], int] = field(default_factory=dict, init=False)
    concerns: frozenset[str] = field(default=frozenset({"rules"}), init=False)

    def __post_init__(self) -> None:
        self.book = RuleBook(self.contracts, self.store)
        self.guard = ClockGuard(self.store)
        self.loops = Loops(lambda seen: self.observe(seen))  # noqa: PLW0108 - the observer may change

    async def start(self) -> None:
        """Run the loops.

        Raises:
            Misconfigured: the active rules do not load with this version.
        """
        await self.guard.measure()
        await self._follow()
        await self.publisher.step()
        self.loops.start(
            {
                "clock": Loop(self.guard.measure, EVERY),
                "rules": Loop(self._follow, LOOK_FOR_RULES),
                "publish": Loop(self.publisher.step, REST),
                "endings": Loop(lambda: endings.go_on(Telling(self.store)), ENDINGS),
            }
        )

    async def stop(self) -> None:
        """End the loops, and let go of the brokers."""
        await self.loops.stop(ROUND)
        await self.publisher.stop()

    async def _follow(self) -> bool:
        found = await self.book.active()
        changed = found is not None and found.hash != self.rules.hash
        if changed and found is not None:
            self.rules = found
        return changed

    def check(self) -> None:
        """Raise what ended a loop, if anything did."""
        self.loops.check()

    async def waiting(self, *, within: float) -> Waiting:
        """Count what is open, in about `within` seconds at most."""
        found = await self.store.waiting(within=within)
        kept, oldest = await self.store.kept(within=within)
        return replace(found, kept=kept, oldest_kept=oldest)
