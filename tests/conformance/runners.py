"""The two runners behind one face: the embedded engine on a file, and a worker on Kafka and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from schemas import contracts
from streams.codec import Codec
from streams.embedded import wall_clock
from streams.embedded_log import Append
from streams.kafka.worker_process import WorkerProcess
from streams.stores.place import Place
from tests.kafka.world import World, until, world
from tests.live import engines
from tests.live.cluster import rule_set
from tests.live.engines import Shelf
from tidings.log import Decoder, LogRecord
from tidings.ports import Row

CODEC = Codec(contracts())
Raw = tuple[str, bytes | None, bytes | None]
"""Topic, key, value."""


def raw(events: Iterable[tuple[str, dict[str, Any]]]) -> list[Raw]:
    return [(contracts().by_type[kind].topic, *CODEC.encode(kind, payload)) for kind, payload in events]


class Runner(Protocol):
    async def start(self) -> None:
        """Begin to read."""

    async def stop(self) -> None:
        """Read no more."""

    async def append(self, records: list[Raw]) -> None:
        """Append to the log."""

    async def apply(self, rules: bytes, templates: Mapping[str, str]) -> None:
        """Make other rules the active ones."""

    async def rest(self) -> None:
        """Wait until every record is taken, and every timer whose time has come has run."""

    async def rows(self, table: str) -> list[Row]:
        """Read a table."""


class Hurt:
    """A decoder that fails on one value, as a fault of our own would."""

    def __init__(self, value: bytes) -> None:
        self.value = value

    def __call__(self, record: LogRecord) -> Any:
        if record.value == self.value:
            raise ZeroDivisionError
        return CODEC.decode(record)


class Embedded:
    def __init__(self, path: Path, rules: bytes, templates: Mapping[str, str], decode: Decoder | None) -> None:
        self.path = path
        self.given = (rules, templates)
        self.decode = decode
        self.stack = AsyncExitStack()

    async def open(self) -> None:
        self.engine = await self.stack.enter_async_context(engines.engine(self.path, Shelf(), *self.given))
        if self.decode is not None:
            self.engine.codec.decode = self.decode  # type: ignore[method-assign]

    async def start(self) -> None:
        await self.engine.start()

    async def stop(self) -> None:
        await self.stack.aclose()
        await self.open()

    async def append(self, records: list[Raw]) -> None:
        for start in range(0, len(records), 500):
            await self.engine.log.append([Append(*one) for one in records[start : start + 500]])

    async def apply(self, rules: bytes, templates: Mapping[str, str]) -> None:
        self.given = (rules, templates)
        found, files, texts = rule_set(rules, templates)
        assert await self.engine.replace_rules(files, texts, found) == []

    async def rest(self) -> None:
        await engines.rest(self.engine, 60)
        await settled(self)
        self.engine.check()

    async def rows(self, table: str) -> list[Row]:
        return await engines.rows(self.engine, table)


class OnCluster:
    def __init__(self, there: World, decode: Decoder | None) -> None:
        self.world = there
        self.decode = decode
        self.stack = AsyncExitStack()
        self.workers: list[WorkerProcess] = []

    async def start(self) -> None:
        # Two share the partitions; the second joins while the first reads.
        self.workers = [
            await self.stack.enter_async_context(self.world.worker(name, decode=self.decode)) for name in ("one", "two")
        ]

    async def stop(self) -> None:
        await self.stack.aclose()
        self.workers = []

    async def append(self, records: list[Raw]) -> None:
        await asyncio.gather(*[await self.world.send(*one) for one in records])

    async def apply(self, rules: bytes, templates: Mapping[str, str]) -> None:
        await self.world.apply(rules, dict(templates))

    async def rest(self) -> None:
        await self.world.taken(60, *self.workers)
        await settled(self)
        for one in self.workers:
            one.check()

    async def rows(self, table: str) -> list[Row]:
        return await self.world.rows(table)


async def settled(runner: Runner) -> None:
    """Wait until no timer is due and nothing waits in a buffer: the deadlines of these tests lie hours back, or days ahead."""

    async def nothing_waits() -> bool:
        now = wall_clock()
        due = any(row["due"] is not None and row["due"] < now for row in await runner.rows("state"))
        return not due and not await runner.rows("buffer")

    await until(nothing_waits, 60)


@asynccontextmanager
async def embedded(
    path: Path, rules: bytes, templates: Mapping[str, str], decode: Decoder | None = None
) -> AsyncIterator[Runner]:
    runner = Embedded(path, rules, templates, decode)
    await runner.open()
    try:
        yield runner
    finally:
        await runner.stack.aclose()


@asynccontextmanager
async def on_cluster(
    place: Place, rules: bytes, templates: Mapping[str, str], decode: Decoder | None = None
) -> AsyncIterator[Runner]:
    async with world(place) as there:
        await there.apply(rules, dict(templates))
        runner = OnCluster(there, decode)
        try:
            yield runner
        finally:
            await runner.stack.aclose()


def said(rows: Iterable[Row]) -> set[tuple[Any, ...]]:
    """Detection records without what is not claimed: in which transaction, and who has read them."""
    left_out = {"seq", "unread"}
    return {tuple(value for name, value in sorted(row.items()) if name not in left_out) for row in rows}


def letters(rows: Iterable[Row]) -> list[tuple[Any, ...]]:
    """Dead letters without their places."""
    return sorted((row["reader"], row["topic"], row["reason"], row["key"] or b"", row["value"] or b"") for row in rows)
