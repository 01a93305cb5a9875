"""The store of a cluster: PostgreSQL, many processes side by side.

`run` is READ COMMITTED: what must not change under a body is locked by it, and read after its locks. `read` is one
snapshot. Deliveries and decisions have connections of their own, so that a message never queues behind a batch.
Writes that nobody asks an answer of wait until the end of the body, or until it reads their table, and go to the
server in one statement.

A deadlock, or a lock that took too long, repeats the body from its start, and is counted in `repeats`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import CodeType
from typing import Any, Self, TypeVar

import asyncpg

from streams.stores import postgres_counts
from streams.stores.counts import Unsent, Waiting
from streams.stores.migrations import check_version
from streams.stores.place import Place
from streams.stores.postgres_connections import AGAIN, AWAY, Lane
from streams.stores.postgres_identity import FLUSHED, Identity
from streams.stores.postgres_transaction import (
    BEGIN_READING,
    SERVER_FAULTS,
    Before,
    Failed,
    NotAlone,
    PostgresTransaction,
    lock_number,
)
from tidings.errors import Misconfigured
from tidings.ports import Body, CommitUnknown, StoreUnavailable

T = TypeVar("T")

REPEATS = 50
"""How often one body is repeated before the store says that it is not available."""
PAUSE = 0.005
"""Seconds before the first repeat, on average; twice as long each time, up to `LONGEST`."""
LONGEST = 0.25
CLOCK = f"SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, {FLUSHED}"
MISSING = ("42P01", "42703", "42883", "3F000")
"""SQLSTATEs of a table, column, function or schema that is not there."""

__all__ = ["PostgresStore", "lock_number"]


class PostgresStore:
    """See the module. Open with `await PostgresStore.open(place)`, close with `await store.close()`."""

    def __init__(self, place: Place, clock: Callable[[], int], *, writers: int, urgent: int, readers: int) -> None:
        self.place = place
        self.clock = clock
        self.repeats: Counter[str] = Counter()
        """How often bodies were repeated, by cause: `deadlock`, `serialization`, `lock_timeout`, `plan`."""
        self.before: Before | None = None
        """Awaited before every operation of `run`, and with None before its commit: where a simulation takes a hand."""
        self._asking_more: set[CodeType | None] = set()
        """Bodies of readers that have asked more than one question."""
        self._identity = identity = Identity(place)
        self._writers = Lane(place, writers, identity)
        self._urgent = Lane(place, urgent, identity)
        self._readers = Lane(place, readers, identity)

    @classmethod
    async def open(
        cls,
        place: Place,
        clock: Callable[[], int] | None = None,
        *,
        writers: int = 4,
        urgent: int = 8,
        readers: int = 4,
    ) -> Self:
        """Connect, and see that the database is of this version.

        `writers`, `urgent` and `readers` bound the connections for `run`, `run(urgent=True)` and `read`.

        Raises:
            Misconfigured: the server does not know us, or the database has to be migrated first.
            StoreUnavailable: the server cannot be reached.
        """
        store = cls(place, clock or (lambda: time.time_ns() // 1000), writers=writers, urgent=urgent, readers=readers)
        try:
            async with store._readers.lend() as connection:
                await check_version(connection, place)
        except SERVER_FAULTS as fault:
            await store.close()
            raise told(place, fault) from fault
        except BaseException:
            await store.close()
            raise
        return store

    async def run(self, body: Body[T], *, urgent: bool = False) -> T:
        """Run a transaction; see `ports.Store`.

        Raises:
            StoreUnavailable: nothing was written.
            CommitUnknown: the server went away during the commit; all or nothing was written.
        """
        lane = self._urgent if urgent else self._writers
        for turn in range(REPEATS):
            async with lane.lend() as connection:
                done = await self._once(connection, body)
            if isinstance(done, _Repeat):
                cause = done.cause
            elif done.fault is not None:
                raise done.fault
            else:
                return done.value  # type: ignore[no-any-return]
            self.repeats[cause] += 1
            await asyncio.sleep(min(PAUSE * 2**turn, LONGEST) * random.uniform(0.5, 1.5))  # noqa: S311 - spreads repeats
        text = f"{self.place}: a transaction was repeated {REPEATS} times, the last time for {cause}"
        raise StoreUnavailable(text)

    async def read(self, body: Body[T]) -> T:
        """Run a body that only reads, on a snapshot.

        Most ask one question, again and again, and a statement is a snapshot by itself. One that turns out to ask more
        is run anew in a transaction, and from then on at once.
        """
        code = getattr(body, "__code__", None)
        async with self._readers.lend() as connection:
            try:
                alone = code is not None and code not in self._asking_more
                done = await self._once(connection, body, readonly=True, alone=alone)
            except NotAlone:
                self._asking_more.add(code)
                done = await self._once(connection, body, readonly=True)
        if isinstance(done, _Repeat):
            text = f"{self.place}: a reader met a {done.cause}"
            raise StoreUnavailable(text)
        if done.fault is not None:
            raise done.fault
        return done.value  # type: ignore[no-any-return]

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """Let all that is read inside be of one instant. Nothing dead is cleared meanwhile: for seconds, not for minutes."""
        async with self._readers.lend() as connection:
            try:
                await connection.execute(BEGIN_READING)
                yield Snapshot(self, connection)
            except SERVER_FAULTS as fault:
                raise told(self.place, fault) from fault
            # What was read has been read: a server that is gone by now has ended the snapshot as well.
            with suppress(*SERVER_FAULTS):
                await connection.execute("ROLLBACK")

    async def waiting(self, *, within: float) -> Waiting:
        """Count what is open, in about `within` seconds at most.

        Raises:
            StoreUnavailable: the server cannot be asked, or the time is over.
        """
        return await self._ask(lambda connection: postgres_counts.waiting(connection, within))

    async def unsent(self, *, within: float) -> Unsent:
        """Count what has not left, by whose it is; as `waiting`."""
        return await self._ask(lambda connection: postgres_counts.unsent(connection, within))

    async def kept(self, *, within: float) -> tuple[int, int | None]:
        """Count the events that wait for Kafka, with the time of the first; as `waiting`."""
        return await self._ask(lambda connection: postgres_counts.kept(connection, within))

    def run_of_server(self) -> str:
        """Return which database this is, and since when its server runs: after a restart it may be an older state."""
        return self._identity.run

    async def skew(self) -> int:
        """Return by how many microseconds the server's clock is ahead of ours, to half a round trip.

        Raises:
            StoreUnavailable: the server cannot be asked; `StoreReplaced`: it was put back to an older state.
        """

        async def ask(connection: asyncpg.Connection) -> int:
            known, before = self._identity.asked, self.clock()
            ((theirs, flushed),) = await connection.fetch(CLOCK)
            after = self.clock()
            self._identity.flushed(flushed, known)
            return int(theirs) - (before + after) // 2

        return await self._ask(ask)

    async def settled(self, shared: str) -> int:
        """Return the last number of the journal up to which every row is there, or never will be.

        Numbers are drawn before they are committed. So it waits until nobody has the lock which everybody shares who
        writes the journal, and holds up the next for that moment.
        """
        number = lock_number(self.place.schema, shared)

        async def ask(connection: asyncpg.Connection) -> int:
            async with connection.transaction():
                await connection.execute(f"SELECT pg_advisory_xact_lock({number})")
                return int(await connection.fetchval("SELECT max(seq) FROM journal") or 0)

        return await self._ask(ask)

    async def maintain(self) -> int:
        """Make the partitions of the days to come, once a day or so; return how many. Nothing depends on it in time."""
        return await self._ask(lambda connection: connection.fetchval("SELECT make_partitions($1)", self.clock()))

    async def _ask(self, question: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """Ask the server something beside the port."""
        try:
            async with self._readers.lend() as connection:
                return await question(connection)
        except SERVER_FAULTS as fault:
            raise told(self.place, fault) from fault

    async def close(self) -> None:
        """Let what runs finish, and disconnect."""
        await asyncio.gather(*(lane.close() for lane in (self._writers, self._urgent, self._readers)))

    async def _once(
        self, connection: asyncpg.Connection, body: Body[Any], *, readonly: bool = False, alone: bool = False
    ) -> _Done | _Repeat:
        """Run a body once. What the server did not do is raised here, and costs the connection; the rest is returned."""
        before = None if readonly else self.before
        transaction = PostgresTransaction(
            connection, self.place.schema, self.clock, readonly=readonly, alone=alone, before=before
        )
        try:
            try:
                value = await transaction.drive(body)
            except (Failed, NotAlone):
                raise
            except Exception as fault:  # noqa: BLE001 - it belongs to whoever asked
                await self._roll_back(transaction)
                return _Done(None, fault)
            if transaction.begun:
                await self._end(transaction)
        except Failed as failed:
            cause = AGAIN.get(getattr(failed.fault, "sqlstate", None) or "")
            if cause is None:
                raise told(self.place, failed.fault) from failed.fault
            await self._roll_back(transaction)
            return _Repeat(cause)
        return _Done(value, None)

    async def _end(self, transaction: PostgresTransaction) -> None:
        if not transaction.wrote:
            await transaction.execute("ROLLBACK")  # what its locks have made goes with it
            return
        try:
            tag = await transaction.execute("COMMIT")
        except Failed as failed:
            if is_definite(failed.fault):
                raise
            text = f"{self.place}: no answer to a commit: {failed}"
            raise CommitUnknown(text) from failed.fault
        assert tag == "COMMIT", "a statement has failed and nobody was told"

    async def _roll_back(self, transaction: PostgresTransaction) -> None:
        connection = transaction.connection
        if not connection.is_closed() and connection.is_in_transaction():
            try:
                await transaction.execute("ROLLBACK")
            except Failed:
                connection.terminate()


@dataclass(frozen=True)
class Snapshot:
    """The database at one instant, one question after another."""

    store: PostgresStore
    connection: asyncpg.Connection

    async def read(self, body: Body[T]) -> T:
        """Run a body that only reads.

        Raises:
            StoreUnavailable: the server has gone, and the snapshot with it.
        """
        place = self.store.place
        transaction = PostgresTransaction(self.connection, place.schema, self.store.clock, readonly=True)
        transaction.begun = True
        try:
            return await transaction.drive(body)  # type: ignore[no-any-return]
        except Failed as failed:
            raise told(place, failed.fault) from failed.fault


@dataclass(frozen=True, slots=True)
class _Done:
    value: Any
    fault: Exception | None
    """What the body itself raised."""


@dataclass(frozen=True, slots=True)
class _Repeat:
    cause: str


def is_definite(fault: BaseException) -> bool:
    """Return whether an answer to COMMIT says that nothing was written. One that never came does not."""
    state = getattr(fault, "sqlstate", None)
    return isinstance(fault, asyncpg.PostgresError) and state is not None and not state.startswith(("08", "57"))


def told(place: Place, fault: BaseException) -> Exception:
    """Return what to raise for a fault of the server. Its text is the server's, which names no value of ours."""
    state = getattr(fault, "sqlstate", None) or ""
    if isinstance(fault, ValueError) or state.startswith("22"):
        # Never the text: the driver's holds the value.
        return ValueError("a value has no place in PostgreSQL: text with NUL or a lone surrogate, or more than 64 bits")
    if state == "42501":
        return Misconfigured(f"{place}: {fault}; its roles are in docs/postgres.md")
    if state in MISSING:
        return Misconfigured(f"{place}: {fault}; run tidings migrate")
    if not state or state.startswith(AWAY) or state in AGAIN:
        return StoreUnavailable(f"{place}: {fault or type(fault).__name__}")
    return fault if isinstance(fault, Exception) else StoreUnavailable(str(fault))
