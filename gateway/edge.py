"""The site that pages and ways in stand on: of an embedded engine, and of a cluster."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gateway.access.door import Door, is_loopback
from gateway.access.keys import Keys, pepper_of
from gateway.config import Config
from gateway.site import Paused, Site
from streams.codec import Codec
from streams.edge_process import EdgeProcess
from streams.embedded import Engine, wall_clock
from streams.ledger.ledger import Ledger
from streams.ledger.proof import Proof
from streams.processors.deliverer import Render
from streams.processors.detect import READER
from streams.stores.sqlite import SqliteReader
from tidings.errors import Misconfigured
from tidings.event import Micros
from tidings.ports import Body, Reader, Scan, StoreUnavailable, Transaction
from tidings.watermark import GRACE

T = TypeVar("T")

UNTAKEN = 1_000_000
"""Records that may wait before nothing more is taken in: some minutes of work."""
ROOM = 256 * 1024 * 1024
"""Bytes that the disk keeps free."""
LOOK_EVERY, OLDEST = 1.0, 2.0
"""Seconds after which it is looked anew, and up to which what was seen holds while somebody looks."""
HANGS = 5.0
LONGEST = 300
"""Seconds that a producer is sent away for at most."""


@dataclass(frozen=True)
class _Beside:
    """A file beside its owner, of one instant, asked in a thread: its loop goes on."""

    file: SqliteReader

    async def read(self, body: Body[T]) -> T:
        """Run a body that only reads."""
        return await asyncio.to_thread(self.file.read, body)


@dataclass
class Pressure:
    """Whether an engine works off what comes in, and its disk has room."""

    engine: Engine
    untaken: int = UNTAKEN
    room: int = ROOM
    _seen: tuple[float, int, int] | None = field(default=None, init=False)
    """When it was looked, what waited, what had been taken."""
    _paused: Paused | None = field(default=None, init=False)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def __call__(self) -> Paused | None:
        """Say why nothing is taken in now, if so; about a second old at most, or two while it is looked anew.

        Raises:
            StoreUnavailable: it cannot be said now.
        """
        if self._is_younger(LOOK_EVERY) or (self._looking.locked() and self._is_younger(OLDEST)):
            return self._paused
        try:
            async with asyncio.timeout(HANGS), self._looking:
                if not self._is_younger(LOOK_EVERY):
                    await self._look()
        except TimeoutError as fault:
            text = f"{self.engine.path}: how much waits was not read within {HANGS:.0f} s"
            raise StoreUnavailable(text) from fault
        return self._paused

    def _is_younger(self, seconds: float) -> bool:
        return self._seen is not None and time.monotonic() - self._seen[0] < seconds

    async def _look(self) -> None:
        now, before = time.monotonic(), self._seen
        waits, taken = await self.engine.store.read(_lag)
        free = shutil.disk_usage(self.engine.path.parent).free
        if free < self.room:
            self._paused = Paused("the disk is nearly full", LONGEST)
        elif waits > self.untaken:
            rate = 0.0 if before is None else (taken - before[2]) / (now - before[0])
            wait = LONGEST if rate <= 0 else int((waits - self.untaken) / rate) + 1
            self._paused = Paused(f"more than {self.untaken} events wait for a decision", min(LONGEST, wait))
        else:
            self._paused = None
        self._seen = (now, waits, taken)


def _lag() -> Transaction[tuple[int, int]]:
    ends = sum(row["next_offset"] for row in (yield Scan("log_heads")))
    taken = sum(row["next_offset"] for row in (yield Scan("sources")) if row["reader"] == READER)
    return ends - taken, taken


def guarded(host: str, settings: Config | None) -> bytes | None:
    """Return what keys are proven with; None: there can be none.

    Raises:
        Misconfigured: it is to be reached from elsewhere, and nobody could have a key.
    """
    secret = None if settings is None else settings.link_key()
    if secret is None and not is_loopback(host):
        text = (
            f"[http] host = {host!r} is reached from elsewhere, and without secret_key nobody can have a key: "
            "set secret_key, or listen on 127.0.0.1"
        )
        raise Misconfigured(text)
    return None if secret is None else pepper_of(secret)


def site_of(
    engine: Engine, host: str, settings: Config | None = None, *, name: str = "", folder: Path | None = None
) -> Site:  # fmt: skip
    """Return the site of an open engine that is served at `host`; `folder`: of its rules, where no settings say it.

    Raises:
        Misconfigured: as `guarded`.
    """
    keys = Keys(engine.store, guarded(host, settings), wall_clock)

    @asynccontextmanager
    async def still() -> AsyncIterator[Reader]:
        file = SqliteReader(engine.path, engine.clock)
        try:
            with file.snapshot():
                yield _Beside(file)
        finally:
            file.close()

    ledger = Ledger.of_file(engine.path, lambda: engine.rules, codec=engine.codec)
    return Site(
        name=name or engine.path.parent.absolute().name, store=engine.store, contracts=engine.contracts, codec=engine.codec,
        rules=lambda: engine.rules, now=engine.clock, publish=engine.log.append,
        ledger=ledger, proof=Proof(ledger, engine.clock), door=Door(keys, host), still=still,
        paused=Pressure(engine), render=engine.render, settings=settings, ways=lambda: engine.ways,
        **_shown(settings, folder),
    )  # fmt: skip


def cluster_site(
    process: EdgeProcess, codec: Codec, host: str, settings: Config | None, *, clock: Callable[[], Micros],
    render: Render, grace: Micros = GRACE, name: str = "", folder: Path | None = None,
) -> Site:  # fmt: skip
    """Return the site of a cluster, as one of its gateways serves it at `host`.

    Raises:
        Misconfigured: as `guarded`.
    """
    keys = Keys(process.store, guarded(host, settings), wall_clock)
    ledger = Ledger.of_database(process.store.place, lambda: process.rules, codec=codec)
    return Site(
        name=name or process.store.place.database, store=process.store, contracts=process.contracts, codec=codec,
        rules=lambda: process.rules, now=clock, publish=process.publisher.publish,
        ledger=ledger, proof=Proof(ledger, clock), door=Door(keys, host),
        still=process.store.snapshot, grace=grace, render=render, settings=settings, **_shown(settings, folder),
    )  # fmt: skip


def _shown(settings: Config | None, folder: Path | None) -> dict[str, Any]:
    """Return what signs sessions, how the customers' pages look, and where the files of the rules are, if they are here."""
    if settings is None:
        return {"folder": folder}
    here = settings.rules if (settings.rules / "rules").is_dir() else folder
    return {"secret": settings.link_key(), "brand": settings.look(), "folder": here}
