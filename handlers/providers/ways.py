"""All ways out: to each channel its provider, and one for every channel that has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from handlers.providers.registry import provides
from tidings.event import Micros
from tidings.ports import Outcome, Outgoing, Provider


@provides("ways")
@dataclass(frozen=True)
class Ways:
    """Chooses by channel. It is a provider as well, for callers that know of one only."""

    otherwise: Provider
    """A catcher, or in test mode the one address."""
    by_channel: Mapping[str, Provider] = field(default_factory=dict)

    def of(self, channel: str) -> Provider:
        """Return the provider of a channel."""
        return self.by_channel.get(channel, self.otherwise)

    def __iter__(self) -> Iterator[Provider]:
        """Go through the providers, each once."""
        return iter({id(one): one for one in (*self.by_channel.values(), self.otherwise)}.values())

    @property
    def name(self) -> str:
        """All names."""
        return "+".join(dict.fromkeys(one.name for one in self))

    @property
    def lease(self) -> Micros:
        """The longest."""
        return max(one.lease for one in self)

    @property
    def can_look_up(self) -> bool:
        """Whether everybody can: a message id alone does not say whom to ask."""
        return all(one.can_look_up for one in self)

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Hand over to the channel's provider."""
        return await self.of(outgoing.channel).send(outgoing)

    async def look_up(self, message_id: str) -> str | None:
        """Ask everybody: taken by one is taken; absent only where all of them say so."""
        found = [await one.look_up(message_id) for one in self]
        if "accepted" in found:
            return "accepted"
        return None if None in found else "absent"
