"""Dispatch: from a firing to what one person hears. Pure; runs in one transaction per recipient, under their lock.

One pass does, in this order: signals and firings (in the order of detection), new runs, their steps, the gates for
every open message that is not with a deliverer, and the next instant at which the recipient wants a pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tidings import canonical, ids
from tidings.event import Micros
from tidings.gates import End, Hold, Stage, World, gates
from tidings.message import Message, Run
from tidings.person import Person
from tidings.ports import Row
from tidings.reasons import UNSENT, MessageState, Reason
from tidings.rule import RuleSet

STOPS = ("stopped", "resolved")
"""Signals that end a run."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A detection record as dispatch reads it."""

    seq: int
    kind: str
    firing_id: str
    n: int
    rule: str
    logical_at: Micros
    data: Sequence[Mapping[str, Any]]
    overflow: bool = False


def read_heard(row: Row) -> Heard:
    """Return the record of a row of `records`."""
    body = canonical.loads(row["body"])
    return Heard(
        row["seq"], row["kind"], row["firing_id"], row["n"], row["rule"], row["logical_at"], body["data"],
        body.get("overflow", False),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outside:
    """What dispatch asks of the world beside the person."""

    kills: frozenset[str] = frozenset()
    connected: Mapping[str, Micros] = field(default_factory=dict)
    """By topic: when its newest source was connected; topics whose history is live are left out."""


@dataclass(slots=True)
class Dispatched:
    """What a pass writes."""

    runs: dict[str, Run] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)
    new: set[str] = field(default_factory=set)
    """Ids of runs and messages that this pass begins; what is there already stays as it is."""
    next_at: Micros | None = None


def dispatch(
    rules: RuleSet,
    person: Person,
    heard: Sequence[Heard],
    runs: Sequence[Run],
    messages: Sequence[Message],
    outside: Outside,
    now: Micros,
) -> Dispatched:
    """Return what one pass over a recipient changes.

    `heard` are the records that nobody has read yet; `runs` and `messages` those that are open. Every id is derived,
    so a pass that is repeated writes the same rows.
    """
    known = {run.run_id: run for run in runs}
    open_messages = {message.message_id: message for message in messages}
    result = Dispatched()
    for record in sorted(heard, key=lambda one: (one.seq, one.firing_id, one.kind != "fired", one.n)):
        if record.kind == "fired":
            _begin(rules, person, record, outside, now, known, open_messages, result)
        elif record.kind in STOPS:
            _stop(record, known, open_messages, result)
    for message in list(open_messages.values()):
        if message.message_id not in result.messages and message.state in (MessageState.HELD, MessageState.PENDING):
            world = world_of(rules, message, outside)
            changed = awake(message, person, world, now)
            if changed != message:
                result.messages[message.message_id] = open_messages[message.message_id] = changed
    _close_runs(known, open_messages, result)
    result.next_at = min((m.due_at for m in open_messages.values() if wants_pass(m)), default=None)  # type: ignore[type-var]
    return result


def wants_pass(message: Message) -> bool:
    """Return whether dispatch itself has to come back for the message; all others wait for a deliverer."""
    return message.state is MessageState.HELD and message.due_at is not None


def awake(message: Message, person: Person, world: World, now: Micros) -> Message:
    """Ask the gates about an open message that nobody has claimed."""
    verdict = gates(message, person, world, now, Stage.WAKE)
    if isinstance(verdict, End):
        return message.ended(verdict.state, verdict.reason)
    if isinstance(verdict, Hold):
        return message.held(verdict.reason, verdict.until)
    return message.pending(now) if message.state is MessageState.HELD else message


def world_of(rules: RuleSet, message: Message, outside: Outside, *, stopped: bool = False) -> World:
    """Return the world for a message that has been decided before."""
    rule = rules.by_id.get(message.rule)
    status = None if rule is None or rule.status == "draft" else rule.status
    return World(stopped=stopped, status=status, kills=outside.kills)


def _begin(
    rules: RuleSet,
    person: Person,
    record: Heard,
    outside: Outside,
    now: Micros,
    known: dict[str, Run],
    open_messages: dict[str, Message],
    result: Dispatched,
) -> None:
    run_id = ids.run_id(record.firing_id, record.n, person.recipient)
    if run_id in known:
        return
    rule = rules.by_id.get(record.rule)
    if rule is None:
        run = Run(
            run_id, person.tenant, person.recipient, record.firing_id, record.n, record.rule, "done", rules.hash,
            record.logical_at, 0, str(Reason.RULE_OFF),
        )  # fmt: skip
        known[run_id] = result.runs[run_id] = run
        result.new.add(run_id)
        return
    connected = max((outside.connected[t] for t in rule.topics if t in outside.connected), default=0)
    world = World(overflow=record.overflow, connected_at=connected, status=rule.status, kills=outside.kills)
    ended: Reason | None = None
    for number, step in enumerate(rule.steps):
        message = Message(
            message_id=ids.message_id(run_id, "notice", number),
            tenant=person.tenant,
            recipient=person.recipient,
            run_id=run_id,
            firing_id=record.firing_id,
            rule=rule.id,
            role="notice",
            step=number,
            channel=step.channel,
            state=MessageState.PENDING,
            created_at=now,
            deadline=record.logical_at + rule.patience,
            on_unknown=rule.on_unknown,
            body={
                "template": step.template,
                "data": record.data[number],
                "consent": rule.consent,
                "logical_at": record.logical_at,
                "rule_set": rules.hash,
            },
            due_at=now,
        )
        verdict = gates(message, person, world, now, Stage.DECISION)
        if isinstance(verdict, End):
            message = message.ended(verdict.state, verdict.reason)
            ended = verdict.reason
        elif isinstance(verdict, Hold):
            message = message.held(verdict.reason, verdict.until)
        open_messages[message.message_id] = result.messages[message.message_id] = message
        result.new.add(message.message_id)
    run = Run(
        run_id, person.tenant, person.recipient, record.firing_id, record.n, rule.id, "running", rules.hash,
        record.logical_at, len(rule.steps), None if ended is None else str(ended),
    )  # fmt: skip
    known[run_id] = result.runs[run_id] = run
    result.new.add(run_id)


def _stop(record: Heard, known: dict[str, Run], open_messages: dict[str, Message], result: Dispatched) -> None:
    """End the run: what is unsent is cancelled, what is in flight learns of it at its outcome."""
    for run in [run for run in known.values() if run.firing_id == record.firing_id and run.is_open]:
        known[run.run_id] = result.runs[run.run_id] = replace(run, state="stopped", reason=str(Reason.STOPPED))
    for message in [m for m in open_messages.values() if m.firing_id == record.firing_id and m.state in UNSENT]:
        changed = message.ended(MessageState.CANCELLED, Reason.STOPPED)
        open_messages[message.message_id] = result.messages[message.message_id] = changed


def _close_runs(known: dict[str, Run], open_messages: Mapping[str, Message], result: Dispatched) -> None:
    """A run is done when every step has ended. Steps that ended in earlier passes are not among the open ones."""
    waiting = {message.run_id for message in open_messages.values() if message.is_open}
    for run in list(known.values()):
        if run.is_open and run.run_id not in waiting:
            known[run.run_id] = result.runs[run.run_id] = replace(run, state="done")
