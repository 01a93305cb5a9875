"""A store over another one: it reads through, and keeps what is written in memory. For trials, which touch nothing.

Its base is only ever asked to read, so no fault here can write anything. Give it a base that stands still (a snapshot):
a row that changes below it would be mixed with rows that it has read before. One transaction runs at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from streams.stores.rows import key_of
from tidings import ports
from tidings.ports import Body, Key, Op, Reader, Row, Transaction
from tidings.tables import LOCK_ORDER, TABLES

T = TypeVar("T")

BEYOND = 2**40
"""Numbers of sequences begin here: those of the base cannot be seen, and are all lower."""
Written = dict[str, dict[Key, Row | None]]
"""By table and key; None: deleted."""


class WrongOrder(AssertionError):
    """A transaction took its locks in an order that could deadlock on a database server."""


class OverlayStore:
    """See the module."""

    def __init__(self, base: Reader, clock: Callable[[], int]) -> None:
        self.base = base
        self.clock = clock
        self.written: Written = {}
        """What was committed here."""
        self._numbers: dict[str, int] = {}
        self._turn = asyncio.Lock()

    async def run(self, body: Body[T], *, urgent: bool = False) -> T:
        """Run a transaction; see `ports.Store`."""
        async with self._turn:
            transaction = _Transaction(self)
            result = await transaction.drive(body)
            for table, rows in transaction.written.items():
                self.written.setdefault(table, {}).update(rows)
            return result  # type: ignore[no-any-return]

    async def read(self, body: Body[T]) -> T:
        """Run a body that only reads."""
        async with self._turn:
            return await _Transaction(self, readonly=True).drive(body)  # type: ignore[no-any-return]

    def number(self, name: str) -> int:
        """Return the next number of a sequence."""
        self._numbers[name] = self._numbers.get(name, BEYOND) + 1
        return self._numbers[name]


class _Transaction:
    """Drives one body; what it writes lies over what was committed here, and that over the base."""

    def __init__(self, store: OverlayStore, *, readonly: bool = False) -> None:
        self.store = store
        self.readonly = readonly
        self.written: Written = {}
        self.rank = -1

    async def drive(self, body: Body[Any]) -> Any:
        steps = body()
        reply: Any = None
        try:
            while True:
                op = steps.send(reply)
                if self.readonly and not isinstance(op, ports.READS):
                    text = f"a reader asked for {type(op).__name__}"
                    raise TypeError(text)
                reply = await getattr(self, f"_{type(op).__name__.lower()}")(op)
        except StopIteration as stop:
            return stop.value
        finally:
            steps.close()

    def _over(self, table: str) -> Mapping[Key, Row | None]:
        """Return the rows of a table that are not the base's."""
        return {**self.store.written.get(table, {}), **self.written.get(table, {})}

    async def _base(self, op: Op) -> Any:
        def body() -> Transaction[Any]:
            return (yield op)

        return await self.store.base.read(body)

    # -- what is read

    async def _now(self, _: ports.Now) -> int:
        return self.store.clock()

    async def _read(self, op: ports.Read) -> dict[Key, Row]:
        over = self._over(op.table)
        below = [key for key in dict.fromkeys(op.keys) if key not in over]
        found: dict[Key, Row | None] = {**over, **(await self._base(ports.Read(op.table, below)) if below else {})}
        return {key: dict(row) for key in op.keys if (row := found.get(key)) is not None}

    async def _lock(self, op: ports.Lock) -> dict[Key, Row | None]:
        rank = LOCK_ORDER.index(op.table)
        if rank < self.rank:
            text = f"{op.table} is locked after {LOCK_ORDER[self.rank]}"
            raise WrongOrder(text)
        self.rank = rank
        return dict.fromkeys(op.keys) | await self._read(ports.Read(op.table, op.keys))

    async def _find(self, op: ports.Find) -> list[Row]:
        columns = next(index.columns for index in TABLES[op.table].indexes if index.name == op.index)
        over, key_from = self._over(op.table), key_of(op.table)
        # As many more as may be hidden by what lies over them.
        limit = None if op.limit is None else op.limit + len(over)
        below = await self._base(replace(op, limit=limit))
        rows = [row for row in below if key_from(row) not in over]
        rows += [dict(row) for row in over.values() if row is not None and _matches(row, op, columns)]
        rows.sort(
            key=lambda row: ([(row[name] is not None, row[name]) for name in columns], key_from(row)),
            reverse=op.backwards,
        )
        return rows[: op.limit]

    async def _findeach(self, op: ports.FindEach) -> dict[tuple[Any, ...], list[Row]]:
        return {one: await self._find(find) for one, find in op.parts().items()}

    async def _scan(self, op: ports.Scan) -> list[Row]:
        over, key_from = self._over(op.table), key_of(op.table)
        limit = None if op.limit is None else op.limit + len(over)
        rows = [row for row in await self._base(ports.Scan(op.table, op.after, limit)) if key_from(row) not in over]
        rows += [dict(row) for key, row in over.items() if row is not None and (op.after is None or key > op.after)]
        rows.sort(key=key_from)
        return rows[: op.limit]

    # -- what is written

    async def _put(self, op: ports.Put) -> None:
        self.written.setdefault(op.table, {}).update({key_of(op.table)(row): dict(row) for row in op.rows})

    async def _insert(self, op: ports.Insert) -> list[bool]:
        key_from = key_of(op.table)
        known = set(await self._read(ports.Read(op.table, [key_from(row) for row in op.rows])))
        written = self.written.setdefault(op.table, {})
        inserted = []
        for row in op.rows:
            key = key_from(row)
            inserted.append(key not in known)
            if key not in known:
                written[key] = dict(row)
                known.add(key)
        return inserted

    async def _delete(self, op: ports.Delete) -> None:
        self.written.setdefault(op.table, {}).update(dict.fromkeys(op.keys))

    async def _nextseq(self, op: ports.NextSeq) -> int:
        return self.store.number(op.name)

    async def _share(self, op: ports.Share) -> None:
        self._named(op.name)

    async def _exclude(self, op: ports.Exclude) -> None:
        self._named(op.name)

    def _named(self, name: str) -> None:
        # One transaction at a time: every named lock is free. Its place in the order is checked all the same.
        if self.rank >= 0:
            text = f"the named lock {name} is taken after {LOCK_ORDER[self.rank]}"
            raise WrongOrder(text)


def _matches(row: Row, op: ports.Find, columns: tuple[str, ...]) -> bool:
    if any(row[name] != value for name, value in zip(columns, op.equals, strict=False)):
        return False
    if len(op.equals) == len(columns):
        return True
    bound = row[columns[len(op.equals)]]
    if bound is None or (op.upto is not None and bound > op.upto):
        return False
    if op.after is not None and (bound, *key_of(op.table)(row)) <= op.after:
        return False
    return op.above is None or bound > op.above
