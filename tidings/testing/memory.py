"""A store in memory that locks by key, so that interleavings are as real as on a database server.

Between any two operations it awaits `pause(label)`, before and after every commit as well: a test decides there who
goes on, and may close the coroutine, which is a crash: nothing is committed, every lock is free again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from tidings import ports
from tidings.ports import Body, Key, Op, Row
from tidings.tables import LOCK_ORDER, TABLES

T = TypeVar("T")
Pause = Callable[[str], Awaitable[None]]
OnCommit = Callable[[Mapping[str, Sequence[Row]], Mapping[str, Sequence[Key]]], None]


class Deadlock(Exception):
    """Transactions wait for each other; this one is rolled back and run again."""


class WrongOrder(AssertionError):
    """A transaction took its locks in an order that can deadlock."""


class MemoryStore:
    """See the module. `on_commit(written, deleted)` is told of every commit, in order."""

    def __init__(self, pause: Pause | None = None, clock: Callable[[], int] = lambda: 0) -> None:
        self.pause = pause
        self.clock = clock
        self.on_commit: OnCommit | None = None
        self.deadlocks = 0
        self._tables: dict[str, dict[Key, Row]] = {name: {} for name in TABLES}
        self._locks: dict[tuple[str, Key], _Transaction] = {}
        self._sharing: dict[str, set[_Transaction]] = {}
        self._excluding: dict[str, _Transaction] = {}
        self._numbers: dict[str, int] = {}

    def rows(self, table: str) -> list[Row]:
        """Return the committed rows of a table by key."""
        found = self._tables[table]
        return [dict(found[key]) for key in sorted(found)]

    async def run(self, body: Body[T], *, urgent: bool = False) -> T:
        """Run a transaction; see `ports.Store`."""
        while True:
            try:
                return await self._once(body)
            except Deadlock:
                self.deadlocks += 1

    async def read(self, body: Body[T]) -> T:
        """Run a body that only reads, at one instant."""
        transaction = _Transaction(self)
        steps = body()
        reply: Any = None
        try:
            while True:
                op = steps.send(reply)
                if not isinstance(op, ports.READS):
                    text = f"a reader asked for {type(op).__name__}"
                    raise TypeError(text)
                reply = transaction.do(op)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    async def _once(self, body: Body[T]) -> T:
        transaction = _Transaction(self)
        steps = body()
        reply: Any = None
        pause = self.pause
        try:
            while True:
                try:
                    op = steps.send(reply)
                except StopIteration as stop:
                    result = stop.value
                    break
                if pause is not None:
                    await pause(_label(op))
                while type(op) not in READS and (holder := transaction.blocked_by(op)) is not None:
                    transaction.waits_for(holder)
                    if pause is None:
                        text = f"{_label(op)} waits for another transaction, and nobody else can run"
                        raise RuntimeError(text)
                    await pause(f"blocked:{_label(op)}")
                transaction.waiting = None
                reply = transaction.do(op)
            if pause is not None:
                await pause("commit")
            transaction.commit()
        finally:
            steps.close()
            transaction.release()
        if pause is not None:
            await pause("committed")
        return result  # type: ignore[no-any-return]


READS = frozenset(ports.READS)
"""Operations that nothing blocks."""


@cache
def _word(kind: str, name: str) -> str:
    return f"{kind.lower()}:{name}"


def _label(op: Op) -> str:
    return _word(type(op).__name__, getattr(op, "table", "") or getattr(op, "name", ""))


@cache
def _columns_of(table: str, index: str) -> tuple[str, ...]:
    return next(one.columns for one in TABLES[table].indexes if one.name == index)


class _Transaction:
    """Writes that nobody else sees yet, and the locks that go with them."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.writes: dict[str, dict[Key, Row | None]] = {}
        self.held: list[tuple[str, Key]] = []
        self.named: list[str] = []
        self.rank = -1
        self.waiting: _Transaction | None = None

    def blocked_by(self, op: Op) -> _Transaction | None:
        """Return a transaction that stands in the way of an operation."""
        store = self.store
        if isinstance(op, ports.Lock):
            return None if op.skip_locked else self._holder(op.table, op.keys)
        if isinstance(op, (ports.Put, ports.Insert)):
            names = TABLES[op.table].key_names
            return self._holder(op.table, [tuple(row[name] for name in names) for row in op.rows])
        if isinstance(op, ports.Delete):
            return self._holder(op.table, op.keys)
        if isinstance(op, (ports.Share, ports.Exclude)):
            holder = store._excluding.get(op.name)  # noqa: SLF001 - two halves of one thing
            if holder is not None and holder is not self:
                return holder
            if isinstance(op, ports.Exclude):
                return next((other for other in store._sharing.get(op.name, ()) if other is not self), None)  # noqa: SLF001
        return None

    def _holder(self, table: str, keys: Sequence[Key]) -> _Transaction | None:
        locks = self.store._locks  # noqa: SLF001
        if not locks:
            return None
        for key in keys:
            holder = locks.get((table, key))
            if holder is not None and holder is not self:
                return holder
        return None

    def waits_for(self, holder: _Transaction) -> None:
        """Note whom this transaction waits for.

        Raises:
            Deadlock: they wait for this one, directly or not.
        """
        self.waiting = holder
        seen = holder
        while seen.waiting is not None:
            if seen.waiting is self:
                raise Deadlock
            seen = seen.waiting

    def do(self, op: Op) -> Any:
        """Carry out an operation that nothing blocks."""
        return getattr(self, f"_{type(op).__name__.lower()}")(op)

    def _now(self, _: ports.Now) -> int:
        return self.store.clock()

    def _lock(self, op: ports.Lock) -> dict[Key, Row | None]:
        rank = LOCK_ORDER.index(op.table)
        if rank < self.rank:
            text = f"{op.table} is locked after {LOCK_ORDER[self.rank]}"
            raise WrongOrder(text)
        self.rank = rank
        found: dict[Key, Row | None] = {}
        for key in op.keys:
            if op.skip_locked and self._holder(op.table, (key,)) is not None:
                continue
            self._take(op.table, key)
            found[key] = self._get(op.table, key)
        return found

    def _read(self, op: ports.Read) -> dict[Key, Row]:
        return {key: row for key in op.keys if (row := self._get(op.table, key)) is not None}

    def _find(self, op: ports.Find) -> list[Row]:
        columns = _columns_of(op.table, op.index)
        first, wanted = columns[0], op.equals[0] if op.equals else None
        equals = tuple(zip(columns[1:], op.equals[1:], strict=False))
        bound = columns[len(op.equals)] if len(op.equals) < len(columns) else None
        found = []
        for key, row in self._visible(op.table):
            # Most rows fail here; what is asked for is asked often.
            if (op.equals and row[first] != wanted) or (equals and any(row[name] != value for name, value in equals)):
                continue
            if bound is not None and (row[bound] is None or (op.upto is not None and row[bound] > op.upto)):
                continue
            if bound is not None and op.above is not None and row[bound] <= op.above:
                continue
            if op.after is not None and (row[bound], *key) <= op.after:  # type: ignore[index]
                continue
            found.append((tuple(_sortable(row[name]) for name in columns), key, row))
        found.sort(key=lambda one: one[:2], reverse=op.backwards)
        return [dict(row) for _, _, row in found[: op.limit]]

    def _findeach(self, op: ports.FindEach) -> dict[tuple[Any, ...], list[Row]]:
        return {one: self._find(find) for one, find in op.parts().items()}

    def _scan(self, op: ports.Scan) -> list[Row]:
        rows = sorted(self._visible(op.table), key=lambda one: one[0])
        return [dict(row) for key, row in rows if op.after is None or key > op.after][: op.limit]

    def _put(self, op: ports.Put) -> None:
        names = TABLES[op.table].key_names
        writes = self.writes.setdefault(op.table, {})
        for row in op.rows:
            key = tuple(row[name] for name in names)
            self._take(op.table, key)
            writes[key] = dict(row)

    def _insert(self, op: ports.Insert) -> list[bool]:
        names = TABLES[op.table].key_names
        writes = self.writes.setdefault(op.table, {})
        inserted = []
        for row in op.rows:
            key = tuple(row[name] for name in names)
            self._take(op.table, key)
            inserted.append(self._get(op.table, key) is None)
            if inserted[-1]:
                writes[key] = dict(row)
        return inserted

    def _delete(self, op: ports.Delete) -> None:
        writes = self.writes.setdefault(op.table, {})
        for key in op.keys:
            self._take(op.table, key)
            writes[key] = None

    def _nextseq(self, op: ports.NextSeq) -> int:
        numbers = self.store._numbers  # noqa: SLF001
        numbers[op.name] = numbers.get(op.name, 0) + 1
        return numbers[op.name]

    def _share(self, op: ports.Share) -> None:
        self._named(op.name)
        self.store._sharing.setdefault(op.name, set()).add(self)  # noqa: SLF001

    def _exclude(self, op: ports.Exclude) -> None:
        self._named(op.name)
        self.store._excluding[op.name] = self  # noqa: SLF001

    def _named(self, name: str) -> None:
        if self.rank >= 0:
            text = f"the named lock {name} is taken after {LOCK_ORDER[self.rank]}"
            raise WrongOrder(text)
        self.named.append(name)

    def _take(self, table: str, key: Key) -> None:
        place = (table, key)
        if place not in self.store._locks:  # noqa: SLF001
            self.store._locks[place] = self  # noqa: SLF001
            self.held.append(place)

    def _get(self, table: str, key: Key) -> Row | None:
        mine = self.writes.get(table)
        row = mine[key] if mine is not None and key in mine else self.store._tables[table].get(key)  # noqa: SLF001
        return None if row is None else dict(row)

    def _visible(self, table: str) -> list[tuple[Key, Row]]:
        committed = self.store._tables[table]  # noqa: SLF001
        mine = self.writes.get(table)
        if not mine:
            return list(committed.items())
        return [(key, row) for key, row in {**committed, **mine}.items() if row is not None]

    def commit(self) -> None:
        """Make every write visible at once."""
        written: dict[str, list[Row]] = {}
        deleted: dict[str, list[Key]] = {}
        for table, rows in self.writes.items():
            committed = self.store._tables[table]  # noqa: SLF001
            for key, row in rows.items():
                if row is None:
                    if committed.pop(key, None) is not None:
                        deleted.setdefault(table, []).append(key)
                else:
                    committed[key] = row
                    written.setdefault(table, []).append(row)
        if self.store.on_commit is not None:
            self.store.on_commit(written, deleted)

    def release(self) -> None:
        """Let go of every lock."""
        for place in self.held:
            del self.store._locks[place]  # noqa: SLF001
        self.held.clear()
        for name in self.named:
            self.store._sharing.get(name, set()).discard(self)  # noqa: SLF001
            if self.store._excluding.get(name) is self:  # noqa: SLF001
                del self.store._excluding[name]  # noqa: SLF001
        self.named.clear()


def _sortable(value: Any) -> tuple[bool, Any]:
    return (value is not None, value)
