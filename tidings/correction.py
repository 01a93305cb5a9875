"""The all-clear: who was told something that has since been taken back hears that it is over; nobody else does.

Nobody decides at the signal whether the original arrived: while it is in flight the correction is held, and the gates
ask again at every wake-up and at the intent (`dispatch.md`, "Resolve, rewrite, correct").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tidings.message import Message, Run
from tidings.reasons import MessageState
from tidings.receipts import Receipt

NOTICE, ALL_CLEAR = "notice", "all_clear"
"""Roles of messages."""
NOT_REACHED = (str(Receipt.UNDELIVERED), str(Receipt.BOUNCED))

MAY_BE_TOLD = frozenset({MessageState.SENDING, MessageState.UNKNOWN, MessageState.ACCEPTED, MessageState.UNRESOLVED})

Told = Literal["told", "open", "untold"]
"""What the recipient has heard of a message: it, perhaps it, or not."""


@dataclass(frozen=True, slots=True)
class Correcting:
    """What the gates must know of a correction."""

    original: Told
    newer: Literal["none", "told", "open"] = "none"
    """Whether the same thing has happened again, and whether they were told of that."""


def heard(message: Message) -> Told:
    """Return whether a message has reached, or may still reach, its recipient."""
    if message.state in (MessageState.ACCEPTED, MessageState.UNRESOLVED):
        return "untold" if message.receipt in NOT_REACHED else "told"
    return "open" if message.is_open else "untold"


def may_be_told(message: Message) -> bool:
    """Return whether a message is, was, or may be with its recipient: cancelling it is too late.

    One that bounced is among them: a later receipt may know better, and then a record says why nothing was corrected.
    """
    return message.state in MAY_BE_TOLD


def correcting(message: Message, original: Message | None, newer: Sequence[Message]) -> Correcting:
    """Return what is known about a correction: of its original, and of the notices of newer episodes."""
    words = {heard(one) for one in newer if one.role == NOTICE and one.channel == message.channel}
    return Correcting(
        "untold" if original is None else heard(original),
        "told" if "told" in words else "open" if "open" in words else "none",
    )


def newer_runs(run: Run, runs: Iterable[Run]) -> list[Run]:
    """Return the runs in which the same thing happened again, later, to the same recipient."""
    return [
        one
        for one in runs
        if one.rule == run.rule
        and one.firing_id != run.firing_id
        and one.recipient == run.recipient
        and one.body.get("key") == run.body.get("key")
        and one.logical_at > run.logical_at
    ]
