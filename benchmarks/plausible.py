"""Rows as a shop's installation leaves them: decisions, messages, attempts, receipts. The same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidings import canonical, ids
from tidings.correction import ALL_CLEAR, NOTICE
from tidings.event import HOUR, SECOND, Micros
from tidings.message import Message, Run, message_row, run_row
from tidings.ports import Row
from tidings.reasons import MessageState, Reason

RULES = tuple(f"rule-{number:02}" for number in range(12))
CHANNELS = ("email", "email", "email", "sms", "push")
ENDS: tuple[tuple[int, MessageState, Reason | None], ...] = (
    (830, MessageState.ACCEPTED, None),
    (60, MessageState.SUPPRESSED, Reason.NO_CONSENT),
    (30, MessageState.SUPPRESSED, Reason.TOPIC_OFF),
    (20, MessageState.SUPPRESSED, Reason.SHADOW),
    (15, MessageState.SUPPRESSED, Reason.NO_ADDRESS),
    (20, MessageState.CANCELLED, Reason.STOPPED),
    (10, MessageState.EXPIRED, Reason.EXPIRED),
    (5, MessageState.FAILED, Reason.REFUSED),
    (2, MessageState.UNRESOLVED, Reason.NO_ANSWER),
    (8, MessageState.HELD, Reason.QUIET_HOURS),
)
WEIGHTS = [weight for weight, _, _ in ENDS]
TOUCHED = frozenset({MessageState.ACCEPTED, MessageState.FAILED, MessageState.UNRESOLVED})
"""States before which a provider was called."""


@dataclass
class Rows:
    """Rows by table."""

    runs: list[Row] = field(default_factory=list)
    messages: list[Row] = field(default_factory=list)
    attempts: list[Row] = field(default_factory=list)
    receipts: list[Row] = field(default_factory=list)


def rows(
    number: int, now: Micros, *, over: Micros = 240 * HOUR, seed: int = 1, at_once: int = 5_000, rules: Sequence[str] = RULES
) -> Iterator[Rows]:  # fmt: skip
    """Yield the rows of so many decisions, the oldest first, of the time before now."""
    chance = random.Random(seed)
    part = Rows()
    for n in range(number):
        decided = now - over + over * n // number
        _decide(part, chance, n, decided, number, rules)
        if len(part.runs) == at_once:
            yield part
            part = Rows()
    if part.runs:
        yield part


def _decide(
    part: Rows, chance: random.Random, n: int, decided: Micros, number: int, rules: Sequence[str]
) -> None:  # fmt: skip
    rule = rules[min(int(chance.expovariate(0.35)), len(rules) - 1)]
    recipient = f"customer:c-{chance.randrange(max(10, number // 10))}"
    firing = ids.firing_id("default", rule, [f"k-{n}"], ("plausible", str(n)))
    run_id = ids.run_id(firing, 0, recipient)
    steps = chance.choices((0, 1, 2, 3), (1, 84, 12, 3))[0]
    made = [
        _message(part, chance, ids.message_id(run_id, NOTICE, step), run_id, firing, rule, recipient, step, decided)
        for step in range(steps)
    ]
    if made and made[0].state is MessageState.ACCEPTED and chance.random() < 0.02:
        name = ids.correction_id(made[0].message_id, ALL_CLEAR, 1)
        later = decided + chance.randrange(HOUR)
        _message(part, chance, name, run_id, firing, rule, recipient, 0, later, role=ALL_CLEAR)
    waits = any(message.is_open for message in made)
    run = Run(
        run_id, "default", recipient, firing, 0, rule, "running" if waits else "done", "set", decided - SECOND, steps,
        str(Reason.RULE_OFF) if not steps else None, decided_at=decided,
    )  # fmt: skip
    part.runs.append(run_row(run))


def _message(
    part: Rows, chance: random.Random, name: str, run_id: str, firing: str, rule: str, recipient: str, step: int,
    at: Micros, role: str = NOTICE,
) -> Message:  # fmt: skip
    _, state, reason = chance.choices(ENDS, WEIGHTS)[0]
    channel = chance.choice(CHANNELS)
    body: dict[str, Any] = {
        "template": f"{rule}/text", "data": {"amount": "42.00 EUR", "order": f"o-{chance.randrange(10**6)}"},
        "logical_at": at - SECOND, "severity": "medium", "rule_set": "set", "consent": "transactional",
    }  # fmt: skip
    if state in TOUCHED:
        body["address"] = f"{recipient.partition(':')[2]}@example.org"
    receipt = None
    if state is MessageState.ACCEPTED:
        body["reference"] = f"ref-{name}"
        receipt = chance.choice((None, None, "delivered", "opened"))
    message = Message(
        name, "default", recipient, run_id, firing, rule, role, step, channel, state, at, at + 24 * HOUR, "unresolved",
        body, reason=None if reason is None else str(reason), due_at=at + HOUR if state is MessageState.HELD else None,
        attempt=1 if state in TOUCHED else 0, receipt=receipt,
    )  # fmt: skip
    part.messages.append(message_row(message))
    if state in TOUCHED:
        outcome = {"accepted": "accepted", "failed": "permanent"}.get(state, "ambiguous")
        taken = at + chance.randrange(3 * SECOND)
        part.attempts.append(
            {
                "message_id": name, "no": 1, "provider": f"{channel}-1", "owner": "w", "intent_at": at,
                "start_by": at + 5 * SECOND, "seen": 0, "asked": canonical.dumps({"consent": True, "kills": [], "rev": 1}),
                "outcome": outcome, "ended_at": taken, "first_byte_at": at, "detail": "" if outcome == "accepted" else "550 no",
            }
        )  # fmt: skip
    if receipt is not None:
        part.receipts.append(
            {
                "message_id": name, "provider_id": f"r-{name}", "receipt": receipt, "at": at + SECOND,
                "received_at": at + 2 * SECOND, "detail": "",
            }
        )  # fmt: skip
    return message
