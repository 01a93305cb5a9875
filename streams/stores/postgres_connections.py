"""Connections to PostgreSQL: what they are set to, and lanes that lend them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg

from streams.stores.place import Place
from streams.stores.postgres_identity import Identity
from tidings.errors import Misconfigured
from tidings.ports import StoreUnavailable

CONNECT = 5.0
"""Seconds for one attempt to connect."""
STATEMENT = 30
"""Seconds for one statement on the server."""
HELD = 15
"""Seconds after which the server ends a transaction that says nothing: a process that sleeps must not hold locks."""
LOCK = 20
"""Seconds for one lock: longer than HELD, so that whoever waits outlasts whoever sleeps."""
ANSWER = 45.0
"""Seconds for one answer, from here: a server that is cut off says nothing at all."""

SETTINGS: Mapping[str, str] = {
    "statement_timeout": f"{STATEMENT}s",
    "lock_timeout": f"{LOCK}s",
    "idle_in_transaction_session_timeout": f"{HELD}s",
    # Every statement here is one walk along an index. Planned once, and never by what a table looked like when it was
    # empty: a plan that scans it is kept until the next ANALYZE, over a million rows.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}

AWAY = ("08", "53", "57", "58", "25006", "25P03", "28", "3D", "XX")
"""SQLSTATEs, or their first letters, of a server that cannot serve us now: gone, full, read-only, shutting down."""
AGAIN: Mapping[str, str] = {
    "40P01": "deadlock",
    "40001": "serialization",
    "55P03": "lock_timeout",
    "0A000": "plan",
}
"""SQLSTATEs after which the same body may do better, by the cause under which repeats are counted."""


async def connect(place: Place, settings: Mapping[str, str] = SETTINGS) -> asyncpg.Connection:
    """Connect.

    Raises:
        StoreUnavailable: the server cannot be reached, or takes nobody now.
        Misconfigured: it does not know us, or has no such database.
    """
    try:
        return await asyncpg.connect(
            host=place.host,
            port=place.port,
            database=place.database,
            user=place.user,
            password=place.password,
            ssl=place.context() or False,
            timeout=CONNECT,
            command_timeout=ANSWER,
            statement_cache_size=512,
            max_cached_statement_lifetime=0,
            server_settings={"application_name": place.who, **settings, "search_path": place.schema},
        )
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as fault:
        text = f"[postgres] {place}: {fault}"
        raise Misconfigured(text) from fault
    except ssl.SSLCertVerificationError as fault:
        text = (
            f"[postgres] {place}: its certificate is not trusted ({fault.verify_message}); name who signed it as ca, "
            "and the server as its certificate does"
        )
        raise Misconfigured(text) from fault
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as fault:
        if isinstance(fault, ConnectionError) and "rejected SSL" in str(fault):
            text = f"[postgres] {place}: no TLS is spoken there; switch it on at the server, or leave out tls"
            raise Misconfigured(text) from fault
        text = f"{place}: {fault or type(fault).__name__}"
        raise StoreUnavailable(text) from fault


class Lane:
    """Up to `size` connections, lent one at a time, the one used last first; made when they are needed."""

    def __init__(self, place: Place, size: int, identity: Identity) -> None:
        self.place = place
        self.identity = identity
        self.size = size
        self.closed = False
        self._free: list[asyncpg.Connection] = []
        self._slots = asyncio.Semaphore(size)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection; one on which anything failed is not lent again."""
        async with self._slots:
            if self.closed:
                text = "the store is closed"
                raise StoreUnavailable(text)
            connection = await self._take()
            try:
                yield connection
            except BaseException:
                connection.terminate()
                raise
            if connection.is_closed():
                return
            if self.closed or connection.is_in_transaction():
                connection.terminate()
            else:
                self._free.append(connection)

    async def _take(self) -> asyncpg.Connection:
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                return connection
        connection = await connect(self.place)
        try:
            await self.identity.check(connection)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as fault:
            connection.terminate()
            text = f"{self.place}: {fault or type(fault).__name__}"
            raise StoreUnavailable(text) from fault
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def close(self) -> None:
        """Let go of all connections, when those that are lent have come back."""
        self.closed = True
        for _ in range(self.size):
            await self._slots.acquire()
        for connection in self._free:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=CONNECT)
        self._free.clear()
        for _ in range(self.size):
            self._slots.release()
