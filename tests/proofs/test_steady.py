"""Half an hour at 70 % of what this machine can: memory, lag and connections stay where they are.

`TIDINGS_PROOF_MINUTES` sets another length.
"""

import asyncio
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from streams.embedded import wall_clock
from tests.proofs import compare
from tests.proofs.chaos import Feed
from tests.proofs.figures import PAGE, tell
from tests.proofs.plot import drawn
from tests.proofs.stand import Stand, standing
from tests.proofs.story import started
from tests.proofs.workload import Shop
from tidings.event import SECOND

MINUTES = float(os.environ.get("TIDINGS_PROOF_MINUTES", "30"))
SHARE = 0.7
FIRST, GROWS, STEP = 100.0, 1.2, 30.0
"""The first rate that is tried, by how much the next is higher, and for how many seconds each."""
JUDGED, ABOUT, CHANCES = 10, 3.0, 2
"""Seconds at the end of a step that are looked at, seconds of a rate that may lie about then, and times that one may fail."""
IDLE = 10.0
PEOPLE = 20_000
WARM = 0.25
"""Part of the time after which everything is expected to be flat."""
EVERY = 5.0
GIB = 2**30


@dataclass
class Samples:
    minutes: list[float] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=dict)
    lag: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    connections: list[float] = field(default_factory=list)


async def sampled(stand: Stand, feed: Feed, stop: asyncio.Event) -> Samples:
    """Look at everything every few seconds."""
    found, begun = Samples(), time.monotonic()
    while not stop.is_set():
        found.minutes.append((time.monotonic() - begun) / 60)
        for name, one in stand.running.items():
            found.memory.setdefault(name, []).append(resident(one.pid))
        (connections,) = await stand.ask("SELECT count(*) FROM pg_stat_activity WHERE datname = 'tidings'")
        found.connections.append(connections[0] - 1)  # our own
        found.lag.append(max(0, feed.count + feed.again - await stand.offsets()))
        left = await stand.open()
        found.waiting.append(sum(left.values()))
        await asyncio.sleep(EVERY)
    return found


def resident(pid: int) -> float:
    """Return the memory of a process in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def size(stand: Stand) -> tuple[int, int]:
    """Return the bytes of database and log."""
    (row,) = await stand.ask("SELECT pg_database_size('tidings')")
    return int(row[0]), sum(file.stat().st_size for file in (stand.kafka.folder / "data").rglob("*.log"))


async def maximum(stand: Stand, shop: Shop, feed: Feed) -> float:
    """Return the highest of growing rates that was kept up with, in events a second, decided and told as they come.

    A rate that was not gets a second chance, when what was left behind is done: something else may have been busy.
    """
    kept, rate, failed = 0.0, FIRST, 0
    while failed < CHANCES:
        shop.rate = rate
        if await keeps_up(stand, feed, rate):
            kept, rate, failed = rate, rate * GROWS, 0
            continue
        failed += 1
        shop.rate = IDLE
        await drained(stand, feed)
    assert kept, f"not even {FIRST:.0f} events/s were kept up with"
    return kept


async def keeps_up(stand: Stand, feed: Feed, rate: float) -> bool:
    """Return whether no more lies about, at the end of a step, than comes in a few seconds."""
    end, left = time.monotonic() + STEP, []
    while time.monotonic() < end:
        await asyncio.sleep(1)
        left.append(await behind(stand, feed))
    return sum(left[-JUDGED:]) / len(left[-JUDGED:]) <= rate * ABOUT


async def behind(stand: Stand, feed: Feed) -> int:
    """Return how many records are not read, or read and not told."""
    return max(0, feed.count + feed.again - await stand.offsets()) + sum((await stand.open()).values())


async def drained(stand: Stand, feed: Feed) -> None:
    """Wait until hardly anything lies about."""
    end = time.monotonic() + 600
    while await behind(stand, feed) > IDLE * ABOUT * 4:
        assert time.monotonic() < end, "what was left behind is not done in ten minutes"
        await asyncio.sleep(1)


def flat(values: list[float]) -> tuple[float, float]:
    """Return the means of the quarter after the warm-up, and of the last quarter."""
    quarter = max(1, len(values) // 4)
    warm = int(len(values) * WARM)
    early, late = values[warm : warm + quarter], values[-quarter:]
    return sum(early) / len(early), sum(late) / len(late)


def proven(folder: Path, minutes: float, plot: Path | None) -> dict[str, object]:
    with standing(folder, lateness=20 * SECOND, partitions=12) as stand:

        async def story() -> tuple[Samples, float, float, int, tuple[int, int], tuple[int, int]]:
            shop = Shop(11, 10**9, wall_clock(), IDLE, PEOPLE)
            feed, stop = Feed(stand, shop, keep=False), asyncio.Event()
            started(stand)
            for name in ("worker-1", "worker-2", "worker-3"):
                await stand.said(name, "reading")
            feeding = asyncio.create_task(feed.run())
            await asyncio.sleep(STEP)
            most = await maximum(stand, shop, feed)
            shop.rate = rate = SHARE * most
            await asyncio.sleep(STEP)
            before, from_there = await size(stand), feed.count
            looking = asyncio.create_task(sampled(stand, feed, stop))
            await asyncio.wait([feeding], timeout=minutes * 60)
            stop.set()
            samples = await looking
            count, after = feed.count - from_there, await size(stand)
            shop.total = shop.begun
            await feeding
            return samples, most, rate, count, before, after

        samples, most, rate, count, before, after = asyncio.run(story())
        codes = {name: stand.end(name) for name in list(stand.running)}
        assert set(codes.values()) == {0}, codes
        stand.run("archive", "archive-again")
        told = compare.verified(stand)
    seconds = samples.minutes[-1] * 60
    a_day = [(now - then) / seconds * 86_400 / GIB for then, now in zip(before, after, strict=True)]
    memory = {name: flat(values) for name, values in samples.memory.items()}
    lag, waiting, connections = flat(samples.lag), flat(samples.waiting), flat(samples.connections)
    if plot is not None:
        panels = {
            "memory, MiB": samples.memory, "records not read": {"lag": samples.lag},
            "messages and records that wait": {"open": samples.waiting},
            "connections to PostgreSQL": {"connections": samples.connections},
        }  # fmt: skip
        plot.write_text(drawn(f"Steady load, {rate:.0f} events/s", samples.minutes, panels), "utf-8")
    for name, (early, late) in memory.items():
        assert late < early * 1.15 + 10, f"{name} grows: {early:.0f} → {late:.0f} MiB"
    assert lag[1] < max(2 * lag[0], rate * 5), f"the lag grows: {lag}"
    assert connections[1] <= connections[0] * 1.1 + 2, f"connections grow: {connections}"
    return {
        "maximum": f"{most:,.0f} events/s, decided and told as they come, of {PEOPLE:,} customers (steps of {GROWS - 1:.0%})",
        "load": f"{count / seconds:,.0f} events/s for {seconds / 60:.0f} min ({SHARE:.0%} of it)",
        **{f"memory of {name}": f"{early:.0f} → {late:.0f} MiB" for name, (early, late) in sorted(memory.items())},
        "lag": f"{lag[0]:,.0f} → {lag[1]:,.0f} records, {max(samples.lag):,.0f} at most",
        "open messages and unread records": f"{waiting[0]:,.0f} → {waiting[1]:,.0f}",
        "connections": f"{connections[0]:.0f} → {connections[1]:.0f}",
        "database": f"{a_day[0]:.1f} GiB a day at this load, {(after[0] - before[0]) / count:,.0f} bytes an event",
        "log of Kafka": f"{a_day[1]:.1f} GiB a day at this load, {(after[1] - before[1]) / count:,.0f} bytes an event",
        "verify": compare.said(told),
    }


@pytest.mark.proofs
def test_steady_load(tmp_path, write):
    plot = PAGE.parent / "steady.svg" if write else None
    figures = proven(tmp_path / "stand", MINUTES, plot)
    tell("steady", "Steady load", figures, write=write, also="\n![memory, lag and connections](steady.svg)\n")
