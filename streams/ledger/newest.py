"""Statements and rows of what hangs on one message, of dead letters and of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.ledger.lists import COUNTED, Statement
from streams.ledger.rows import Attempt, AuditLine, DeadLetter, Key, ReceiptLine
from streams.processors.detect import READER
from tidings import canonical

ATTEMPTS = (
    "SELECT no, provider, intent_at, first_byte_at, ended_at, outcome, detail, asked FROM attempts "
    "WHERE message_id = $1 ORDER BY no LIMIT 100"
)
RECEIPTS = "SELECT receipt, at, received_at, provider_id, detail FROM receipts WHERE message_id = $1 ORDER BY provider_id LIMIT 100"
LAST = 2**62
WAITING = "redriven_at IS NULL AND aside_at IS NULL"
ONCE = (
    f"NOT (reader <> '{READER}' AND EXISTS (SELECT 1 FROM dead_letters o WHERE o.reader = '{READER}' "
    'AND o.topic = dead_letters.topic AND o.partition = dead_letters.partition AND o."offset" = dead_letters."offset"))'
)
"""A record that several readers could not read has a row of each of them: it is one, the one of whoever decides."""
COUNT_LETTERS = (
    f"SELECT reason, count(*) FROM (SELECT reason FROM dead_letters WHERE {WAITING} AND {ONCE} "
    f"ORDER BY appended_at DESC LIMIT {COUNTED + 1}) AS few GROUP BY reason"
)
LETTER = (
    'reader, topic, partition, "offset", reason, detail, schema_id, appended_at, '
    "coalesce(length(value), 0), redriven_at, aside_at"
)


def attempt(row: Sequence[Any]) -> Attempt:
    """Return the attempt of a row."""
    no, provider, intent_at, first_byte_at, ended_at, outcome, detail, asked = row
    return Attempt(no, provider, intent_at, first_byte_at, ended_at, outcome, detail, canonical.loads(asked))


def receipt(row: Sequence[Any]) -> ReceiptLine:
    """Return the receipt of a row."""
    word, at, received_at, provider_id, detail = row
    return ReceiptLine(word, at, received_at, provider_id, detail)


def audit(
    who: str | None, verb: str | None, before: Key | None, after: Key | None, limit: int, but: Sequence[str] = ()
) -> tuple[str, *tuple[Any, ...]]:  # fmt: skip
    """Return the statement for what people did, newest first, or with `after` the oldest first, with its values; `but`: without these verbs."""
    to = Statement()
    where = [f"{name} = {to.put(value)}" for name, value in (("who", who), ("verb", verb)) if value is not None]
    if but:
        where.append(f"verb NOT IN ({', '.join(to.put(one) for one in but)})")
    if after is not None:
        where.append(f"seq > {to.put(after.at)}")
    else:
        where.append(f"seq < {to.put(LAST if before is None else before.at)}")
    order = "ASC" if after is not None else "DESC"
    return (
        f"SELECT seq, at, who, verb, body FROM audit WHERE {' AND '.join(where)} ORDER BY seq {order} LIMIT {limit}",
        *to.values,
    )


def audit_line(row: Sequence[Any]) -> AuditLine:
    """Return the line of a row; a body that is no JSON object is not ours to guess at."""
    seq, at, who, verb, body = row
    try:
        read = canonical.loads(body)
    except ValueError:
        read = None
    return AuditLine(seq, at, who, verb, read if isinstance(read, dict) else {})


def dead_letters(
    reader: str | None, reason: str | None, before: Key | None, limit: int, *, waiting: bool
) -> tuple[str, *tuple[Any, ...]]:
    """Return the statement for dead letters, newest first, with its values."""
    to = Statement()
    where = []
    if reader is not None:
        where.append(f"reader = {to.put(reader)}")
    else:
        where.append(ONCE)
    if reason is not None:
        where.append(f"reason = {to.put(reason)}")
    if waiting:
        where.append(WAITING)
    if before is not None:
        where.append(f"appended_at <= {to.put(before.at)}")
        if len(before.ids) == 1 and (place := _place(before.ids[0])) is not None:
            values = ", ".join(map(to.put, (before.at, *place)))
            where.append(f'(appended_at, reader, topic, partition, "offset") < ({values})')
    text = f" WHERE {' AND '.join(where)}" if where else ""
    order = 'appended_at DESC, reader DESC, topic DESC, partition DESC, "offset" DESC'
    return (f"SELECT {LETTER} FROM dead_letters{text} ORDER BY {order} LIMIT {limit}", *to.values)


def dead_letter(row: Sequence[Any]) -> DeadLetter:
    """Return the dead letter of a row."""
    reader, topic, partition, offset, reason, detail, schema_id, appended_at, size, redriven_at, aside_at = row
    place = Key(appended_at, (f"{reader}/{topic}/{partition}/{offset}",))
    return DeadLetter(
        reader, topic, partition, offset, reason, detail, schema_id, appended_at, size, redriven_at, aside_at, place
    )


def _place(text: str) -> tuple[str, str, int, int] | None:
    parts = text.split("/")
    if len(parts) != 4 or not (parts[2].isdecimal() and parts[3].isdecimal()):  # noqa: PLR2004
        return None
    return parts[0], parts[1], int(parts[2]), int(parts[3])


ACCEPTED = 2_000
"""Messages that were accepted, the newest, from which times are measured."""
OTHERS = 300
"""Of each other state in which a provider was called."""
CALLED = ("failed", "unresolved", "unknown", "sending", "pending")


def ways(tenant: str) -> tuple[str, *tuple[Any, ...]]:
    """Return the statement for the newest attempts.

    Its columns: provider, outcome, detail, intent, end, from the event on, whether the step was due at the decision, what
    was asked.
    """
    to = Statement()
    who, role = to.put(tenant), to.put("notice")
    parts = [
        "SELECT * FROM (SELECT message_id, run_id, created_at FROM messages "
        f"WHERE tenant = {who} AND role = {role} AND state = {to.put(state)} ORDER BY created_at DESC LIMIT {most}) AS part"
        for state, most in (("accepted", ACCEPTED), *((state, OTHERS) for state in CALLED))
    ]
    text = (
        "SELECT a.provider, a.outcome, a.detail, a.intent_at, a.ended_at, a.ended_at - r.logical_at, "
        "CASE WHEN m.created_at = r.decided_at THEN 1 ELSE 0 END, a.asked "
        f"FROM ({' UNION ALL '.join(parts)}) AS m JOIN runs r ON r.run_id = m.run_id "
        "JOIN attempts a ON a.message_id = m.message_id"
    )
    return (text, *to.values)


def in_flight(tenant: str, states: Sequence[str]) -> tuple[str, *tuple[Any, ...]]:
    """Return the statement that counts what is open, by state and reason, each state up to a bound."""
    to = Statement()
    who = to.put(tenant)
    parts = [
        f"SELECT * FROM (SELECT state, reason FROM messages WHERE tenant = {who} AND role = 'notice' "
        f"AND state = {to.put(state)} ORDER BY created_at DESC LIMIT {COUNTED + 1}) AS part"
        for state in states
    ]
    text = f"SELECT state, reason, count(*) FROM ({' UNION ALL '.join(parts)}) AS open GROUP BY state, reason"
    return (text, *to.values)
