"""What it costs a file that its console can be read: the indexes of lists, and the catalogue by which events are found.

The same messages leave three times, each time in a process and a file of their own: with both, without the catalogue, and
without the indexes as well. Their provider is a value that says yes, so that nothing but our own work is beside them. The
processor's time is compared, pair by pair, in changing order.

python -m benchmarks.readable [--messages N] [--pairs N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks import delivery
from streams.embedded import calm_collector, wall_clock
from streams.processors.catalogue import CatalogueReader
from streams.stores.sqlite import SqliteStore
from tidings.ports import Outcome, Outgoing, Row, Scan, Transaction

WAYS = ("both", "indexes", "neither")
INDEXES = (
    "runs_by_time", "runs_by_rule", "runs_by_person", "messages_by_outcome", "messages_by_reason", "messages_by_reference",
)  # fmt: skip
"""Those that only what people look at walks."""


class Yes:
    """A provider that takes everything."""

    name = "yes"
    lease = 30_000_000
    can_look_up = False

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Take it."""
        return Outcome("accepted", f"ref-{outgoing.message_id}")

    async def look_up(self, _: str) -> str | None:
        """Know nothing."""
        return None


async def one(way: str, number: int) -> float:
    """Return milliseconds of processor time a message, and of what makes it findable."""
    with tempfile.TemporaryDirectory(prefix="tidings-bench-") as folder:
        path = Path(folder) / "bench.db"
        await (await SqliteStore.open(path, wall_clock)).close()
        if way == "neither":
            with closing(sqlite3.connect(path)) as file:
                for name in INDEXES:
                    file.execute(f"DROP INDEX {name}")
        if way != "both":
            setattr(CatalogueReader, "step", _rests)  # noqa: B010 - a method of somebody else, for this process only
        provider: Any = Yes()
        delivery.provider_of = lambda *_: provider
        bench = delivery.Bench(Path(folder), "email", 0)
        async with bench.engine as engine:
            await bench.introduce()
            await engine.start()
            calm_collector()
            used = time.process_time()
            await bench.rate(number)
            while way == "both" and await engine.store.read(_uncatalogued):  # noqa: ASYNC110 - nothing tells us
                await asyncio.sleep(0.1)
            return (time.process_time() - used) * 1000 / number


async def _rests(_: CatalogueReader) -> bool:
    return False


def _uncatalogued() -> Transaction[bool]:
    heads: list[Row] = yield Scan("log_heads")
    done = {(row["topic"], row["partition"]): row["next_offset"] for row in (yield Scan("catalogued"))}
    return any(done.get((row["topic"], row["partition"]), 0) < row["next_offset"] for row in heads)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=3_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--one", choices=WAYS, help="one of them, in this process")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(asyncio.run(one(arguments.one, arguments.messages))))
        return
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for pair in range(arguments.pairs):
        for way in WAYS if pair % 2 else WAYS[::-1]:
            command = [sys.executable, "-m", "benchmarks.readable", "--one", way, "--messages", str(arguments.messages)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[way].append(json.loads(done.stdout))
    least = found["neither"]
    for way in WAYS:
        more = statistics.median(this / that - 1 for this, that in zip(found[way], least, strict=True))
        print(f"{way:8} {statistics.median(found[way]):.3f} ms of processor time a message, {more:+.1%}")


if __name__ == "__main__":
    main()
