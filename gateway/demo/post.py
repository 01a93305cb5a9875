"""The way out of the demonstration: a catcher, in front of which things go wrong now and then, as they do outside."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from tidings.ports import Outcome, Outgoing, Provider

BUSY_ONE_IN = 16
"""First attempts that the other side has no time for."""
GONE = "@moved.example.org"
"""Mail servers say of every address there that nobody lives at it."""


@dataclass
class Post:
    """Hands over to the catcher; what it refuses is decided by the message alone, the same in every run."""

    catcher: Provider

    @property
    def name(self) -> str:
        """What attempts are recorded under."""
        return self.catcher.name

    @property
    def lease(self) -> int:
        """As the catcher's."""
        return self.catcher.lease

    @property
    def can_look_up(self) -> bool:
        """As the catcher."""
        return self.catcher.can_look_up

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Refuse, put off, or hand over."""
        if outgoing.channel == "email" and outgoing.address.endswith(GONE):
            return Outcome("permanent", detail="550 5.1.1 no such mailbox", address_gone=True)
        share = blake2b(outgoing.message_id.encode(), digest_size=1).digest()[0]
        if outgoing.attempt == 1 and outgoing.channel in ("email", "sms") and share % BUSY_ONE_IN == 0:
            return Outcome("not_sent", detail="421 4.3.2 busy, try again later")
        return await self.catcher.send(outgoing)

    async def look_up(self, message_id: str) -> str | None:
        """Ask the catcher's books."""
        return await self.catcher.look_up(message_id)
