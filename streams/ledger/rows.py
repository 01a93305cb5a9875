"""What the read model answers with: values, by the words that pages show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

from streams.wording import moment, times
from tidings.correction import NOTICE
from tidings.event import Micros
from tidings.message import Message
from tidings.reasons import OPEN, MessageState, sentence_of

T = TypeVar("T")


class Outcome(StrEnum):
    """What became of a message, or of a decision, in one word; in the order in which a decision's word is chosen.

    What a person has to act on comes first, then what is still to come, then the best of what happened.
    """

    FAILED = "failed"
    UNRESOLVED = "unresolved"
    IN_FLIGHT = "in_flight"
    SENT = "sent"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"
    NOTHING = "nothing"
    """Of a decision that has no step to take: its rule was off, or no step's condition held."""

    @property
    def states(self) -> tuple[str, ...]:
        """States of the messages with this outcome."""
        return tuple(str(state) for state in MessageState if outcome_of(state) is self)


def outcome_of(state: MessageState | str) -> Outcome:
    """Return the outcome of a message in a state."""
    state = MessageState(state)
    if state in OPEN:
        return Outcome.IN_FLIGHT
    if state in (MessageState.ACCEPTED, MessageState.MERGED):
        return Outcome.SENT
    return Outcome(str(state))


@dataclass(frozen=True, slots=True)
class Key:
    """A place in a list: an instant, then ids. Lists go on from it, older or newer; pages carry its text."""

    at: Micros
    ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it for a URL."""
        return "~".join((str(self.at), *self.ids))


LONGEST_KEY = 200
KEY_IDS = 2
KEY_DIGITS = 18


def read_key(text: str) -> Key | None:
    """Return the key of a text, or None where it is none: then a list begins at its newest."""
    at, *ids = text[:LONGEST_KEY].split("~")
    if not at.isascii() or not at.isdigit() or len(at) > KEY_DIGITS or len(ids) > KEY_IDS or "\x00" in text:
        return None
    return Key(int(at), tuple(ids))


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list, newest first."""

    rows: Sequence[T]
    older: Key | None = None
    """Where the next part begins; None: this is the end."""
    newer: Key | None = None
    looked_to: Micros | None = None
    """Set where few rows fit: how far back this part has looked. `older` goes on from there."""


@dataclass(frozen=True, slots=True)
class Count:
    """A number that is counted up to a bound."""

    number: int
    more: bool = False

    def __str__(self) -> str:
        """Return it as pages show it."""
        return f"{self.number:,}{'+' if self.more else ''}"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which decisions or messages a list shows; None: all."""

    since: Micros | None = None
    until: Micros | None = None
    """Exclusive."""
    rule: str | None = None
    recipient: str | None = None
    """`customer:c-1`, `team:care` …"""
    outcome: Outcome | None = None
    reason: str | None = None
    channel: str | None = None
    """Of messages."""
    firing: str | None = None


ALL = Filter()


@dataclass(frozen=True, slots=True)
class MessageLine:
    """A message as lists show it."""

    message_id: str
    run_id: str
    firing_id: str
    rule: str
    recipient: str
    role: str
    step: int
    channel: str
    state: MessageState
    reason: str | None
    receipt: str | None
    attempts: int
    created_at: Micros
    due_at: Micros | None
    deadline: Micros
    template: str
    severity: str
    logical_at: Micros
    to: str
    """Where it goes, so that nobody can use it: a masked address, or the name of a target; empty while it has none."""
    place: Key = field(repr=False)
    """In the list in which it was found."""

    @property
    def outcome(self) -> Outcome:
        """In one word."""
        return outcome_of(self.state)

    @property
    def is_correction(self) -> bool:
        """Whether it takes back what was told."""
        return self.role != NOTICE

    @property
    def because(self) -> str:
        """One sentence."""
        if self.state is MessageState.PENDING and self.attempts and self.reason is None and self.due_at is not None:
            return f"It was tried {times(self.attempts)}, and is tried again from {moment(self.due_at)} on."
        return sentence(self.state, self.reason, self.receipt)


@dataclass(frozen=True, slots=True)
class Decision:
    """A firing for one recipient: a run, and what became of its messages."""

    id: str
    """The run's."""
    firing_id: str
    n: int
    rule: str
    title: str
    recipient: str
    event_types: tuple[str, ...]
    """That the rule speaks of; which of them it was is the firing's."""
    run_state: str
    run_reason: str | None
    steps_due: int
    decided_at: Micros
    logical_at: Micros
    """The event's time, or the time at which a timer was due."""
    rule_set: str
    messages: Sequence[MessageLine]
    """Notices and corrections, by step."""
    about: str
    """The business key: an order, an invoice; empty where none is known."""
    place: Key = field(repr=False)

    @property
    def notices(self) -> list[MessageLine]:
        """Messages of the steps, without corrections."""
        return [message for message in self.messages if message.role == NOTICE]

    @property
    def telling(self) -> MessageLine | None:
        """The message that the decision's word is about."""
        order = list(Outcome)
        return min(self.notices, key=lambda one: (order.index(one.outcome), one.step), default=None)

    @property
    def outcome(self) -> Outcome:
        """In one word."""
        return Outcome.NOTHING if (told := self.telling) is None else told.outcome

    @property
    def words(self) -> tuple[Outcome, ...]:
        """The outcomes of all its messages, the decision's own first."""
        order = list(Outcome)
        return tuple(sorted({one.outcome for one in self.notices}, key=order.index)) or (Outcome.NOTHING,)

    @property
    def reason(self) -> str | None:
        """The label of the reason."""
        return self.run_reason if (told := self.telling) is None else told.reason

    @property
    def more(self) -> str:
        """One sentence beside the word and the title; of what was sent, only what its provider has said since."""
        told = self.telling
        if told is not None and told.state is MessageState.ACCEPTED:
            return RECEIVED.get(told.receipt or "", "")
        return self.because

    @property
    def because(self) -> str:
        """One sentence."""
        told = self.telling
        if told is not None:
            return told.because
        return reason_sentence(self.run_reason) or "No step of the rule had anything to say."


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of a provider."""

    no: int
    provider: str
    intent_at: Micros
    first_byte_at: Micros | None
    ended_at: Micros | None
    outcome: str | None
    """`accepted`, `not_sent`, `ambiguous`, `permanent`; None: not known."""
    detail: str
    asked: Mapping[str, Any]
    """What the gates saw right before it: their inputs, as T3 wrote them down."""


@dataclass(frozen=True, slots=True)
class ReceiptLine:
    """What a provider said later."""

    receipt: str
    at: Micros
    received_at: Micros
    provider_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class MessageDetail:
    """One message, with everything that was done for it."""

    line: MessageLine
    message: Message
    decision: Decision | None
    attempts: Sequence[Attempt]
    receipts: Sequence[ReceiptLine]
    reference: str | None
    """The provider's."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be read."""

    reader: str
    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    schema_id: int | None
    appended_at: Micros
    size: int
    redriven_at: Micros | None
    aside_at: Micros | None
    """When a person decided that it is not taken in again."""
    place: Key = field(repr=False)


@dataclass(frozen=True, slots=True)
class AuditLine:
    """What somebody did."""

    seq: int
    at: Micros
    who: str
    verb: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """What a reference names."""

    kind: str
    """`customer`, `team`, `decision`, `message`, `event`, `firing`."""
    id: str
    """Of the page behind it: of an event our reference."""
    why: str = ""
    """How it was found: `provider reference`, `invoice_id` …"""
    record: tuple[str, int, int] | None = None
    """Of an event: topic, partition, offset."""
    event_type: str = ""
    at: Micros | None = None
    """When the event occurred."""
    customer: str | None = None
    """Whom the event names."""


SENT = "A provider took it."
UNDER_WAY: Mapping[MessageState, str] = {
    MessageState.PENDING: "It waits for its turn to leave.",
    MessageState.CLAIMED: "It is being written, and leaves next.",
    MessageState.SENDING: "It is with the provider; the answer is still to come.",
    MessageState.UNKNOWN: "The provider has not said whether it took it; that is being looked up.",
    MessageState.DIGESTING: "It waits for the digest of which it is an item.",
}
RECEIVED: Mapping[str, str] = {
    "sent": "The provider has passed it on.",
    "undelivered": "The provider took it, and could not deliver it.",
    "delivered": "It was delivered.",
    "bounced": "It was taken, and came back.",
    "opened": "It was opened.",
    "clicked": "It was opened, and a link in it followed.",
    "complained": "It was delivered, and reported as unwanted.",
}


def reason_sentence(reason: str | None) -> str:
    """Return the sentence of a reason; empty where it has none."""
    return sentence_of(reason)


def sentence(state: MessageState, reason: str | None, receipt: str | None) -> str:
    """Return one sentence that says why a message is where it is."""
    if state in (MessageState.ACCEPTED, MessageState.MERGED):
        return RECEIVED.get(receipt or "", SENT)
    return sentence_of(reason, state) or UNDER_WAY.get(state, f"It ended as {state}.")


def by_outcome(states: Iterable[tuple[str, int]]) -> dict[Outcome, int]:
    """Add numbers of messages up by outcome."""
    found: dict[Outcome, int] = {}
    for state, number in states:
        word = outcome_of(state)
        found[word] = found.get(word, 0) + number
    return found
