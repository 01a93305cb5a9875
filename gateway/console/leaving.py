"""A mail as it leaves: its headers, and all of it as it is written. Composed by what composes it for the mail server.

No right is in the link, and the address is nobody's unless it was revealed: neither can be copied from a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_bytes, policy

from gateway.site import Site
from gateway.ways import senders_of
from handlers.channels import unsubscribe
from handlers.channels.wire import NOBODY, Senders, Unfit, compose
from streams.explaining.became import Became
from tidings.event import Micros
from tidings.message import Message
from tidings.ports import Outgoing

PARTS = ("text", "headers", "source")
"""Of a mail, beside how it looks; the word stands in the URL."""
NOBODYS = "not-shown@address.invalid"
SHOWN = 16_000
"""Characters of a source that a page shows."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """A mail as it leaves."""

    headers: Sequence[tuple[str, str]] = ()
    """As mail programs read them: unfolded, and decoded."""
    source: str = ""
    size: int = 0
    """Bytes of the whole."""
    fault: str = ""
    """Why it cannot leave."""

    @property
    def cut(self) -> bool:
        """Whether there is more of the source than is shown."""
        return self.size > SHOWN


def leaving(
    message: Message, became: Became, at: Micros, senders: Senders, to: str, address: str | None = None
) -> Leaving:
    """Return the mail that leaves at an instant. `to` stands in the place of the address, unless that is given."""
    content = dict(became.content)
    if content.get("unsubscribe"):
        content["unsubscribe"] = unsubscribe.without_right(str(content["unsubscribe"]))
    outgoing = Outgoing(
        message.message_id, max(1, message.attempt), message.channel, address or NOBODYS, content, message.deadline,
        message.deadline, message.recipient, message.created_at,
    )  # fmt: skip
    try:
        wire = compose(outgoing, at, senders)
    except Unfit as fault:
        return Leaving(fault=f"It fits into no mail: {fault}.")
    head = wire.body.partition(b"\r\n\r\n")[0]
    read = message_from_bytes(head + b"\r\n\r\n", policy=policy.default)
    headers = [(name, to if name == "To" and address is None else str(value)) for name, value in read.items()]
    text = wire.body[:SHOWN].decode("ascii", "replace").replace("\r\n", "\n")
    if address is None:
        text = text.replace(f"\nTo: {NOBODYS}\n", f"\nTo: {to}\n", 1)
    return Leaving(headers, text, len(wire.body))


def senders(site: Site) -> Senders:
    """Return from whom the mails of an installation come."""
    return NOBODY if site.settings is None else senders_of(site.settings)
