"""A process that dispatches and delivers on a cluster: any number of them share one database.

Brokers may be away; where they refuse us at the start, it ends.

The composition root of `tidings deliver`. It waits for the first rule set, follows every switch, and stops in order:
what is in flight is finished before it ends.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from handlers.channels.content import Contents
from schemas import Contracts
from streams.clock_guard import EVERY, ClockGuard
from streams.delivering import Delivering, Way
from streams.guarded import Guarded
from streams.kafka.ground import WATCH, Ground
from streams.kafka.relay import Relay
from streams.loops import AWAY_LIMIT, Loop, Loops, maintaining
from streams.processors.deliverer import ProviderOf, Render
from streams.processors.outcomes import Telling
from streams.processors.worker import Observe
from streams.rule_book import RuleBook
from streams.stores.counts import Waiting
from streams.stores.postgres import PostgresStore
from tidings.delivery import Pace
from tidings.rule import RuleSet

logger = logging.getLogger("tidings.deliver")

ROUND = 5.0
"""Seconds that the loops have for their last round when the process is asked to end."""
PARTING = 20.0
"""Seconds for what is in flight afterwards; the sum is below the 30 s that orchestrators give."""
LONGEST = 0.05
"""Seconds that dispatch rests at most while nothing is to be done: so long may what another process wrote lie."""
UNWOKEN = 0.25
"""Seconds that a way out rests at most: dispatch wakes it, and what waits for its time is late by that."""
LOOK_FOR_RULES = 1.0
RELAY = 0.05
"""Seconds that the relay rests when nothing waits; so much later an outcome may be in its topic."""
RELAY_GATHERS = 0.25
"""Seconds that it rests at most after it has published something: a transaction of Kafka costs more than ten messages."""
NONE_YET = RuleSet("", (), {})
MAINTAIN = 3600.0
"""Seconds between two looks for partitions of the database that will be needed."""


@dataclass
class DeliverProcess(Guarded):
    """Made over an open store; `start` runs the loops, `stop` ends them."""

    store: PostgresStore
    contracts: Contracts
    provider_of: ProviderOf
    clock: Callable[[], int]
    name: str
    render: Render = field(default_factory=Contents)
    observe: Observe = lambda _: None
    pace: Pace = field(default_factory=Pace)
    concurrency: int = 16
    ground: Ground | None = None
    """Asked before anything is begun, and now and then: is the database older than the topics?"""
    relay: Relay | None = None
    """Publishes the outcomes, or stands by."""
    away_limit: float = AWAY_LIMIT
    lags: Mapping[tuple[str, str], int] = field(default_factory=dict, init=False)
    concerns: frozenset[str] = field(default=frozenset({"rules", "deliveries", "sending"}), init=False)

    def __post_init__(self) -> None:
        self.book = RuleBook(self.contracts, self.store)
        self.guard = ClockGuard(self.store)
        self.loops = Loops(lambda seen: self.observe(seen))  # noqa: PLW0108 - the observer may change
        self.delivering: Delivering | None = None

    async def start(self) -> None:
        """Wait for the first rule set, then run the loops.

        Raises:
            Misconfigured: the active rules do not load with this version, or the brokers do not take us.
        """
        await self.guard.measure()
        self.loops.start(
            {"clock": Loop(self.guard.measure, EVERY), "maintain": Loop(maintaining(self.store), MAINTAIN)}
        )
        if self.ground is not None:
            await self.ground.begin()
            self.loops.start({"ground": Loop(self.ground.watch, WATCH)})
        if self.relay is not None:
            self.relay.observe = self.loops.watched
            self.loops.start({"relay": Loop(self.relay.step, RELAY, gather=self._relay_gathers)})
        rules = await self.book.active()
        if rules is None:
            logger.warning("no rule set is active yet: tidings rules apply FOLDER")
        while rules is None:
            await asyncio.sleep(LOOK_FOR_RULES)
            rules = await self.book.active()
        # Two processes of one name never take each other's claims for their own.
        name = f"{self.name}-{secrets.token_hex(3)}"
        self.delivering = Delivering(
            name, Telling(self.store), self.book, rules, self.provider_of, self.render, self.clock, self.loops.watched,
            self.pace, self.concurrency,
        )  # fmt: skip
        self.loops.start(self.delivering.loops(self.guard.before, LONGEST, UNWOKEN))

    async def stop(self) -> int:
        """End the loops, finish what is in flight; return how many messages are of unknown outcome for that."""
        await self.loops.stop(ROUND)
        try:
            return 0 if self.delivering is None else await self.delivering.finish(PARTING)
        finally:
            if self.relay is not None:
                await self.relay.stop()

    def _relay_gathers(self) -> float:
        return 0.0 if self.relay is None or self.relay.full else RELAY_GATHERS

    @property
    def ways(self) -> Mapping[str, Way]:
        """The ways out by their names; none before it delivers."""
        return {} if self.delivering is None else self.delivering.ways

    @property
    def rules(self) -> RuleSet:
        """The rule set in use; an empty one before there is any."""
        return NONE_YET if self.delivering is None else self.delivering.attending.rules

    def check(self) -> None:
        """Raise what ended a loop, if anything did.

        Raises:
            StoreUnavailable: the database has been away for long, and nothing is in flight. What a provider has answered
                stands in memory only: ended now, those messages would be of unknown outcome.
        """
        self.loops.check()
        if self.delivering is None or not self.delivering.flying:
            self.loops.check_store(self.away_limit)

    async def waiting(self, *, within: float) -> Waiting:
        """Count what is open, in about `within` seconds at most."""
        return await self.store.waiting(within=within)
