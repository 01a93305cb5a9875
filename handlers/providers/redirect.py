"""Test mode: every message goes to one address, and says for whom it was."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidings.ports import Outcome, Outgoing, Provider


@dataclass
class Redirected:
    """Wraps a provider."""

    provider: Provider
    to: str

    @property
    def name(self) -> str:
        """The provider's own name."""
        return self.provider.name

    @property
    def lease(self) -> int:
        """As the provider."""
        return self.provider.lease

    @property
    def can_look_up(self) -> bool:
        """As the provider."""
        return self.provider.can_look_up

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Hand over to the one address."""
        content = {**outgoing.content, "subject": f"[for {outgoing.address}] {outgoing.content['subject']}"}
        return await self.provider.send(replace(outgoing, address=self.to, content=content))

    async def look_up(self, message_id: str) -> str | None:
        """As the provider."""
        return await self.provider.look_up(message_id)
