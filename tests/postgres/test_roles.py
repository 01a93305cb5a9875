"""Each role can do its work, and nothing more."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import asyncpg
import pytest

from streams.explaining.stops import read_stops
from streams.processors.kills import kill
from streams.stores.migrate import migrate
from streams.stores.migrations import rights
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tests.services import administer, database, empty
from tests.simulator.history import plan
from tests.simulator.server import check
from tidings.errors import Misconfigured
from tidings.ports import Body, Delete, Exclude, Insert, Lock, NextSeq, Op, Put, Row, Scan, Share, Transaction
from tidings.tables import TABLES

pytestmark = pytest.mark.live


def login(place: Place, role: str) -> Place:
    return replace(place, user=f"{place.database}_{role.removeprefix('tidings_')}")


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with database() as found:
        asyncio.run(migrate(found))
        for role in rights.ROLES:
            asyncio.run(administer(f"CREATE ROLE {login(found, role).user} LOGIN IN ROLE {role}"))
        yield found
        for role in rights.ROLES:
            asyncio.run(administer(f"DROP ROLE {login(found, role).user}"))


@pytest.mark.parametrize("role", sorted(rights.ROLES))
def test_a_role_has_on_every_table_the_rights_that_are_written_down_and_no_other(place, role):
    async def body():
        mine = login(place, role)
        connection = await asyncpg.connect(host=mine.host, port=mine.port, database=mine.database, user=mine.user)
        try:
            for table in TABLES:
                for letter, word in rights.WORDS.items():
                    has = await connection.fetchval("SELECT has_table_privilege($1, $2)", f'tidings."{table}"', word)
                    assert has == (letter in rights.rights_of(table).get(role, "")), (table, word)
            assert not await connection.fetchval("SELECT has_schema_privilege('tidings', 'CREATE')")
        finally:
            await connection.close()

    asyncio.run(body())


def doing(op: Op) -> Body[None]:
    def body() -> Transaction[None]:
        yield op

    return body


def everything(table: str) -> Body[list[Row]]:
    def body() -> Transaction[list[Row]]:
        return (yield Scan(table))  # type: ignore[no-any-return]

    return body


PERSON = {"tenant": "t", "recipient": "r", "linked_to": None, "profile": b"{}", "next_at": None, "rev": 0}
SOURCE = {c.name: {"int": 0, "text": "x", "bytes": b""}[c.kind] for c in TABLES["sources"].columns}
RECORD = {c.name: None if c.null else {"int": 0, "text": "x", "bytes": b""}[c.kind] for c in TABLES["records"].columns}
AUDIT = {"seq": 1, "at": 0, "who": "x", "verb": "x", "body": b"{}"}
ATTEMPT = {
    "message_id": "m", "no": 1, "provider": "", "owner": "", "intent_at": 0, "start_by": 0, "seen": 0, "asked": b"",
    "outcome": None, "ended_at": None, "first_byte_at": None, "detail": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("role", "op"),
    [
        (rights.WORKER, Insert("attempts", [ATTEMPT])),
        (rights.WORKER, Put("epochs", [{"name": "rule_set", "value": "mine"}])),
        (rights.WORKER, Put("floors", [{"rule": "r", "w": 1}])),
        (rights.WORKER, Delete("journal", [(1,)])),
        (rights.WORKER, Delete("messages", [("m",)])),
        (rights.WORKER, Lock("messages", [("unknown",)])),
        (rights.DELIVERER, Put("sources", [SOURCE])),
        (rights.DELIVERER, Lock("sources", [("detect", "x", 0)])),
        (rights.DELIVERER, Scan("state")),
        (rights.DELIVERER, Put("epochs", [{"name": "meant:r", "value": "mine"}])),
        (rights.DELIVERER, Put("epochs", [{"name": "told", "value": "1"}])),
        (rights.WORKER, Put("epochs", [{"name": "ground:committed", "value": "[]"}])),
        (rights.WORKER, Put("epochs", [{"name": "relay", "value": "mine"}])),
        (rights.DELIVERER, Put("records", [RECORD])),
        (rights.DELIVERER, Insert("records", [RECORD])),
        (rights.DELIVERER, Put("records", [RECORD], only=("body", "unread"))),
        (rights.OPERATOR, Put("audit", [AUDIT])),
        (rights.OPERATOR, Delete("audit", [(1,)])),
        (rights.DELIVERER, NextSeq("journal")),
        (rights.READER, Put("recipients", [PERSON])),
        (rights.READER, Lock("recipients", [("t", "r")])),
        (rights.READER, NextSeq("journal")),
        (rights.VERIFIER, Scan("messages")),
        (rights.VERIFIER, Scan("recipients")),
        (rights.VERIFIER, Scan("attempts")),
        (rights.VERIFIER, Put("journal", [{"seq": 1, "kind": "batch", "body": b""}])),
    ],
    ids=lambda one: one if isinstance(one, str) else f"{type(one).__name__} {getattr(one, 'table', '')}",
)
def test_what_is_not_a_roles_work_is_refused_with_a_sentence_and_hurts_nobody(place, role, op):
    async def body():
        await empty(place)
        store = await PostgresStore.open(login(place, role))
        try:
            with pytest.raises(Misconfigured, match=r"permission denied|row-level security"):
                await store.run(doing(op))
            await store.run(doing(Share("still works")))
        finally:
            await store.close()

    asyncio.run(body())


def test_what_is_a_roles_work_is_done(place):
    """A deliverer marks a decision as read and changes nothing else of it; each writes its own rows of `epochs`."""

    async def body():
        await empty(place)
        work: dict[str, list[Op]] = {
            rights.WORKER: [
                Insert("records", [RECORD | {"unread": 1}]),
                Put("epochs", [{"name": "ground:compared", "value": "x"}]),
            ],
            rights.DELIVERER: [
                Put("records", [RECORD | {"body": b"another"}], only=("unread",)),
                *[Put("epochs", [{"name": name, "value": "x"}]) for name in ("ground:compared", "relay")],
            ],
            rights.OPERATOR: [Insert("audit", [AUDIT])],
        }
        for role, ops in work.items():
            store = await PostgresStore.open(login(place, role))
            for op in ops:
                await store.run(doing(op))
            await store.close()
        store = await PostgresStore.open(place)
        assert await store.read(everything("records")) == [RECORD]
        assert len(await store.read(everything("audit"))) == 1
        await store.close()

    asyncio.run(body())


@pytest.mark.parametrize("role", [rights.READER, rights.GATEWAY, rights.OPERATOR])
def test_whoever_explains_may_read_what_was_stopped(place, role):
    async def body():
        await empty(place)
        store = await PostgresStore.open(place)
        await store.run(kill("all", "ann", "wrong prices"))
        await store.close()
        store = await PostgresStore.open(login(place, role))
        (found,) = (await store.read(read_stops)).all
        assert (found.scope, found.by, found.until) == ("all", "ann", None)
        await store.close()

    asyncio.run(body())


def test_any_role_takes_named_locks_knows_the_version_and_asks_the_clock(place):
    async def body():
        for role in rights.ROLES:
            store = await PostgresStore.open(login(place, role))
            await store.run(doing(Share("x")))
            await store.run(doing(Exclude("x")))
            assert abs(await store.skew()) < 60_000_000
            await store.close()

    asyncio.run(body())


@pytest.mark.parametrize("theme", ["mixed", "recall", "editors"])
def test_whole_histories_run_with_each_process_under_its_own_role(place, theme):
    """Worker, deliverer and operator do all that they do in the simulator, and nobody lacks a right."""

    async def body():
        await empty(place)
        worker, deliverer = login(place, rights.WORKER), login(place, rights.DELIVERER)
        roles = {"worker": worker, "people": worker, "deliverer": deliverer}
        faults, history = await check(plan(6, theme), login(place, rights.OPERATOR), roles)
        assert not faults
        assert history.store.rows("messages")

    asyncio.run(body())
