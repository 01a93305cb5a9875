"""The shapes of the answers about decisions, as the document declares them and the tests hold them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gateway.http.shapes import Shape
from streams.explaining.candidate import Kind
from streams.explaining.terms import Outcome as RuleOutcome
from streams.explaining.terms import Truth
from streams.ledger.rows import Outcome

TIME = {"format": "date-time"}


def time(about: str | None = None) -> Any:
    """Return the declaration of an instant: RFC 3339, in UTC."""
    return Field(description=about, json_schema_extra=dict(TIME))


class EventField(Shape):
    """One field of an event; what its contract marks personal says only that it is there."""

    name: str
    before: str | None = Field(description="null of an event that carries only what is")
    after: str


class EventSeen(Shape):
    """An event as people read it."""

    ref: str = Field(description="our reference")
    id: str
    source: str
    type: str
    occurred_at: str = time()
    arrived_at: str = time()
    place: str = Field(description="topic, partition and offset")
    fields: list[EventField]


class RuleTerm(Shape):
    """One line of a condition, with what it came to."""

    depth: int
    term: str
    value: str
    because: str


class RulePart(Shape):
    """One of the terms that must all hold."""

    term: str
    value: Truth
    because: str
    short_by: str | None = Field(description="by how much a comparison failed")
    any_of: list[RulePart] = Field(description="where one of several is enough: each of them")


class RuleLooked(Shape):
    """What one rule made of an event."""

    rule: str
    status: str
    outcome: RuleOutcome
    says: str
    terms: list[RuleTerm]
    parts: list[RulePart]


class DecidedMessage(Shape):
    """A message of a decision, as it stands."""

    id: str
    role: str
    channel: str
    state: str
    reason: str | None
    because: str | None = Field(description="the reason, as a sentence")
    receipt: str | None
    attempts: int
    deadline: str = time()
    due_at: str | None = time(
        "when it is looked at next; of what is stopped its deadline, as a stop has no end of its own"
    )


class GateAnswer(Shape):
    """What one gate said."""

    gate: str
    title: str
    answer: str
    says: str
    origin: str


class GateAsking(Shape):
    """One time at which the gates were asked, or would be."""

    when: str
    gates: list[GateAnswer]


class MessageGates(Shape):
    """The gates of one message."""

    message: str
    asked: list[GateAsking]


class Moment(Shape):
    """Something that happened."""

    at: str | None = time()
    says: str
    detail: str | None
    reference: str | None


class DecisionStory(Shape):
    """One decision: what came, which rules looked, what the gates said, what was done."""

    id: str
    firing_id: str
    rule: str
    title: str | None
    rule_set: str
    recipient: str = Field(description="a bare address is masked")
    key: list[Any]
    severity: str
    n: int = Field(description="which repetition of the firing it is")
    logical_at: str = time()
    decided_at: str | None = time()
    state: str
    verdict: str
    event: EventSeen | None = Field(description="null: it is not kept any more, or not in the archive yet")
    rules: list[RuleLooked]
    messages: list[DecidedMessage]
    gates: list[MessageGates]
    timeline: list[Moment]
    for_support: str | None = Field(description="where nobody was told: what support may paste into a reply")
    next_chance: str | None


class EventStory(Shape):
    """What every rule makes of one event."""

    event: EventSeen
    rule_set: str
    rules: list[RuleLooked]


class EventNamed(Shape):
    """An event, by its names."""

    ref: str
    id: str
    type: str
    occurred_at: str = time()


class HowFar(Shape):
    """How far one event came with a rule."""

    answer: Kind
    says: str
    decision: str | None
    until: str | None = time("of what waits: its deadline")
    event: EventNamed | None
    terms: list[RulePart]


class RuleAnswer(HowFar):
    """Why one rule did not speak, or that it did."""

    rule: str
    title: str
    status: str
    also: list[HowFar]


class WhyNotAnswer(Shape):
    """Why a customer did not hear of something; what came furthest first."""

    customer: str
    about: str | None
    since: str = time()
    until: str = time()
    rule_set: str
    known: bool = Field(description="whether anybody has told us of this customer")
    events: int = Field(description="events of the customer, of the types that the rules read, that were looked at")
    more: bool = Field(description="whether there were more")
    says: str
    rules: list[RuleAnswer]


class MessageOfDecision(Shape):
    """A message, in a list."""

    id: str
    role: str
    channel: str
    state: str
    reason: str | None
    receipt: str | None


class DecisionLine(Shape):
    """One decision of the list."""

    id: str
    firing_id: str
    n: int
    rule: str
    title: str
    about: str = Field(description="an order, an invoice …; empty where none is known")
    recipient: str = Field(description="a bare address is masked")
    outcome: Outcome
    reason: str | None
    because: str
    logical_at: str = time("the event's time, or that at which a timer was due")
    decided_at: str = time()
    rule_set: str
    messages: list[MessageOfDecision]


class DecisionList(Shape):
    """Decisions, newest first."""

    items: list[DecisionLine]
    next: str | None = Field(description="'cursor' of the part that is older; null: this is the end")
    looked_to: str | None = time("where few fit: how far back this part has looked; 'next' goes on from there")
