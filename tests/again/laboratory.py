"""A detection that has run: a log, a journal and records, in a store of either kind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from handlers.rules.load import Loaded, load
from schemas import contracts
from streams import rule_switch
from streams.codec import Codec
from streams.embedded_log import Append, EmbeddedLog, create
from streams.loops import RealRuntime
from streams.processors import detect
from streams.processors.worker import Worker
from streams.rule_book import RuleBook
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from streams.stores.sqlite import SqliteStore
from tests.live import engines, kill_rules
from tidings.event import HOUR, MINUTE
from tidings.ports import Find, Store

NOW = 1_800_000_000_000_000 // MINUTE * MINUTE
"""When the log was written; nothing here depends on the clock of the world."""


def rule_files() -> dict[str, bytes]:
    return {"rules/test.yaml": kill_rules.rules(NOW), "topics.yaml": engines.TOPICS}


def loaded() -> Loaded:
    return load(rule_files(), kill_rules.TEMPLATES, contracts().by_type)


@asynccontextmanager
async def opened(where: Path | Place, clock: Any = lambda: NOW) -> AsyncIterator[SqliteStore | PostgresStore]:
    store = await (
        SqliteStore.open(where / "tidings.db", clock) if isinstance(where, Path) else PostgresStore.open(where, clock)
    )
    try:
        yield store
    finally:
        await store.close()


async def detected(store: Store, events: int = 300, *, clock: Any = lambda: NOW, batch: int = 7) -> None:
    """Append the workload, with a poisoned record in its midst, and decide everything, ticks included."""
    rules = loaded().rules
    assert rules is not None
    known = contracts()
    book, codec, log = RuleBook(known, store), Codec(known), EmbeddedLog(store)
    places = [(contract.topic, 0) for contract in known.by_type.values()]
    await store.run(create(places))
    await store.run(detect.connect(places, clock(), grace=0, history="live"))
    await rule_switch.apply(store, book, rules, rule_files(), kill_rules.TEMPLATES, grace=0)
    worker = Worker(store, log, RealRuntime(clock), codec.decode, rules, book.get, 0, batch, learn=book.learn)
    await worker.assign(places)
    for part in _parts(list(kill_rules.workload(clock(), events)), 100):
        appends = [Append(known.by_type[kind].topic, *codec.encode(kind, payload)) for kind, payload in part]
        appends.append(Append(known.by_type["billing.invoice.paid"].topic, b"k", b"no event at all"))
        await log.append(appends)
        while await worker.step():
            pass


async def idle(store: Store, at: int) -> None:
    """Say that every topic is empty up to an instant, so that what waits for it becomes due."""

    def rows() -> Any:
        return (yield Find("sources", "by_topic", (detect.READER,)))

    marks = [detect.Idle((row["topic"], row["partition"]), row["next_offset"], at) for row in await store.read(rows)]
    await store.run(detect.mark_idle(marks))
    rules = loaded().rules
    assert rules is not None
    for rule in rules.stateful:
        while await store.run(detect.tick(rules, rule, grace=0)):
            pass


def _parts(items: list[Any], size: int) -> list[list[Any]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


async def whole(where: Path | Place, events: int = 300) -> None:
    """Decide a workload, and let everything that it waits for come due."""
    async with opened(where) as store:
        await detected(store, events)
        await idle(store, NOW + 10 * HOUR)


def run(body: Any) -> Any:
    return asyncio.run(body)
