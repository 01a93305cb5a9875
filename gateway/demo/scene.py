"""What the table shows: one line for each thing that a person hears, or does not hear, with the reason."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from gateway.cli.watch import why_not
from gateway.demo.customers import NIGHT, Customer
from handlers.channels.content import Contents
from handlers.operators.event import EventOperator
from streams.processors.detect import Batch, Done, Refused
from streams.processors.dispatch import Passed
from streams.processors.results import Sent
from tidings.correction import NOTICE
from tidings.event import Micros
from tidings.message import Message
from tidings.person import Person
from tidings.ports import Find, Transaction
from tidings.reasons import MessageState, Reason
from tidings.rule import MACHINES, Rule, RuleSet

HOME = "Europe/Berlin"
"""Where the shop stands: its own clock, and that of its teams."""
KEPT = 200
"""Lines that are remembered; more fit on no screen."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SHORT: Mapping[str, str] = {
    Reason.NO_CONSENT: "has not agreed to marketing",
    Reason.UNKNOWN_CUSTOMER: "nobody knows whose id this is",
    Reason.NO_ADDRESS: "has given no address for this",
    Reason.ADDRESS_GONE: "the mailbox is gone, so we do not try again",
    Reason.SHADOW: "the rule is on trial: it decides, and sends nothing",
    Reason.STALE: "too old when we learnt of it",
    Reason.EXPIRED: "could not leave before its deadline",
    Reason.STOPPED: "settled before it left",
    Reason.NOTHING_TO_CORRECT: "was never told, so there is nothing to clear",
    Reason.SUPERSEDED: "was told meanwhile that it happened again",
    Reason.AWAITING_OUTCOME: "waits for what becomes of the message that it clears",
    Reason.NEWER_EPISODE: "it happened again; waits for what becomes of that",
    Reason.QUIET_HOURS: "asleep, and by the morning it is no news",
}
"""The reasons in the few words for which a table has room."""

COPY = "the queue delivered an event twice; it counts once"

WORDS = {
    MessageState.SUPPRESSED: ("not told", "silent"), MessageState.CANCELLED: ("stopped", "stopped"),
    MessageState.EXPIRED: ("expired", "silent"), MessageState.FAILED: ("failed", "failed"),
    MessageState.UNRESOLVED: ("unknown", "failed"), MessageState.HELD: ("held", "held"), MessageState.UNKNOWN: ("unknown", "held"),
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    at: Micros
    kind: str
    """`told`, `clear`, `held`, `silent`, `stopped`, `failed`, `quiet`: its colour."""
    channel: str
    who: str
    state: str
    reads: str
    because: str
    zone: str | None = None
    """Where the recipient lives, if that is a person."""

    @property
    def is_night(self) -> bool:
        """Return whether it was quiet there."""
        return self.zone is not None and NIGHT.is_quiet(self.at, self.zone)


@dataclass(frozen=True)
class Ahead:
    """What waits: absences for their deadline, messages for the morning."""

    absences: int = 0
    next_absence: tuple[Micros, str, str] | None = None
    """(when, rule, key)"""
    held: int = 0
    next_held: tuple[Micros, str] | None = None
    """(when, recipient)"""


def local(at: Micros, zone: str) -> datetime:
    """Return what the wall clock shows."""
    return (EPOCH + timedelta(microseconds=at)).astimezone(ZoneInfo(zone))


@dataclass
class Scene:
    """Observes the engine and remembers the newest lines."""

    rules: RuleSet
    clock: Callable[[], Micros]
    people: Sequence[Customer] = ()
    """May grow while the shop is open."""
    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=KEPT))
    count: int = 0
    """Lines so far."""
    looked: int = 0
    """How often a rule looked at an event and kept quiet."""
    waited: set[str] = field(default_factory=set)
    contents: Contents = field(default_factory=Contents)

    def __call__(self, seen: object) -> None:
        """Remember one thing."""
        match seen:
            case Batch():
                self._batch(seen)
            case Done():
                for note in seen.notes:
                    if note.outcome in ("late", "duplicate"):
                        # Here every event is stamped as it is appended: what is late is a copy.
                        name = ", ".join(str(part) for part in note.key)
                        self.line("quiet", "", name, "again", self._title(self.rules.by_id.get(note.rule)), COPY)
            case Passed():
                for message in seen.result.messages.values():
                    self._message(message)
            case Sent():
                self._sent(seen)
            case Message():
                self._message(seen)

    def line(
        self, kind: str, channel: str, who: str, state: str, reads: str, because: str, zone: str | None = None
    ) -> None:
        """Add a line."""
        self.count += 1
        self.lines.append(Line(self.clock(), kind, channel, _flat(who), state, _flat(reads), _flat(because), zone))

    def person(self, recipient: str) -> Customer | None:
        """Return the customer of a recipient, if it is one of the shop."""
        name = recipient.partition(":")[2]
        return next((one for one in self.people if one.id == name), None)

    def zone(self, recipient: str) -> str | None:
        """Return where a recipient lives; machines and strangers live nowhere."""
        found = self.person(recipient)
        return found.timezone if found is not None else HOME if recipient.startswith("team:") else None

    def name(self, message: Message) -> str:
        """Return whom a message is for, as people would say it."""
        if message.channel in MACHINES:
            return str(message.body["target"])
        found = self.person(message.recipient)
        return message.recipient.partition(":")[2] if found is None else found.name

    def _batch(self, batch: Batch) -> None:
        for event in batch.events:
            for rule in self.rules.by_type.get(event.type, ()):
                reason = why_not(rule, event)
                if reason is None:
                    continue
                self.looked += 1
                if (
                    rule.severity == "high"
                    and isinstance(rule.operator, EventOperator)
                    and rule.operator.matcher.condition
                ):
                    who = self.person(f"customer:{event.data.get('customer_id')}")
                    name = str(event.data.get("sku", "")) if who is None else who.name
                    self.line("quiet", "", name, "silent", rule.title, reason)
        for refused in batch.refused:
            self._refused(refused)

    def _refused(self, refused: Refused) -> None:
        size = len(refused.record.value or b"")
        reads = f"{size} bytes that nobody can read"
        where = refused.record.topic.rpartition(".")[0]
        self.line("failed", "record", where, "set aside", reads, refused.detail or refused.reason)

    def _message(self, message: Message) -> None:
        if message.state not in WORDS or (message.state is MessageState.HELD and message.message_id in self.waited):
            return
        state, kind = WORDS[message.state]
        if message.state is MessageState.HELD:
            self.waited.add(message.message_id)
        else:
            self.waited.discard(message.message_id)
        zone = self.zone(message.recipient)
        self.line(
            kind, message.channel, self.name(message), state, self._reads(message), self._because(message, zone), zone
        )

    def _sent(self, sent: Sent) -> None:
        message, outcome = sent.message, sent.outcome
        zone, reads = self.zone(message.recipient), first_words(sent.outgoing.content)
        name = self.name(message)
        if message.state is not MessageState.ACCEPTED:
            again = "" if message.due_at is None else f"; again at {local(message.due_at, HOME):%H:%M}"
            state, kind = ("failed", "failed") if not message.is_open else ("later", "held")
            self.line(kind, message.channel, name, state, reads, outcome.detail + again, zone)
            return
        rule = self.rules.by_id.get(message.rule)
        title = "" if rule is None else rule.title
        held = message.message_id in self.waited
        self.waited.discard(message.message_id)
        if message.role != NOTICE:
            self.line("clear", message.channel, name, "all-clear", reads, f"was told; settled now: {title}", zone)
            return
        urgent = message.body.get("severity") == "critical" and zone is not None and NIGHT.is_quiet(self.clock(), zone)
        prefix = (
            "critical, so at night too: "
            if urgent and message.channel not in MACHINES
            else "held overnight: "
            if held
            else ""
        )
        self.line("told", message.channel, name, "sent", reads, prefix + title, zone)

    def _because(self, message: Message, zone: str | None) -> str:
        if message.state is MessageState.HELD and message.reason is Reason.QUIET_HOURS and zone and message.due_at:
            now, until = local(self.clock(), zone), local(message.due_at, zone)
            clear = "" if message.role == NOTICE else "the all-clear; "
            return f"{clear}{now:%H:%M} in {place(zone)}; waits until {until:%H:%M}"
        if message.reason is Reason.TOPIC_OFF:
            return f"has switched '{message.body.get('topic')}' off"
        if message.reason is None:
            return ""
        return SHORT.get(message.reason) or Reason(message.reason).sentence

    def _reads(self, message: Message) -> str:
        """Return the first words of a message that nobody has received, or not yet: what they would read."""
        who = self.person(message.recipient)
        profile = {} if who is None else {"locale": who.facts.get("locale"), "timezone": who.timezone}
        try:
            person = Person(message.tenant, message.recipient, known=True, profile=profile)
            return first_words(self.contents(self.rules, message, person))
        except ValueError:
            return self._title(self.rules.by_id.get(message.rule))

    def _title(self, rule: Rule | None) -> str:
        return "" if rule is None else rule.title


def first_words(content: Mapping[str, Any]) -> str:
    """Return the first words of a content: a subject, a title, the text, or what another system is given."""
    for name in ("subject", "title", "text"):
        if content.get(name):
            return str(content[name])
    return ", ".join(f"{name} {value}" for name, value in content.get("data", {}).items())


def _flat(text: str) -> str:
    """Return a text that takes one line and does nothing to the terminal."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def place(zone: str) -> str:
    """Return the city of a zone."""
    return zone.rpartition("/")[2].replace("_", " ")


def ahead(rules: RuleSet) -> Transaction[Ahead]:
    """Read what waits, by the indexes of what is due."""
    absences: list[tuple[Micros, str, str]] = []
    for rule in rules.stateful:
        rows = yield Find("state", "by_due", (rule.state_class,), limit=KEPT)
        absences += [(row["due"], rule.id, row["key"]) for row in rows if b'"armed"' in (row["value"] or b"")]
    held = yield Find("messages", "by_work", (str(MessageState.HELD),), limit=KEPT)
    waiting = [(row["due_at"], row["recipient"]) for row in held]
    return Ahead(len(absences), min(absences, default=None), len(waiting), min(waiting, default=None))
