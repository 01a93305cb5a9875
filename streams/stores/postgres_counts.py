"""What is counted on PostgreSQL beside the store port: how much waits, and the totals of a whole history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import asyncpg

from streams.processors.detect import READER
from streams.stores.counts import MOST, Unsent, Waiting
from streams.stores.place import Place
from streams.stores.postgres_connections import connect
from tidings import canonical
from tidings.correction import NOTICE
from tidings.event import Micros
from tidings.journal import read_entry
from tidings.outcomes import NUMBERED, TOPICS, WAITING

MESSAGES = "SELECT state, count(*) FROM messages WHERE due_at IS NOT NULL GROUP BY state"
KEYS = "SELECT class, count(*) FROM state WHERE due IS NOT NULL AND class LIKE 'rule:%' GROUP BY class"
RECORDS = "SELECT count(*) FROM records WHERE unread IS NOT NULL"
OUTCOMES = "SELECT count(*) FROM (SELECT FROM outbox LIMIT 100001) o"
KEPT = "SELECT count(*) FROM (SELECT FROM intake LIMIT 100001) i"
OLDEST_KEPT = "SELECT at FROM intake ORDER BY seq LIMIT 1"
OLDEST = """
SELECT min(f.at) FROM unnest($1::text[], $2::bigint[]) AS k(topic, state) CROSS JOIN LATERAL
    (SELECT at FROM outbox o WHERE o.topic = k.topic AND o.unpublished = k.state ORDER BY o.seq, o.no LIMIT 1) f
"""
UNSENT = f"""
SELECT tenant, rule, channel, state, reason, count(*)::bigint FROM (
    SELECT tenant, rule, channel, state, reason FROM messages
    WHERE due_at IS NOT NULL AND state IN ('held', 'pending', 'claimed', 'sending') LIMIT {MOST}
) m GROUP BY 1, 2, 3, 4, 5
"""
PAGE = 5_000
"""Rows of the journal that are read at once."""


async def waiting(connection: asyncpg.Connection, within: float) -> Waiting:
    """Count what waits, each question within `within` seconds, along indexes that hold nothing else."""
    async with connection.transaction(readonly=True):
        await connection.execute(f"SET LOCAL statement_timeout = {max(1, int(within * 1000))}")
        messages = _pairs(await connection.fetch(MESSAGES))
        records = int(await connection.fetchval(RECORDS))
        keys = {name.removeprefix("rule:"): count for name, count in _pairs(await connection.fetch(KEYS)).items()}
        outcomes = int(await connection.fetchval(OUTCOMES))
        places = [(topic, state) for topic in TOPICS for state in (WAITING, NUMBERED)]
        oldest = await connection.fetchval(OLDEST, *map(list, zip(*places, strict=True)))
    return Waiting(messages, records, keys, outcomes, oldest)


async def kept(connection: asyncpg.Connection, within: float) -> tuple[int, Micros | None]:
    """Count the events that wait for Kafka, within `within` seconds; with the time of the first. For gateways only."""
    async with connection.transaction(readonly=True):
        await connection.execute(f"SET LOCAL statement_timeout = {max(1, int(within * 1000))}")
        return int(await connection.fetchval(KEPT)), await connection.fetchval(OLDEST_KEPT)


async def unsent(connection: asyncpg.Connection, within: float) -> Unsent:
    """Count what has not left, by whose it is, within `within` seconds."""
    async with connection.transaction(readonly=True):
        await connection.execute(f"SET LOCAL statement_timeout = {max(1, int(within * 1000))}")
        return Unsent([tuple(row) for row in await connection.fetch(UNSENT)])


async def totals(place: Place) -> dict[str, Any]:
    """Count everything, as `streams.embedded.totals` does, for proofs and benchmarks: it reads whole tables.

    `events` and `untaken` are what the broker knows; they are not in it.
    """
    connection = await connect(place, {"application_name": "tidings totals"})
    try:
        counts: dict[str, Any] = {
            "reasons": {},
            "correction_reasons": {},
            "messages": {},
            "corrections": {},
            "decided": 0,
        }
        counts["records"] = _pairs(await connection.fetch("SELECT kind, count(*) FROM records GROUP BY kind"))
        counts["steps_due"] = int(await connection.fetchval("SELECT coalesce(sum(steps_due), 0) FROM runs"))
        for notice, state, reason, count in await connection.fetch(
            "SELECT role = $1, state, reason, count(*) FROM messages GROUP BY 1, 2, 3", NOTICE
        ):
            states = counts["messages" if notice else "corrections"]
            states[state] = states.get(state, 0) + count
            if reason is not None:
                counts["reasons" if notice else "correction_reasons"][f"{state}({reason})"] = count
        counts["dead_letters"] = int(
            await connection.fetchval(
                'SELECT count(DISTINCT (topic, partition, "offset")) FROM dead_letters d WHERE EXISTS '
                "(SELECT FROM sources s WHERE s.reader = $1 AND s.topic = d.topic AND s.partition = d.partition)",
                READER,
            )
        )
        counts["buffered"] = int(await connection.fetchval("SELECT count(DISTINCT (source, ref)) FROM buffer"))
        counts["armed"] = 0
        async with connection.transaction(readonly=True):
            async for row in connection.cursor(
                "SELECT value FROM state WHERE class LIKE 'rule:%' AND value IS NOT NULL", prefetch=PAGE
            ):
                counts["armed"] += "armed" in (canonical.loads(row["value"])["state"] or {})
            async for row in connection.cursor("SELECT seq, kind, body FROM journal", prefetch=PAGE):
                spans = read_entry(dict(row)).spans
                counts["decided"] += sum(span.end - span.start - len(span.left_out) for span in spans)
        return counts
    finally:
        await connection.close()


def _pairs(rows: Iterable[asyncpg.Record]) -> dict[str, int]:
    return {row[0]: row[1] for row in rows}
