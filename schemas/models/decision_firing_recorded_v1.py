# Generated from the contracts by `python -m schemas.generate`; edit the contract instead.

from __future__ import annotations

from enum import StrEnum
from pydantic import AwareDatetime, BaseModel, ConfigDict


class ActorKind(StrEnum):
    """
    Who caused an event.
    """
    UNKNOWN = 'UNKNOWN'
    SYSTEM = 'SYSTEM'
    EMPLOYEE = 'EMPLOYEE'
    CUSTOMER = 'CUSTOMER'


class Actor(BaseModel):
    """
    Who caused an event.
    """
    model_config = ConfigDict(
        extra='forbid',
    )
    kind: ActorKind = ActorKind.UNKNOWN
    """
    What sort of actor.
    """
    id: str | None = None
    """
    The actor's id in the producing system.
    """


class EventMeta(BaseModel):
    """
    The envelope that every event carries. Names follow CloudEvents and its extensions.
    """
    model_config = ConfigDict(
        extra='forbid',
    )
    event_id: str
    """
    The producer's id of the event, unique per source.
    """
    type: str
    """
    Event type as rules name it.
    """
    source: str
    """
    The producer.
    """
    subject: str | None = None
    """
    What the event is about, where the producer names it.
    """
    occurred_at: AwareDatetime
    """
    When it happened, by the producer's clock.
    """
    recorded_at: AwareDatetime | None = None
    """
    When the producer wrote it down.
    """
    actor: Actor | None = None
    """
    Who caused it.
    """
    tenant: str = 'default'
    """
    Whose event it is; stamped at intake.
    """
    correlation_id: str | None = None
    """
    Id that events of one business process share.
    """
    causation_id: str | None = None
    """
    Id of the event that caused this one.
    """
    sequence: int | None = None
    """
    The source's version of the entity, where it has one.
    """


class FiringRecorded(BaseModel):
    """
    Outcome: a rule fired, or took a firing back.
    """
    model_config = ConfigDict(
        extra='forbid',
    )
    meta: EventMeta
    """
    Envelope.
    """
    firing_id: str
    """
    Id of the firing.
    """
    rule: str
    """
    The rule.
    """
    kind: str
    """
    fired, repeated, updated, resolved, stopped.
    """
    recipient: str
    """
    To whom it concerns.
    """
    logical_at: AwareDatetime
    """
    Event time of the firing.
    """
    n: int | None = None
    """
    Which of its kind it is: the number of the repetition or update; 0 for fired.
    """
    severity: str | None = None
    """
    Severity of the firing.
    """
