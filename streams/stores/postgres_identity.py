"""Which database a process is connected to: it never goes on upon another one than that it began with.

A restored dump has another oid, a server restored to a point in time or failed over to has another timeline, a new
cluster another identifier. A process that lost its connections and found such a one would send again what the dump
says is pending; it ends instead, and what starts in its place compares the database with the topics first.

A volume put back from a snapshot is the same in all of that, but it has less of the write-ahead log than was seen. What
is compared is the log as it was flushed: a server that crashed keeps that, though not all that it had inserted. It is
asked on each new connection, and with each measurement of the clock; a snapshot whose log has grown beyond what was
seen here is not noticed.

A process that starts has seen nothing yet, and a snapshot says of itself what was said of it before. What no snapshot
holds is when the server was started: nobody puts a volume back under a server that runs. So what is remembered in the
database as compared with the topics is this start of the server (`run`).
"""

from __future__ import annotations

import asyncpg

from streams.stores.place import Place
from tidings.ports import StoreReplaced

FLUSHED = "CASE WHEN pg_is_in_recovery() THEN NULL ELSE (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint END"
"""How much of its write-ahead log the server has on disk; a standby has none of its own."""
QUERY = f"""
SELECT system_identifier, timeline_id, oid, extract(epoch FROM pg_postmaster_start_time())::text, {FLUSHED}
FROM pg_control_system(), pg_control_checkpoint(), pg_database
WHERE datname = current_database()
"""


class Identity:
    """What the first connection of a process was connected to."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._seen: tuple[object, ...] | None = None
        self._started = ""
        self._flushed = 0

    def __str__(self) -> str:
        """Return it as a text."""
        return "/".join(map(str, self._seen or ()))

    @property
    def run(self) -> str:
        """Which database it is, and since when its server runs, as the newest connection was told."""
        return f"{self}/{self._started}"

    async def check(self, connection: asyncpg.Connection) -> None:
        """See that a new connection leads to the same database.

        Raises:
            StoreReplaced: it leads to another one; the connection is closed.
        """
        before = self._flushed
        *row, started, flushed = await connection.fetchrow(QUERY) or ("", None)
        found = tuple(row)
        if self._seen is None:
            self._seen = found
        elif found != self._seen:
            connection.terminate()
            text = f"{self.place} is another database than at the start: restored, or failed over; start again"
            raise StoreReplaced(text)
        try:
            self.flushed(flushed, before)
        except StoreReplaced:
            connection.terminate()
            raise
        self._started = str(started)

    @property
    def asked(self) -> int:
        """What is to be given to `flushed` with the answer to a question that is asked now; others may overtake it."""
        return self._flushed

    def flushed(self, now: int | None, before: int) -> None:
        """See that the server's log has not become shorter than it was known to be `before` it was asked.

        Raises:
            StoreReplaced: it has.
        """
        if now is None:
            return
        if now < before:
            text = f"{self.place} has less than it had: its volume was put back to an older state; start again"
            raise StoreReplaced(text)
        self._flushed = max(self._flushed, now)
