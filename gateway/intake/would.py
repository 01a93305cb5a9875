"""The dry run: what would be decided about events if they came now. Nothing is written, and nothing can be sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.cli.watch import deadline_of, why_not
from gateway.site import Site
from streams.embedded_log import Append
from streams.json_events import rfc3339
from streams.preview import Preview
from streams.processors.detect import Batch, Done
from streams.processors.dispatch import Passed
from streams.processors.results import Sent
from streams.rule_book import RuleBook
from tidings import canonical
from tidings.event import Event
from tidings.message import Message
from tidings.reasons import MessageState, Reason
from tidings.rule import RuleSet

SAYS = ("subject", "title", "text", "body", "data")
"""Parts of a content that people or systems read."""


@dataclass
class Would:
    """Observes a preview."""

    rules: RuleSet
    texts: bool
    """Whether who asks may read what people would read."""
    decisions: list[dict[str, Any]] = field(default_factory=list)
    silent: list[dict[str, Any]] = field(default_factory=list)
    timers: list[dict[str, Any]] = field(default_factory=list)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: list[dict[str, Any]] = field(default_factory=list)
    _firings: set[str] = field(default_factory=set)

    def __call__(self, seen: object) -> None:
        """Take down one thing."""
        match seen:
            case Batch():
                for event in seen.events:
                    self._event(event)
                for refused in seen.refused:
                    self.refused.append({"reason": str(refused.reason), "detail": refused.detail})
            case Done():
                for record in seen.records:
                    key = list(canonical.loads(record.body)["key"])
                    self._firings.add(record.firing_id)
                    self.decisions.append(
                        {
                            "rule": record.rule, "kind": str(record.kind), "key": key, "recipient": record.recipient,
                            "firing": record.firing_id,
                        }
                    )  # fmt: skip
            case Passed():
                for message in seen.result.messages.values():
                    if message.firing_id in self._firings:
                        self._message(message)
            case Message():
                self._message(seen)
            case Sent():
                self._message(seen.message, "accepted", seen.outgoing.content)

    def _event(self, event: Event) -> None:
        for rule in self.rules.active:
            if (until := deadline_of(rule, event)) is not None:
                self.timers.append({"rule": rule.id, "event": event.ref, "until": rfc3339(until)})
            if (because := why_not(rule, event)) is not None:
                self.silent.append({"rule": rule.id, "event": event.ref, "because": because})

    def _message(self, message: Message, state: str | None = None, content: Any = None) -> None:
        if state is None and message.state is MessageState.PENDING:
            return
        reason = message.reason or None
        text = None
        if content is not None and self.texts:
            text = {name: content[name] for name in SAYS if content.get(name)}
        self.messages[message.message_id] = {
            "rule": message.rule, "firing": message.firing_id, "recipient": message.recipient, "channel": message.channel,
            "state": "sent" if state == "accepted" else str(message.state), "reason": reason,
            "because": Reason(reason).sentence if reason in set(Reason) else None,
            "due_at": None if message.due_at is None or state is not None else rfc3339(message.due_at), "text": text,
        }  # fmt: skip

    def answer(self) -> dict[str, Any]:
        """Return what is told."""
        return {
            "decisions": self.decisions, "messages": list(self.messages.values()), "timers": self.timers,
            "silent": self.silent, "unread": self.refused,
        }  # fmt: skip


async def would(site: Site, appends: Sequence[Append], *, texts: bool) -> dict[str, Any]:
    """Return what would be decided about records, as the rules in use see the world at this instant.

    Raises:
        StoreUnavailable: it cannot be said now.
    """
    rules = site.rules()
    seen = Would(rules, texts)
    async with site.still() as reader:
        book = RuleBook(site.contracts, reader)
        book.add(rules)
        await Preview(reader, site.codec, book, site.now, seen, site.grace, site.render).take(appends)
    return seen.answer()
