"""The gates: one pure function, asked at decision, at every wake-up, and once more at the intent (T3).

In order; what ends a message beats what only holds it, and of several holds the latest counts. T3 trusts nothing that
dispatch did: it builds person and world anew from the rows, under its locks, and asks again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from tidings.event import Micros
from tidings.message import Message
from tidings.person import Person
from tidings.reasons import MessageState, Reason


class Stage(Enum):
    """When the gates are asked."""

    DECISION = "decision"
    WAKE = "wake"
    INTENT = "intent"


@dataclass(frozen=True, slots=True)
class Go:
    """Nothing stands in the way."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Not now."""

    reason: Reason
    until: Micros


@dataclass(frozen=True, slots=True)
class End:
    """Never."""

    state: MessageState
    reason: Reason


Verdict = Go | Hold | End


@dataclass(frozen=True, slots=True)
class World:
    """What the gates ask beside the person."""

    stopped: bool = False
    """The firing was taken back."""
    overflow: bool = False
    connected_at: Micros = 0
    """What happened before one of the rule's sources was connected is history, unless the source says otherwise."""
    status: str | None = "live"
    """At decision the rule's status; afterwards None where the rule has been switched off."""
    kills: frozenset[str] = field(default_factory=frozenset)
    """Scopes that an operator has stopped: `all`, `tenant:…`, `rule:…`, `channel:…`."""


def gates(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    """Return whether the message may go on."""
    holds: list[Hold] = []
    for gate in GATES:
        verdict = gate(message, person, world, now, stage)
        if isinstance(verdict, End):
            return verdict
        if isinstance(verdict, Hold):
            holds.append(verdict)
    return max(holds, key=lambda hold: hold.until) if holds else Go()


def _stopped(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    return End(MessageState.CANCELLED, Reason.STOPPED) if world.stopped else Go()


def deadline(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    """At decision what is too old, or lies before its source was connected, is stale; afterwards it expires."""
    if stage is Stage.DECISION:
        stale = now >= message.deadline or message.body["logical_at"] < world.connected_at
        return End(MessageState.SUPPRESSED, Reason.STALE) if stale else Go()
    return End(MessageState.EXPIRED, Reason.EXPIRED) if now >= message.deadline else Go()


def _status(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    if stage is Stage.DECISION:
        return End(MessageState.SUPPRESSED, Reason.SHADOW) if world.status == "shadow" else Go()
    return End(MessageState.CANCELLED, Reason.RULE_OFF) if world.status is None else Go()


def _overflow(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    return End(MessageState.SUPPRESSED, Reason.OVERFLOW) if world.overflow else Go()


def _customer(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    return Go() if person.known else End(MessageState.SUPPRESSED, Reason.UNKNOWN_CUSTOMER)


def consent(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    """A later yes revives nothing: what was suppressed stays so."""
    if person.agrees_to(message.body["consent"]):
        return Go()
    return End(MessageState.SUPPRESSED, Reason.NO_CONSENT)


def _address(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    return Go() if person.address(message.channel) else End(MessageState.SUPPRESSED, Reason.NO_ADDRESS)


def scopes_of(message: Message) -> frozenset[str]:
    """Return the scopes that a kill may name to reach this message."""
    return frozenset({"all", f"tenant:{message.tenant}", f"rule:{message.rule}", f"channel:{message.channel}"})


def _kill(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    # Held until its deadline; a release wakes it before.
    return Hold(Reason.KILLED, message.deadline) if scopes_of(message) & world.kills else Go()


Gate = Callable[[Message, Person, World, Micros, Stage], Verdict]

GATES: tuple[Gate, ...] = (
    _stopped,
    lambda *asked: deadline(*asked),  # noqa: PLW0108 - late binding, so that the simulator can take a gate away
    _status,
    _overflow,
    _customer,
    lambda *asked: consent(*asked),  # noqa: PLW0108 - likewise
    _address,
    _kill,
)
