"""Let go of what is old: partitions, single rows of default partitions, and what dispatch has ended with.

The owner of the tables does it (`tidings migrate --retain`), never a worker. A snapshot comes first (`streams.horizon`):
nothing goes that a replay from there would need, nothing that dispatch has not read, whose run is open, or that a
correction may still be about, and nothing of which nobody knows what became of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from streams.processors.catalogue import BLOCK
from streams.processors.detect import READER
from streams.snapshots import BEGINS, mark
from streams.stores.place import Place
from streams.stores.postgres import told
from streams.stores.postgres_connections import connect
from streams.stores.postgres_transaction import SERVER_FAULTS, lock_number
from tidings import canonical
from tidings.dispatch import MEMORY
from tidings.event import DAY, Micros
from tidings.log import Partition
from tidings.reasons import MessageState
from tidings.snapshot import HEAD

LEAST = 8 * DAY
"""Longer than any rule looks back (`dedupe_horizon`) and any message waits."""
CHUNK = 10_000
"""Rows of a default partition that one transaction deletes."""
RUNS = 500
"""Runs that one transaction deletes, with the locks of their recipients."""
SETTINGS = {"application_name": "tidings migrate", "lock_timeout": "5s"}

PARTITIONS = """
SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass($1) ORDER BY c.relname
"""
NEEDED: Mapping[str, str] = {
    "records": """
SELECT EXISTS (SELECT FROM "{name}" WHERE unread IS NOT NULL) OR EXISTS (SELECT FROM "{name}" WHERE seq > $1)
    OR EXISTS (SELECT FROM "{name}" r JOIN runs ON runs.firing_id = r.firing_id
        WHERE runs.open IS NOT NULL AND (runs.state = 'running' OR runs.logical_at >= $2))
""",
    "log": """
SELECT EXISTS (SELECT FROM unnest($1::text[], $2::int[], $3::bigint[]) AS s (topic, "partition", upto)
    WHERE EXISTS (SELECT FROM "{name}" l
        WHERE l.topic = s.topic AND l."partition" = s."partition" AND l."offset" >= s.upto))
""",
}
"""Whether a partition holds what is still needed, in words below in `Retained.kept`."""
SPARED: Mapping[str, str] = {
    "records": """unread IS NULL AND seq <= $2 AND NOT EXISTS (SELECT FROM runs WHERE runs.firing_id = r.firing_id
    AND runs.open IS NOT NULL AND (runs.state = 'running' OR runs.logical_at >= $3))""",
    "log": """NOT EXISTS (SELECT FROM unnest($2::text[], $3::int[], $4::bigint[]) AS s (topic, "partition", upto)
    WHERE r.topic = s.topic AND r."partition" = s."partition" AND r."offset" >= s.upto)""",
    "journal": "true",
}
COLUMNS = {"records": "episode_at", "log": "appended_at", "journal": "seq"}

OVER = f"""
state <> 'running' AND (logical_at < $3 OR (logical_at < $2 AND open IS NULL AND state <> 'done'))
AND NOT EXISTS (SELECT FROM messages m WHERE m.run_id = r.run_id
    AND (m.open IS NOT NULL OR m.state = '{MessageState.UNRESOLVED}' OR m.deadline >= $2))
AND NOT EXISTS (SELECT FROM records d WHERE d.firing_id = r.firing_id AND d.unread IS NOT NULL)
"""
"""Runs that are over ($2: before this instant): nothing of them is open or unread. One that was not taken back may still
be, and those who were told hear of it; before $3 dispatch remembers none."""
NEXT_RUNS = f"SELECT run_id, tenant, recipient FROM runs r WHERE run_id > $1 AND {OVER} ORDER BY run_id LIMIT {RUNS}"
THEIRS = """
SELECT FROM recipients WHERE (tenant, recipient) IN (SELECT * FROM unnest($1::text[], $2::text[]))
ORDER BY tenant, recipient FOR UPDATE
"""
LET_GO = f"""
WITH gone AS (DELETE FROM runs r WHERE run_id = ANY($1) AND {OVER} RETURNING run_id),
    said AS (DELETE FROM messages WHERE run_id IN (SELECT run_id FROM gone) RETURNING message_id),
    tried AS (DELETE FROM attempts WHERE message_id IN (SELECT message_id FROM said) RETURNING 1),
    came AS (DELETE FROM receipts WHERE message_id IN (SELECT message_id FROM said) RETURNING 1)
SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM said), (SELECT count(*) FROM tried), (SELECT count(*) FROM came)
"""


@dataclass(frozen=True, slots=True)
class Behind:
    """What a snapshot makes dispensable for a replay."""

    seq: int
    positions: Mapping[Partition, int] = field(default_factory=dict)


EMPTIED = f"""
SELECT topic, partition, block FROM blocks b WHERE appended_at < $1 AND NOT EXISTS (
    SELECT FROM log l WHERE l.topic = b.topic AND l.partition = b.partition
    AND l."offset" >= b.block * {BLOCK} AND l."offset" < (b.block + 1) * {BLOCK}
) ORDER BY appended_at
"""
"""Blocks of the catalogue of which no record is left."""


@dataclass(frozen=True, slots=True)
class Retained:
    """What was let go, or would be."""

    dropped: Sequence[str]
    """Partitions."""
    kept: Sequence[str]
    """Partitions that are old enough and hold what is unread or open, or not behind the snapshot."""
    deleted: int
    """Rows of default partitions; none with `plan`."""
    ended: Mapping[str, int] = field(default_factory=dict)
    """Rows of runs that are over, by table; none with `plan`."""


async def retain(place: Place, before: Micros, behind: Behind, *, now: Micros, plan: bool = False) -> Retained:
    """Let go of what lies before an instant and behind a snapshot.

    Raises:
        StoreUnavailable: the server cannot be reached, or somebody holds what is to go.
    """
    connection = await connect(place, SETTINGS)
    remembered = min(before, now - MEMORY)
    dropped: list[str] = []
    kept: list[str] = []
    deleted = 0
    try:
        await connection.execute(f"SELECT pg_advisory_lock({lock_number(place.schema, 'migrate')})")
        if not plan:
            await _mark(connection, before, behind)
        places = await connection.fetch("SELECT topic, partition FROM sources WHERE reader = $1", READER)
        upto = [(row["topic"], row["partition"]) for row in places]
        needs: Mapping[str, tuple[object, ...]] = {
            "records": (behind.seq, remembered), "journal": (),
            "log": ([t for t, _ in upto], [p for _, p in upto], [behind.positions.get(one, 0) for one in upto]),
        }  # fmt: skip
        for parent in COLUMNS:
            bound = behind.seq + 1 if parent == "journal" else before
            for row in await connection.fetch(PARTITIONS, parent):
                high = re.search(r"TO \('?(-?\d+)'?\)", row["bounds"])
                if high is None or int(high[1]) > bound:
                    continue
                name = row["name"]
                if parent in NEEDED and await connection.fetchval(NEEDED[parent].format(name=name), *needs[parent]):
                    kept.append(name)
                    continue
                dropped.append(name)
                if not plan:
                    await connection.execute(f'DROP TABLE "{name}"')
            if not plan:
                deleted += await _delete(connection, parent, bound, needs[parent])
        if not plan:
            await _forget(connection, before)
        ended = {} if plan else await _let_go(connection, before, remembered)
    except SERVER_FAULTS as fault:
        raise told(place, fault) from fault
    finally:
        await connection.close()
    return Retained(dropped, kept, deleted, ended)


async def _mark(connection: asyncpg.Connection, before: Micros, behind: Behind) -> None:
    """Let a replay begin with the snapshot, before anything goes; the heads of those before stay, as the chain."""
    async with connection.transaction():
        if not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM snapshots WHERE seq = $1 AND part = $2)", behind.seq, HEAD
        ):
            return
        known = await connection.fetchval(
            "SELECT body FROM snapshots WHERE part = $1 ORDER BY seq DESC LIMIT 1", BEGINS
        )
        records_from = before if known is None else max(before, canonical.loads(known)["records_from"])
        await connection.execute(
            "DELETE FROM snapshots WHERE part = $1 OR (seq < $2 AND part <> $3)", BEGINS, behind.seq, HEAD
        )
        await connection.execute(
            "INSERT INTO snapshots (seq, part, body) VALUES ($1, $2, $3)", behind.seq, BEGINS, mark(records_from)
        )


async def _delete(connection: asyncpg.Connection, parent: str, bound: int, needs: Sequence[object]) -> int:
    statement = (
        f'DELETE FROM "{parent}_default" WHERE ctid = ANY(ARRAY(SELECT ctid FROM "{parent}_default" r '
        f'WHERE "{COLUMNS[parent]}" < $1 AND {SPARED[parent]} LIMIT {CHUNK}))'
    )
    total = 0
    while True:
        count = int((await connection.execute(statement, bound, *needs)).split()[-1])
        total += count
        if count < CHUNK:
            return total


async def _let_go(connection: asyncpg.Connection, before: Micros, remembered: Micros) -> dict[str, int]:
    """Delete runs that are over, with their messages, attempts and receipts; their recipients are locked meanwhile."""
    total = dict.fromkeys(("runs", "messages", "attempts", "receipts"), 0)
    last = ""
    while True:
        async with connection.transaction():
            rows = await connection.fetch(NEXT_RUNS, last, before, remembered)
            if not rows:
                return total
            last = rows[-1]["run_id"]
            await connection.execute(THEIRS, [row["tenant"] for row in rows], [row["recipient"] for row in rows])
            (counts,) = await connection.fetch(LET_GO, [row["run_id"] for row in rows], before, remembered)
            total = {name: total[name] + count for name, count in zip(total, counts, strict=True)}


async def _forget(connection: asyncpg.Connection, before: Micros) -> None:
    """Take out of the catalogue what is not in the log any more."""
    for place in await connection.fetch(EMPTIED, before):
        async with connection.transaction():
            for table in ("catalogue", "blocks"):
                await connection.execute(
                    f'DELETE FROM "{table}" WHERE topic = $1 AND partition = $2 AND block = $3', *place
                )
