"""The shapes of answers, as the document declares them and the tests hold them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gateway.http.shapes import Problem, Shape


class Taken(Shape):
    """An event that is durable."""

    event_ref: str = Field(description="our reference: derived from tenant, source, id and time, so always the same")
    id: str = Field(description="the event's id, as the producer gave it")
    status: Literal["accepted", "known"] = Field(description="known: it was there already, and is the same event")


class Item(Shape):
    """What became of one event of a batch."""

    index: int = Field(description="its place in the batch, from 0")
    id: str | None = None
    event_ref: str | None = None
    status: Literal["accepted", "known", "refused"]
    problem: Problem | None = None


class Bulk(Shape):
    """What became of a batch."""

    accepted: int = Field(description="events that are durable, those that were there already included")
    refused: int
    items: list[Item]


class Decision(Shape):
    """What a rule would say."""

    rule: str
    kind: str
    key: list[Any]
    recipient: str
    firing: str


class Message(Shape):
    """What would be told, or not told."""

    rule: str
    firing: str
    recipient: str
    channel: str
    template: str | None
    state: str = Field(description="would_send: nothing would hold it back; else why it would not leave now, or never")
    reason: str | None
    because: str | None = Field(description="the reason, as a sentence")
    due_at: str | None = Field(
        description="until when it would be held; null of what is stopped: until somebody releases it"
    )
    worth_until: str | None = Field(description="of what would be held: after it, it is not sent any more")
    text: dict[str, Any] | None = Field(
        description="what it would say; with the scope 'customers:reveal' only, and written down"
    )


class Timer(Shape):
    """What a rule would wait for."""

    rule: str
    event: str
    until: str


class Silent(Shape):
    """Why a rule would say nothing."""

    rule: str
    event: str
    because: str


class Unread(Shape):
    """What the platform could not have decided about."""

    reason: str
    detail: str


class DryRun(Shape):
    """What would be decided now. Nothing was written, and nothing will be sent."""

    dry_run: Literal[True]
    as_of: str
    accepted: int
    refused: int
    items: list[Item]
    decisions: list[Decision]
    messages: list[Message]
    timers: list[Timer]
    silent: list[Silent]
    unread: list[Unread]


class Event(Shape):
    """What is known of an event that was taken."""

    event_ref: str
    id: str
    source: str
    type: str
    time: str
    state: Literal["kept", "waiting", "decided", "refused"] = Field(
        description="kept: Kafka has it not yet; waiting: no rule has looked at it yet; refused: see dead letters"
    )
    reason: str | None = Field(description="why it was refused")


class ContractLine(Shape):
    """One contract of the list."""

    type: str
    doc: str
    owner: str
    dataschema: str
    href: str


class ContractList(Shape):
    """Every contract whose events may be published."""

    items: list[ContractLine]
    next: str | None


class Contract(Shape):
    """A contract: what its events hold, and one of them."""

    type: str
    doc: str
    owner: str
    version: int
    topic: str
    dataschema: str
    key: str
    customer: str | None
    event_schema: dict[str, Any] = Field(description="JSON Schema of an event in plain JSON")
    example: dict[str, Any] = Field(description="an event that is taken as it is")
