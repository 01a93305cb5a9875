"""One body on one connection: each operation becomes a statement, or waits with others to become one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import asyncpg

from streams.stores import postgres_sql as sql
from streams.stores.rows import key_of, row_of
from tidings import ports
from tidings.ports import Body, Key, Op, Row
from tidings.tables import LOCK_ORDER, SEQUENCES, TABLES

SERVER_FAULTS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
MADE_BY_LOCKS = frozenset({"state"})
"""Tables of which a lock meets new keys all the time: making and locking is one statement, in one order. Of the others
the rows are there nearly always: they are locked first, and what is missing is made in a second statement. Two that
meet there at the very moment when a third makes the row may deadlock, and one of them is repeated."""
Before = Callable[[Op | None], Awaitable[None]]
_NOTHING: Row = {}
BEGIN = "BEGIN"
BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class WrongOrder(AssertionError):
    """A transaction took its locks in an order that can deadlock."""


class NotAlone(Exception):
    """A reader that was taken for one of a single question asks another: it needs a snapshot for both."""


class Failed(Exception):
    """The server, or the way to it, did not do what was asked. The cause says what."""

    def __init__(self, fault: BaseException) -> None:
        super().__init__(type(fault).__name__)
        self.fault = fault


def lock_number(schema: str, name: str) -> int:
    """Return the advisory lock behind a named lock: 64 bits, signed, as PostgreSQL wants them."""
    return int.from_bytes(blake2b(f"{schema}\0{name}".encode(), digest_size=8).digest(), "big", signed=True)


@dataclass
class _Waiting:
    """Writes of one table that have not gone to the server. A key is in one of them at most."""

    puts: dict[Key, Row] = field(default_factory=dict)
    inserts: dict[Key, Row] = field(default_factory=dict)
    deletes: dict[Key, None] = field(default_factory=dict)


class PostgresTransaction:
    """Drives one body over one connection, up to its commit, which is not its affair."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        schema: str,
        clock: Callable[[], int],
        *,
        readonly: bool = False,
        alone: bool = False,
        before: Before | None = None,
    ) -> None:
        self.connection = connection
        self.schema = schema
        self.clock = clock
        self.readonly = readonly
        self.alone = alone
        """For a reader that asks one question: a statement is a snapshot by itself, and needs no transaction around it."""
        self.before = before
        self.begun = False
        self.asked = False
        self.wrote = False
        """Whether anything that lasts was sent; a row that only a lock has made is no such thing."""
        self._rank = -1
        self._waiting: dict[str, _Waiting] = {}
        self._made: dict[str, set[Key]] = {}
        """Rows that a lock has made and nobody has put yet."""
        self._held: dict[str, dict[Key, Row | None]] = {}
        """Rows that are locked and there, as the server has them; None: made by a lock."""

    async def drive(self, body: Body[Any]) -> Any:
        """Run the body and send all of its writes.

        Raises:
            Failed: the server did not do something.
        """
        steps = body()
        reply: Any = None
        try:
            while True:
                op = steps.send(reply)
                if self.readonly and not isinstance(op, ports.READS):
                    text = f"a reader asked for {type(op).__name__}"
                    raise TypeError(text)
                if self.before is not None:
                    await self.before(op)
                reply = getattr(self, f"_{type(op).__name__.lower()}")(op)
                if reply is not None and not isinstance(op, ports.Now):
                    reply = await reply
        except StopIteration as stop:
            value = stop.value
        finally:
            steps.close()
        if self._waiting or self.wrote:
            for table, made in self._made.items():
                self._delete(ports.Delete(table, list(made - self._wait(table).puts.keys())))
            await self._flush(list(self._waiting))
        if self.before is not None:
            await self.before(None)
        return value

    async def execute(self, statement: str) -> str:
        """Send a statement without parameters; return its tag."""
        try:
            return await self.connection.execute(statement)
        except SERVER_FAULTS as fault:
            raise Failed(fault) from fault

    async def _fetch(self, statement: str, values: Sequence[object]) -> list[Any]:
        if not self.alone:
            await self._begin()
        elif self.asked:
            raise NotAlone
        self.asked = True
        try:
            return await self.connection.fetch(statement, *values)
        except SERVER_FAULTS as fault:
            raise Failed(fault) from fault

    async def _begin(self, and_then: str = "") -> None:
        if not self.begun:
            self.begun = True
            await self.execute((BEGIN_READING if self.readonly else BEGIN) + and_then)
        elif and_then:
            await self.execute(and_then.removeprefix("; "))

    # -- operations that are answered

    def _now(self, _: ports.Now) -> int:
        return self.clock()

    async def _lock(self, op: ports.Lock) -> dict[Key, Row | None]:
        rank = LOCK_ORDER.index(op.table)
        if rank < self._rank:
            text = f"{op.table} is locked after {LOCK_ORDER[self._rank]}"
            raise WrongOrder(text)
        self._rank = rank
        await self._flush([op.table])
        if not op.keys:
            return {}
        keys = sorted(set(op.keys))
        found: dict[Key, Row] = {}
        if op.skip_locked or op.table not in MADE_BY_LOCKS:
            columns = _columns(keys, TABLES[op.table].key)
            found = self._rows(op.table, await self._fetch(sql.lock(op.table, skip_locked=op.skip_locked), columns))
        missing = () if op.skip_locked else [key for key in keys if key not in found]
        if missing:
            found |= await self._make_and_lock(op.table, missing)
        made = self._made.get(op.table, ())
        seen = {key: None if key in made else row for key, row in found.items()}
        self._held.setdefault(op.table, {}).update(seen)
        # Copies: what a body does to its rows is no news of what the server has.
        return {key: None if (row := seen[key]) is None else dict(row) for key in op.keys if key in seen}

    async def _make_and_lock(self, table: str, keys: Sequence[Key]) -> dict[Key, Row]:
        """Lock rows of which any may be missing, in one order; those that were made hold nothing."""
        made, width = self._made.setdefault(table, set()), TABLES[table].key
        news = {tuple(key) for key in await self._fetch(sql.make_and_lock(table), _columns(keys, width))}
        made |= news
        there = [key for key in keys if key not in news]
        # A statement of its own: it sees what was committed while the lock was waited for.
        found = self._rows(table, await self._fetch(sql.read(table), _columns(there, width))) if there else {}
        return dict.fromkeys(news, _NOTHING) | found

    async def _read(self, op: ports.Read) -> dict[Key, Row]:
        await self._flush([op.table])
        if not op.keys:
            return {}
        columns = _columns(list(dict.fromkeys(op.keys)), TABLES[op.table].key)
        found = self._rows(op.table, await self._fetch(sql.read(op.table), columns))
        made = self._made.get(op.table, ())
        return {key: found[key] for key in op.keys if key in found and key not in made}

    async def _find(self, op: ports.Find) -> list[Row]:
        await self._flush([op.table])
        made = self._made.get(op.table, ())
        return self._list(op.table, await self._fetch(*sql.find(op, len(made))), op.limit)

    async def _findeach(self, op: ports.FindEach) -> dict[tuple[Any, ...], list[Row]]:
        await self._flush([op.table])
        found: dict[tuple[Any, ...], list[Row]] = {one: [] for one in op.equals}
        if not found:
            return found
        made = self._made.get(op.table, ())
        names = sql.index_columns(op.table, op.index)[: len(op.equals[0])]
        bound = () if op.upto is None else (op.upto,)
        rows = await self._fetch(sql.find_each(op, len(made)), [*_columns(list(found), len(names)), *bound])
        for row in self._list(op.table, rows, None):
            one = found[tuple(row[name] for name in names)]
            if op.limit is None or len(one) < op.limit:
                one.append(row)
        return found

    async def _scan(self, op: ports.Scan) -> list[Row]:
        await self._flush([op.table])
        made = self._made.get(op.table, ())
        return self._list(op.table, await self._fetch(*sql.scan(op, len(made))), op.limit)

    async def _nextseq(self, op: ports.NextSeq) -> int:
        if op.name not in SEQUENCES:
            text = f"{op.name} is no sequence; tidings.tables.SEQUENCES names them"
            raise ValueError(text)
        return int((await self._fetch(f"SELECT nextval('seq_{op.name}')", ()))[0][0])

    async def _share(self, op: ports.Share) -> None:
        await self._named(op.name, "pg_advisory_xact_lock_shared")

    async def _exclude(self, op: ports.Exclude) -> None:
        await self._named(op.name, "pg_advisory_xact_lock")

    async def _named(self, name: str, function: str) -> None:
        if self._rank >= 0:
            text = f"the named lock {name} is taken after {LOCK_ORDER[self._rank]}"
            raise WrongOrder(text)
        await self._begin(f"; SELECT {function}({lock_number(self.schema, name)})")

    # -- writes

    def _put(self, op: ports.Put) -> None:
        waiting, key_from = self._wait(op.table), key_of(op.table)
        held, made = self._held.setdefault(op.table, {}), self._made.get(op.table, ())
        for row in op.rows:
            key = key_from(row)
            if op.only and not any(key in one for one in (held, made, waiting.puts, waiting.inserts, waiting.deletes)):
                # As if it had been read with other values there: these columns are written, and no other right is needed.
                held[key] = {**row, **dict.fromkeys(op.only, _NOTHING)}
            waiting.inserts.pop(key, None)
            waiting.deletes.pop(key, None)
            waiting.puts[key] = row

    def _delete(self, op: ports.Delete) -> None:
        waiting = self._wait(op.table)
        for key in op.keys:
            waiting.puts.pop(key, None)
            waiting.inserts.pop(key, None)
            waiting.deletes[key] = None

    def _insert(self, op: ports.Insert) -> Any:
        if not op.blind:
            return self._insert_and_tell(op)
        waiting, key_from, made = self._wait(op.table), key_of(op.table), self._made.get(op.table, ())
        for row in op.rows:
            key = key_from(row)
            if key in waiting.puts or key in waiting.inserts:
                continue
            if key in waiting.deletes or key in made:
                waiting.deletes.pop(key, None)
                waiting.puts[key] = row
            else:
                waiting.inserts[key] = row
        return None

    async def _insert_and_tell(self, op: ports.Insert) -> list[bool]:
        await self._flush([op.table])
        key_from, made = key_of(op.table), self._made.get(op.table, set())
        rows: dict[Key, Row] = {}
        for row in op.rows:
            rows.setdefault(key_from(row), row)
        fresh = {key for key in rows if key in made}
        if fresh:
            self._put(ports.Put(op.table, [rows.pop(key) for key in fresh]))
            await self._flush([op.table])
        if rows:
            self.wrote = True
            ordered = [rows[key] for key in sorted(rows)]
            fresh |= {
                tuple(key)
                for key in await self._fetch(
                    sql.insert_and_tell(op.table), _arrays(ordered, sql.all_names(TABLES[op.table]))
                )
            }
        told = []
        for row in op.rows:
            key = key_from(row)
            told.append(key in fresh)
            fresh.discard(key)
        return told

    def _wait(self, table: str) -> _Waiting:
        if table not in self._waiting:
            self._waiting[table] = _Waiting()
        return self._waiting[table]

    async def _flush(self, tables: Sequence[str]) -> None:
        """Send what waits for some tables, as one statement: its parts have no key in common, so their order is free."""
        parts: list[str] = []
        values: list[object] = []
        for table in tables:
            waiting = self._waiting.pop(table, None)
            if waiting is None:
                continue
            held = self._held.get(table, {})
            known = [(held[key], row) for key, row in sorted(waiting.puts.items()) if key in held and row != held[key]]
            if known:
                columns = _changed(table, known)
                parts.append(sql.update(table, columns, len(values) + 1))
                values += _arrays([row for _, row in known], (*TABLES[table].key_names, *columns))
            news = {key: row for key, row in waiting.puts.items() if key not in held}
            for statement, rows in ((sql.put, news), (sql.insert, waiting.inserts)):
                if rows:
                    parts.append(statement(table, len(values) + 1))
                    values += _arrays([rows[key] for key in sorted(rows)], sql.all_names(TABLES[table]))
            if waiting.deletes:
                parts.append(sql.delete(table, len(values) + 1))
                values += _columns(sorted(waiting.deletes), TABLES[table].key)
            self._settle(table, waiting)
        if not parts:
            return
        self.wrote = True
        *others, last = parts
        before = ", ".join(f"p{at} AS ({part})" for at, part in enumerate(others))
        await self._fetch(f"WITH {before} {last}" if others else last, values)

    def _settle(self, table: str, waiting: _Waiting) -> None:
        """Note what the server has after a flush."""
        held, made = self._held.get(table, {}), self._made.get(table, set())
        for key, row in waiting.puts.items():
            made.discard(key)
            if key in held:
                held[key] = row
        for key in waiting.deletes:
            made.discard(key)
            held.pop(key, None)

    @staticmethod
    def _rows(table: str, found: Iterable[Any]) -> dict[Key, Row]:
        make, width = row_of(table), TABLES[table].key
        return {tuple(values[:width]): make(values) for values in found}

    def _list(self, table: str, found: Iterable[Any], limit: int | None) -> list[Row]:
        rows = list(map(row_of(table), found))
        if made := self._made.get(table):
            key_from = key_of(table)
            rows = [row for row in rows if key_from(row) not in made]
        return rows if limit is None else rows[:limit]


def _changed(table: str, pairs: Iterable[tuple[Row | None, Row]]) -> tuple[str, ...]:
    """Return the columns in which any row is another than it was."""
    names = sql.all_names(TABLES[table])[TABLES[table].key :]
    found: set[str] = set()
    for old, new in pairs:
        if old is None:
            return names
        found |= {name for name in names if old[name] != new[name]}
    return tuple(name for name in names if name in found)


def _arrays(rows: Sequence[Row], names: Sequence[str]) -> list[list[object]]:
    return [[row[name] for row in rows] for name in names]


def _columns(keys: Sequence[Key], width: int) -> list[list[object]]:
    return [[key[at] for key in keys] for at in range(width)]
