"""Which database a process is connected to: it never goes on upon another one than that it began with.

A restored dump has another oid, a server restored to a point in time or failed over to has another timeline, a new
cluster another identifier. A process that lost its connections and found such a one would send again what the dump
says is pending; it ends instead, and what starts in its place compares the database with the topics first.
"""

from __future__ import annotations

import asyncpg

from streams.stores.place import Place
from tidings.ports import StoreReplaced

QUERY = """
SELECT system_identifier, timeline_id, oid FROM pg_control_system(), pg_control_checkpoint(), pg_database
WHERE datname = current_database()
"""


class Identity:
    """What the first connection of a process was connected to."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._seen: tuple[object, ...] | None = None

    def __str__(self) -> str:
        """Return it as a text."""
        return "/".join(map(str, self._seen or ()))

    async def check(self, connection: asyncpg.Connection) -> None:
        """See that a new connection leads to the same database.

        Raises:
            StoreReplaced: it leads to another one; the connection is closed.
        """
        found = tuple(await connection.fetchrow(QUERY) or ())
        if self._seen is None:
            self._seen = found
        elif found != self._seen:
            connection.terminate()
            text = f"{self.place} is another database than at the start: restored, or failed over; start again"
            raise StoreReplaced(text)
