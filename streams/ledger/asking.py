"""Asking the store in SQL, beside its port.

On a file through connections of our own that only read, on a server as the role that reads.

Statements are written once, in what both dialects share: parameters are `$1`, `$2` …
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import asyncpg

from streams.stores.place import Place
from streams.stores.postgres import told
from streams.stores.postgres_connections import Lane
from streams.stores.postgres_identity import Identity
from streams.stores.postgres_transaction import SERVER_FAULTS
from tidings.ports import StoreUnavailable

WITHIN = 5.0
"""Seconds for one question of a page."""
STEPS = 10_000
"""SQLite's instructions between two looks at the clock; about a tenth of a millisecond."""


class Asking(Protocol):
    """What answers questions in SQL, each on one snapshot."""

    async def ask(self, statement: str, *values: Any, within: float = WITHIN) -> list[Sequence[Any]]:
        """Return the rows.

        Raises:
            StoreUnavailable: the store cannot be asked, or the time is over.
        """
        ...

    async def close(self) -> None:
        """Let go of the store."""
        ...


class SqliteAsking:
    """Of a file, beside the process that owns it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._free: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    async def ask(self, statement: str, *values: Any, within: float = WITHIN) -> list[Sequence[Any]]:
        """See `Asking`; runs on a thread, which SQLite leaves to itself while it searches."""
        return await asyncio.to_thread(self.ask_now, statement, values, within)

    def ask_now(self, statement: str, values: Sequence[Any], within: float = WITHIN) -> list[Sequence[Any]]:
        """Ask on this thread."""
        end = time.monotonic() + within
        try:
            with self._lock:
                connection = self._free.pop() if self._free else self._connect()
            try:
                connection.set_progress_handler(lambda: time.monotonic() > end, STEPS)
                return connection.execute(statement.replace("$", "?"), values).fetchall()
            finally:
                with self._lock:
                    if self._closed:
                        connection.close()
                    else:
                        self._free.append(connection)
        except sqlite3.Error as fault:
            text = f"{self.path}: {fault}"
            raise StoreUnavailable(text) from fault

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=WITHIN, check_same_thread=False,
            isolation_level=None,
        )  # fmt: skip

    async def close(self) -> None:
        """Close the connections; what is being asked is answered first."""
        with self._lock:
            self._closed = True
            for connection in self._free:
                connection.close()
            self._free.clear()


class PostgresAsking:
    """Of a server, over a few connections of its own."""

    def __init__(self, place: Place, connections: int = 4) -> None:
        self.place = place
        self._lane = Lane(place, connections, Identity(place))

    async def ask(self, statement: str, *values: Any, within: float = WITHIN) -> list[Sequence[Any]]:
        """See `Asking`."""
        try:
            async with self._lane.lend() as connection:
                found: list[Sequence[Any]] = await connection.fetch(statement, *values, timeout=within)  # type: ignore[assignment]
                return found
        except (TimeoutError, *SERVER_FAULTS) as fault:
            raise told(self.place, fault) from fault

    async def plan(self, statement: str, *values: Any) -> str:
        """Return how the server would carry a statement out, as JSON."""
        async with self._lane.lend() as connection:
            return str(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *values))

    async def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(OSError, asyncpg.InterfaceError):
            await self._lane.close()
