"""Repair: chosen events as new intake; a preview that touches nothing and says what happens then."""

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from gateway.cli.main import main
from streams.codec import Codec
from streams.kafka.cluster import opened
from streams.kafka.publish import Partly, Published
from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tests import services
from tests.again import laboratory
from tests.again.laboratory import NOW
from tests.live import engines, kill_rules
from tests.live.engines import Shelf, rest, rows
from tidings import canonical
from tidings.log import LogRecord
from tidings.ports import Scan, Store

pytestmark = pytest.mark.live

NEW_RULE = b"""version: 1
rules:
  - id: every-order
    title: Came later than its events
    owner: team-sales
    status: live
    expires: 30d
    when: { event: sales.order.placed }
    to: customer
    topic: news
    then: [{ send: email, template: order, with: { name: order_id } }]
"""
ORDERS = "sales.order.placed.v1"


def tables(folder: Path) -> str:
    """All rows of a file."""
    found = hashlib.sha256()
    with closing(sqlite3.connect(folder / "tidings.db")) as file:
        for line in file.iterdump():
            found.update(line.encode())
    return found.hexdigest()


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = main([str(word) for word in words])
    return code, capsys.readouterr().out


def engine(folder: Path, *rules: bytes, shelf: Shelf | None = None) -> Any:
    return engines.engine(
        folder / "tidings.db", shelf or Shelf(), b"".join(rules) or kill_rules.rules(NOW), kill_rules.TEMPLATES
    )


async def lived(folder: Path, *rules: bytes, shelf: Shelf | None = None, publish: bool = False) -> list[dict[str, Any]]:
    """Run the engine to its rest; return its records."""
    async with engine(folder, *rules, shelf=shelf) as running:
        if publish:
            for name in ("c-1", "c-2"):
                await running.publish("customer.profile.changed", engines.customer(name))
                payload = engines.event(
                    "sales.order.placed", f"o-{name}", order_id=f"o-{name}", customer_id=name,
                    total={"amount_minor": 1200, "currency": "EUR"},
                )  # fmt: skip
                await running.publish("sales.order.placed", payload)
        await running.start()
        await rest(running)
        return await rows(running, "records")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Two orders, which the rules have told about."""
    assert len(asyncio.run(lived(tmp_path, publish=True))) == 2
    return tmp_path


def test_what_was_decided_before_comes_again_and_nothing_is_said_again(shop, capsys):
    before = tables(shop)
    code, out = run(capsys, "repair", "--data", shop, "--type", "sales.order.placed")
    assert code == 0
    assert "2 events chosen, 2 of them decided before" in out
    assert "0 new firings, 0 messages at once" in out
    assert tables(shop) == before
    code, out = run(capsys, "repair", "--data", shop, f"{ORDERS}[0]@0-1", "--confirm")
    assert (code, "2 events appended behind the others; the next run" in out) == (0, True)
    assert len(asyncio.run(lived(shop))) == 2
    code, out = run(capsys, "verify", "--data", shop)
    assert (code, "4 events" in out, "2 of them said before" in out) == (0, False, True), out


def test_the_preview_says_exactly_what_happens_then_and_touches_nothing(shop, capsys):
    asyncio.run(lived(shop, NEW_RULE))
    before = tables(shop)
    code, out = run(capsys, "repair", "--data", shop, f"{ORDERS}[0]@1")
    assert code == 0
    assert "1 new firing, 1 message at once" in out
    assert "every-order  customer:c-2" in out
    assert "| o-c-2" in out
    assert tables(shop) == before
    assert run(capsys, "repair", "--data", shop, f"{ORDERS}[0]@1", "--confirm")[0] == 0
    shelf = Shelf()
    records = asyncio.run(lived(shop, NEW_RULE, shelf=shelf))
    assert [row["recipient"] for row in records if row["rule"] == "every-order"] == ["customer:c-2"]
    assert [one.content["text"].strip() for one in shelf.taken] == ["o-c-2"]


def test_a_choice_that_is_none_is_told_with_what_to_write(shop, capsys):
    for words, says in (
        ((), "say which events"),
        (("billing",), "is no place"),
        (("--type", "sales.order.place"), "there is no event"),
        (("--from", "yesterday"), "is no time"),
        (("--from", "2012-02-31T00:00:00Z"), "is no time"),
    ):
        assert main(["repair", "--data", str(shop), *words]) == 1
        assert says in capsys.readouterr().err
    assert run(capsys, "repair", "--data", shop, "--from", "2100-01-01T00:00:00Z") == (1, "no event was chosen\n")


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with services.database() as found:
        asyncio.run(migrate(found))
        asyncio.run(laboratory.whole(found, 100))
        yield found


def configured(folder: Path, place: Place, bootstrap: str, prefix: str) -> Path:
    file = folder / "tidings.toml"
    file.write_text(
        f'[kafka]\nbootstrap = ["{bootstrap}"]\nprefix = "{prefix}"\n[postgres]\nhost = "{place.host}"\n'
        f'port = {place.port}\ndatabase = "{place.database}"\nuser = "{place.user}"\n'
    )
    return file


async def _records(store: Store, table: str) -> list[dict[str, Any]]:
    def body() -> Any:
        return (yield Scan(table))

    return list(await store.read(body))


def test_on_a_cluster_the_same_bytes_are_published_and_it_is_written_down_who_did(place, tmp_path, capsys):
    connection = services.kafka()
    config = configured(tmp_path, place, connection.bootstrap[0], connection.prefix)

    async def log(table: str) -> list[dict[str, Any]]:
        async with laboratory.opened(place) as store:
            return await _records(store, table)

    async def topics() -> None:
        async with opened(connection) as cluster:
            await cluster.create(ORDERS, 1, 1, {})

    async def published(count: int) -> list[bytes | None]:
        consumer = AIOKafkaConsumer(**connection.options(), auto_offset_reset="earliest")
        await consumer.start()
        try:
            at = TopicPartition(connection.prefix + ORDERS, 0)
            consumer.assign([at])
            return [(await consumer.getone(at)).value for _ in range(count)]
        finally:
            await consumer.stop()

    asyncio.run(topics())
    before = asyncio.run(log("records"))
    code, out = run(capsys, "repair", "--config", config, f"{ORDERS}[0]@0-4")
    assert (code, "5 events chosen, 5 of them decided before" in out, "0 new firings" in out) == (0, True, True), out
    assert asyncio.run(log("records")) == before
    assert asyncio.run(log("audit")) == []
    code, out = run(capsys, "repair", "--config", config, f"{ORDERS}[0]@0-4", "--confirm")
    assert (code, "the workers decide on them" in out) == (0, True), out
    held = {row["offset"]: row["value"] for row in asyncio.run(log("log")) if row["topic"] == ORDERS}
    assert asyncio.run(published(5)) == [held[at] for at in range(5)]
    begun, ended = (canonical.loads(row["body"]) for row in asyncio.run(log("audit")) if row["verb"] == "repair")
    assert (begun["step"], begun["records"], "published" in begun) == ("begun", 5, False)
    assert (ended["step"], ended["records"], ended["published"]) == ("ended", 5, 5)


def test_a_registry_that_takes_its_time_keeps_no_snapshot_of_the_database(place, tmp_path, capsys, monkeypatch):
    connection = services.kafka()
    config = configured(tmp_path, place, connection.bootstrap[0], connection.prefix)
    held: list[int] = []
    within = 0
    real = PostgresStore.snapshot

    @asynccontextmanager
    async def counted(store: PostgresStore) -> AsyncIterator[Any]:
        nonlocal within
        async with real(store) as snapshot:
            within += 1
            try:
                yield snapshot
            finally:
                within -= 1

    known: set[bytes | None] = set()

    async def ready(_: Codec, records: Iterable[LogRecord]) -> None:
        # As with a registry: what was asked for once is known.
        fresh = {record.value for record in records} - known
        if fresh:
            known.update(fresh)
            held.append(within)

    monkeypatch.setattr(PostgresStore, "snapshot", counted)
    monkeypatch.setattr(Codec, "ready", ready)
    assert run(capsys, "repair", "--config", config, f"{ORDERS}[0]@0-4")[0] == 0
    assert set(held) == {0}


def test_a_snapshot_that_the_server_has_cut_harms_nothing_once_all_was_read(place):
    async def cut() -> None:
        async with laboratory.opened(place) as store:
            assert isinstance(store, PostgresStore)
            async with store.snapshot() as snapshot:
                snapshot.connection.terminate()
            async with store.snapshot() as snapshot:
                await snapshot.read(book_of)

    def book_of() -> Any:
        return (yield Scan("epochs"))

    asyncio.run(cut())


def test_what_was_published_before_it_broke_off_is_written_down(place, tmp_path, capsys, monkeypatch):
    connection = services.kafka()
    config = configured(tmp_path, place, connection.bootstrap[0], connection.prefix)

    async def broken(*_: Any, **__: Any) -> None:
        raise Partly("the broker has gone; 2 of 5 were published", [Published(ORDERS, 0, at) for at in range(2)])

    monkeypatch.setattr("gateway.cli.republish.publish", broken)
    assert main(["repair", "--config", str(config), f"{ORDERS}[0]@0-4", "--confirm"]) == 1
    assert "2 of 5" in capsys.readouterr().err

    async def audited() -> list[Any]:
        async with laboratory.opened(place) as store:
            return [canonical.loads(row["body"]) for row in await _records(store, "audit")]

    assert [(one["step"], one.get("published")) for one in asyncio.run(audited())[-2:]] == [
        ("begun", None),
        ("ended", 2),
    ]


def test_a_topic_that_is_not_there_is_not_made_by_publishing(place, tmp_path, capsys):
    connection = services.kafka()
    config = configured(tmp_path, place, connection.bootstrap[0], connection.prefix)
    assert main(["repair", "--config", str(config), f"{ORDERS}[0]@0", "--confirm"]) == 1
    assert "sales.order.placed.v1" in capsys.readouterr().err

    async def topics() -> list[str]:
        async with opened(connection) as cluster:
            return sorted(await cluster.topics())

    assert asyncio.run(topics()) == []
