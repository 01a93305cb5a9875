"""Outcome events: what rules said and how messages ended, as others read it from the topics; rows in, rows out.

Also what a database that was restored makes of a message whose end the topics know (`as_told`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from tidings import canonical, ids
from tidings.event import Micros
from tidings.message import Message
from tidings.ports import Row
from tidings.reasons import OPEN, UNSENT, MessageState, Reason

FIRINGS = "decision.firing.recorded"
MESSAGES = "notification.message.ended"
TOPICS: Mapping[str, str] = {f"{kind}.v1": kind for kind in (FIRINGS, MESSAGES)}
"""Event types by topic."""
OURS = ("decision.", "notification.", "ops.")
"""What types begin with whose events we publish, for others; neither a worker nor a rule reads any."""

SOURCE = "tidings"
WAITING, NUMBERED, KEPT_BACK = 1, 2, 3
"""`outbox.unpublished`: nobody has numbered it yet; it has a number, and may be in the topic already; no topic takes it."""
LONGEST_KEY = 512
"""Bytes."""
LONGEST_REFERENCE = 200
SUSPECT = "unknown"
"""State of a row of `told`: the message may have been sent by the database that is gone, and nobody knows."""
TERMINAL = frozenset(str(state) for state in MessageState if state not in OPEN)
REASONS = frozenset(map(str, Reason))
RESTORED = "restored"
"""Mark in the body of a message that was taken for unknown once, because its database was restored."""


def firing_event(row: Row, no: int, at: Micros) -> Row:
    """Return the row of `outbox` for a row of `records`, written at `at`; `no` orders what shares its `seq`."""
    body = canonical.loads(row["body"])
    name = ids.outbox_id(row["firing_id"], row["kind"], row["n"])
    who = pseudonym(row["tenant"], row["recipient"])
    meta = _meta(FIRINGS, name, row["tenant"], row["firing_id"], row["logical_at"], at)
    payload = {
        "meta": {**meta, "correlation_id": row["firing_id"], "causation_id": body["episode"]["event"]},
        "firing_id": row["firing_id"], "rule": row["rule"], "kind": row["kind"], "recipient": who,
        "logical_at": row["logical_at"], "n": row["n"], "severity": body["severity"],
    }  # fmt: skip
    return _row(FIRINGS, name, who, name, (row["seq"], no, at), payload)


def message_event(row: Row, seq: int, no: int, at: Micros) -> Row:
    """Return the row of `outbox` for a row of `messages` that has just ended."""
    name = ids.outbox_id(row["message_id"], row["state"], row["rev"])
    who = pseudonym(row["tenant"], row["recipient"])
    reference = canonical.loads(row["body"]).get("reference")
    meta = _meta(MESSAGES, name, row["tenant"], row["message_id"], at, at)
    payload = {
        "meta": {**meta, "correlation_id": row["firing_id"], "causation_id": row["firing_id"]},
        "message_id": row["message_id"], "firing_id": row["firing_id"], "rule": row["rule"], "recipient": who,
        "channel": row["channel"], "state": row["state"], "reason": row["reason"], "role": row["role"],
        "reference": None if reference is None else str(reference)[:LONGEST_REFERENCE],
    }  # fmt: skip
    return _row(MESSAGES, name, who, row["message_id"], (seq, no, at), payload)


def pseudonym(tenant: str, recipient: str) -> str:
    """Return how a recipient is named to others: as ever, but for a bare address, which would name a person."""
    kind, _, rest = recipient.partition(":")
    if kind != "address" and len(recipient.encode()) <= LONGEST_KEY:
        return recipient
    return f"{kind}:~{blake2b(canonical.dumps([tenant, rest]), digest_size=16).hexdigest()}"


def _meta(kind: str, name: str, tenant: str, subject: str, occurred_at: Micros, at: Micros) -> dict[str, Any]:
    return {
        "event_id": name, "type": kind, "source": SOURCE, "subject": subject, "occurred_at": occurred_at,
        "recorded_at": at, "actor": None, "tenant": tenant, "sequence": None,
    }  # fmt: skip


def _row(kind: str, name: str, key: str, about: str, when: tuple[int, int, Micros], payload: Mapping[str, Any]) -> Row:
    seq, no, at = when
    return {
        "id": name, "topic": f"{kind}.v1", "key": key, "about": about, "seq": seq, "no": no, "at": at,
        "unpublished": WAITING, "partition": None, "number": None, "body": canonical.dumps(payload),
    }  # fmt: skip


def has_ended(row: Row) -> bool:
    """Return whether the row of a message is terminal."""
    return MessageState(row["state"]) not in OPEN


def told_row(payload: Mapping[str, Any], event_id: str, at: Micros) -> Row:
    """Return the row of `told` for an outcome event that was read from a topic, without its `meta`.

    A message stands under its own id: it ends once. A firing stands under the id of the event. A state that a newer
    version wrote, and this one does not know, says that nobody knows.
    """
    if "message_id" not in payload:
        return {"id": event_id, "state": payload["kind"], "reason": None, "reference": None, "at": at}
    state, reason = payload["state"], payload["reason"]
    return {
        "id": payload["message_id"], "state": state if state in TERMINAL else SUSPECT,
        "reason": reason if reason in REASONS else None, "reference": payload.get("reference"), "at": at,
    }  # fmt: skip


def as_told(message: Message, told: Row, now: Micros) -> Message:
    """Return an open message as the topics know it; what they know nothing of, once, as unknown.

    What was accepted counts as attempted, so that receipts find it.
    """
    if not message.is_open:
        return message
    if told["state"] == SUSPECT:
        if RESTORED in message.body or message.state not in UNSENT:
            return message
        body = {**message.body, RESTORED: True}
        return replace(
            message, state=MessageState.UNKNOWN, reason=None, due_at=now, owner=None, body=body,
            attempt=max(1, message.attempt),
        )  # fmt: skip
    return corrected(message, told)


def corrected(message: Message, told: Row) -> Message:
    """Return a message with the end that the topics know, whatever was decided about it anew."""
    reason = None if told["reason"] is None else Reason(told["reason"])
    ended = message.ended(MessageState(told["state"]), reason)
    if ended.state is MessageState.ACCEPTED:
        ended = replace(ended, attempt=max(1, ended.attempt))
    if told["reference"] is None:
        return ended
    return replace(ended, body={**ended.body, "reference": told["reference"]})
