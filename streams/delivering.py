"""Dispatch and delivery as the loops of one process: one that attends to recipients, and for each provider its own.

A provider that hangs, or is away, holds up its own channels only: all of them, as they share its breaker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

from streams.flights import Flights
from streams.loops import Loop, RealRuntime
from streams.processors import endings
from streams.processors.deliverer import Deliverer, ProviderOf, Render
from streams.processors.worker import Observe
from streams.rule_book import RuleBook
from tidings.breaker import Breaker
from tidings.delivery import Pace
from tidings.ports import Store
from tidings.rule import Channel, RuleSet

TOGETHER = 16
"""Recipients that are dispatched in one transaction."""
PASSES = 2
"""Such transactions side by side: one waits for its commit while the other is computed."""
GATHERS = 0.02
"""Seconds that dispatch rests at most after a round: recipients that come one by one are then dispatched together."""
RECONCILE = 0.5
"""Seconds between two looks for what is of unknown outcome; it settles for a minute."""
ENDINGS = 0.5
"""Seconds between two looks for stops that are ending, and that nobody goes on with."""
Step = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Way:
    """A way out, as this process finds it."""

    breaker: Breaker
    channels: frozenset[str]


@dataclass
class Delivering:
    """What a process delivers with."""

    name: str
    """Of this process among those that share the store."""
    store: Store
    book: RuleBook
    rules: RuleSet
    """Active when it starts; a switch is noticed."""
    provider_of: ProviderOf
    render: Render
    clock: Callable[[], int]
    observe: Observe
    pace: Pace = field(default_factory=Pace)
    concurrency: int = 16
    speed: int = 1
    """How much faster the clock runs than the real one; leases, settle times and waits between attempts stay real."""

    def __post_init__(self) -> None:
        runtime = RealRuntime(self.clock)
        leases = {channel: self.provider_of(channel).lease for channel in get_args(Channel)}
        pace = replace(self.pace, leases=leases).at_speed(self.speed)
        self.by_way = {
            name: Deliverer(
                name=f"{self.name}-{name}",
                store=self.store,
                runtime=runtime,
                provider_of=self.provider_of,
                rules=self.rules,
                load_rules=self.book.get,
                render=self.render,
                pace=pace,
                concurrency=self.concurrency,
                observe=self.observe,
                channels=channels,
                learn=self.book.learn,
                together=TOGETHER,
                passes=PASSES,
            )
            for name, channels in self._ways().items()
        }
        self.flights = {name: Flights(one) for name, one in self.by_way.items()}

    @property
    def ways(self) -> Mapping[str, Way]:
        """The ways out by their names: whether the provider is held back, and which channels with it."""
        return {name: Way(one.holding.breaker, one.channels or frozenset()) for name, one in self.by_way.items()}

    @property
    def attending(self) -> Deliverer:
        """The one that dispatches."""
        return next(iter(self.by_way.values()))

    def loops(
        self,
        before: Callable[[Step], Step] = lambda step: step,
        longest: float | None = None,
        unwoken: float | None = None,
    ) -> dict[str, Loop]:
        """Return the loops; `before` stands before each round of them, `longest` bounds their rests.

        `unwoken` bounds those of loops that dispatch wakes when it has found something: without it they find only what
        became due again, or what another process has dispatched and does not deliver.
        """
        dispatch = Loop(before(self.attending.attend), longest=longest, wakes=self._woken, gather=lambda: GATHERS)
        loops = {"dispatch": dispatch}
        for name, flights in self.flights.items():
            loops[f"deliver {name}"] = Loop(before(flights.step), longest=unwoken, since=flights.since)
        for name, one in self.by_way.items():
            loops[f"reconcile {name}"] = Loop(before(one.reconcile), RECONCILE)
        loops["endings"] = Loop(before(lambda: endings.go_on(self.store)), ENDINGS)
        return loops

    @property
    def flying(self) -> bool:
        """Whether a provider is asked, or has answered and nobody has written down what."""
        return any(flights.begun for flights in self.flights.values())

    async def finish(self, seconds: float) -> int:
        """Wait for what is in flight, once no loop begins more; return how many are of unknown outcome now."""
        return sum([await flights.finish(seconds) for flights in self.flights.values()])

    def _woken(self) -> list[str]:
        """Return the loops of the ways out over which dispatch lets something leave."""
        channels, self.attending.woken = self.attending.woken, set()
        return [f"deliver {name}" for name, one in self.by_way.items() if not channels.isdisjoint(one.channels or ())]

    def _ways(self) -> dict[str, frozenset[str]]:
        """Return the channels by their provider."""
        ways: dict[int, tuple[str, set[str]]] = {}
        for channel in get_args(Channel):
            provider = self.provider_of(channel)
            ways.setdefault(id(provider), (provider.name, set()))[1].add(channel)
        names = Counter(name for name, _ in ways.values())
        return {
            name if names[name] == 1 else f"{name} {min(channels)}": frozenset(channels)
            for name, channels in ways.values()
        }
