"""A way out that goes nowhere: it does what a test tells it, and keeps what it took."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tidings.event import SECOND, Micros
from tidings.ports import Outcome, Outgoing


@dataclass
class FakeProvider:
    """Takes everything, unless `outcomes` says otherwise, one an attempt; `taken` holds what it really has.

    An `ambiguous` outcome loses the answer, not the message: its books, where it keeps any, know it.
    """

    clock: Callable[[], Micros]
    outcomes: Iterable[Outcome] = ()
    name: str = "fake"
    lease: Micros = 30 * SECOND
    can_look_up: bool = False
    asked: list[Outgoing] = field(default_factory=list)
    taken: list[Outgoing] = field(default_factory=list)
    _next: Iterator[Outcome] = field(init=False)

    def __post_init__(self) -> None:
        self._next = iter(self.outcomes)

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Take the message, or do as told."""
        now = self.clock()
        if now >= outgoing.start_by:
            return Outcome("not_sent", detail="start_by is over")
        self.asked.append(outgoing)
        outcome = next(self._next, None)
        if outcome is None:
            outcome = Outcome("accepted", reference=f"fake:{outgoing.message_id}", first_byte_at=now)
        if outcome.stage in ("accepted", "ambiguous"):
            self.taken.append(outgoing)
        return outcome

    async def look_up(self, message_id: str) -> str | None:
        """Say whether it took the message."""
        if not self.can_look_up:
            return None
        return "accepted" if any(one.message_id == message_id for one in self.taken) else "absent"
