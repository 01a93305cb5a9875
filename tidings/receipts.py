"""Receipts (T6): what a provider says later about a message that it took; monotone by rank.

A receipt proves that the provider has the message. What was unknown, or was waiting for another attempt, is therefore
accepted, and is not sent again.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from tidings.message import Message
from tidings.reasons import MessageState


class Receipt(StrEnum):
    """Words for what became of a message, in the order of their rank: the later one knows more."""

    SENT = "sent"
    UNDELIVERED = "undelivered"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    """After `delivered` it is possible: a server that took the message sent it back."""
    OPENED = "opened"
    CLICKED = "clicked"
    COMPLAINED = "complained"


RANK = {receipt: rank for rank, receipt in enumerate(Receipt)}


def refine(message: Message, receipt: Receipt) -> Message:
    """T6. Return the message with what the receipt adds; late, repeated or lower ones change nothing.

    Other terminal states stay as they are: a receipt never revives what was suppressed or given up.
    """
    if message.attempt == 0:
        return message
    if message.is_open:
        message = replace(message, state=MessageState.ACCEPTED, reason=None, due_at=None, owner=None)
    if message.state is not MessageState.ACCEPTED:
        return message
    known = None if message.receipt is None else RANK[Receipt(message.receipt)]
    return replace(message, receipt=str(receipt)) if known is None or RANK[receipt] > known else message
