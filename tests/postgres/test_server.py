"""A server that goes, sleeps, refuses or only reads: what is away is told so, and nothing that was acknowledged is lost."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import asyncpg
import pytest

from streams.stores.migrate import migrate
from streams.stores.postgres import PostgresStore
from streams.stores.postgres_connections import SETTINGS
from tests.postgres.bodies import adding, everything, floor, opened, state
from tests.servers import PrivatePostgres
from tests.services import empty, own_postgres
from tidings.errors import Misconfigured
from tidings.ports import (
    Body,
    CommitUnknown,
    Insert,
    Lock,
    NextSeq,
    Put,
    StoreUnavailable,
    Transaction,
)

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivatePostgres]:
    with own_postgres(tmp_path_factory.mktemp("server"), {"max_connections": "30", "shared_buffers": "16MB"}) as found:
        asyncio.run(migrate(found.place()))
        yield found


async def until(asked: Callable[[], Awaitable[bool]], wanted: bool) -> None:
    """Ask, often, until the answer is the one that is wanted."""
    while await asked() != wanted:  # noqa: ASYNC110 - the other side is a server
        await asyncio.sleep(0.05)


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
