"""A clock of business time: it runs fast, stands still while nobody runs it, and never goes back.

A demonstration keeps its time in its file. What it reads of the clock is stored at least as often as `KEEP_EVERY`; after
a crash the clock goes on from the newest instant that the file tells, wherever that stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from streams.stores.sqlite import SqliteReader, SqliteStore
from tidings.event import Micros
from tidings.ports import Now, Put, Read, Scan, Store, Transaction

ROW = "clock"
"""Name of the epoch row that keeps the time."""
KEEP_EVERY = 0.25
"""Seconds between two writes of the time."""


class FastClock:
    """Business time in microseconds. Made standing still; `go` lets it run, `freeze` stops it again."""

    def __init__(self, at: Micros, speed: int) -> None:
        self.speed = speed
        self._state: tuple[Micros, int | None] = (at, None)

    def __call__(self) -> Micros:
        """Return the time; called by any thread."""
        at, since = self._state
        return at if since is None else at + (time.monotonic_ns() - since) * self.speed // 1000

    def go(self) -> None:
        """Run on from where it stands."""
        self._state = (self(), time.monotonic_ns())

    def freeze(self) -> None:
        """Stand still."""
        self._state = (self(), None)

    @property
    def anchor(self) -> str:
        """Return what another process of this machine needs to read the same time: see `anchored`."""
        at, since = self._state
        return f"{at}:{since if since is not None else ''}:{self.speed}"


def anchored(anchor: str) -> FastClock:
    """Return the clock of another process of this machine: the monotonic clock is one for all of them."""
    at, since, speed = anchor.split(":")
    clock = FastClock(int(at), int(speed))
    clock._state = (int(at), int(since) if since else None)  # noqa: SLF001 - its other constructor
    return clock


def keep() -> Transaction[None]:
    """Write the time down."""
    now = yield Now()
    yield Put("epochs", [{"name": ROW, "value": str(now)}])


def newest() -> Transaction[Micros | None]:
    """Return the newest instant that a file tells of, or None where it has no time yet."""
    found = [int(row["value"]) for row in (yield Read("epochs", [(ROW,)])).values()]
    heads = [(row["topic"], row["partition"], row["next_offset"] - 1) for row in (yield Scan("log_heads"))]
    found += [row["appended_at"] for row in (yield Read("log", heads)).values()]
    for table, columns in (
        ("sources", ("caught_up_at", "connected_at")), ("messages", ("created_at",)),
        ("attempts", ("intent_at", "first_byte_at", "ended_at")),
    ):  # fmt: skip
        found += [row[name] for row in (yield Scan(table)) for name in columns if row[name] is not None]
    return max(found, default=None)


async def resumed(path: Path, speed: int, start: Micros) -> FastClock:
    """Return the clock of a file, standing where it stood; of a file that has none yet, at `start`.

    Raises:
        Misconfigured: another process has the file, or it is not ours.
    """
    store = await SqliteStore.open(path, lambda: start)
    try:
        return await resumed_in(store, speed, start)
    finally:
        await store.close()


async def resumed_in(store: Store, speed: int, start: Micros) -> FastClock:
    """Return the clock of a store, standing where it stood; of one that has none yet, at `start`."""
    stood = await store.read(newest)
    return FastClock(start if stood is None else stood, speed)


def clock_of(path: Path) -> Callable[[], Micros]:
    """Return the clock by which a file is looked at beside its owner: its own time if it keeps one, else the world's.

    A time that the file keeps goes on from where it stands, at the pace of the world.

    Raises:
        Misconfigured: there is no such file, or it is not ours.
    """

    def kept() -> Transaction[bool]:
        return bool((yield Read("epochs", [(ROW,)])))

    reader = SqliteReader(path)
    try:
        stood = reader.read(newest) if reader.read(kept) else None
    finally:
        reader.close()
    if stood is None:
        return lambda: time.time_ns() // 1000
    clock = FastClock(stood, 1)
    clock.go()
    return clock
