"""Runs and messages: a firing for one recipient, and each thing that this recipient hears about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tidings import canonical
from tidings.event import Micros
from tidings.ports import Row
from tidings.reasons import OPEN, MessageState, Reason

WAITED = "waited"
"""In the body of a message, and in what its attempt was asked: a gate has held it, so it did not leave as soon as it could."""


@dataclass(frozen=True, slots=True)
class Run:
    """A firing × a recipient; pinned to the rule set with which it was decided."""

    run_id: str
    tenant: str
    recipient: str
    firing_id: str
    n: int
    rule: str
    state: str
    """`running`, `done`, `stopped`, `closed`."""
    rule_set: str
    logical_at: Micros
    steps_due: int
    """Steps whose message row exists: conservation is counted against it."""
    reason: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    decided_at: Micros = 0
    """When dispatch began it, by the clock of the world."""

    @property
    def is_open(self) -> bool:
        """Whether steps of it may still be under way."""
        return self.state == "running"

    @property
    def lingers(self) -> bool:
        """Whether it is over and may still be taken back, with an all-clear for those who were told."""
        return self.state in ("done", "stopped") and "recall" in self.body


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery: one step of a run over one channel."""

    message_id: str
    tenant: str
    recipient: str
    run_id: str
    firing_id: str
    rule: str
    role: str
    step: int
    channel: str
    state: MessageState
    created_at: Micros
    deadline: Micros
    """Never sent at or after this instant."""
    on_unknown: str
    body: Mapping[str, Any]
    """`template`, `data`, `logical_at`, `severity`, `rule_set`, `consent`; where they are set `topic`, `quiet`, `target`,
    `retry`, `alert`, `waited` (a gate has held it), and of a correction its `original`; after T3 the address, after T4
    the reference."""
    reason: str | None = None
    due_at: Micros | None = None
    """When the state wants attention: pending: not before; claimed, sending: the lease; unknown: settled; held: wake."""
    start_by: Micros | None = None
    seen: int = 0
    """Number of the last signal of the firing that T3 had read."""
    rev: int = 0
    owner: str | None = None
    attempt: int = 0
    receipt: str | None = None
    """What the provider says of it since (`tidings.receipts`)."""

    @property
    def is_open(self) -> bool:
        """Whether something may still happen to it."""
        return self.state in OPEN

    def ended(self, state: MessageState, reason: Reason | None = None) -> Message:
        """Return the message in a terminal state."""
        return replace(self, state=state, reason=reason, due_at=None, owner=None)

    def held(self, reason: Reason, until: Micros) -> Message:
        """Return the message held; D looks at it again at `until`, or when somebody wakes its recipient."""
        body = {**self.body, WAITED: True}
        return replace(self, state=MessageState.HELD, reason=reason, due_at=until, owner=None, body=body)

    def pending(self, not_before: Micros) -> Message:
        """Return the message waiting for a deliverer."""
        return replace(self, state=MessageState.PENDING, reason=None, due_at=not_before, owner=None)


def read_message(row: Row) -> Message:
    """Return the message of a row."""
    return Message(
        row["message_id"], row["tenant"], row["recipient"], row["run_id"], row["firing_id"], row["rule"], row["role"],
        row["step"], row["channel"], MessageState(row["state"]), row["created_at"], row["deadline"], row["on_unknown"],
        canonical.loads(row["body"]), row["reason"], row["due_at"], row["start_by"], row["seen"], row["rev"],
        row["owner"], row["attempt"], row["receipt"],
    )  # fmt: skip


def message_row(message: Message) -> Row:
    """Return the row of a message."""
    return {
        "message_id": message.message_id, "tenant": message.tenant, "recipient": message.recipient,
        "run_id": message.run_id, "firing_id": message.firing_id, "rule": message.rule, "role": message.role,
        "step": message.step, "channel": message.channel, "state": str(message.state),
        "reason": None if message.reason is None else str(message.reason), "open": 1 if message.is_open else None,
        "due_at": message.due_at, "created_at": message.created_at, "deadline": message.deadline,
        "start_by": message.start_by, "seen": message.seen, "rev": message.rev, "owner": message.owner,
        "attempt": message.attempt, "on_unknown": message.on_unknown, "receipt": message.receipt, "body": canonical.dumps(message.body),
        "reference": message.body.get("reference"),
    }  # fmt: skip


def read_run(row: Row) -> Run:
    """Return the run of a row."""
    return Run(
        row["run_id"], row["tenant"], row["recipient"], row["firing_id"], row["n"], row["rule"], row["state"],
        row["rule_set"], row["logical_at"], row["steps_due"], row["reason"], canonical.loads(row["body"]), row["decided_at"],
    )  # fmt: skip


def run_row(run: Run) -> Row:
    """Return the row of a run."""
    return {
        "run_id": run.run_id, "tenant": run.tenant, "recipient": run.recipient, "firing_id": run.firing_id, "n": run.n,
        "rule": run.rule, "state": run.state, "reason": run.reason, "rule_set": run.rule_set,
        "logical_at": run.logical_at, "steps_due": run.steps_due, "open": 1 if run.is_open or run.lingers else None,
        "body": canonical.dumps(run.body), "decided_at": run.decided_at,
    }  # fmt: skip
