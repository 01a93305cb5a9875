"""The breaker of one deliverer: what it holds back, what ends meanwhile, and when it turned."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from streams.processors import deliver
from streams.processors.deliver import Overdue
from tidings.breaker import Breaker
from tidings.delivery import Pace
from tidings.event import SECOND, Micros
from tidings.ports import Outcome, Outgoing, Store

LOOK = SECOND // 2
"""Between two looks for deadlines among what is held back."""
LOOKED_AT = 500
"""Messages in one look: a hundred thousand are looked through in less than two minutes."""
ROUND = 5 * SECOND
"""Rest at most after all were looked through, or until the first deadline that was seen."""


@dataclass(frozen=True, slots=True)
class Turned:
    """A provider is held back from now on, or not any more."""

    provider: str
    breaker: Breaker
    """As it is now."""
    lasted: Micros = 0
    """How long it was away, by our clock."""


@dataclass
class Holding:
    """What a deliverer knows of its provider, and keeps from it."""

    name: str
    channels: Collection[str] | None
    pace: Pace
    breaker: Breaker = field(init=False)
    looked: Micros = 0
    look: Micros = 0
    """When to look again."""
    seen: Overdue = field(default_factory=Overdue)

    def __post_init__(self) -> None:
        self.breaker = Breaker(self.name)

    def began(self, outgoing: Sequence[Outgoing]) -> None:
        """Note what is on its way: half open, it is the probe."""
        for one in outgoing:
            self.breaker = self.breaker.asking((one.message_id, one.attempt))

    def heard(self, outgoing: Outgoing, outcome: Outcome, provider: str, now: Micros) -> Turned | None:
        """Note what a provider has answered; return whether that turned the breaker."""
        before = self.breaker
        self.breaker = before.heard((outgoing.message_id, outgoing.attempt), outcome, now, self.pace)
        if before.is_open == self.breaker.is_open:
            return None
        return Turned(provider, self.breaker, max(0, now - before.since) // self.pace.speed if before.is_open else 0)

    async def overdue(self, store: Store, now: Micros) -> Sequence[str]:
        """Name what is held back past its deadline, of the next page, where it is time to look."""
        if self.looked <= now < self.look:
            return ()
        found = await store.read(deliver.find_overdue(self.channels, self.seen, LOOKED_AT))
        self.looked, self.look = now, now + LOOK * self.pace.speed
        self.seen = found
        if found.after is None:
            last = now + ROUND * self.pace.speed
            self.look = max(self.look, last if found.first is None else min(last, found.first))
            self.seen = Overdue()
        return found.names
