"""What every proof has in common: a shop that goes on, something that is done to the cluster meanwhile, and the verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

from streams.embedded import wall_clock
from tests.proofs import compare, outcomes
from tests.proofs.chaos import Feed, Pauses, pauses_of
from tests.proofs.compare import Deliveries, Records
from tests.proofs.outcomes import Outcomes
from tests.proofs.stand import Stand
from tests.proofs.workload import Shop
from tidings.event import SECOND

WORKERS = ("worker-1", "worker-2", "worker-3")
DELIVERERS = ("deliver-1", "deliver-2")
WITHOUT_END = 10**9


def started(stand: Stand, workers: Sequence[str] = WORKERS) -> None:
    """Start workers, deliverers, and the archive."""
    for name in workers:
        stand.run("worker", name)
    for name in DELIVERERS:
        stand.run("deliver", name)
    stand.run("archive", "archive")


async def lived(stand: Stand, rate: float, least: int, doing: Awaitable[None], patience: float) -> tuple[Feed, Pauses]:
    """Let a shop be open while something is done, and until `least` events; return when all has come to rest.

    It is never closed before what is done is over: what is hit then would be at rest. Also return the longest times
    without progress.
    """
    shop = shop_of(WITHOUT_END, rate)
    feed, over = Feed(stand, shop), asyncio.Event()

    async def done() -> None:
        await doing
        shop.total = max(least, shop.begun)

    watching = asyncio.create_task(pauses_of(stand, feed, over))
    jobs = [asyncio.create_task(feed.run()), asyncio.create_task(done())]
    try:
        ended, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_EXCEPTION)
        for task in ended:
            task.result()
    finally:
        over.set()
        for task in jobs:
            task.cancel()
    longest = await watching
    await stand.settled(len(feed.written) + feed.again, shop.last, patience)
    await outcomes.published(stand)
    return feed, longest


@dataclass(frozen=True)
class Verdict:
    """Everything holds; the figures."""

    records: Records
    told: dict[str, Any]
    """By `tidings verify`."""
    worst: float
    """Seconds from an event to its record, at most."""
    sent: Deliveries
    outcomes: Outcomes
    different: int
    """Records that only one of the two runs has."""
    deadlocks: int
    """That any process has told of."""
    logs: int
    """Of processes, which were looked through for that."""

    def figures(self, feed: Feed, stand: Stand) -> dict[str, object]:
        told, sent = self.told, self.sent
        return {
            "events": f"{len(feed.written):,} written, {feed.shop.repeated:,} of them twice; {feed.again} more by retries",
            "topics, partitions": f"6 of the shop and that of the customers, {stand.partitions} partitions each",
            "latest event": f"{self.worst:.1f} s after it happened; the rules allow {stand.lateness // SECOND} s",
            "detection records": f"{len(self.records):,}, {self.different} other than in the undisturbed embedded run",
            "verify": compare.said(told),
            "messages": ", ".join(f"{count:,} {state}" for state, count in sorted(sent.states.items())),
            "messages lost": sent.lost,
            "of unknown outcome": sent.unknown,
            "handed over again": f"{sent.repeated}, {sent.unexplained} of them neither unknown nor of a rule that wants it so",
            "outcome topics": f"{self.outcomes.firings:,} firings, {self.outcomes.ends:,} ends of messages; "
            f"{self.outcomes.missing} of the database missing, {self.outcomes.gaps} gaps or repeats in "
            f"{self.outcomes.partitions} partitions",
        }  # fmt: skip


def judged(stand: Stand, feed: Feed, *, on_time: bool = True) -> Verdict:
    """Stop everything in order, and hold it against an undisturbed run. `on_time`: records follow their events soon."""
    codes = {name: stand.end(name) for name in list(stand.running)}
    assert set(codes.values()) == {0}, f"not ended in order: {codes}"
    stand.run("archive", "archive-again")
    told = compare.verified(stand)
    worst = asyncio.run(compare.latest(stand))
    assert not on_time or worst < stand.lateness / SECOND, (
        f"an event came after {worst:.0f} s, later than the rules allow"
    )
    theirs = asyncio.run(compare.undisturbed(stand.folder / "undisturbed.db", feed.written, stand.lateness))
    ours = asyncio.run(compare.recorded(stand))
    asyncio.run(compare.same(stand, ours, theirs))
    letters = asyncio.run(stand.ask("SELECT reason, count(*) FROM dead_letters GROUP BY reason"))
    assert not letters, letters
    faults = stand.faults()
    deadlocks = sum(count for words, count in faults.items() if "deadlock" in words.lower())
    assert not deadlocks, faults
    sent = asyncio.run(compare.deliveries(stand))
    logs = len(list(stand.folder.glob("*.log")))
    return Verdict(
        ours, told, worst, sent, asyncio.run(outcomes.checked(stand)), len(ours.keys() ^ theirs.keys()), deadlocks, logs
    )


def shop_of(events: int, rate: float, seed: int = 11) -> Shop:
    """Return a shop that opens now."""
    return Shop(seed, events, wall_clock(), rate)
