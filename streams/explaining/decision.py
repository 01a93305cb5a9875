"""One decision, whole: what came, which rules looked, what the gates said, what was done, and two sentences to paste."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import shorten
from typing import Any

from streams.explaining import says, veil
from streams.explaining.asked import Asked, Circumstances, asked
from streams.explaining.because import because
from streams.explaining.books import Books
from streams.explaining.seen import Seen, seen_of
from streams.explaining.stops import too_late
from streams.explaining.stored import Sent, Stored, read_decision
from streams.explaining.terms import Looked, look
from streams.explaining.timeline import Moment, timeline
from streams.explaining.whom import content_of, since_of
from streams.json_events import rfc3339
from streams.processors.dispatch import resolve
from streams.wording import moment
from tidings.correction import NOTICE
from tidings.event import Event, Micros
from tidings.message import Message
from tidings.person import Person
from tidings.reasons import MessageState, Reason
from tidings.rule import MACHINES, Rule, RuleSet

MAX_WORDS = 100
"""Characters of a message that are shown."""


@dataclass(frozen=True)
class Would:
    """What would have been sent, had nothing stood in the way."""

    channel: str
    template: str
    at: Micros | None
    """None: once an operator lets it go."""
    zone: str | None
    words: str
    """Its heading, or how it begins; personal values are left out."""


@dataclass(frozen=True)
class Decision:
    """What a page, a script and a command line show of one decision."""

    id: str
    firing_id: str
    rule_id: str
    rule: Rule | None
    """As it was decided; None where that set does not load any more."""
    rule_set: str
    in_force: bool
    """Whether the rules of then are the rules of now."""
    recipient: str
    key: Sequence[Any]
    severity: str
    n: int
    logical_at: Micros
    decided_at: Micros | None
    state: str
    """Shape and colour of the verdict."""
    verdict: str
    event: Seen | None
    """None: it is not in the log any more, or not yet in the archive."""
    looked: Sequence[Looked]
    unread: int
    """Rules that do not read this kind of event."""
    stored: Stored
    person: Person
    gates: Sequence[Asked]
    timeline: Sequence[Moment]
    for_support: str | None
    """Where nobody was told: what support may paste into a reply."""
    next_chance: str | None
    would: Sequence[Would]
    because: Mapping[str, str]
    """By message: why it is where it is, in a sentence."""

    @property
    def messages(self) -> list[Message]:
        """Its notices, then its corrections."""
        return [one.message for one in (*self.stored.notices, *self.stored.corrections)]

    @property
    def told(self) -> bool:
        """Whether anybody was."""
        return self.state == "sent"

    @property
    def sums(self) -> str:
        """The sum of its messages: `3 deliveries = 2 sent + 1 cancelled`."""
        states: dict[str, int] = {}
        for one in self.stored.notices:
            word = says.state_word(one.message)
            states[word] = states.get(word, 0) + 1
        total = sum(states.values())
        terms = " + ".join(f"{number} {word}" for word, number in states.items())
        return f"{total} {'delivery' if total == 1 else 'deliveries'} = {terms or '0'}"

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts: times in UTC."""
        return {
            "id": self.id, "firing_id": self.firing_id, "rule": self.rule_id,
            "title": None if self.rule is None else self.rule.title, "rule_set": self.rule_set,
            "recipient": veil.recipient_shown(self.recipient) if self.recipient.startswith("address:") else self.recipient,
            "key": list(self.key), "severity": self.severity, "n": self.n, "logical_at": rfc3339(self.logical_at),
            "decided_at": None if self.decided_at is None else rfc3339(self.decided_at),
            "state": self.state, "verdict": self.verdict,
            "event": None if self.event is None else self.event.to_json(),
            "rules": [
                {**one.to_json(), "parts": [part.to_json() for part in one.parts]} for one in self.looked
            ],
            "messages": [_message(one, self.because) for one in (*self.stored.notices, *self.stored.corrections)],
            "gates": [one.to_json() for one in self.gates],
            "timeline": [one.to_json() for one in self.timeline],
            "for_support": self.for_support, "next_chance": self.next_chance,
        }  # fmt: skip


def _message(sent: Sent, because: Mapping[str, str]) -> dict[str, Any]:
    one = sent.message
    return {
        "id": one.message_id, "role": one.role, "channel": one.channel, "state": str(one.state), "reason": one.reason,
        "because": because[one.message_id] or None, "receipt": one.receipt, "attempts": one.attempt,
        "deadline": rfc3339(one.deadline), "due_at": None if one.due_at is None else rfc3339(one.due_at),
    }  # fmt: skip


async def decision(books: Books, name: str, *, reveal: bool = False) -> Decision | None:
    """Return the decision of an id: of a run, of its firing, or of one of its messages; None: there is none.

    Without `reveal` what a contract marks personal is named and not shown, and addresses are masked.
    """
    stored = await books.reader.read(read_decision(name, books.tenant))
    if stored is None:
        return None
    body = stored.body
    rules = await books.pinned(body["rule_set"])
    active = rules if rules is not None and stored.active == body["rule_set"] else await books.active()
    rule = None if rules is None else rules.by_id.get(body["rule"])
    recipient = stored.fired["recipient"] if stored.run is None else stored.run.recipient
    person = resolve(active, (books.tenant, recipient), stored.who)
    event = await books.archive.began(stored.firing_id, lambda rule_id: _topics(books, rules, rule_id))
    looked: list[Looked] = []
    completed = event
    if event is not None:
        completed = await books.archive.completed(event)
        if rules is not None:
            looked = await _looked(books, rules, completed, body["rule"], reveal=reveal)
    reading = (
        len([1 for one in rules.active if event is None or event.type not in one.types]) if rules is not None else 0
    )
    made = _Made(books, stored, rules, active, rule, person, recipient, reveal)
    state, verdict = made.verdict()
    return Decision(
        stored.firing_id if stored.run is None else stored.run.run_id, stored.firing_id, body["rule"], rule,
        body["rule_set"], stored.active == body["rule_set"], recipient, body["key"], body["severity"],
        0 if stored.run is None else stored.run.n, stored.fired["logical_at"], made.decided_at, state, verdict,
        None if completed is None else seen_of(completed, books.archive.by_type, reveal=reveal), looked, reading, stored,
        person, made.gates(), timeline(stored, event, rule, books.archive.by_type, books.now()), made.for_support(state),
        made.next_chance(state), made.would(state), {one.message.message_id: made.because(one, rule) for one in stored.sent},
    )  # fmt: skip


def _topics(books: Books, rules: RuleSet | None, rule_id: str) -> Sequence[str]:
    rule = None if rules is None else rules.by_id.get(rule_id)
    return [one.topic for one in books.archive.by_type.values()] if rule is None else list(rule.topics)


async def _looked(books: Books, rules: RuleSet, event: Event, first: str, *, reveal: bool) -> list[Looked]:
    """Return what each rule that reads the event made of it; the one that the decision is about first."""
    reading = sorted(rules.by_type.get(event.type, ()), key=lambda one: (one.id != first, one.file, one.line))
    found = []
    for rule in reading:
        seen = await books.archive.beside(rule, event)
        over = veil.OPEN if reveal else veil.over(rules.contracts, rules.contracts.get(event.type), rule)
        found.append(look(rule, seen, over))
    return [one for one in found if one.outcome != "other_event"]


@dataclass(frozen=True)
class _Made:
    """What follows from what is stored."""

    books: Books
    stored: Stored
    rules: RuleSet | None
    active: RuleSet
    rule: Rule | None
    person: Person
    recipient: str
    reveal: bool

    @property
    def decided_at(self) -> Micros | None:
        return min((one.message.created_at for one in self.stored.notices), default=None)

    def verdict(self) -> tuple[str, str]:
        messages = [one.message for one in self.stored.notices]
        held = next((m for m in messages if m.state is MessageState.HELD and m.due_at is not None), None)
        waits = "" if held is None or held.due_at is None else moment(held.due_at, self.person.timezone)
        if held is not None and held.reason == Reason.KILLED:
            waits = says.RELEASED
        now, stops = self.books.now(), self.stored.stops
        late = [one for one in self.stored.notices if too_late(one.message, one.ended_at, stops, now) is not None]
        if self.stored.run is None:
            return "flit", "Decided just now: whom it concerns has not been looked at yet"
        return says.verdict(
            messages, self.stored.run.reason, waits=waits, stopped=[one.message.message_id for one in late]
        )

    def because(self, sent: Sent, rule: Rule | None) -> str:
        return because(
            sent.message, sent.ended_at, self.stored.stops, self.books.now(), rule=rule, zone=self.person.timezone
        )  # fmt: skip

    def gates(self) -> list[Asked]:
        found = []
        now = self.books.now()
        for one in (*self.stored.notices, *self.stored.corrections):
            active = self.active.by_id.get(one.message.rule)
            status: str | None = None if active is None or active.status == "draft" else active.status
            if self.rule is not None and not one.attempts and one.message.reason == "shadow":
                status = "shadow"
            elif self.rule is not None and one.message.reason != "rule_off":
                status = self.rule.status
            about = Circumstances(
                self.rule, self.person, since_of(self.stored.who), status, bool(self.stored.body.get("overflow")),
                self.stored.kills, self.stored.stops, now, self.reveal,
            )  # fmt: skip
            found.append(asked(one.message, one.attempts, one.ended_at, about))
        return found

    def _no(self) -> Sent | None:
        return next((one for one in self.stored.notices if one.message.reason is not None), None)

    def for_support(self, state: str) -> str | None:
        no = self._no()
        first = None if no is None else no.message
        if state == "sent" or (first is None and (self.stored.run is None or self.stored.run.reason is None)):
            return None
        reason = first.reason if first is not None else self.stored.run.reason if self.stored.run is not None else None
        title = self.rule.title if self.rule is not None and self.rule.title else self.stored.body["rule"]
        about = ", ".join(str(part) for part in self.stored.body["key"])
        head = (
            f"{title}{f' ({about})' if about else ''}, {moment(self.stored.fired['logical_at'], self.person.timezone)}"
        )
        held = first is not None and first.is_open
        said = "the message has not left yet" if held else "no message was sent"
        return f"{head}: {said}. {says.sentence(reason) if no is None else self.because(no, None)}"

    def next_chance(self, state: str) -> str | None:
        no = self._no()
        first = None if no is None else no.message
        if state == "sent" or first is None or (first.is_open and first.reason != Reason.KILLED):
            return None
        known = says.NEXT if first.is_open else {**says.NEXT, **says.NEXT_ENDED}
        return next((text for reason, text in known.items() if reason == first.reason), None)

    def would(self, state: str) -> list[Would]:
        if state == "sent" or self.rules is None or self.rule is None:
            return []
        found = []
        for one in self.stored.notices:
            message = one.message
            if message.channel in MACHINES or message.attempt:
                continue
            shown = message if self.reveal else self._veiled(message)
            content = content_of(self.books.render, self.rules, shown, self.person)
            words = next((content[name] for name in ("subject", "title", "text") if content.get(name)), "")
            template = str(message.body.get("template", ""))
            waits = message.is_open and message.reason == Reason.KILLED
            found.append(
                Would(
                    message.channel, template, None if waits else message.due_at or message.created_at, self.person.timezone,
                    shorten(str(words), MAX_WORDS, placeholder=" …"),
                )
            )  # fmt: skip
        return found

    def _veiled(self, message: Message) -> Message:
        """Return a message without the captured values that are personal where the event names them."""
        if self.rule is None or self.rules is None:
            return message
        steps = self.rule.steps if message.role == NOTICE else self.rule.on_stop
        hidden = set()
        for kind in self.rule.types:
            over = veil.over(self.rules.contracts, self.rules.contracts.get(kind), self.rule)
            for name, expression in steps[message.step].data.items():
                if any(over.hides(tuple(path)) for path in getattr(expression, "reads", ())):
                    hidden.add(name)
        data = {name: veil.DOTS if name in hidden else one for name, one in message.body["data"].items()}
        return replace(message, body={**message.body, "data": data})
