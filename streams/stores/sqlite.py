"""The embedded store: one SQLite file, one writer thread with a priority queue, readers beside it.

WAL with `synchronous=FULL`: what `run` has returned survives the death of the process and of the machine. Bodies that
wait together share one commit, each in a savepoint of its own; deliveries go before decisions. One process owns the
file, by a lock beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from streams.stores.counts import Unsent, count_unsent
from streams.stores.rows import row_of, values_of
from streams.stores.sqlite_format import APPLICATION, FORMAT, names, prepare
from tidings import ports
from tidings.errors import Misconfigured
from tidings.ports import Body, Key, Row, StoreUnavailable
from tidings.tables import LOCK_ORDER, TABLES, Table

T = TypeVar("T")

GROUP = 64
"""Bodies that share one commit at most."""
URGENT_IN_A_ROW = 256
"""After so many urgent bodies one that is not urgent has its turn, so that nobody starves."""
VARIABLES = 900
"""Variables in one statement, below SQLite's smallest limit."""


TOGETHER = (32, 8)
"""Rows that one statement writes where there are so many. Python's lock is let go of and taken again for each statement,
and a fifth of the writer's time went into that."""


class WrongOrder(AssertionError):
    """A transaction took its locks in an order that could deadlock on a database server."""


@dataclass(order=True)
class _Job:
    rank: tuple[int, int]
    body: Body[Any] = field(compare=False)
    settle: Callable[[Any, BaseException | None], None] = field(compare=False)


class SqliteStore:
    """See the module. Open with `await SqliteStore.open(path)`, close with `await store.close()`."""

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        self.path = path
        self.clock = clock
        self._jobs: queue.PriorityQueue[_Job] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._owner = _own(path)
        try:
            _connect(path, write=True).close()
            self._lock = threading.Lock()
            self._readers: list[sqlite3.Connection] = []
            self._closed = False
            self._thread = threading.Thread(target=self._write_forever, name="tidings-sqlite", daemon=True)
            self._thread.start()
        except BaseException:
            os.close(self._owner)
            raise

    @classmethod
    async def open(cls, path: Path, clock: Callable[[], int] | None = None) -> SqliteStore:
        """Open a file, or make it.

        Raises:
            Misconfigured: another process has it, or it is not ours.
        """
        return cls(path, clock or (lambda: time.time_ns() // 1000))

    async def run(self, body: Body[T], *, urgent: bool = False) -> T:
        """Run a transaction; see `ports.Store`."""
        return await self._submit(body, 0 if urgent else 1)  # type: ignore[no-any-return]

    async def read(self, body: Body[T]) -> T:
        """Run a body that only reads, on a snapshot."""
        return await asyncio.to_thread(self._read, body)

    async def unsent(self, *, within: float) -> Unsent:
        """Count what has not left, by whose it is, in at most `within` seconds.

        Raises:
            StoreUnavailable: the file cannot be read, or the time is over.
        """
        return await asyncio.to_thread(count_unsent, self.path, within=within)

    async def close(self) -> None:
        """Finish what waits, and let go of the file."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(_Job((2, next(self._numbers)), _stop, lambda _value, _fault: None))
        await asyncio.to_thread(self._thread.join)
        # A thread whose question was given up may still read: SQLite does not bear a connection closed under it.
        with self._lock:
            idle, self._readers = self._readers, []
        for connection in idle:
            connection.close()
        os.close(self._owner)

    async def _submit(self, body: Body[Any], priority: int) -> Any:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(value: Any, fault: BaseException | None) -> None:
            def tell() -> None:
                if future.cancelled():
                    return
                if fault is None:
                    future.set_result(value)
                else:
                    future.set_exception(fault)

            try:
                loop.call_soon_threadsafe(tell)
            except RuntimeError:
                return  # the loop is gone, and with it whoever waited

        self._jobs.put(_Job((priority, next(self._numbers)), body, settle))
        return await future

    # -- the writer's thread

    def _write_forever(self) -> None:
        connection = _connect(self.path, write=True)
        urgent_in_a_row = 0
        try:
            while True:
                group = self._group(urgent_in_a_row)
                if group[0].body is _stop:
                    return
                urgent_in_a_row = urgent_in_a_row + len(group) if group[-1].rank[0] == 0 else 0
                self._commit(connection, [job for job in group if job.body is not _stop])
                if group[-1].body is _stop:
                    return
        finally:
            connection.close()

    def _group(self, urgent_in_a_row: int) -> list[_Job]:
        found = [self._jobs.get()]
        while len(found) < GROUP and found[-1].body is not _stop:
            try:
                found.append(self._jobs.get_nowait())
            except queue.Empty:
                break
        if urgent_in_a_row >= URGENT_IN_A_ROW and found[-1].rank[0] == 0:
            self._promote(found)
        return found

    def _promote(self, group: list[_Job]) -> None:
        """Let the oldest body that is not urgent into a group that urgent ones have filled."""
        with self._jobs.mutex:
            waiting = [job for job in self._jobs.queue if job.rank[0] == 1]
            if waiting:
                oldest = min(waiting)
                self._jobs.queue.remove(oldest)
                self._jobs.queue.sort()
                group.append(oldest)

    def _commit(self, connection: sqlite3.Connection, group: Sequence[_Job]) -> None:
        done: list[tuple[_Job, Any, BaseException | None]] = []
        # A savepoint makes SQLite copy every page before it is changed; a body that is alone needs none.
        alone = len(group) == 1
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in group:
                if not alone:
                    connection.execute("SAVEPOINT one")
                try:
                    done.append((job, _Transaction(connection, self.clock).drive(job.body), None))
                except sqlite3.Error:
                    raise
                except BaseException as fault:  # noqa: BLE001 - it belongs to whoever asked
                    connection.execute("ROLLBACK" if alone else "ROLLBACK TO one")
                    done.append((job, None, fault))
                if not alone:
                    connection.execute("RELEASE one")
            if connection.in_transaction:
                connection.execute("COMMIT")
        except sqlite3.Error as fault:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            unavailable = StoreUnavailable(f"{self.path}: {fault}")
            unavailable.__cause__ = fault
            for job in group:
                job.settle(None, unavailable)
            return
        for job, value, failed in done:
            job.settle(value, failed)

    # -- readers

    def _read(self, body: Body[T]) -> T:
        with self._lock:
            connection = self._readers.pop() if self._readers else _connect(self.path, write=False)
        try:
            connection.execute("BEGIN")
            try:
                return _Transaction(connection, self.clock, readonly=True).drive(body)  # type: ignore[no-any-return]
            finally:
                connection.execute("ROLLBACK")
        finally:
            with self._lock:
                if self._closed:
                    connection.close()
                else:
                    self._readers.append(connection)


class SqliteReader:
    """Reads a file beside the process that owns it; it never writes, and needs no lock."""

    def __init__(self, path: Path, clock: Callable[[], int] | None = None) -> None:
        """Open the file.

        Raises:
            Misconfigured: there is none, or it is not ours.
        """
        if not path.is_file():
            text = f"there is no file {path}"
            raise Misconfigured(text)
        self.path = path
        self.clock = clock or (lambda: time.time_ns() // 1000)
        self._connection = _connect(path, write=False)
        try:
            found = [
                self._connection.execute(f"PRAGMA {word}").fetchone()[0] for word in ("application_id", "user_version")
            ]
        except sqlite3.DatabaseError as fault:
            self._connection.close()
            text = f"{path} is no SQLite file; name another one"
            raise Misconfigured(text) from fault
        if found != [APPLICATION, FORMAT]:
            self._connection.close()
            text = f"{path} is no file of this version of Tidings"
            raise Misconfigured(text)

    def read(self, body: Body[T]) -> T:
        """Run a body that only reads, on a snapshot."""
        if self._connection.in_transaction:
            return _Transaction(self._connection, self.clock, readonly=True).drive(body)  # type: ignore[no-any-return]
        with self.snapshot():
            return self.read(body)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all that is read inside be of one instant. The file's log grows meanwhile: for seconds, not for minutes."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def last_seq(self) -> int:
        """Return the number of the last row of the journal. One writer numbers and commits them in one order."""
        (found,) = self._connection.execute("SELECT max(seq) FROM journal").fetchone()
        return int(found or 0)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def _stop() -> ports.Transaction[None]:
    yield from ()


def _own(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(path.name + ".lock")
    handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        owner = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(handle)
        text = f"{path} is in use by process {owner}; stop it first, or name another file"
        raise Misconfigured(text) from fault
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
    return handle


def _connect(path: Path, *, write: bool) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    except sqlite3.Error as fault:
        raise StoreUnavailable(f"{path}: {fault}") from fault
    try:
        if write:
            prepare(connection, path)
        else:
            connection.execute("PRAGMA query_only=ON")
    except BaseException:
        connection.close()
        raise
    return connection


class _Transaction:
    """Drives one body over one connection."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], int], *, readonly: bool = False) -> None:
        self.connection = connection
        self.clock = clock
        self.readonly = readonly
        self.rank = -1

    def drive(self, body: Body[Any]) -> Any:
        steps = body()
        reply: Any = None
        try:
            while True:
                op = steps.send(reply)
                if self.readonly and not isinstance(op, ports.READS):
                    text = f"a reader asked for {type(op).__name__}"
                    raise TypeError(text)
                reply = getattr(self, f"_{type(op).__name__.lower()}")(op)
        except StopIteration as stop:
            return stop.value
        finally:
            steps.close()

    def _now(self, _: ports.Now) -> int:
        return self.clock()

    def _lock(self, op: ports.Lock) -> dict[Key, Row | None]:
        rank = LOCK_ORDER.index(op.table)
        if rank < self.rank:
            text = f"{op.table} is locked after {LOCK_ORDER[self.rank]}"
            raise WrongOrder(text)
        self.rank = rank
        found = self._rows(TABLES[op.table], op.keys)
        return dict.fromkeys(op.keys) | found

    def _read(self, op: ports.Read) -> dict[Key, Row]:
        return self._rows(TABLES[op.table], op.keys)

    def _rows(self, table: Table, keys: Sequence[Key]) -> dict[Key, Row]:
        make = row_of(table.name)
        width = table.key
        found: dict[Key, Row] = {}
        for part in _chunks(keys, VARIABLES // width):
            query = by_keys(table, len(part))
            for values in self.connection.execute(query, [value for key in part for value in key]):
                found[values[:width]] = make(values)
        return {key: found[key] for key in keys if key in found}

    def _find(self, op: ports.Find) -> list[Row]:
        table = TABLES[op.table]
        columns = next(index.columns for index in table.indexes if index.name == op.index)
        where = [f'"{name}" = ?' for name in columns[: len(op.equals)]]
        values: list[Any] = list(op.equals)
        if len(op.equals) < len(columns):
            bound = columns[len(op.equals)]
            where.append(f'"{bound}" IS NOT NULL')
            if op.upto is not None:
                where.append(f'"{bound}" <= ?')
                values.append(op.upto)
            if op.above is not None:
                where.append(f'"{bound}" > ?')
                values.append(op.above)
            if op.after is not None:
                where.append(f"({names((bound, *table.key_names))}) > ({', '.join('?' * len(op.after))})")
                values += op.after
        limit = "" if op.limit is None else f" LIMIT {int(op.limit)}"
        order = names(dict.fromkeys((*columns, *table.key_names)), down=op.backwards)
        query = f'SELECT * FROM "{table.name}" WHERE {" AND ".join(where)} ORDER BY {order}{limit}'
        return self._all(table, query, values)

    def _findeach(self, op: ports.FindEach) -> dict[tuple[Any, ...], list[Row]]:
        return {one: self._find(find) for one, find in op.parts().items()}

    def _scan(self, op: ports.Scan) -> list[Row]:
        table = TABLES[op.table]
        keys = names(table.key_names)
        where = "" if op.after is None else f" WHERE ({keys}) > ({', '.join('?' * table.key)})"
        limit = "" if op.limit is None else f" LIMIT {int(op.limit)}"
        return self._all(table, f'SELECT * FROM "{table.name}"{where} ORDER BY {keys}{limit}', list(op.after or ()))

    def _all(self, table: Table, query: str, values: Sequence[Any]) -> list[Row]:
        return list(map(row_of(table.name), self.connection.execute(query, values)))

    def _put(self, op: ports.Put) -> None:
        self._write("INSERT OR REPLACE", op.table, op.rows)

    def _insert(self, op: ports.Insert) -> list[bool]:
        if op.blind:
            self._write("INSERT OR IGNORE", op.table, op.rows)
            return []
        inserted = []
        statement = _insert_statement("INSERT OR IGNORE", op.table)
        for row in map(values_of(op.table), op.rows):
            cursor = self.connection.execute(statement, row)
            inserted.append(cursor.rowcount == 1)
        return inserted

    def _write(self, verb: str, name: str, rows: Sequence[Row]) -> None:
        values = list(map(values_of(name), rows))
        for number in TOGETHER:
            if len(values) >= number:
                end = len(values) // number * number
                parts = [tuple(chain.from_iterable(values[at : at + number])) for at in range(0, end, number)]
                self.connection.executemany(_insert_statement(verb, name, number), parts)
                values = values[end:]
        self.connection.executemany(_insert_statement(verb, name), values)

    def _delete(self, op: ports.Delete) -> None:
        where = " AND ".join(f'"{name}" = ?' for name in TABLES[op.table].key_names)
        self.connection.executemany(f'DELETE FROM "{op.table}" WHERE {where}', op.keys)

    def _nextseq(self, op: ports.NextSeq) -> int:
        query = "INSERT INTO sequences VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
        return int(self.connection.execute(query, (op.name,)).fetchone()[0])

    def _share(self, op: ports.Share) -> None:
        self._named(op.name)

    def _exclude(self, op: ports.Exclude) -> None:
        self._named(op.name)

    def _named(self, name: str) -> None:
        # One writer: every named lock is free. Its place in the order is checked all the same, for the other stores.
        if self.rank >= 0:
            text = f"the named lock {name} is taken after {LOCK_ORDER[self.rank]}"
            raise WrongOrder(text)


@cache
def _insert_statement(verb: str, name: str, number: int = 1) -> str:
    one = f"({', '.join('?' * len(TABLES[name].columns))})"
    return f'{verb} INTO "{name}" VALUES {", ".join([one] * number)}'


def by_keys(table: Table, number: int) -> str:
    """Return the query for rows by their keys, of so many."""
    one = f"({', '.join('?' * table.key)})"
    same = " AND ".join(f't."{name}" = k.column{at}' for at, name in enumerate(table.key_names, 1))
    # Of `(a, b) IN (VALUES …)` SQLite takes the first column alone, and reads all that share it, or the whole table.
    return f'SELECT t.* FROM (VALUES {", ".join([one] * number)}) k CROSS JOIN "{table.name}" t ON {same}'


def _chunks(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
