"""States as word, shape and colour: always all three (`console.md`). The word is the reason of the record, read aloud."""

from __future__ import annotations

from collections.abc import Mapping

SHAPES: Mapping[str, tuple[str, str, str]] = {
    # word in the records: word on the page, colour, shape
    "sent": ("sent", "sent", "sent"),
    "would_send": ("would be sent", "sent", "sent"),
    "accepted": ("sent", "sent", "sent"),
    "merged": ("in a digest", "sent", "sent"),
    "delivered": ("delivered", "sent", "sent"),
    "ok": ("ok", "sent", "yes"),
    "suppressed": ("suppressed", "supp", "supp"),
    "cancelled": ("cancelled", "canc", "canc"),
    "expired": ("expired", "expd", "expd"),
    "failed": ("failed", "dead", "dead"),
    "unresolved": ("unresolved", "dead", "dead"),
    "bounced": ("bounced", "dead", "dead"),
    "undelivered": ("undelivered", "dead", "dead"),
    "wrong": ("wrong", "dead", "dead"),
    "in_flight": ("in flight", "flit", "flit"),
    "open": ("in flight", "flit", "flit"),
    "due": ("due", "flit", "flit"),
    "running": ("in flight", "flit", "flit"),
    "held": ("held", "flit", "held"),
    "digesting": ("in a digest", "flit", "digest"),
    "pending": ("pending", "flit", "flit"),
    "claimed": ("claimed", "flit", "flit"),
    "sending": ("sending", "flit", "flit"),
    "unknown": ("unknown", "flit", "unk"),
    "waiting": ("waiting", "flit", "flit"),
    "proposed": ("proposed", "flit", "held"),
    "shadow": ("shadow", "none", "shadow"),
    "note": ("note", "expd", "warn"),
    "nothing": ("nothing to say", "none", "none"),
    "none": ("none", "none", "none"),
}
PLAIN = ("", "none", "none")
WORDS: Mapping[str, str] = {
    "no_consent": "no consent",
    "quiet_hours": "quiet hours",
    "topic_off": "topic switched off",
    "rule_off": "rule switched off",
    "unknown_customer": "unknown customer",
    "unknown_team": "unknown team",
    "no_address": "no address",
    "address_gone": "address gone",
    "awaiting_outcome": "awaiting outcome",
    "nothing_to_correct": "nothing to correct",
    "newer_episode": "newer episode",
    "given_up": "gave up",
    "killed": "stopped by us",
    "stopped": "settled",
    "no_answer": "no answer",
}
"""Reasons whose word reads better than the record's with spaces. One reason, one word."""


def shape_of(state: str) -> tuple[str, str, str]:
    """Return word, colour and shape of a state."""
    word, colour, shape = SHAPES.get(state, PLAIN)
    return word or said(state), colour, shape


def said(reason: str) -> str:
    """Return a reason as it is read."""
    return WORDS.get(reason, reason.replace("_", " "))
