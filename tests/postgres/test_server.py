"""What only a server can show: hot keys, cut connections, a restart under load, a commit whose answer was lost."""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import asyncpg
import pytest

from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from streams.stores.postgres_connections import SETTINGS
from tests.servers import PrivatePostgres
from tests.services import database, empty, own_postgres
from tidings.errors import Misconfigured
from tidings.ports import (
    Body,
    CommitUnknown,
    Delete,
    Exclude,
    Find,
    Insert,
    Lock,
    NextSeq,
    Put,
    Read,
    Row,
    Scan,
    Share,
    StoreUnavailable,
    Transaction,
)

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with database() as found:
        asyncio.run(migrate(found))
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivatePostgres]:
    with own_postgres(tmp_path_factory.mktemp("server"), {"max_connections": "30", "shared_buffers": "16MB"}) as found:
        asyncio.run(migrate(found.place()))
        yield found


@contextlib.asynccontextmanager
async def opened(place: Place, **sizes: int) -> Any:
    await empty(place)
    store = await PostgresStore.open(place, lambda: 42, **sizes)
    try:
        yield store
    finally:
        await store.close()


def state(number: int, value: int) -> Row:
    return {
        "k": number.to_bytes(16, "big"),
        "class": "c",
        "tenant": "t",
        "key": "[]",
        "value": b"%d" % value,
        "due": None,
    }


def floor(rule: str, w: int) -> Row:
    return {"rule": rule, "w": w}


def adding(keys: list[int]) -> Body[None]:
    """Add one to each of some counters; a counter that reaches a multiple of seven is deleted, and begins anew."""

    def body() -> Transaction[None]:
        yield Share("epoch")
        held = yield Lock("state", [(key.to_bytes(16, "big"),) for key in keys])
        yield NextSeq("journal")
        puts, sums, gone = [], [], []
        for key, ((k,), row) in zip(keys, held.items(), strict=True):
            value = 1 if row is None else int(row["value"]) + 1
            if value == 7:
                gone.append((k,))
            else:
                puts.append(state(key, value))
            sums.append(f"{key}")
        if gone:
            yield Delete("state", gone)
        if puts:
            yield Put("state", puts)
        floors = yield Read("floors", [(one,) for one in sums])
        yield Put("floors", [floor(one, floors.get((one,), floor(one, 0))["w"] + 1) for one in sums])

    return body


def everything(table: str) -> Body[list[Row]]:
    def body() -> Transaction[list[Row]]:
        return (yield Scan(table))  # type: ignore[no-any-return]

    return body


async def until(asked: Callable[[], Awaitable[bool]], wanted: bool) -> None:
    """Ask, often, until the answer is the one that is wanted."""
    while await asked() != wanted:  # noqa: ASYNC110 - the other side is a server
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("ordered", [True, False], ids=["in order", "as they come"])
def test_hot_keys_that_come_and_go_lose_no_update_and_show_no_deadlock(place, ordered):
    """Three stores, as three processes would have them, over forty keys, in whatever order the bodies name them."""

    async def body():
        chance = Random(3)
        jobs = [[chance.randrange(40) for _ in range(20)] for _ in range(150)]
        jobs = [list(dict.fromkeys(job)) for job in jobs]
        if ordered:
            jobs = [sorted(job) for job in jobs]
        wanted = Counter(key for job in jobs for key in job)
        async with opened(place) as first, opened(place) as second, opened(place) as third:
            stores = (first, second, third)
            await asyncio.gather(*(stores[at % 3].run(adding(job)) for at, job in enumerate(jobs)))
            floors = {row["rule"]: row["w"] for row in await first.read(everything("floors"))}
            left = {row["k"]: int(row["value"]) for row in await first.read(everything("state"))}
            assert floors == {str(key): count for key, count in wanted.items()}
            assert left == {key.to_bytes(16, "big"): count % 7 for key, count in wanted.items() if count % 7}
            assert sum(store.repeats["deadlock"] for store in stores) == 0

    asyncio.run(body())


def test_a_deadlock_repeats_a_body_from_its_start_and_is_counted(place):
    """Two bodies write the same rows without a lock, in two orders: one is repeated, nobody is told."""
    began: list[str] = []

    def writing(first: str, second: str) -> Body[None]:
        def body() -> Transaction[None]:
            began.append(first)
            for rule in (first, second):
                yield Insert("floors", [floor(rule, 0)])  # answered, so it goes at once
                row = (yield Read("floors", [(rule,)]))[rule,]
                yield Put("floors", [{**row, "w": row["w"] + 1}])
                yield Read("floors", [])  # sends what waits
                yield NextSeq("journal")

        return body

    async def body():
        async with opened(place) as store:
            await store.run(writing("a", "b"))
            began.clear()
            first = 0
            both = asyncio.Event()

            async def before(op: object) -> None:
                nonlocal first
                if isinstance(op, NextSeq) and first < 2:
                    first += 1
                    if first == 2:
                        both.set()
                    await both.wait()

            store.before = before
            await asyncio.gather(store.run(writing("a", "b")), store.run(writing("b", "a")))
            assert [row["w"] for row in await store.read(everything("floors"))] == [3, 3]
            assert store.repeats == {"deadlock": 1}
            assert len(began) == 3

    asyncio.run(body())


def test_a_row_that_only_a_lock_has_made_is_seen_by_nobody(place):
    """Neither while the lock is held, nor afterwards, nor by the body itself; and whoever waits gets the next turn."""

    async def body():
        async with opened(place) as store, opened(place) as other:
            inside, leave = asyncio.Event(), asyncio.Event()

            async def before(op: object) -> None:
                if op is None:
                    inside.set()
                    await leave.wait()

            def locking() -> Transaction[Any]:
                held = yield Lock("state", [(b"k" * 16,)])
                again = yield Lock("state", [(b"k" * 16,)])
                read = yield Read("state", [(b"k" * 16,)])
                found = yield Find("state", "by_due", ("",), limit=5)
                scan = yield Scan("state", limit=1)
                yield Put("floors", [floor("a", 1)])
                return held, again, read, found, scan

            store.before = before
            running = asyncio.create_task(store.run(locking))
            await inside.wait()
            assert await other.read(everything("state")) == []
            waiting = asyncio.create_task(other.run(adding([int.from_bytes(b"k" * 16, "big")])))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            leave.set()
            nothing = {(b"k" * 16,): None}
            assert await running == (nothing, nothing, {}, [], [])
            await waiting
            assert [row["value"] for row in await other.read(everything("state"))] == [b"1"]

    asyncio.run(body())


def test_what_a_body_does_to_a_row_that_it_was_given_is_written_when_it_is_put(place):
    def body() -> Transaction[None]:
        (row,) = (yield Lock("state", [(state(1, 1)["k"],)])).values()
        row["value"] = b"2"
        yield Put("state", [row])

    def setting() -> Transaction[None]:
        yield Put("state", [state(1, 1)])

    async def test():
        async with opened(place) as store:
            await store.run(setting)
            await store.run(body)
            assert [row["value"] for row in await store.read(everything("state"))] == [b"2"]

    asyncio.run(test())


def test_a_reader_of_one_question_needs_no_transaction_and_one_of_several_sees_one_instant(place):
    """Also the first of them, which the store takes for one of a single question."""

    def add(rule: str) -> None:
        def puts() -> Transaction[None]:
            yield Put("floors", [{"rule": rule, "w": 1}])

        async def adding() -> None:
            other = await PostgresStore.open(place)
            await other.run(puts)
            await other.close()

        # A body is no coroutine: what happens between two of its questions happens in another thread's loop.
        thread = threading.Thread(target=lambda: asyncio.run(adding()))
        thread.start()
        thread.join()

    def one() -> Transaction[Any]:
        return (yield Scan("floors"))

    def several(rule: str) -> Body[Any]:
        def body() -> Transaction[Any]:
            before = yield Scan("floors")
            add(rule)
            return before, (yield Scan("floors"))

        return body

    async def test():
        async with opened(place) as store:
            assert await store.read(one) == []
            for rule in ("a", "b"):
                before, after = await store.read(several(rule))
                assert before == after
            assert [row["rule"] for row in await store.read(one)] == ["a", "b"]

    asyncio.run(test())


def test_deliveries_do_not_wait_for_decisions_and_readers_for_neither(place):
    async def body():
        async with opened(place, writers=1) as store:
            leave = asyncio.Event()

            async def before(op: object) -> None:
                if isinstance(op, Exclude):
                    await leave.wait()

            def slow() -> Transaction[None]:
                yield Exclude("slow")

            def quick() -> Transaction[int]:
                return (yield NextSeq("journal"))  # type: ignore[no-any-return]

            store.before = before
            held = [asyncio.create_task(store.run(slow)) for _ in range(3)]
            await asyncio.sleep(0)
            assert await store.run(quick, urgent=True) > 0
            assert await store.read(everything("floors")) == []
            leave.set()
            await asyncio.gather(*held)

    asyncio.run(body())


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", 2**63], ids=["NUL", "lone surrogate", "beyond 64 bits"])
def test_a_value_that_has_no_place_is_told_without_being_shown_and_hurts_nobody(place, bad):
    def body() -> Transaction[None]:
        row = floor("r", bad) if isinstance(bad, int) else floor(f"secret {bad}", 1)
        yield Put("floors", [row])

    def good() -> Transaction[None]:
        yield Put("floors", [floor("good", 1)])

    async def test():
        async with opened(place, writers=1) as store:
            for _ in range(3):
                with pytest.raises(ValueError, match="has no place in PostgreSQL") as told:
                    await store.run(body)
                assert "secret" not in str(told.value)
                await store.run(good)

    asyncio.run(test())


def test_a_connection_that_is_killed_in_a_body_writes_nothing_and_the_next_one_goes_on(place):
    async def body():
        async with opened(place, writers=1) as store:
            admin = await asyncpg.connect(host=place.host, port=place.port, user="postgres", database=place.database)

            async def before(op: object) -> None:
                if op is None:
                    await admin.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
                    )
                    store.before = None

            store.before = before
            with pytest.raises(CommitUnknown):
                await store.run(adding([1]))
            assert await store.read(everything("floors")) == []
            await store.run(adding([1]))
            assert len(await store.read(everything("floors"))) == 1
            await admin.close()

    asyncio.run(body())


def test_a_process_that_sleeps_in_a_body_loses_its_locks_and_is_told(place, monkeypatch):
    """As after SIGSTOP: the server ends the transaction, others go on, and the sleeper has written nothing."""
    monkeypatch.setitem(SETTINGS, "idle_in_transaction_session_timeout", "300ms")

    async def body():
        async with opened(place) as store, opened(place) as other:
            asleep = asyncio.Event()

            async def before(op: object) -> None:
                if isinstance(op, NextSeq) and not asleep.is_set():
                    asleep.set()
                    await asyncio.sleep(1.5)

            store.before = before
            sleeper = asyncio.create_task(store.run(adding([1])))
            await asleep.wait()
            await other.run(adding([1]))
            with pytest.raises(StoreUnavailable):
                await sleeper
            assert [row["w"] for row in await other.read(everything("floors"))] == [1]

    asyncio.run(body())


def test_more_bodies_than_connections_wait_for_their_turn(place):
    async def body():
        async with opened(place, writers=2, urgent=1, readers=1) as store:
            await asyncio.gather(
                *(store.run(adding([key % 5])) for key in range(40)),
                *(store.run(adding([7]), urgent=True) for _ in range(20)),
                *(store.read(everything("floors")) for _ in range(20)),
            )
            rows = await store.read(everything("floors"))
            assert sum(row["w"] for row in rows) == 60

    asyncio.run(body())


def test_a_server_without_free_connections_is_away_and_no_error_of_ours(server):
    async def body():
        held = []
        try:
            with contextlib.suppress(asyncpg.TooManyConnectionsError):
                while True:
                    held.append(
                        await asyncpg.connect(host="127.0.0.1", port=server.port, user="postgres", database="postgres")
                    )
            with pytest.raises(StoreUnavailable, match="too many clients"):
                await PostgresStore.open(server.place())
        finally:
            for connection in held:
                await connection.close()

    asyncio.run(body())


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_under_load_loses_no_acknowledgement_and_nobody_has_to_be_restarted(server, how):
    """Bodies name themselves, as batches do by their offset: what was acknowledged is there, and nothing is twice."""

    async def body():
        await empty(server.place())
        store = await PostgresStore.open(server.place(), writers=4)
        said: list[str] = []
        away = 0
        stop = asyncio.Event()

        def once(name: str) -> Body[bool]:
            def inside() -> Transaction[bool]:
                (new,) = yield Insert("floors", [floor(name, 1)])
                if new:
                    (row,) = (yield Lock("state", [(state(1, 0)["k"],)])).values()
                    yield Put("state", [state(1, 1 if row is None else int(row["value"]) + 1)])
                return new  # type: ignore[no-any-return]

            return inside

        async def work(who: int) -> None:
            nonlocal away
            number = 0
            while not stop.is_set():
                name = f"{who}-{number}"
                try:
                    await store.run(once(name))
                except StoreUnavailable:
                    away += 1
                    await asyncio.sleep(0.05)
                    continue
                said.append(name)
                number += 1

        workers = [asyncio.create_task(work(who)) for who in range(6)]
        await asyncio.sleep(0.3)
        for _ in range(2):
            before = len(said)
            await asyncio.to_thread(getattr(server, how))
            await asyncio.sleep(0.2)
            await asyncio.to_thread(server.start)
            while len(said) < before + 50:
                assert not any(worker.done() for worker in workers)
                await asyncio.sleep(0.02)
        stop.set()
        await asyncio.gather(*workers)
        there = {row["rule"] for row in await store.read(everything("floors"))}
        (counter,) = await store.read(everything("state"))
        await store.close()
        assert away > 0
        assert set(said) <= there
        assert int(counter["value"]) == len(there)

    asyncio.run(body())


def test_a_server_that_only_reads_is_away_for_writers_and_there_for_readers(server):
    """As after a fail-over to a standby."""

    async def body():
        await empty(server.place())
        store = await PostgresStore.open(server.place())
        admin = await asyncpg.connect(host="127.0.0.1", port=server.port, user="postgres", database="postgres")
        await admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await admin.execute("SELECT pg_reload_conf()")
        try:

            async def refused() -> bool:
                try:
                    await store.run(adding([1]))
                except StoreUnavailable as fault:
                    return "read-only" in str(fault)
                return False

            await until(refused, True)
            await store.read(everything("floors"))
        finally:
            await admin.execute("SET default_transaction_read_only = off")
            await admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
            await admin.execute("SELECT pg_reload_conf()")
            await admin.close()
        await until(refused, False)
        await store.run(adding([1]))
        await store.close()

    asyncio.run(body())


def test_who_is_unknown_and_what_is_not_migrated_is_told_with_what_to_do(place):
    async def body():
        with pytest.raises(Misconfigured, match='role "nobody" does not exist'):
            await PostgresStore.open(replace(place, user="nobody"))
        with pytest.raises(Misconfigured, match='database "nowhere" does not exist'):
            await PostgresStore.open(replace(place, database="nowhere"))
        with pytest.raises(Misconfigured, match="is empty: run tidings migrate"):
            await PostgresStore.open(replace(place, schema="elsewhere"))
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1"):
            await PostgresStore.open(replace(place, port=1))

    asyncio.run(body())
