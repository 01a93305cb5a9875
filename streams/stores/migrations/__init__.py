"""How the database came to be what it is: numbered steps, forward only, each in a transaction of its own.

Versions N − 1 and N of the code share one database, because workers are replaced one by one: a step may add tables,
columns that may be null, indexes and rights; it takes away only what the release before does not use any more. So a
store opens on its own version and on the next; what is older is to be migrated, what is newer by more is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import asyncpg

from streams.stores.migrations import m0001_tables, m0002_endings
from streams.stores.place import Place
from tidings.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Migration:
    """One step."""

    number: int
    title: str
    statements: Callable[[str], Iterable[str]]
    """Of a schema."""


MIGRATIONS: Sequence[Migration] = (
    Migration(1, m0001_tables.TITLE, m0001_tables.statements),
    Migration(2, m0002_endings.TITLE, m0002_endings.statements),
)
VERSION = MIGRATIONS[-1].number


CLOSED = "SELECT NOT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = $1"
"""Whether a schema is there, and not for us: what is in it looks as if it were not there."""


async def version_of(connection: asyncpg.Connection) -> int:
    """Return the version of the database: 0 is an empty one."""
    if await connection.fetchval("SELECT to_regclass('schema_version')") is None:
        return 0
    return int(await connection.fetchval("SELECT coalesce(max(number), 0) FROM schema_version"))


async def check_version(connection: asyncpg.Connection, place: Place) -> None:
    """See that this code can work on the database.

    Raises:
        Misconfigured: it has to be migrated first, or it is newer than this code knows.
    """
    found = await version_of(connection)
    if found == 0 and await connection.fetchval(CLOSED, place.schema):
        text = f"{place} has no right to look into the schema {place.schema}; its roles are in docs/postgres.md"
        raise Misconfigured(text)
    if found < VERSION:
        state = "is empty" if found == 0 else f"has version {found}, this release needs {VERSION}"
        text = f"{place} {state}: run tidings migrate"
        raise Misconfigured(text)
    if found > VERSION + 1:
        text = (
            f"{place} has version {found}; this release knows {VERSION} and works with {VERSION + 1}: use a newer one"
        )
        raise Misconfigured(text)
