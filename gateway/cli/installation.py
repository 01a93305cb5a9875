"""An installation, embedded or on a cluster, as the verbs see it that look at it and take records in again."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.cli.operator import operator
from gateway.cli.place import folder_of, settings_of
from gateway.cli.republish import Unpublished, published, republish
from gateway.cli.told import Told
from gateway.cli.watch import Watch
from gateway.codec import codec_of
from gateway.config import Config
from handlers.channels.content import Contents
from schemas import contracts
from streams import control
from streams.clock import clock_of
from streams.codec import Codec
from streams.embedded_log import Append, append
from streams.preview import Preview
from streams.processors.audit import audit
from streams.redrive import Redriven, redrive, set_aside
from streams.rule_book import RuleBook
from streams.stores.postgres import PostgresStore
from streams.stores.sqlite import SqliteReader, SqliteStore
from streams.wording import counted
from tidings.errors import Misconfigured
from tidings.event import Micros
from tidings.log import LogRecord
from tidings.ports import Body, Reader, StoreUnavailable, T, Transaction
from tidings.watermark import GRACE


@dataclass(frozen=True)
class FileReader:
    """A file beside its owner."""

    file: SqliteReader

    async def read(self, body: Body[T]) -> T:
        """Run a body that only reads."""
        return self.file.read(body)

    @asynccontextmanager
    async def still(self) -> AsyncIterator[FileReader]:
        """Let all that is read inside be of one instant."""
        with self.file.snapshot():
            yield self


@dataclass(frozen=True)
class Installation:
    """Where it is; `reader` sees what is committed, `still` gives one instant of it."""

    reader: Reader
    still: Callable[[], AbstractAsyncContextManager[Reader]]
    """Held for a moment only: the server ends what keeps a snapshot and asks nothing. So no network within."""
    clock: Callable[[], Micros]
    codec: Codec
    settings: Config | None
    """None: of a file that no configuration names."""
    folder: Path | None
    """Of the file; None on a cluster."""

    async def preview(self, appends: Sequence[Append], seen: set[str]) -> tuple[Preview, list[str]]:
        """Say what records would lead to as new intake; `seen` are the references of events that were decided before."""
        # A registry takes its time, and may not do so while a snapshot is held.
        await self.codec.ready(LogRecord(one.topic, 0, 0, 0, one.key, one.value, one.headers) for one in appends)
        lines: list[str] = []
        render = Contents()
        if self.settings is not None:
            render = Contents(self.settings.settings.public_url, self.settings.link_key())
        grace = 0 if self.folder is not None else GRACE
        async with self.still() as reader:
            book = RuleBook(contracts(), reader)
            rules = await book.active()
            if rules is None:
                raise Told("no rules are active yet")
            watch = Watch(rules, self.clock, out=lines.append, seen=seen)
            tried = Preview(reader, self.codec, book, self.clock, watch, grace, render)
            await tried.take(appends)
        return tried, lines

    async def append(self, appends: Sequence[Append], said: Mapping[str, object]) -> str:
        """Append records as new intake; return who decides on them now. On a cluster it is written down in `audit`."""
        if self.folder is None:
            await self._publish(appends, said)
            return DECIDE
        done = False
        for part in _parts(appends):
            if control.append_by(self.folder, part) is None:
                break
            done = True
        else:
            return ENGINE
        if done:
            raise Told("the engine has ended meanwhile, and a part was appended; once more repeats nothing that counts")
        await self._taken(append(appends))
        return NEXT_RUN

    async def redrive(self, letters: Sequence[Redriven]) -> tuple[int, str]:
        """Append what dead letters become, and mark them; return how many were not marked before, and who decides."""
        if self.settings is not None and self.folder is None:
            return await republish(self.settings, letters), DECIDE
        assert self.folder is not None, "where there is no cluster there is a file"
        count = control.redrive_by(self.folder, letters)
        if count is not None:
            return count, ENGINE
        return await self._taken(redrive(letters)), NEXT_RUN

    async def set_aside(self, places: Sequence[tuple[str, str, int, int]], reason: str) -> int:
        """Mark dead letters as not to be tried again by themselves; return how many were not marked before."""
        if self.folder is not None:
            count = control.set_aside_by(self.folder, places, operator(), reason)
            return count if count is not None else await self._taken(set_aside(places, operator(), reason))
        assert self.settings is not None, "a cluster is configured"
        store = await PostgresStore.open(self.settings.postgres(), writers=1, urgent=1, readers=1)
        try:
            return await store.run(set_aside(places, operator(), reason))
        finally:
            await store.close()

    async def _publish(self, appends: Sequence[Append], said: Mapping[str, object]) -> None:
        assert self.settings is not None, "a cluster is configured"
        said = {**said, "records": len(appends)}
        store = await PostgresStore.open(self.settings.postgres(), writers=1, urgent=1, readers=1)
        try:
            # Before and after: who may not write it down shall not publish, and an intent alone says nothing of its end.
            await store.run(_audited({**said, "step": "begun"}))
            try:
                # Each goes back to its own partition, byte for byte.
                done = len(await published(self.settings, appends, [one.partition for one in appends]))
            except (Unpublished, Misconfigured) as fault:
                await _ended(store, said, fault.done if isinstance(fault, Unpublished) else 0)
                raise
            await _ended(store, said, done)
        finally:
            await store.close()

    async def _taken(self, body: Body[T]) -> T:
        assert self.folder is not None, "a file is taken"
        store = await SqliteStore.open(self.folder / "tidings.db", self.clock)
        try:
            return await store.run(body)
        finally:
            await store.close()


ENGINE = "the running engine decides on them"
NEXT_RUN = "the next run of the engine decides on them"
DECIDE = "the workers decide on them"
PART = 2 * 1024 * 1024
"""Bytes of keys and values that go through the socket of a running engine at once."""


def _parts(appends: Sequence[Append]) -> list[list[Append]]:
    parts: list[list[Append]] = [[]]
    size = 0
    for one in appends:
        weight = len(one.key or b"") + len(one.value or b"") + 200
        if parts[-1] and size + weight > PART:
            parts.append([])
            size = 0
        parts[-1].append(one)
        size += weight
    return parts


async def _ended(store: PostgresStore, said: Mapping[str, object], done: int) -> None:
    try:
        await store.run(_audited({**said, "step": "ended", "published": done}))
    except StoreUnavailable as fault:
        raise Told(f"{counted(done, 'record')} published, and that is not in audit: {fault}") from fault


def _audited(said: Mapping[str, object]) -> Body[None]:
    def body() -> Transaction[None]:
        yield from audit("repair", operator(), said)

    return body


@asynccontextmanager
async def looked_at(arguments: Namespace) -> AsyncIterator[Installation]:
    """Look at the installation that the arguments name.

    Raises:
        Misconfigured: the configuration has mistakes, or there is no file.
    """
    settings = settings_of(arguments)
    if settings is None or not settings.on_cluster:
        folder = folder_of(arguments)
        file = SqliteReader(folder / "tidings.db")
        reader = FileReader(file)
        try:
            yield Installation(reader, reader.still, clock_of(file.path), Codec(contracts()), settings, folder)
        finally:
            file.close()
        return
    store = await PostgresStore.open(settings.postgres(), writers=1, urgent=1, readers=1)
    codec = codec_of(settings)
    try:
        yield Installation(store, store.snapshot, lambda: time.time_ns() // 1000, codec, settings, None)
    finally:
        await codec.close()
        await store.close()
