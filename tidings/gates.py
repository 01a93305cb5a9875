"""The gates: one pure function, asked at decision, at every wake-up, and once more at the intent (T3).

In order; what ends a message beats what only holds it, and of several holds the latest counts. T3 trusts nothing that
dispatch did: it builds person and world anew from the rows, under its locks, and asks again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from tidings.correction import NOTICE, Correcting
from tidings.event import Micros
from tidings.message import Message
from tidings.person import Person
from tidings.quiet_hours import QuietHours, read_quiet_hours
from tidings.reasons import MessageState, Reason
from tidings.rule import CHAT, MACHINES


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
    stale_at: Micros | None = None
    """From when on a message is too old to be begun at all; None: from its deadline on, which leaves room for holds."""
    status: str | None = "live"
    """At decision the rule's status; afterwards None where the rule has been switched off."""
    correcting: Correcting | None = None
    """Of a correction: what became of the message that it corrects."""
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
    # An all-clear belongs to a run that was stopped; it is what the stop leaves to say.
    return End(MessageState.CANCELLED, Reason.STOPPED) if world.stopped and message.role == NOTICE else Go()


def original(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    """A correction goes to who was told, and waits while nobody knows whether they were."""
    about = world.correcting
    if about is None:
        return Go()
    if about.original == "untold":
        return End(MessageState.CANCELLED, Reason.NOTHING_TO_CORRECT)
    if about.newer == "told":
        return End(MessageState.CANCELLED, Reason.SUPERSEDED)
    if about.original == "open":
        return Hold(Reason.AWAITING_OUTCOME, message.deadline)
    return Hold(Reason.NEWER_EPISODE, message.deadline) if about.newer == "open" else Go()


def deadline(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    """At decision what is too old, or lies before its source was connected, is stale; afterwards it expires."""
    if stage is Stage.DECISION:
        limit = message.deadline if world.stale_at is None else world.stale_at
        stale = now >= limit or message.body["logical_at"] < world.connected_at
        return End(MessageState.SUPPRESSED, Reason.STALE) if stale else Go()
    return End(MessageState.EXPIRED, Reason.EXPIRED) if now >= message.deadline else Go()


def _status(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    if stage is Stage.DECISION:
        return End(MessageState.SUPPRESSED, Reason.SHADOW) if world.status == "shadow" else Go()
    return End(MessageState.CANCELLED, Reason.RULE_OFF) if world.status is None else Go()


def _overflow(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    return End(MessageState.SUPPRESSED, Reason.OVERFLOW) if world.overflow else Go()


def _recipient(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    if person.known or message.channel in MACHINES:
        return Go()
    reason = Reason.UNKNOWN_TEAM if person.kind == "team" else Reason.UNKNOWN_CUSTOMER
    return End(MessageState.SUPPRESSED, reason)


def consent(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    """Ask customers and bare addresses, not our own teams; a later yes revives nothing that was suppressed."""
    if message.channel in (*MACHINES, *CHAT) or person.kind == "team" or person.agrees_to(message.body["consent"]):
        return Go()
    return End(MessageState.SUPPRESSED, Reason.NO_CONSENT)


def _topic(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    topic = message.body.get("topic")
    if topic is None or person.kind != "customer" or message.channel in (*MACHINES, *CHAT):
        return Go()
    return Go() if person.wants(topic, message.channel) else End(MessageState.SUPPRESSED, Reason.TOPIC_OFF)


def _address(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    found = address_of(message, person)
    if not found:
        return End(MessageState.SUPPRESSED, Reason.NO_ADDRESS)
    return End(MessageState.SUPPRESSED, Reason.ADDRESS_GONE) if person.gone.get(message.channel) == found else Go()


def address_of(message: Message, person: Person) -> str | None:
    """Return where a message goes: an address of the recipient, or the name of another system."""
    if message.channel in MACHINES:
        return f"{message.channel}:{message.body['target']}"
    return person.address(message.channel)


def quiet_of(message: Message, person: Person) -> tuple[QuietHours, str] | None:
    """Return the quiet hours that a message respects, and the zone in which they are read; None: it respects none."""
    quiet = message.body.get("quiet")
    if quiet is None or message.channel in MACHINES or message.body.get("severity") == "critical":
        return None
    policy = read_quiet_hours(quiet)
    assert policy is not None
    return policy, policy.zone(person.timezone)


def quiet_hours(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    """Hold until the recipient's wall clock shows another time; what could not leave in time even then ends at once."""
    asked = quiet_of(message, person)
    if asked is None or not asked[0].is_quiet(now, asked[1]):
        return Go()
    opening = asked[0].opening(now, asked[1])
    if opening is None or opening >= message.deadline:
        return End(MessageState.EXPIRED, Reason.QUIET_HOURS)
    return Hold(Reason.QUIET_HOURS, opening)


GROUND = "ground"
"""The scope in which everything is held because the database is older than the topics; an operator's `all` is another."""


def scopes_of(message: Message) -> frozenset[str]:
    """Return the scopes that a kill may name to reach this message."""
    own = (f"tenant:{message.tenant}", f"rule:{message.rule}", f"channel:{message.channel}")
    return frozenset({"all", GROUND, *own})


def _kill(message: Message, person: Person, world: World, now: Micros, stage: Stage) -> Verdict:
    # Held until its deadline; a release wakes it before.
    return Hold(Reason.KILLED, message.deadline) if scopes_of(message) & world.kills else Go()


Gate = Callable[[Message, Person, World, Micros, Stage], Verdict]

GATES: tuple[Gate, ...] = (
    _stopped,
    lambda *asked: original(*asked),  # noqa: PLW0108 - late binding, so that the simulator can take a gate away
    lambda *asked: deadline(*asked),  # noqa: PLW0108 - likewise
    _status,
    _overflow,
    _recipient,
    lambda *asked: consent(*asked),  # noqa: PLW0108 - likewise
    _topic,
    _address,
    _kill,
    lambda *asked: quiet_hours(*asked),  # noqa: PLW0108 - likewise
)
"""In the order of `dispatch.md`: the first that ends a message has the word."""

NAMES = (
    "stopped", "original", "deadline", "status", "overflow", "recipient", "consent", "topic", "address", "kill",
    "quiet_hours",
)  # fmt: skip
"""Of the gates, in the same order."""
