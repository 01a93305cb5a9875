"""The breaker of one deliverer: what it holds back, what ends meanwhile, and when it turned."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from streams.processors import deliver
from tidings.breaker import Breaker
from tidings.delivery import Pace
from tidings.event import SECOND, Micros
from tidings.ports import Key, Outcome, Outgoing, Store

LOOK = SECOND // 2
"""Between two looks for deadlines among what is held back."""
LOOKED_AT = 500
"""Messages of a channel in one look: a hundred thousand are looked through in less than two minutes."""


@dataclass(frozen=True, slots=True)
class Turned:
    """A provider is held back from now on, or not any more."""

    provider: str
    breaker: Breaker
    """As it is now."""
    lasted: Micros = 0
    """How long it was held back."""


@dataclass
class Holding:
    """What a deliverer knows of its provider, and keeps from it."""

    name: str
    channels: Collection[str] | None
    pace: Pace
    breaker: Breaker = field(init=False)
    looked: Micros = 0
    after: Mapping[tuple[str, ...], Key] = field(default_factory=dict)

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
        return Turned(provider, self.breaker, max(0, now - before.since) if before.is_open else 0)

    async def overdue(self, store: Store, now: Micros) -> Sequence[str]:
        """Name what is held back past its deadline, of the next page, where it is time to look."""
        if self.looked <= now < self.looked + LOOK * self.pace.speed:
            return ()
        found = await store.read(deliver.find_overdue(self.channels, self.after, LOOKED_AT))
        self.looked, self.after = now, found.after
        return found.names
