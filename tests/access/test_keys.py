"""Keys and the door: who comes in, as whom, and who does not."""

import asyncio
import contextlib
import string
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from gateway.access import keys as access
from gateway.access.door import BETWEEN, Door
from gateway.access.keys import Keys, Made, Principal
from streams.processors import keys as rows
from streams.stores.migrate import migrate
from streams.stores.postgres import PostgresStore
from streams.stores.sqlite import SqliteStore
from tests.services import database
from tidings import canonical
from tidings.event import DAY
from tidings.ports import Scan

PEPPER = access.pepper_of(b"a secret of sixteen bytes")


def made(name: str = "billing", **more: object) -> Made:
    known = {"tenant": "default", "scopes": frozenset({"events"}), "sources": ("shop/*",)}
    return access.make(PEPPER, name, **{**known, **more})  # type: ignore[arg-type]


@dataclass
class Times:
    wall: int = 1_000_000
    steady: float = 0.0


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.live)])
def play(request, tmp_path):
    """Play a story with the keys of a fresh store."""
    with database() if request.param == "postgres" else contextlib.nullcontext() as place:

        async def body(story):
            times = Times()
            store: SqliteStore | PostgresStore
            if place is None:
                store = await SqliteStore.open(tmp_path / "tidings.db", lambda: times.wall)
            else:
                await migrate(place)
                store = await PostgresStore.open(place, lambda: times.wall)
            keys = Keys(store, PEPPER, lambda: times.wall, lambda: times.steady)
            try:
                await story(store, keys, times)
            finally:
                await keys.close()
                await store.close()

        yield lambda story: asyncio.run(body(story))


def test_a_session_stays_ended_where_the_clock_of_the_store_is_ahead(tmp_path):
    async def body():
        wall = 1_000_000
        store = await SqliteStore.open(tmp_path / "tidings.db", lambda: wall + 30 * DAY)
        keys = Keys(store, PEPPER, lambda: wall)
        new = made()
        assert await store.run(rows.add(new.row, "ada")) == ""
        await keys.sign_out("s-1", wall + 1)
        assert await keys.of_session(new.row["id"], "s-1") is None
        assert await keys.of_session(new.row["id"], "s-2") is not None
        await keys.close()
        await store.close()

    asyncio.run(body())


def test_a_key_says_who_asks_until_it_is_revoked_and_never_again(play):
    async def story(store, keys, times):
        new = made()
        assert await store.run(rows.add(new.row, "ada")) == ""
        found = await keys.principal(new.key)
        assert found == Principal("billing", "default", frozenset({"events"}), ("shop/*",), new.row["id"])
        assert await keys.of_session(new.row["id"], "s-1") == found
        await keys.sign_out("s-1", times.wall + 1)
        await keys.sign_out("s-1", times.wall + 1)
        sessions = [await keys.of_session(new.row["id"], name) for name in ("s-1", "s-2")]
        assert sessions == [None, found]
        assert await store.run(rows.revoke("default", new.row["id"], "ada")) == ""
        assert await keys.of_session(new.row["id"], "s-2") is None
        times.steady += access.FRESH
        assert await keys.principal(new.key) is None
        assert await Keys(store, PEPPER, keys.clock).principal(new.key) is None

    play(story)


def test_a_key_ends_at_its_instant_also_where_it_was_just_good(play):
    async def story(store, keys, times):
        new = made(expires_at=times.wall + 10)
        await store.run(rows.add(new.row, "ada"))
        times.wall += 9
        assert await keys.principal(new.key) is not None
        times.wall += 1
        assert await keys.principal(new.key) is None

    play(story)


def test_two_keys_of_a_name_live_and_no_third_until_one_is_revoked(play):
    async def story(store, keys, times):
        first, second, third = made(), made(), made()
        assert [await store.run(rows.add(one.row, "ada")) for one in (first, second)] == ["", ""]
        assert "2 live keys" in await store.run(rows.add(third.row, "ada"))
        assert await keys.principal(third.key) is None
        await store.run(rows.revoke("default", first.row["id"], "ada"))
        assert await store.run(rows.add(third.row, "ada")) == ""
        assert await keys.principal(second.key) is not None

    play(story)


def test_nothing_that_is_kept_or_said_holds_the_key(play):
    async def story(store, keys, times):
        new = made()
        await store.run(rows.add(new.row, "ada"))
        secret = new.key.rpartition("_")[2]
        kept = [row for table in ("keys", "audit") for row in await store.read(lambda table=table: (yield Scan(table)))]
        assert len(kept) == 2
        assert secret[: access.SECRET] not in repr(kept)
        assert secret not in repr(new)
        (row,) = [row for row in kept if "verb" in row]
        assert (row["verb"], row["who"], canonical.loads(row["body"])["id"]) == ("keys create", "ada", new.row["id"])

    play(story)


def test_another_tenant_cannot_revoke_and_another_installation_knows_no_key(play):
    async def story(store, keys, times):
        new = made()
        await store.run(rows.add(new.row, "ada"))
        assert "no key" in await store.run(rows.revoke("other", new.row["id"], "eve"))
        assert await keys.principal(new.key) is not None
        assert await Keys(store, access.pepper_of(b"another secret of ours"), keys.clock).principal(new.key) is None
        assert await Keys(store, None, keys.clock).principal(new.key) is None

    play(story)


def test_when_a_key_was_used_is_known_to_the_minute(play):
    async def story(store, keys, times):
        new = made()
        await store.run(rows.add(new.row, "ada"))
        for _ in range(3):
            await keys.principal(new.key)
            await keys.close()
            times.wall += 1
        (row,) = await store.read(rows.of_tenant("default"))
        assert row["used_at"] == 1_000_000
        assert row["revoked_at"] is None

    play(story)


def test_a_laptop_is_open_until_it_has_its_first_key(play):
    async def story(store, keys, times):
        door = Door(keys, "127.0.0.1")
        here = {"host": "localhost:8321"}
        assert (await door.bearer(asks(here))) == Principal("local", "default", frozenset({"admin"}), ("*",))
        new = made()
        await store.run(rows.add(new.row, "ada"))
        times.steady += access.NONE_YET
        assert await door.bearer(asks(here)) is None
        bearer = await door.bearer(asks({**here, "authorization": f"Bearer {new.key}"}))
        assert bearer is not None
        assert bearer.name == "billing"
        assert await door.bearer(asks({**here, "authorization": f"Basic {new.key}"})) is None

    play(story)


def asks(headers: dict[str, str], peer: str = "127.0.0.1") -> Request:
    """A request as it comes in."""
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": lines, "client": (peer, 50_000)})


def test_a_key_of_another_tenant_opens_nothing_however_it_is_shown(play):
    async def story(store, keys, times):
        ours, other = made(), made(tenant="other", scopes=frozenset({"admin"}), sources=())
        for one in (ours, other):
            await store.run(rows.add(one.row, "ada"))
        door = Door(keys, "127.0.0.1")
        for one, comes_in in ((ours, True), (other, False)):
            found = [
                await door.bearer(asks({"host": "localhost", "authorization": f"Bearer {one.key}"})),
                await door.holder(one.key),
                await door.of_session(one.row["id"], "s"),
            ]
            assert [who is not None for who in found] == [comes_in] * 3

    play(story)


@pytest.mark.parametrize("name", BETWEEN)
def test_behind_a_proxy_nobody_comes_in_without_a_key_nor_does_another_machine(name, tmp_path):
    async def body():
        store = await SqliteStore.open(tmp_path / "tidings.db")
        try:
            door, here = Door(Keys(store, PEPPER, lambda: 0), "127.0.0.1"), {"host": "127.0.0.1:8321"}
            assert await door.bearer(asks(here)) is not None
            assert await door.bearer(asks({**here, name: "192.0.2.7"})) is None
            assert await door.bearer(asks(here, peer="192.0.2.7")) is None
        finally:
            await store.close()

    asyncio.run(body())


@pytest.mark.parametrize(
    ("listens", "headers"),
    [
        ("0.0.0.0", {"host": "127.0.0.1:80"}),
        ("192.0.2.1", {"host": "127.0.0.1:80"}),
        ("127.0.0.1", {"host": "rebound.example:8321"}),
        ("127.0.0.1", {}),
        ("127.0.0.1", {"host": "127.0.0.1:8321", "sec-fetch-site": "cross-site"}),
        ("127.0.0.1", {"host": "127.0.0.1.example"}),
        ("127.0.0.1", {"host": "127.0.0.1:8321", "authorization": "Bearer tid_live_nothing"}),
    ],
)
def test_the_open_door_lets_in_nobody_from_elsewhere_and_no_page_of_others(listens, headers, tmp_path):
    async def body():
        store = await SqliteStore.open(tmp_path / "tidings.db")
        try:
            assert await Door(Keys(store, PEPPER, lambda: 0), listens).bearer(asks(headers)) is None
        finally:
            await store.close()

    asyncio.run(body())


KNOWN = made()


@given(at=st.integers(0, len(KNOWN.key) - 1), letter=st.sampled_from(string.ascii_letters + string.digits + "_-"))
def test_a_key_with_another_letter_anywhere_is_no_key_without_a_look_at_the_store(at, letter):
    changed = KNOWN.key[:at] + letter + KNOWN.key[at + 1 :]
    assert (access.parted(changed) is not None) == (changed == KNOWN.key)


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("Billing", {}, "no name"),
        ("b", {"scopes": frozenset({"event"})}, "no scope event"),
        ("b", {"scopes": frozenset()}, "without a scope"),
        ("b", {"sources": ()}, "name a source"),
        ("b", {"sources": ("shop/*/x",)}, "no source"),
        ("b", {"sources": ("a b",)}, "no source"),
        ("b", {"sources": tuple(f"s{n}" for n in range(51))}, "50 at most"),
    ],
)
def test_a_key_that_cannot_be_is_refused_with_what_would_be_one(name, more, says):
    with pytest.raises(ValueError, match=says):
        made(name, **more)


@pytest.mark.parametrize(
    ("source", "may"), [("shop/billing", True), ("shop/", True), ("shop", False), ("crm", True), ("crm2", False)]
)
def test_a_key_publishes_as_its_own_sources_only(source, may):
    assert Principal("k", "default", frozenset({"events"}), ("shop/*", "crm")).may_publish(source) is may


def test_admin_may_everything_and_a_scope_only_itself():
    assert all(access.local("default").may(scope) for scope in access.SCOPES)
    assert [s for s in access.SCOPES if Principal("k", "t", access.ROLES["viewer"]).may(s)] == ["decisions"]
