"""Let go of what is old: whole partitions of `records` and `log`, and rows of their default partitions.

The owner of the tables does it (`tidings migrate --retain`), never a worker. Nothing goes that dispatch has not read,
or whose run is open. The journal stays: a replay begins with its first row until there are snapshots to begin from;
`verify` then says which of its rows have no records in the archive any more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

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
