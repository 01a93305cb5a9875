"""Let go of what is old: whole partitions of `records` and `log`, rows of their default partitions, what found them.

The owner of the tables does it (`tidings migrate --retain`), never a worker. Nothing goes that dispatch has not read,
or whose run is open. The journal stays: a replay begins with its first row until there are snapshots to begin from;
`verify` then says which of its rows have no records in the archive any more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from streams.processors.catalogue import BLOCK
from streams.stores.place import Place
from streams.stores.postgres_connections import connect
from tidings.event import DAY, Micros

LEAST = 8 * DAY
"""Longer than any rule looks back (`dedupe_horizon`) and any message waits."""
CHUNK = 10_000
"""Rows of a default partition that one transaction deletes."""
PARENTS = {"records": "episode_at", "log": "appended_at"}
SETTINGS = {"application_name": "tidings migrate", "lock_timeout": "5s"}

PARTITIONS = """
SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass($1) ORDER BY c.relname
"""
NEEDED = """
SELECT EXISTS (SELECT FROM "{name}" WHERE unread IS NOT NULL)
    OR EXISTS (SELECT FROM "{name}" r JOIN runs ON runs.firing_id = r.firing_id WHERE runs.open IS NOT NULL)
"""
SPARED = "unread IS NULL AND NOT EXISTS (SELECT FROM runs WHERE runs.firing_id = r.firing_id AND runs.open IS NOT NULL)"


OVER = f"""
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
    """Partitions that are old enough and hold what is unread or open."""
    deleted: int
    """Rows of default partitions; none with `plan`."""


async def retain(place: Place, before: Micros, *, plan: bool = False) -> Retained:
    """Let go of what lies before an instant.

    Raises:
        StoreUnavailable: the server cannot be reached.
    """
    connection = await connect(place, SETTINGS)
    dropped: list[str] = []
    kept: list[str] = []
    deleted = 0
    try:
        for parent, column in PARENTS.items():
            for row in await connection.fetch(PARTITIONS, parent):
                high = re.search(r"TO \('(-?\d+)'\)", row["bounds"])
                if high is None or int(high[1]) > before:
                    continue
                name = row["name"]
                if parent == "records" and await connection.fetchval(NEEDED.format(name=name)):
                    kept.append(name)
                    continue
                dropped.append(name)
                if not plan:
                    await connection.execute(f'DROP TABLE "{name}"')
            if not plan:
                deleted += await _delete(connection, parent, column, before)
        if not plan:
            await _forget(connection, before)
    finally:
        await connection.close()
    return Retained(dropped, kept, deleted)


async def _delete(connection: asyncpg.Connection, parent: str, column: str, before: Micros) -> int:
    spared = f" AND {SPARED}" if parent == "records" else ""
    statement = (
        f'DELETE FROM "{parent}_default" WHERE ctid = ANY(ARRAY(SELECT ctid FROM "{parent}_default" r '
        f'WHERE "{column}" < $1{spared} LIMIT {CHUNK}))'
    )
    total = 0
    while True:
        count = int((await connection.execute(statement, before)).split()[-1])
        total += count
        if count < CHUNK:
            return total


async def _forget(connection: asyncpg.Connection, before: Micros) -> None:
    """Take out of the catalogue what is not in the log any more."""
    for place in await connection.fetch(OVER, before):
        async with connection.transaction():
            for table in ("catalogue", "blocks"):
                await connection.execute(
                    f'DELETE FROM "{table}" WHERE topic = $1 AND partition = $2 AND block = $3', *place
                )
