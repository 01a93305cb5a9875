"""Dispatch: from a firing to what one person hears. Pure; runs in one transaction per recipient, under their lock.

One pass does, in this order: signals and firings (in the order of detection), new runs, their steps, the gates for
every open message that is not with a deliverer, and the next instant at which the recipient wants a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tidings import canonical, ids
from tidings.correction import ALL_CLEAR, NOTICE, correcting, may_be_told, newer_runs
from tidings.event import DAY, Micros
from tidings.gates import End, Hold, Stage, World, gates
from tidings.message import Message, Run
from tidings.person import Person
from tidings.ports import Row
from tidings.reasons import UNSENT, MessageState, Reason
from tidings.record import TAKES_BACK
from tidings.rule import Rule, RuleSet, Step

MEMORY: Micros = 90 * DAY
"""After so long a run is closed, whether its episode is over or not (`dispatch.md`, Runs)."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A detection record as dispatch reads it."""

    seq: int
    kind: str
    firing_id: str
    n: int
    rule: str
    rule_set: str
    """Hash of the set with which it was decided: steps and texts are that set's."""
    logical_at: Micros
    severity: str
    key: Sequence[Any]
    data: Sequence[Mapping[str, Any] | None]
    """By step; None: the step's condition did not hold, so it is never due."""
    overflow: bool = False


def read_heard(row: Row) -> Heard:
    """Return the record of a row of `records`."""
    body = canonical.loads(row["body"])
    return Heard(
        row["seq"], row["kind"], row["firing_id"], row["n"], row["rule"], body["rule_set"], row["logical_at"],
        body["severity"], body["key"], body["data"], body.get("overflow", False),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outside:
    """What dispatch asks of the world beside the person."""

    kills: frozenset[str] = frozenset()
    connected: Mapping[str, Micros] = field(default_factory=dict)
    """By topic: when its newest source was connected; topics whose history is live are left out."""
    dropping: Sequence[tuple[str, int]] = ()
    """Scopes that are being dropped, each with the number of its drop: what was made before it does not leave."""

    def kills_of(self, message: Message) -> frozenset[str]:
        """Return the scopes that keep what was made when this message was."""
        return self.kills.union(scope for scope, number in self.dropping if is_before(message, number))

    @property
    def made(self) -> dict[str, Any]:
        """What the body of a message says that is made now: after which drop, where one stands."""
        return {AFTER_DROP: max(number for _, number in self.dropping)} if self.dropping else {}


AFTER_DROP = "after_drop"
"""In the body of a message: the number of the newest drop that stood when it was made. No clock says what was first."""


def is_before(message: Message, drop: int) -> bool:
    """Return whether a message was there when a drop was asked."""
    return bool(message.body.get(AFTER_DROP, 0) < drop)


@dataclass(slots=True)
class Dispatched:
    """What a pass writes."""

    runs: dict[str, Run] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)
    new: set[str] = field(default_factory=set)
    """Ids of runs and messages that this pass begins; what is there already stays as it is."""
    next_at: Mapping[str, Micros] = field(default_factory=dict)
    """By recipient: when they want another pass; one who has been linked may still hold messages of before."""


Pinned = Callable[[str], RuleSet]
"""From the hash of a rule set to the set."""


def dispatch(
    rules: RuleSet,
    pinned: Pinned,
    person: Person,
    heard: Sequence[Heard],
    runs: Sequence[Run],
    messages: Sequence[Message],
    outside: Outside,
    now: Micros,
) -> Dispatched:
    """Return what one pass over a recipient changes.

    `heard` are the records that nobody has read yet. `runs` and `messages` hold all open ones, and besides, whatever a
    stop or a correction has to know: all of a run that is taken back, and the notices of newer episodes. Every id is
    derived, so a pass that is repeated writes the same rows.
    """
    one = _Pass(rules, pinned, person, outside, now, {r.run_id: r for r in runs}, {m.message_id: m for m in messages})
    for record in sorted(heard, key=lambda one: (one.seq, one.firing_id, one.kind != "fired", one.n)):
        if record.kind == "fired":
            one.begin(record)
        elif record.kind in TAKES_BACK:
            one.take_back(record)
    one.wake()
    one.close()
    one.result.next_at = one.next_at()
    return one.result


def wants_pass(message: Message) -> bool:
    """Return whether dispatch itself has to come back for the message; all others wait for a deliverer."""
    return message.state is MessageState.HELD and message.due_at is not None


def recall(record: Heard) -> dict[str, Any]:
    """Return the body of a run whose firing may be taken back from those who were told."""
    return {"recall": True, "key": list(record.key)}


def awake(message: Message, person: Person, world: World, now: Micros) -> Message:
    """Ask the gates about an open message that nobody has claimed."""
    verdict = gates(message, person, world, now, Stage.WAKE)
    if isinstance(verdict, End):
        return message.ended(verdict.state, verdict.reason)
    if isinstance(verdict, Hold):
        return message.held(verdict.reason, verdict.until)
    return message.pending(now) if message.state is MessageState.HELD else message


def world_of(rules: RuleSet, message: Message, outside: Outside) -> World:
    """Return the world for a message that has been decided before."""
    rule = rules.by_id.get(message.rule)
    status = None if rule is None or rule.status == "draft" else rule.status
    return World(status=status, kills=outside.kills_of(message))


@dataclass(slots=True)
class _Pass:
    """One pass over one recipient."""

    rules: RuleSet
    pinned: Pinned
    person: Person
    outside: Outside
    now: Micros
    runs: dict[str, Run]
    messages: dict[str, Message]
    result: Dispatched = field(default_factory=Dispatched)

    def begin(self, record: Heard) -> None:
        """Make the run of a firing, its steps, and what the gates say of each."""
        run_id = ids.run_id(record.firing_id, record.n, self.person.recipient)
        if run_id in self.runs:
            return
        active = self.rules.by_id.get(record.rule)
        run = Run(
            run_id, self.person.tenant, self.person.recipient, record.firing_id, record.n, record.rule, "running",
            record.rule_set, record.logical_at, 0, decided_at=self.now,
        )  # fmt: skip
        if active is None or active.status == "draft":
            self._keep(replace(run, state="done", reason=str(Reason.RULE_OFF)), new=True)
            return
        rule = self._rule(record)
        if rule is None:
            self._keep(replace(run, state="done", reason=str(Reason.RULE_OFF)), new=True)
            return
        if rule.on_stop:
            run = replace(run, body=recall(record))
        connected = max((self.outside.connected[t] for t in rule.topics if t in self.outside.connected), default=0)
        stale = record.logical_at + rule.patience
        world = World(
            overflow=record.overflow, connected_at=connected, stale_at=stale, status=rule.status, kills=self.outside.kills
        )  # fmt: skip
        ended: Reason | None = None
        for number, (step, data) in enumerate(zip(rule.steps, record.data, strict=True)):
            if data is None:
                continue
            message = self._message(
                ids.message_id(run_id, NOTICE, number), run, NOTICE, number, step, data, rule, record,
                stale + rule.longest_hold,
            )  # fmt: skip
            message = self._decided(message, world)
            if not message.is_open:
                ended = None if message.reason is None else Reason(message.reason)
            run = replace(run, steps_due=run.steps_due + 1)
        self._keep(replace(run, reason=None if ended is None else str(ended)), new=True)

    def _rule(self, record: Heard) -> Rule | None:
        """Return the rule with which a record was decided; None where its set does not load with this version any more."""
        try:
            return self.pinned(record.rule_set).by_id[record.rule]
        except (KeyError, ValueError):
            return None

    def take_back(self, record: Heard) -> None:
        """End the run: what is unsent is cancelled, and whoever may have been told gets the all-clear."""
        # The all-clear is that of the rule as it stands now; the run may have begun before it had one.
        rule = self._rule(record)
        body = recall(record) if rule is not None and rule.on_stop else None
        for run in [run for run in self.runs.values() if run.firing_id == record.firing_id]:
            if run.is_open or run.state == "done":
                self._keep(replace(run, state="stopped", reason=str(Reason.STOPPED), body=body or run.body))
        for message in [m for m in self.messages.values() if m.firing_id == record.firing_id and m.role == NOTICE]:
            if message.state in UNSENT:
                self._put(message.ended(MessageState.CANCELLED, Reason.STOPPED))
            elif may_be_told(message):
                self._correct(message, record)

    def _correct(self, original: Message, record: Heard) -> None:
        """Make the all-clear of a message, over the channel over which it went."""
        rule = self._rule(record)
        run = self.runs.get(original.run_id)
        if rule is None:
            return
        steps = zip(range(len(rule.on_stop)), rule.on_stop, record.data, strict=True)
        for number, step, data in steps:
            if step.channel != original.channel or data is None or run is None:
                continue
            name = ids.correction_id(original.message_id, ALL_CLEAR, record.n)
            if name in self.messages:
                return
            deadline = max(record.logical_at, self.now) + rule.patience + rule.longest_hold
            message = self._message(name, run, ALL_CLEAR, number, step, data, rule, record, deadline)
            message = replace(message, body={**message.body, "original": original.message_id})
            self._decided(message, self._world(message))
            return

    def _message(
        self, name: str, run: Run, role: str, number: int, step: Step, data: Mapping[str, Any], rule: Rule,
        record: Heard, deadline: Micros,
    ) -> Message:  # fmt: skip
        body: dict[str, Any] = {
            "template": step.template, "data": data, "logical_at": record.logical_at, "severity": record.severity,
            "rule_set": record.rule_set, "consent": rule.consent, **self.outside.made,
        }  # fmt: skip
        topic = self.rules.notice_topics.get(rule.topic or "")
        if rule.topic is not None and (topic is None or not topic.locked):
            body["topic"] = rule.topic
        if rule.quiet_hours is not None:
            body["quiet"] = rule.quiet_hours.to_json()
        if step.target:
            body["target"] = step.target
        if step.retry is not None:
            body["retry"] = {"attempts": step.retry.attempts, "first": step.retry.first, "most": step.retry.most}
        if step.alert:
            body["alert"] = True
        return Message(
            name, run.tenant, run.recipient, run.run_id, run.firing_id, rule.id, role, number, step.channel,
            MessageState.PENDING, self.now, deadline, rule.on_unknown, body, due_at=self.now,
        )  # fmt: skip

    def _decided(self, message: Message, world: World) -> Message:
        verdict = gates(message, self.person, world, self.now, Stage.DECISION)
        if isinstance(verdict, End):
            message = message.ended(verdict.state, verdict.reason)
        elif isinstance(verdict, Hold):
            message = message.held(verdict.reason, verdict.until)
        self.result.new.add(message.message_id)
        self._put(message)
        return message

    def _world(self, message: Message) -> World:
        world = world_of(self.rules, message, self.outside)
        if message.role == NOTICE:
            return world
        run = self.runs.get(message.run_id)
        newer = {one.run_id for one in newer_runs(run, self.runs.values())} if run is not None else set()
        notices = [one for one in self.messages.values() if one.run_id in newer]
        about = correcting(message, self.messages.get(message.body["original"]), notices)
        return replace(world, correcting=about)

    def wake(self) -> None:
        """Ask the gates about every open message that is not with a deliverer."""
        for message in list(self.messages.values()):
            if message.message_id in self.result.messages:
                continue
            if message.state in (MessageState.HELD, MessageState.PENDING):
                changed = awake(message, self.person, self._world(message), self.now)
                if changed != message:
                    self._put(changed)

    def close(self) -> None:
        """A run is done when every step has ended; when it was taken back and nothing is left to say, it is closed.

        Steps that ended in earlier passes are not among the messages of this one.
        """
        waiting = {message.run_id for message in self.messages.values() if message.is_open}
        for run in list(self.runs.values()):
            if run.run_id in waiting:
                continue
            if run.is_open:
                self._keep(replace(run, state="done"))
            elif run.lingers and (run.state == "stopped" or run.logical_at + MEMORY <= self.now):
                self._keep(replace(run, state="closed"))

    def next_at(self) -> dict[str, Micros]:
        """Return when each recipient wants a pass for what is held."""
        found: dict[str, Micros] = {}
        for message in self.messages.values():
            if message.due_at is not None and wants_pass(message):
                found[message.recipient] = min(found.get(message.recipient, message.due_at), message.due_at)
        return found

    def _keep(self, run: Run, *, new: bool = False) -> None:
        self.runs[run.run_id] = self.result.runs[run.run_id] = run
        if new:
            self.result.new.add(run.run_id)

    def _put(self, message: Message) -> None:
        self.messages[message.message_id] = self.result.messages[message.message_id] = message
