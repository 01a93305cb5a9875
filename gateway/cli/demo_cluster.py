"""`tidings demo --kafka … --postgres …`: the same shop on a broker and a database server, with three workers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import socket
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from gateway.cli.demo import OPENS, SHOP, Telling, played
from gateway.cli.folder import example, loaded
from gateway.cli.told import Told
from gateway.demo.brokers import DATABASE, GRACE, PREFIX, Brokers, connected, forgotten, prepared
from gateway.demo.members import Group
from gateway.demo.play import Play
from gateway.demo.post import Post
from gateway.demo.scene import Scene
from gateway.demo.served import HOST, contents, served, url_of
from gateway.demo.watcher import Outside
from gateway.demo.workers import Workers
from gateway.edge import cluster_site
from gateway.metrics import Metrics
from handlers.channels.content import Contents
from handlers.providers.catcher import FileCatcher
from schemas import contracts
from streams import rule_switch
from streams.clock import FastClock
from streams.codec import Codec
from streams.delivering import Delivering
from streams.edge_process import EdgeProcess
from streams.embedded import wall_clock
from streams.kafka.cluster import Refused, opened
from streams.kafka.connection import Connection
from streams.kafka.publishing import Publisher
from streams.kafka.reach import Away, address
from streams.loops import Loop, Loops
from streams.rule_book import RuleBook
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from streams.wording import counted
from tidings.event import DAY, Micros
from tidings.ports import StoreUnavailable
from tidings.rule import RuleSet

LOOK = 0.2
"""Seconds between two looks at the topics from outside."""
LOOK_AT_GROUP = 1.0
PARTING = 2.0
READY = 30.0
"""Seconds for the workers to share the partitions."""


async def demo_on_cluster(arguments: Namespace, folder: Path, listener: socket.socket) -> int:
    """Run the demonstration; 0 if the sum holds at its end."""
    if arguments.postgres is None:
        raise Told("--kafka needs --postgres beside it; 'make services' starts both, 'make demo ON=kafka' names them")
    try:
        kafka, (host, port) = address(arguments.kafka), address(arguments.postgres)
    except ValueError:
        raise Told("--kafka and --postgres are HOST:PORT each, as 127.0.0.1:9092") from None
    place = Place(host, port, DATABASE, "postgres")
    everything = Connection((f"{kafka[0]}:{kafka[1]}",), prefix=PREFIX)
    try:
        await forgotten(everything)
        await prepared(place, anew=True)
        return await _demo(
            arguments,
            folder,
            Connection(everything.bootstrap, prefix=f"{PREFIX}{secrets.token_hex(3)}."),
            place,
            listener,
        )
    except (Away, Refused, StoreUnavailable) as fault:
        raise Told(f"{fault}; 'make services' starts a broker and a database server") from fault


async def _demo(
    arguments: Namespace, folder: Path, connection: Connection, place: Place, listener: socket.socket
) -> int:
    found, files, texts = loaded(example())
    rules = found.rules
    assert rules is not None, "the example's rules load; a test says so"
    clock = FastClock(wall_clock() // DAY * DAY + OPENS, arguments.speed)
    grace = GRACE * arguments.speed
    telling = Telling(arguments, rules, clock, again=False)
    stop = telling.stop
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    (folder / "caught.jsonl").unlink(missing_ok=True)  # of the run before, as its topics and its database
    catcher = FileCatcher(folder / "caught.jsonl", clock)
    codec, render = Codec(contracts()), contents(folder, url_of(listener))
    store = await PostgresStore.open(place, clock)
    try:
        places = await connected(connection, store, contracts(), clock(), grace)
        await rule_switch.apply(store, RuleBook(contracts(), store), rules, files, texts, grace=grace)
        clock.go()
        told = {
            "clock": clock.anchor, "kafka": connection.bootstrap[0], "prefix": connection.prefix, "grace": str(grace),
            "postgres": f"{place.host} {place.port} {place.database} {place.user}",
        }  # fmt: skip
        workers = Workers(told, folder, _say(telling))
        async with (
            opened(connection) as cluster,
            _delivering(store, rules, Post(catcher), clock, telling, arguments.speed, render) as loops,
        ):
            outside = Outside(cluster, store, codec, workers, telling.tell, places)
            stage = Brokers(connection, store, codec, clock, outside, (workers.check, loops.check))
            async with (
                stage.open(),
                workers.working(),
                _looking(outside, telling),
                _served(store, connection, codec, clock, grace, listener, render),
            ):
                await _shared(outside, stop)
                play = await Play.on(stage, example(), arguments.seed)
                where = f"3 workers on {connection.bootstrap[0]}, the database on {place.host}:{place.port}"
                async with telling.showing(stage, play, where, url_of(listener)):
                    await played(stage, play, arguments.duration, stop)
                counts = await stage.count()
            await outside.close()
        return telling.ended(counts, _next(catcher.path, folder))
    finally:
        await store.close()
        with contextlib.suppress(Away, Refused):
            await forgotten(connection)


def _say(telling: Telling) -> Callable[[str, str, str], None]:
    """Return what tells of a worker that goes or comes."""

    def say(name: str, state: str, words: str) -> None:
        if telling.live and isinstance(telling.observe, Scene):
            telling.observe.line("failed" if state == "killed" else "clear", "worker", name, state, "", words)
        elif telling.arguments.json:
            print(json.dumps({"what": "worker", "name": name, "state": state}), flush=True)
        else:
            print(f"worker    {name} {state}: {words}", flush=True)

    return say


@contextlib.asynccontextmanager
async def _delivering(
    store: PostgresStore,
    rules: RuleSet,
    post: Post,
    clock: FastClock,
    telling: Telling,
    speed: int,
    render: Contents,
) -> AsyncIterator[Loops]:
    """Dispatch and deliver in this process, so that what is sent can be shown."""
    book = RuleBook(contracts(), store)
    book.add(rules)
    loops = Loops(telling.tell)
    delivering = Delivering(
        "demo", store, book, rules, lambda _channel: post, render, clock, loops.watched, speed=speed
    )  # fmt: skip
    loops.start(delivering.loops(lambda step: step))
    try:
        yield loops
    finally:
        await loops.stop(PARTING)
        await delivering.finish(PARTING)


@contextlib.asynccontextmanager
async def _served(
    store: PostgresStore,
    connection: Connection,
    codec: Codec,
    clock: FastClock,
    grace: Micros,
    listener: socket.socket,
    render: Contents,
) -> AsyncIterator[None]:
    """Serve console and intake, as a gateway of this cluster."""

    def stamp() -> int:
        return -(-clock() // 1000)

    process = EdgeProcess(store, contracts(), Publisher(connection, store, "demo", stamp))
    metrics = Metrics(lambda: process.rules, contracts().by_type, clock)
    await process.start()
    try:
        site = cluster_site(
            process, codec, HOST, None, clock=clock, render=render, grace=grace, name=SHOP, folder=example()
        )
        async with served(process, metrics, site, listener):
            yield
    finally:
        await process.stop()


@contextlib.asynccontextmanager
async def _looking(outside: Outside, telling: Telling) -> AsyncIterator[None]:
    loops = Loops(lambda _: None)
    loops.start({"outside": Loop(outside.look, LOOK)})
    if not telling.live:  # the live table asks by itself, with every frame
        loops.start({"group": Loop(_Shares(outside, as_json=telling.arguments.json).look, LOOK_AT_GROUP)})
    try:
        yield
    finally:
        await loops.stop(PARTING)


class _Shares:
    """Tells line by line who reads what: scripts with every look, people whenever it changes."""

    def __init__(self, outside: Outside, *, as_json: bool) -> None:
        self.outside = outside
        self.as_json = as_json
        self.said: object = None

    async def look(self) -> bool:
        """Look once."""
        try:
            group = await self.outside.group()
        except (Away, Refused):
            return False  # it is asked again
        shares = {member.name: member.partitions for member in group.members}
        now = (shares, group.orphans, group.rebalances)
        if self.as_json or now != self.said:
            self.said = now
            print(self._line(group, shares), flush=True)
        return False

    def _line(self, group: Group, shares: dict[str, int]) -> str:
        if self.as_json:
            found = {"partitions": group.partitions, "orphans": group.orphans, "lag": group.lag}
            return json.dumps({"what": "group", **found, "rebalances": group.rebalances, "workers": shares})
        each = ", ".join(f"{name} {count}" for name, count in shares.items())
        moves = f", {group.orphans} change hands" if group.orphans else ""
        return (
            f"group     {group.partitions} partitions: {each}{moves}; "
            f"lag {group.lag}, {counted(group.rebalances, 'rebalance')}"
        )


async def _shared(outside: Outside, stop: asyncio.Event) -> None:
    """Wait until every partition has an owner."""
    end = asyncio.get_running_loop().time() + READY
    while not stop.is_set():
        outside.workers.check()
        if (group := await outside.group()).partitions and not group.orphans:
            return
        if asyncio.get_running_loop().time() > end:
            raise Told(f"{group.orphans} partitions have no worker after {READY:.0f} s; see {outside.workers.folder}")
        await asyncio.sleep(0.2)


def _next(caught: Path, folder: Path) -> list[str]:
    return [
        f"Everything that would have left is in {caught}; what the workers wrote is beside it, in {folder}.",
        "The shop's topics are deleted; its database stays until the next run.",
        "How to set up a cluster of your own: docs/cluster.md",
    ]
