"""The dry run: what would be decided about events if they came now. Nothing is written, and nothing can be sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.cli.watch import deadline_of
from gateway.intake.bounds import AT_ONCE
from gateway.site import Site
from handlers.operators.event import EventOperator
from streams.embedded_log import Append
from streams.explaining import terms, veil
from streams.json_events import rfc3339
from streams.preview import Preview
from streams.processors.detect import Batch, Done
from streams.processors.dispatch import Passed
from streams.processors.results import Sent
from streams.rule_book import RuleBook
from tidings import canonical, ids, images
from tidings.contract import value_at
from tidings.event import Event
from tidings.message import Message
from tidings.ports import Read, Reader, Transaction
from tidings.reasons import MessageState, Reason
from tidings.rule import Rule, RuleSet

SAYS = ("subject", "title", "text", "body", "data")
"""Parts of a content that people or systems read."""
LEAVES = "would_send"
"""The state of a message that nothing would hold back."""


@dataclass
class Would:
    """Observes a preview."""

    rules: RuleSet
    texts: bool
    """Whether who asks may read what people would read."""
    events: list[Event] = field(default_factory=list)
    """As they came."""
    decisions: list[dict[str, Any]] = field(default_factory=list)
    silent: list[dict[str, Any]] = field(default_factory=list)
    timers: list[dict[str, Any]] = field(default_factory=list)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: list[dict[str, Any]] = field(default_factory=list)
    _firings: set[str] = field(default_factory=set)
    _spoke: set[tuple[str, str]] = field(default_factory=set)
    """Rules, each with the event on which it spoke."""

    def __call__(self, seen: object) -> None:
        """Take down one thing."""
        match seen:
            case Batch():
                self.events += seen.events
                for refused in seen.refused:
                    self.refused.append({"reason": str(refused.reason), "detail": refused.detail})
            case Done():
                for record in seen.records:
                    key = list(canonical.loads(record.body)["key"])
                    self._firings.add(record.firing_id)
                    self._spoke.add((record.rule, record.begun_by))
                    self.decisions.append(
                        {
                            "rule": record.rule, "kind": str(record.kind), "key": key, "recipient": self._whom(record.recipient),
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

    async def ask(self, before: Reader) -> None:
        """Ask every rule about the events as it saw them: completed by what was known before."""
        known = await before.read(lambda: _images(self.rules, self.events))
        for number, given in enumerate(self.events, 1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            event, contract = given, self.rules.contracts.get(given.type)
            if contract is not None and (k := images.state_key(contract, given)) is not None:
                event, known[k] = images.complete(given, known.get(k))
            for rule in self.rules.active:
                self._asked(rule, _beside(rule, event, known))

    def _asked(self, rule: Rule, event: Event) -> None:
        if (until := deadline_of(rule, event)) is not None:
            self.timers.append({"rule": rule.id, "event": event.ref, "until": rfc3339(until)})
        operator = rule.operator
        if not isinstance(operator, EventOperator) or operator.matcher.type != event.type:
            return
        # What was before is stored data, which nobody has asked for by name: it is veiled for everybody.
        over = veil.over(self.rules.contracts, self.rules.contracts.get(event.type), rule)
        looked = terms.look(rule, event, over)
        if looked.outcome == "no_match" and (rule.id, event.ref) not in self._spoke:
            wrong = [f"{part.text} is {part.truth} ({part.values})" for part in looked.parts if part.truth != "true"]
            because = "; ".join(wrong) or looked.says
            self.silent.append({"rule": rule.id, "event": event.ref, "because": because})

    def _whom(self, recipient: str) -> str:
        if self.texts or not recipient.startswith("address:"):
            return recipient
        return f"address:{veil.recipient_shown(recipient)}"

    def _message(self, message: Message, state: str | None = None, content: Any = None) -> None:
        if state is None and message.state is MessageState.PENDING:
            return
        reason = message.reason or None
        text = None
        if content is not None and self.texts:
            text = {name: content[name] for name in SAYS if content.get(name)}
        # A stop has no end of its own: what it holds is looked at again at its deadline, and is not sent then.
        stopped = message.is_open and reason == Reason.KILLED
        waits = state is None and message.is_open
        due_at = message.due_at if waits and not stopped else None
        self.messages[message.message_id] = {
            "rule": message.rule, "firing": message.firing_id, "recipient": self._whom(message.recipient),
            "channel": message.channel, "template": message.body.get("template"),
            "state": LEAVES if state == "accepted" else str(message.state), "reason": reason,
            "because": Reason(reason).sentence if reason in set(Reason) else None,
            "due_at": None if due_at is None else rfc3339(due_at),
            "worth_until": rfc3339(message.deadline) if waits else None, "text": text,
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
        await seen.ask(reader)
    return seen.answer()


def _images(rules: RuleSet, events: Sequence[Event]) -> Transaction[dict[bytes, images.Image | None]]:
    """Read what is known of the entities that events and rules name."""
    keys: set[bytes] = set()
    for event in events:
        contract = rules.contracts.get(event.type)
        own = None if contract is None else images.state_key(contract, event)
        keys |= {k for k in (own, *(k for rule in rules.active for _, k in _reads(rule, event))) if k is not None}
    rows = yield Read("state", [(k,) for k in sorted(keys)])
    return {k: canonical.loads(row["value"]) for (k,), row in rows.items() if row["value"] is not None}


def _reads(rule: Rule, event: Event) -> Iterator[tuple[str, bytes | None]]:
    """Yield the alias and the key of each entity that a rule reads beside an event."""
    if event.type in rule.types:
        for one in rule.reads:
            values = tuple(value_at(event.data, path) for path in one.paths)
            kind = images.image_class(one.entity)
            yield one.alias, None if None in values else ids.state_key(event.tenant, kind, values)


def _beside(rule: Rule, event: Event, known: Mapping[bytes, images.Image | None]) -> Event:
    """Return an event with the entities that a rule reads, under their aliases; what is not known is null."""
    data: dict[str, Any] = dict(event.data)
    for alias, k in _reads(rule, event):
        image = None if k is None else known.get(k)
        data[alias] = None if image is None else image["d"]
    return replace(event, data=data) if rule.reads else event
