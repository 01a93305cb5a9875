"""The database of a cluster: made, brought up, refused when it is newer, and relieved of what is old."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from gateway.cli.main import main
from streams.stores.migrate import migrate
from streams.stores.migrations import MIGRATIONS, VERSION
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from streams.stores.postgres_sql import TYPES
from tests.services import administer, database
from tidings.errors import Misconfigured
from tidings.event import DAY
from tidings.ports import Body, Find, Insert, Put, Read, Row, Scan, Transaction
from tidings.tables import TABLES

pytestmark = pytest.mark.live

NOW = 1_800_000_000_000_000


@pytest.fixture
def place() -> Iterator[Place]:
    with database() as found:
        yield found


async def ask(place: Place, query: str, *values: object) -> list[Any]:
    connection = await asyncpg.connect(host=place.host, port=place.port, user=place.user, database=place.database)
    try:
        await connection.execute(f"SET search_path = {place.schema}")
        return await connection.fetch(query, *values)
    finally:
        await connection.close()


def doing(*ops: object) -> Body[Any]:
    def body() -> Transaction[Any]:
        answer = None
        for op in ops:
            answer = yield op  # type: ignore[misc]
        return answer

    return body


def test_migrations_run_once_however_many_start_them(place):
    async def body():
        done = await asyncio.gather(*(migrate(place) for _ in range(4)))
        assert sorted(len(one.steps) for one in done) == [0, 0, 0, len(MIGRATIONS)]
        assert [row["number"] for row in await ask(place, "SELECT number FROM schema_version")] == [
            step.number for step in MIGRATIONS
        ]

    asyncio.run(body())


def test_a_plan_changes_nothing(place):
    async def body():
        planned = await migrate(place, plan=True)
        assert planned.steps == list(MIGRATIONS)
        assert await ask(place, "SELECT to_regnamespace('tidings') AS there") == [(None,)]

    asyncio.run(body())


def test_a_step_that_fails_leaves_nothing_behind(place, monkeypatch):
    def broken(_: str) -> list[str]:
        return ["CREATE TABLE half (x int)", "SELECT 1/0"]

    async def body():
        await migrate(place)
        more = (*MIGRATIONS, replace(MIGRATIONS[-1], number=VERSION + 1, statements=broken))
        monkeypatch.setattr("streams.stores.migrate.MIGRATIONS", more)
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(place)
        assert await ask(place, "SELECT to_regclass('half')") == [(None,)]
        assert await ask(place, "SELECT max(number) FROM schema_version") == [(VERSION,)]

    asyncio.run(body())


def test_this_release_and_the_one_after_share_a_database_and_no_others(place):
    async def body():
        await migrate(place)
        await ask(place, "INSERT INTO schema_version (number, title) VALUES ($1, 'next')", VERSION + 1)
        await (await PostgresStore.open(place)).close()
        await ask(place, "INSERT INTO schema_version (number, title) VALUES ($1, 'after')", VERSION + 2)
        with pytest.raises(Misconfigured, match="use a newer one"):
            await PostgresStore.open(place)
        with pytest.raises(Misconfigured, match="migrate with a newer one"):
            await migrate(place)
        await ask(place, "DELETE FROM schema_version")
        with pytest.raises(Misconfigured, match="run tidings migrate"):
            await PostgresStore.open(place)

    asyncio.run(body())


async def at_version(number: int, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a database as an earlier version has left it; what was granted is granted anew by every version."""
    with monkeypatch.context() as then:
        then.setattr("streams.stores.migrate.MIGRATIONS", MIGRATIONS[:number])
        then.setattr("streams.stores.migrate._check_columns", _nothing)
        then.setattr("streams.stores.migrate.rights.statements", lambda _: ())
        await migrate(place)


async def _nothing(*_: object) -> None:
    pass


@pytest.mark.parametrize("number", range(VERSION))
def test_the_database_has_the_columns_and_indexes_of_the_tables_wherever_it_began(place, number, monkeypatch):
    """Whoever changes `tidings.tables` adds a migration."""

    async def body():
        if number:
            await at_version(number, place, monkeypatch)
            with pytest.raises(Misconfigured, match=f"has version {number}.*run tidings migrate"):
                await PostgresStore.open(place)
        assert (await migrate(place)).steps == list(MIGRATIONS[number:])
        await (await PostgresStore.open(place)).close()
        granted = "SELECT has_table_privilege('tidings_gateway', 'signed_out', 'INSERT, DELETE')"
        assert await ask(place, granted) == [(True,)]
        rows = await ask(
            place,
            "SELECT table_name, column_name, data_type, is_nullable, collation_name FROM information_schema.columns "
            "WHERE table_schema = 'tidings' ORDER BY table_name, ordinal_position",
        )
        there: dict[str, list[Any]] = {}
        for row in rows:
            there.setdefault(row["table_name"], []).append(tuple(row)[1:])
        for table in TABLES.values():
            assert there[table.name] == [
                (c.name, TYPES[c.kind], "YES" if c.null else "NO", "C" if c.kind == "text" else None)
                for c in table.columns
            ]
        keys = await ask(
            place,
            "SELECT c.relname, array_agg(a.attname ORDER BY k.at) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid "
            "JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, at) ON true "
            "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum GROUP BY c.relname, i.indexrelid",
        )
        indexed: dict[str, list[list[str]]] = {}
        for name, columns in keys:
            indexed.setdefault(name, []).append(columns)
        for table in TABLES.values():
            for columns in (table.key_names, *(index.columns for index in table.indexes)):
                assert any(one[: len(columns)] == list(columns) for one in indexed[table.name]), (table.name, columns)

    asyncio.run(body())


def test_a_database_from_before_the_first_version_is_to_be_begun_anew(place, monkeypatch):
    async def body():
        await at_version(1, place, monkeypatch)
        await ask(place, "DROP TABLE catalogue")
        with pytest.raises(Misconfigured, match=r"no catalogue.topic\): begin anew in an empty database"):
            await migrate(place)

    asyncio.run(body())


def record(at: int, name: str, unread: int | None) -> Row:
    return {
        "episode_at": at, "firing_id": name, "kind": "fired", "n": 0, "tenant": "t", "rule": "r", "recipient": "c",
        "seq": 1, "logical_at": at, "body": b"{}", "unread": unread,
    }  # fmt: skip


def logged(at: int, offset: int) -> Row:
    return {
        "topic": "x", "partition": 0, "offset": offset, "appended_at": at, "key": None, "value": b"v", "headers": b"[]",
    }  # fmt: skip


def test_partitions_are_made_ahead_and_rows_are_found_wherever_they_lie(place):
    """By the clock that is given; what lies outside goes to the default partition, and comes back in order."""

    async def body():
        await migrate(place)
        store = await PostgresStore.open(place, lambda: NOW)
        made = await store.maintain()
        assert made > 5
        assert await store.maintain() == 0
        times = [NOW + day * DAY for day in (-800, -40, -31, -1, 0, 1, 29, 61, 4000)]
        await store.run(doing(Put("records", [record(at, f"f{at}", 1) for at in reversed(times)])))
        await store.run(doing(Insert("log", [logged(NOW + n * DAY, n) for n in (-30, -1, 0, 3, 7, 30)])))
        again = await store.run(doing(Insert("log", [logged(NOW, 0), logged(NOW, 1)])))
        assert again == [False, True]
        rows = await store.read(doing(Find("records", "by_unread", (1,), limit=100)))
        assert [row["episode_at"] for row in rows] == times
        assert [r["episode_at"] for r in await store.read(doing(Scan("records", limit=3)))] == times[:3]
        rows = await store.read(doing(Find("log", "by_offset", ("x", 0), above=-10)))
        assert [row["offset"] for row in rows] == [-1, 0, 1, 3, 7, 30]
        assert len(await store.read(doing(Read("log", [("x", 0, 3), ("x", 0, 4)])))) == 1
        await store.close()
        homes = await ask(place, "SELECT DISTINCT tableoid::regclass::text FROM records")
        assert len(homes) > 3

    asyncio.run(body())


def test_an_owner_who_is_no_superuser_migrates_and_whoever_owns_nothing_is_told(place):
    """The roles are the server's: where they are there already, nobody needs the right to make them."""

    async def body():
        await migrate(replace(place, schema="other"))
        user = f"{place.database}_owner"
        await administer(f"CREATE ROLE {user} LOGIN")
        try:
            mine = replace(place, user=user)
            with pytest.raises(Misconfigured, match="permission denied"):
                await migrate(mine)
            await administer(f"ALTER DATABASE {place.database} OWNER TO {user}")
            assert (await migrate(mine)).before == 0
            store = await PostgresStore.open(mine, lambda: NOW)
            await store.maintain()
            await store.close()
        finally:
            await administer(f"ALTER DATABASE {place.database} OWNER TO postgres")
            await ask(place, f"DROP OWNED BY {user} CASCADE")
            await administer(f"DROP ROLE {user}")

    asyncio.run(body())


def test_the_command_says_what_it_did(place, tmp_path, capsys):
    file = tmp_path / "tidings.toml"
    file.write_text(
        '[kafka]\nbootstrap = ["127.0.0.1:9"]\n'
        f'[postgres]\nhost = "{place.host}"\nport = {place.port}\ndatabase = "{place.database}"\nuser = "{place.user}"\n'
    )
    assert main(["migrate", "--config", str(file), "--plan"]) == 0
    assert "would run 0001" in capsys.readouterr().out
    assert main(["migrate", "--config", str(file)]) == 0
    assert f"version 0 → {VERSION}\n" in capsys.readouterr().out
    assert main(["migrate", "--config", str(file), "--retain", "90"]) == 0
    assert (
        "nothing to do\n0 partitions and 0 single rows older than 90 days are gone\n0 runs, 0 messages"
        in capsys.readouterr().out
    )
    assert main(["migrate", "--config", str(file), "--anew"]) == 1
    assert "--anew belongs to --retain" in capsys.readouterr().err
    assert main(["migrate", "--config", str(file), "--retain", "1"]) == 1
    assert "keep 8 at least" in capsys.readouterr().err
