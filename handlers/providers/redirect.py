"""Test mode: everything goes to one mail address, and says over which channel it would have gone, to whom, and how.

Nothing else is asked: no telephone, no room of a team, no other system hears anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from handlers.channels.wire import NOBODY, Senders, Unfit, compose
from handlers.providers.registry import provides
from tidings.event import Micros
from tidings.ports import Outcome, Outgoing, Provider

SHOWN = 60
"""Characters of an address in a subject."""


@provides("redirect")
@dataclass
class Redirected:
    """Wraps a provider of mail."""

    provider: Provider
    to: str
    clock: Callable[[], Micros]
    senders: Senders = NOBODY
    idempotent: bool = False

    @property
    def name(self) -> str:
        """The provider's own name."""
        return self.provider.name

    @property
    def lease(self) -> Micros:
        """As the provider."""
        return self.provider.lease

    @property
    def can_look_up(self) -> bool:
        """As the provider."""
        return self.provider.can_look_up

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Hand over to the one address; what its own channel could not carry is refused as there."""
        try:
            mail = self._mail(outgoing)
        except Unfit as fault:
            return Outcome("permanent", detail=str(fault))
        outcome = await self.provider.send(mail)
        # Where the tester's mailbox is gone, the customer's address is not.
        return replace(outcome, address_gone=False)

    async def look_up(self, message_id: str) -> str | None:
        """As the provider."""
        return await self.provider.look_up(message_id)

    def _mail(self, outgoing: Outgoing) -> Outgoing:
        wire = compose(outgoing, self.clock(), self.senders)
        for_whom = outgoing.address or wire.to
        content = dict(outgoing.content)
        if outgoing.channel == "email":
            # The link is the customer's: whoever tries it out here would switch something off for them.
            content.pop("unsubscribe", None)
            content["subject"] = f"[for {for_whom}] {content['subject']}"
        else:
            title = str(content.get("title") or content.get("text") or "").partition("\n")[0]
            subject = " ".join(f"[{outgoing.channel} for {for_whom[:SHOWN]}] {title[:SHOWN]}".split())
            shown = json.dumps(wire.shown(), indent=1, ensure_ascii=False)
            lines = [f"Channel: {outgoing.channel}", f"To: {for_whom}", "", *_readable(content), "", shown]
            content = {"subject": "".join(filter(str.isprintable, subject)), "text": "\n".join(lines)}
        return replace(outgoing, channel="email", address=self.to, content=content)


def _readable(content: dict[str, object]) -> list[str]:
    return [str(content[name]) for name in ("title", "text", "body") if content.get(name)]
