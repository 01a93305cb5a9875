"""The small shop of the demonstration behind the whole edge, in a process of its own; its clock goes where it is told.

`python -m tests.browser.shop FOLDER [new | postgres]` plays some days of stories on a file in FOLDER (where there is one
already, it goes on from there), prints the URL, and then does what the lines of its input say: `story` lets one more
happen, `open` makes the customers of a new shop known, `key NAME SCOPE…` makes a key and prints it, `revoke ID` ends one.
With `postgres` everything is copied to a database of its own before it is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

from gateway.access.door import Door
from gateway.access.keys import Keys, make, pepper_of
from gateway.cli.folder import example, loaded
from gateway.demo.customers import customers, everybody, snapshot
from gateway.demo.post import Post
from gateway.demo.shop import FIRST_NUMBER, Fact, Shop
from gateway.demo.stage import OneFile, number
from gateway.demo.stories import SLOW, STORIES
from gateway.edge import site_of
from gateway.http.app import create_app
from gateway.http.serve import serving
from gateway.metrics import Metrics
from handlers.channels.content import Contents
from handlers.providers.catcher import FileCatcher
from schemas import contracts
from streams.embedded import Engine
from streams.ledger.ledger import Ledger
from streams.ledger.proof import Proof
from streams.processors import keys as rows
from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tests import services
from tidings.event import HOUR, SECOND, Micros
from tidings.ports import Find, Insert, Now, Scan, Store, Transaction
from tidings.tables import TABLES

BEGINS: Micros = 1_780_048_800 * SECOND
"""A Friday in 2026, 10:00 UTC."""
FILE, COPY = "tidings.db", "as-it-was.db"
"""The copy is of when the URL is printed: others begin with it, instead of playing it again."""
STORIES_PLAYED = 60
HOURS = 61
SPEED = 600
"""Of waits between attempts: the clock jumps, and they are over with the next jump."""
SECRET = b"only-for-the-tests-of-the-browser"


class Clock:
    """Stands where it was put."""

    def __init__(self, at: Micros) -> None:
        self.at = at

    def __call__(self) -> Micros:
        return self.at


def nothing_due() -> Transaction[bool]:
    """`at_rest`, where what waits for another attempt waits for the clock."""
    now = yield Now()
    heads = {(row["topic"], row["partition"]): row["next_offset"] for row in (yield Scan("log_heads"))}
    for row in (yield Scan("sources")):
        if row["next_offset"] < heads.get((row["topic"], row["partition"]), 0):
            return False
    if (yield Find("records", "by_unread", (1,), limit=1)) or (
        yield Find("recipients", "by_next", (), upto=now, limit=1)
    ):
        return False
    for state in ("pending", "claimed", "sending"):
        if (yield Find("messages", "by_work", (state,), upto=now if state == "pending" else None, limit=1)):
            return False
    return True


class Played:
    """The shop, hour by hour."""

    def __init__(self, engine: Engine, clock: Clock, next_number: int | None) -> None:
        self.engine, self.clock = engine, clock
        self.stage = OneFile(engine)
        self.people = everybody(example())
        self.shop = Shop(self.people, STORIES, SLOW, 7, next_number or FIRST_NUMBER)
        self.planned: list[tuple[Micros, Fact]] = []

    async def open(self) -> None:
        now = self.clock()
        known = (*customers(example(), now), *(snapshot(one.facts, now) for one in self.people))
        await self.stage.happen([Fact(kind, event, happened=True) for kind, event in known], self.shop.number)
        await self.rest()

    async def days(self) -> None:
        for hour in range(HOURS):
            for _ in range(-(-STORIES_PLAYED // HOURS) if hour < HOURS - 12 else 0):
                self.begin()
            if hour == 3:
                topic = self.engine.contracts.by_type["billing.invoice.paid"].topic
                await self.stage.publish(topic, b"inv-broken", b"\x00\x00\x00\x00\x07not what it says")
            await self.pass_by(HOUR)

    def begin(self) -> None:
        now = self.clock()
        self.planned += [(now + one.delay, one.fact) for one in self.shop.story(now)]

    async def pass_by(self, micros: Micros) -> None:
        """Let what is due happen."""
        self.clock.at += micros
        due = [fact for at, fact in self.planned if at <= self.clock.at]
        self.planned = [one for one in self.planned if one[0] > self.clock.at]
        if due:
            await self.stage.happen(due, self.shop.number)
        await self.rest()

    async def rest(self) -> None:
        await asyncio.sleep(0.05)
        async with asyncio.timeout(60):
            while not await self.engine.store.read(nothing_due):
                self.engine.check()
                await asyncio.sleep(0.02)


async def copied(store: Store, place: Place, clock: Callable[[], Micros]) -> PostgresStore:
    """Everything of a store, in an empty database."""
    await migrate(place)
    there = await PostgresStore.open(place, clock)
    for name in TABLES:

        def read(name: str = name) -> Transaction[list[dict[str, object]]]:
            return list((yield Scan(name)))

        found = await store.read(read)

        def write(name: str = name, found: list[dict[str, object]] = found) -> Transaction[None]:
            yield Insert(name, found, blind=True)

        if found:
            await there.run(write)
    return there


@contextlib.asynccontextmanager
async def edge(engine: Engine, store: Store, ledger: Ledger, proof: Proof, clock: Clock) -> AsyncIterator[str]:
    """The whole edge over a store."""
    site = replace(
        site_of(engine, "127.0.0.1", name="the small shop"), store=store, ledger=ledger, proof=proof,
        door=Door(Keys(store, pepper_of(SECRET), clock), "127.0.0.1"),
    )  # fmt: skip
    app = create_app(engine, Metrics(lambda: engine.rules, engine.contracts.by_type, clock), site=site)
    async with serving(app, "127.0.0.1", 0) as (host, port):
        yield f"http://{host}:{port}"


async def obey(played: Played, store: Store) -> None:
    """Do what the lines say, until there are no more."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode().split():
        match line:
            case ["story"]:
                played.begin()
                await played.pass_by(HOUR)
                print("ok", flush=True)
            case ["open"]:
                await played.open()
                print("ok", flush=True)
            case ["key", name, *scopes]:
                made = make(pepper_of(SECRET), name, tenant="default", scopes=frozenset(scopes), sources=("shop/*",))
                assert not await store.run(rows.add(made.row, "the tests"))
                print(made.key, flush=True)
            case ["revoke", key]:
                assert not await store.run(rows.revoke("default", key, "the tests"))
                print("ok", flush=True)


async def main(folder: Path, how: str, place: Place | None = None) -> None:
    found, files, texts = loaded(example())
    assert found.rules is not None
    again = (folder / FILE).exists()
    clock = Clock(BEGINS + HOURS * HOUR if again else BEGINS)
    post = Post(FileCatcher(folder / "caught.jsonl", clock))
    engine = Engine(
        folder / FILE,
        contracts(),
        files,
        texts,
        found.rules,
        lambda _channel: post,
        clock,
        speed=SPEED,
        kind="demo",
        render=Contents("http://127.0.0.1:1", SECRET),
    )
    async with contextlib.AsyncExitStack() as open_:
        await open_.enter_async_context(engine)
        await engine.start()
        played = Played(engine, clock, await engine.store.read(number))
        if not again and how != "new":
            await played.open()
            await played.days()
        with contextlib.closing(sqlite3.connect(folder / FILE)) as file:
            file.execute("VACUUM INTO ?", (str(folder / COPY),))
        store: Store = engine.store
        ledger = Ledger.of_file(engine.path, lambda: engine.rules, codec=engine.codec)
        if place is not None:
            store = there = await copied(engine.store, place, clock)
            open_.push_async_callback(there.close)
            ledger = Ledger.of_database(place, lambda: engine.rules, codec=engine.codec)
        open_.push_async_callback(ledger.close)
        proof = Proof(ledger, clock, immediately)
        await proof.step()
        proof.sleep = asyncio.sleep
        url = await open_.enter_async_context(edge(engine, store, ledger, proof, clock))
        print(url, flush=True)
        await obey(played, store)


async def immediately(_: float) -> None:
    """Rest not at all: the first round is waited for."""


def run(folder: Path, how: str = "") -> None:
    if how != "postgres":
        asyncio.run(main(folder, how))
        return
    with services.database() as place:
        asyncio.run(main(folder, how, place))


if __name__ == "__main__":
    run(Path(sys.argv[1]), *sys.argv[2:])
