"""What every store promises (`tidings.ports`). A new store joins in the fixture `make`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.stores.migrate import migrate
from streams.stores.overlay import OverlayStore
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from streams.stores.sqlite import SqliteStore
from tests.services import database, empty
from tidings.ports import (
    Delete,
    Exclude,
    Find,
    FindEach,
    Insert,
    Lock,
    NextSeq,
    Now,
    Put,
    Read,
    Row,
    Scan,
    Share,
    Store,
    Transaction,
)
from tidings.testing.memory import MemoryStore


async def _turn(_: str) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def memory(_: Path) -> AsyncIterator[Store]:
    yield MemoryStore(_turn, lambda: 42)


@asynccontextmanager
async def postgres(place: Place) -> AsyncIterator[Store]:
    await empty(place)
    store = await PostgresStore.open(place, lambda: 42)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[Store]:
    store = await SqliteStore.open(folder / "store.db", lambda: 42)
    try:
        yield store
    finally:
        await store.close()


class Settling:
    """An overlay whose writes sink into its base after every second transaction: rows lie in both, and over each other."""

    def __init__(self) -> None:
        self.base = MemoryStore(clock=lambda: 42)
        self.overlay = OverlayStore(self.base, lambda: 42)
        self.turns = 0

    async def run(self, body: Any, *, urgent: bool = False) -> Any:
        self.turns += 1
        done = await self.overlay.run(body, urgent=urgent)
        if self.turns % 2 == 0:
            await self.base.run(self._sink)
        return done

    async def read(self, body: Any) -> Any:
        return await self.overlay.read(body)

    def _sink(self) -> Transaction[None]:
        for table, rows in self.overlay.written.items():
            yield Put(table, [row for row in rows.values() if row is not None])
            yield Delete(table, [key for key, row in rows.items() if row is None])
        self.overlay.written.clear()


@asynccontextmanager
async def overlay(_: Path) -> AsyncIterator[Store]:
    yield OverlayStore(MemoryStore(clock=lambda: 42), lambda: 42)


@asynccontextmanager
async def settling(_: Path) -> AsyncIterator[Store]:
    yield Settling()


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[Place | None]:
    """One database for the module; every store that is made on it finds it empty."""
    with database() as found:
        asyncio.run(migrate(found))
        yield found


@pytest.fixture(params=["memory", "sqlite", "overlay", "settling", pytest.param("postgres", marks=pytest.mark.live)])
def make(request: pytest.FixtureRequest) -> Callable[[Path], Any]:
    if request.param == "postgres":
        place = request.getfixturevalue("place")
        return lambda _: postgres(place)
    return {"memory": memory, "sqlite": sqlite, "overlay": overlay, "settling": settling}[request.param]


def floor(rule: str, w: int) -> Row:
    return {"rule": rule, "w": w}


def person(name: str, next_at: int | None = None, tenant: str = "t") -> Row:
    return {"tenant": tenant, "recipient": name, "linked_to": None, "profile": b"{}", "next_at": next_at, "rev": 0}


def journal(seq: int) -> Row:
    return {"seq": seq, "kind": "batch", "body": b"x"}


def run(make: Any, folder: Path, test: Callable[[Store], Any]) -> Any:
    async def whole() -> Any:
        async with make(folder) as store:
            return await test(store)

    return asyncio.run(whole())


def put(*rows: Row, table: str = "floors") -> Callable[[], Transaction[None]]:
    def body() -> Transaction[None]:
        yield Put(table, rows)

    return body


def everything(table: str) -> Callable[[], Transaction[list[Row]]]:
    def body() -> Transaction[list[Row]]:
        rows: list[Row] = yield Scan(table)
        return rows

    return body


def test_a_body_that_raises_writes_nothing_and_hurts_nobody(make: Any, tmp_path: Path) -> None:
    def bad() -> Transaction[None]:
        yield Put("floors", [floor("a", 1)])
        raise KeyError("ours")

    async def test(store: Store) -> None:
        results = await asyncio.gather(
            store.run(put(floor("b", 2))), store.run(bad), store.run(put(floor("c", 3))), return_exceptions=True
        )
        assert isinstance(results[1], KeyError)
        assert [row["rule"] for row in await store.read(everything("floors"))] == ["b", "c"]

    run(make, tmp_path, test)


def test_a_body_sees_its_own_writes_and_deletes(make: Any, tmp_path: Path) -> None:
    def body() -> Transaction[Any]:
        yield Put("recipients", [person("a", 5), person("b", 7), person("c")])
        yield Delete("recipients", [("t", "a")])
        found = yield Find("recipients", "by_next", (), upto=10)
        read = yield Read("recipients", [("t", "a"), ("t", "b")])
        scan = yield Scan("recipients")
        return [row["recipient"] for row in found], sorted(read), [row["recipient"] for row in scan]

    async def test(store: Store) -> None:
        await store.run(put(person("a", 1), table="recipients"))
        assert await store.run(body) == (["b"], [("t", "b")], ["b", "c"])

    run(make, tmp_path, test)


def test_a_lock_of_a_row_that_is_not_there_keeps_others_out(make: Any, tmp_path: Path) -> None:
    """Fifty increments of a counter that nobody has made yet: none is lost."""

    def body() -> Transaction[None]:
        row = (yield Lock("recipients", [("t", "n")]))["t", "n"]
        yield Put("recipients", [{**person("n"), "rev": 1 if row is None else row["rev"] + 1}])

    async def test(store: Store) -> None:
        await asyncio.gather(*(store.run(body) for _ in range(50)))
        assert (await store.read(everything("recipients")))[0]["rev"] == 50

    run(make, tmp_path, test)


def test_insert_keeps_what_is_there_and_says_so(make: Any, tmp_path: Path) -> None:
    def body() -> Transaction[Any]:
        return (yield Insert("floors", [floor("a", 9), floor("b", 2), floor("b", 3)]))

    async def test(store: Store) -> None:
        await store.run(put(floor("a", 1)))
        assert await store.run(body) == [False, True, False]
        assert [(row["rule"], row["w"]) for row in await store.read(everything("floors"))] == [("a", 1), ("b", 2)]

    run(make, tmp_path, test)


def test_many_rows_at_once_are_written_as_one_after_the_other(make: Any, tmp_path: Path) -> None:
    """Whatever their number: what was there stays where it is only inserted, and of a key that repeats the first."""

    async def test(store: Store) -> None:
        for number in (1, 7, 8, 9, 31, 32, 33, 75):
            names = [f"{number}-{n:02}" for n in range(number)]

            def body(names: list[str] = names, number: int = number) -> Transaction[None]:
                yield Put("floors", [floor(name, 1) for name in names])
                rows = [floor(name, 2) for name in (names[-1], f"{number}-new", *names, f"{number}-new")]
                yield Insert("floors", [*rows[:-1], floor(f"{number}-new", 3)], blind=True)

            await store.run(body)
            found = {row["rule"]: row["w"] for row in await store.read(everything("floors"))}
            mine = {name: w for name, w in found.items() if name.startswith(f"{number}-")}
            assert mine == {**dict.fromkeys(names, 1), f"{number}-new": 2}

    run(make, tmp_path, test)


def test_concurrent_inserts_of_one_key_succeed_once(make: Any, tmp_path: Path) -> None:
    def body() -> Transaction[Any]:
        return (yield Insert("floors", [floor("a", 1)]))

    async def test(store: Store) -> None:
        results = await asyncio.gather(*(store.run(body) for _ in range(20)))
        assert sum(inserted for (inserted,) in results) == 1

    run(make, tmp_path, test)


def test_find_orders_bounds_limits_and_leaves_null_out(make: Any, tmp_path: Path) -> None:
    rows = [person("d", 3), person("a", 5), person("b", None), person("c", 3), person("e", 9), person("ä", -4)]

    def body() -> Transaction[Any]:
        every = yield Find("recipients", "by_next", ())
        some = yield Find("recipients", "by_next", (), upto=5, limit=3)
        one = yield Find("recipients", "by_next", (3,))
        above = yield Find("recipients", "by_next", (), upto=5, above=3)
        after = yield Find("recipients", "by_next", (), limit=2, after=(3, "t", "c"))
        last = yield Find("recipients", "by_next", (), upto=5, limit=3, backwards=True)
        same = yield Find("recipients", "by_next", (3,), limit=1, backwards=True)
        return [[row["recipient"] for row in found] for found in (every, some, one, above, after, last, same)]

    async def test(store: Store) -> None:
        await store.run(put(*rows, table="recipients"))
        assert await store.run(body) == [
            ["ä", "c", "d", "a", "e"], ["ä", "c", "d"], ["c", "d"], ["a"], ["d", "a"], ["a", "d", "c"],
            ["d"],
        ]  # fmt: skip

    run(make, tmp_path, test)


def test_find_each_gives_what_single_questions_give(make: Any, tmp_path: Path) -> None:
    def item(k: bytes, time: int) -> Row:
        return {"k": k, "time": time, "rank": 0, "source": "s", "ref": "r", "value": b"v"}

    def body() -> Transaction[Any]:
        yield Put("buffer", [item(b"b", 2)])
        keys = [(b"a",), (b"b",), (b"none",), (b"a",)]
        together = yield FindEach("buffer", "by_time", keys, limit=2)
        single = {}
        for key in keys:
            single[key] = yield Find("buffer", "by_time", key, limit=2)
        nothing = yield FindEach("buffer", "by_time", [])
        early = yield FindEach("buffer", "by_time", keys, limit=2, upto=1)
        assert early == {key: [row for row in rows if row["time"] <= 1] for key, rows in single.items()}
        return together, single, nothing

    async def test(store: Store) -> None:
        await store.run(put(*(item(b"a", time) for time in (3, 1, 2)), item(b"c", 1), table="buffer"))
        together, single, nothing = await store.run(body)
        assert together == single
        assert [row["time"] for row in together[b"a",]] == [1, 2]
        assert nothing == {}

    run(make, tmp_path, test)


def test_scan_goes_on_after_a_key(make: Any, tmp_path: Path) -> None:
    def page(after: Any) -> Callable[[], Transaction[Any]]:
        def body() -> Transaction[Any]:
            return (yield Scan("journal", after, 2))

        return body

    async def test(store: Store) -> None:
        await store.run(put(*(journal(n) for n in (5, 1, 3, 2, 4)), table="journal"))
        pages = [await store.read(page(after)) for after in (None, (2,), (4,), (5,))]
        assert [[row["seq"] for row in rows] for rows in pages] == [[1, 2], [3, 4], [5], []]

    run(make, tmp_path, test)


def test_a_sequence_never_repeats_a_number(make: Any, tmp_path: Path) -> None:
    def body() -> Transaction[int]:
        seq: int = yield NextSeq("journal")
        return seq

    async def test(store: Store) -> None:
        numbers = await asyncio.gather(*(store.run(body) for _ in range(30)))
        assert len(set(numbers)) == 30
        assert min(numbers) >= 1

    run(make, tmp_path, test)


def test_an_exclusive_lock_waits_for_those_who_share(make: Any, tmp_path: Path) -> None:
    log: list[str] = []

    def sharing(name: str) -> Callable[[], Transaction[None]]:
        def body() -> Transaction[None]:
            yield Share("epoch")
            log.append(f"{name}>")
            yield Now()
            yield Now()
            log.append(f"<{name}")

        return body

    def alone() -> Transaction[None]:
        yield Exclude("epoch")
        log.append("X>")
        yield Now()
        yield Now()
        log.append("<X")

    async def test(store: Store) -> None:
        await asyncio.gather(store.run(sharing("a")), store.run(alone), store.run(sharing("b")))
        assert log.index("<X") == log.index("X>") + 1

    run(make, tmp_path, test)


def test_locks_out_of_order_are_a_bug_that_is_told(make: Any, tmp_path: Path) -> None:
    def body() -> Transaction[None]:
        yield Lock("messages", [("m",)])
        yield Lock("recipients", [("t", "r")])

    def named() -> Transaction[None]:
        yield Lock("messages", [("m",)])
        yield Share("epoch")

    async def test(store: Store) -> None:
        with pytest.raises(AssertionError, match="recipients is locked after messages"):
            await store.run(body)
        with pytest.raises(AssertionError, match="epoch is taken after messages"):
            await store.run(named)

    run(make, tmp_path, test)


def test_a_reader_cannot_write(make: Any, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        for op in (Put("floors", [floor("a", 1)]), Lock("state", [(b"k",)]), NextSeq("n"), Share("x")):

            def body(op: Any = op) -> Transaction[None]:
                yield op

            with pytest.raises(TypeError, match="a reader asked for"):
                await store.read(body)

    run(make, tmp_path, test)


def test_the_clock_is_the_stores(make: Any, tmp_path: Path) -> None:
    def body() -> Transaction[int]:
        now: int = yield Now()
        return now

    async def test(store: Store) -> None:
        assert await store.run(body) == 42
        assert await store.read(body) == 42

    run(make, tmp_path, test)


def test_many_keys_in_one_operation(make: Any, tmp_path: Path) -> None:
    def body() -> Transaction[Any]:
        keys = [(n.to_bytes(16, "big"),) for n in range(3000)]
        held = yield Lock("state", keys)
        rows = [{"k": k, "class": "c", "tenant": "t", "key": "[]", "value": b"v", "due": None} for (k,) in keys]
        yield Put("state", rows)
        read = yield Read("state", keys)
        return len(held), set(held.values()), len(read)

    async def test(store: Store) -> None:
        assert await store.run(body) == (3000, {None}, 3000)

    run(make, tmp_path, test)


def test_a_skipped_lock_is_left_out(make: Any, tmp_path: Path) -> None:
    """Two claimers of ten messages side by side: each message goes to one of them."""

    def claim() -> Transaction[Any]:
        held = yield Lock("recipients", [("t", str(n)) for n in range(10)], skip_locked=True)
        mine = [row for row in held.values() if row is not None and row["rev"] == 0]
        yield Put("recipients", [{**row, "rev": 1} for row in mine])
        return [row["recipient"] for row in mine]

    async def test(store: Store) -> None:
        await store.run(put(*(person(str(n)) for n in range(10)), table="recipients"))
        taken = await asyncio.gather(*(store.run(claim) for _ in range(4)))
        assert sorted(name for names in taken for name in names) == [str(n) for n in range(10)]

    run(make, tmp_path, test)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcä"), st.one_of(st.none(), st.integers(-3, 3))),
        st.tuples(st.just("insert"), st.sampled_from("abcä"), st.integers(-3, 3)),
        st.tuples(st.just("delete"), st.sampled_from("abcä"), st.none()),
        st.tuples(st.just("find"), st.none(), st.one_of(st.none(), st.integers(-3, 3))),
        st.tuples(st.just("commit"), st.none(), st.none()),
        st.tuples(st.just("fail"), st.none(), st.none()),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_any_operations_give_what_a_dictionary_gives(make: Any, tmp_path_factory: Any, operations: Any) -> None:
    """A model as simple as can be: a committed dictionary, and one for the transaction under way."""
    parts: list[list[Any]] = [[]]
    for operation in operations:
        parts[-1].append(operation)
        if operation[0] in ("commit", "fail"):
            parts.append([])

    def body(part: Any) -> Callable[[], Transaction[Any]]:
        def inside() -> Transaction[Any]:
            seen: list[Any] = []
            for what, name, value in part:
                if what == "put":
                    yield Put("recipients", [person(name, value)])
                elif what == "insert":
                    seen.append((yield Insert("recipients", [person(name, value)])))
                elif what == "delete":
                    yield Delete("recipients", [("t", name)])
                elif what == "find":
                    rows = yield Find("recipients", "by_next", (), upto=value)
                    seen.append([(row["recipient"], row["next_at"]) for row in rows])
                elif what == "fail":
                    raise KeyError("ours")
            return seen

        return inside

    def model(part: Any, committed: dict[str, Any]) -> Any:
        mine, seen = dict(committed), list[Any]()
        for what, name, value in part:
            if what == "put":
                mine[name] = value
            elif what == "insert":
                seen.append([name not in mine])
                mine.setdefault(name, value)
            elif what == "delete":
                mine.pop(name, None)
            elif what == "find":
                rows = [(v, n) for n, v in mine.items() if v is not None and (value is None or v <= value)]
                seen.append([(n, v) for v, n in sorted(rows)])
            elif what == "fail":
                return None
        committed.clear()
        committed.update(mine)
        return seen

    async def test(store: Store) -> None:
        committed: dict[str, Any] = {}
        for part in parts:
            try:
                found = await store.run(body(part))
            except KeyError:
                found = None
            assert found == model(part, committed)
        rows = await store.read(everything("recipients"))
        assert {row["recipient"]: row["next_at"] for row in rows} == committed

    run(make, tmp_path_factory.mktemp("store"), test)
