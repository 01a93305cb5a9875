"""`make bench`: detection beside a loop written by hand, memory, and the whole way of a message.

Prints a table for people and, last, one line of JSON. Every measurement is a process of its own; runs that are compared
alternate, and are compared pair by pair. The files lie in a temporary folder; nothing is written into the tree.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.aims import aim

ROOT = Path(__file__).parents[1]
SIZES = (10, 100, 1000)
MINUTES = 60_000_000
AFTER = 30 * MINUTES
"""The clock of a run stands so far behind the last event: every deadline is over."""
BUSY = 1.5
"""Wall clock over processor time of the worker: commits that reach the disk explain 1.1 to 1.3."""
CONTESTANTS = ("bare", "hand", "core", "tidings", "faststream", "faust_take", "faust_one")
LEAST_SPEED, MOST_COST, MOST_GROWTH = 0.7, 1.3, 5_000_000


class Differs(Exception):
    """The two loops did not write the same."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    events: int
    pairs: int
    memory_events: int
    memory_warm: int
    messages: int


FULL = Sizes(30_000, 5, 1_000_000, 200_000, 600)
QUICK = Sizes(2_000, 1, 6_000, 3_000, 40)


ON_KAFKA = ("throughput", "members", "way")
"""Parts on a cluster: beside others, one worker and two, from produce to acceptance."""


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description="Measures; see docs/benchmarks.md.")
    parser.add_argument("--quick", action="store_true", help="tiny: says that everything runs, and nothing about speed")
    parser.add_argument("--events", type=int, help="events of the long run for memory, or on the cluster")
    parser.add_argument(
        "--only",
        choices=("detection", "memory", "delivery", *ON_KAFKA),
        action="append",
        help="one of the parts; the last three on a cluster",
    )
    cluster = parser.add_argument_group("on a cluster")
    cluster.add_argument("--on", choices=("kafka",), help="Kafka and PostgreSQL, beside what one would use instead")
    cluster.add_argument("--keys", type=int, help="customers whose images are there before the first event")
    cluster.add_argument("--partitions", type=int, default=2, help="of each of the six topics")
    cluster.add_argument("--rounds", type=int, help="how often everybody runs")
    cluster.add_argument("--contestant", action="append", choices=CONTESTANTS, help="only these; may come again")
    cluster.add_argument("--plot", type=Path, help="an SVG of the figures")
    asked = parser.parse_args()
    if asked.on == "kafka":
        from benchmarks.kafka import run as on_kafka

        return on_kafka.main(asked)
    sizes = QUICK if asked.quick else FULL
    if asked.quick:
        print("A quick run shows that everything runs; its figures prove nothing.")
    memory_events = asked.events or sizes.memory_events
    parts = asked.only or ["detection", "memory", "delivery"]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="tidings-bench-") as name:
        folder = Path(name)
        try:
            if "detection" in parts:
                found["detection"] = detection(folder, sizes)
            if "memory" in parts:
                found["memory"] = memory(
                    folder, memory_events, min(sizes.memory_warm, memory_events), quick=asked.quick
                )
            if "delivery" in parts:
                found["delivery"] = delivery(sizes)
        except Differs as fault:
            print(f"\nThe two loops did not write the same rows, so there is no ratio: {fault}", file=sys.stderr)
            return 1
    print(json.dumps(found, sort_keys=True))
    return 0


def detection(folder: Path, sizes: Sizes) -> dict[str, Any]:
    """Measure the worker with 10, 100 and 1,000 rules, and the loop written by hand beside the 10."""
    bases = {size: built(folder, size, sizes.events) for size in SIZES}
    runs: dict[str, list[dict[str, float]]] = {"hand": [], **{str(size): [] for size in SIZES}}
    order = ["10", "hand", "1000", "100"]
    for turn in range(sizes.pairs):
        # A B, then B A: what drifts on the machine meets both.
        for name in order if turn % 2 == 0 else order[::-1]:
            base, now = bases[10 if name == "hand" else int(name)]
            copy = folder / f"{name}.db"
            shutil.copy(base, copy)
            runs[name].append(measured(name, copy, now))
        if turn == 0:
            compare(folder / "10.db", folder / "hand.db")
    return report(runs, sizes.events, quick=sizes is QUICK)


def measured(name: str, path: Path, now: int) -> dict[str, float]:
    """Run one of the loops over a file."""
    if name == "hand":
        return told([sys.executable, str(ROOT / "benchmarks" / "handwritten.py"), str(path), str(now)])
    return told([sys.executable, "-m", "benchmarks.embedded", str(path), name, str(now)])


def report(runs: dict[str, list[dict[str, float]]], events: int, *, quick: bool) -> dict[str, Any]:
    """Print the table, and return its figures."""
    found: dict[str, Any] = {"events": events}
    print(f"\nDetection, {events:,} events, {len(runs['10'])} runs each (medians)\n")
    print(f"  {'':24}{'events/s':>10}{'µs wall':>10}{'µs CPU':>10}")
    titles = {"hand": "written by hand, 10", **{str(size): f"embedded worker, {size:,}" for size in SIZES}}
    for name, title in titles.items():
        wall, cpu = (median(run[what] for run in runs[name]) for what in ("wall", "cpu"))
        print(f"  {title:24}{events / wall:>10,.0f}{wall / events * 1e6:>10.1f}{cpu / events * 1e6:>10.1f}")
        found[name] = {"wall": wall, "cpu": cpu}
    for what in ("wall", "cpu"):
        by_hand = median(h[what] / e[what] for h, e in zip(runs["hand"], runs["10"], strict=True))
        grown = median(k[what] / e[what] for k, e in zip(runs["1000"], runs["10"], strict=True))
        found[f"speed_{what}"], found[f"cost_{what}"] = by_hand, grown
    print("\n  The files of both loops are equal, table by table. By pairs:")
    told_apart = "{:.2f} of its speed by wall clock, {:.2f} by CPU"
    speeds = told_apart.format(found["speed_wall"], found["speed_cpu"])
    print(
        f"  beside the loop by hand  {speeds} {aim(f'at least {LEAST_SPEED}', found['speed_wall'] >= LEAST_SPEED, quick=quick)}"
    )
    costs = "{:.2f} by wall clock, {:.2f} by CPU".format(found["cost_wall"], found["cost_cpu"])
    print(
        f"  1,000 rules cost 10's ×  {costs} {aim(f'at most {MOST_COST}', found['cost_wall'] <= MOST_COST, quick=quick)}"
    )
    if (waited := found["10"]["wall"] / found["10"]["cpu"]) > BUSY:
        print(
            f"\n  The machine was busy: wall clock was {waited:.1f} × processor time. Go by CPU, or run it again alone."
        )
    return found


def memory(folder: Path, events: int, warm: int, *, quick: bool) -> dict[str, Any]:
    """Measure how far resident memory grows over a long log."""
    path, now = built(folder, 10, warm + events)
    found = told([sys.executable, "-m", "benchmarks.memory", str(path), "10", str(now), str(warm)])
    path.unlink()
    growth = found["end"] - found["warm"]
    print(f"\nMemory, 10 rules, {found['events']:,} events after {warm:,} of warm-up\n")
    print(
        f"  resident {found['warm'] / 1e6:.1f} MB, then {found['end'] / 1e6:.1f} MB; at most {found['most'] / 1e6:.1f} MB"
    )
    wanted = aim(f"less than {MOST_GROWTH / 1e6:.0f}", growth < MOST_GROWTH, quick=quick)
    print(f"  growth   {growth / 1e6:+.2f} MB {wanted}")
    return {**found, "growth": growth}


def delivery(sizes: Sizes) -> dict[str, Any]:
    """Measure messages a second to a server in another process, and latency at half of that load."""
    found = {}
    print(f"\nDelivery, {sizes.messages:,} messages each to a server on this machine\n")
    print(f"  {'':10}{'messages/s':>12}{'event → accepted at':>22}{'p50 ms':>10}{'p99 ms':>10}")
    with servers() as ports:
        for channel, port in ports.items():
            command = [sys.executable, "-m", "benchmarks.delivery", channel, str(port), str(sizes.messages)]
            found[channel] = one = told(command)
            load = f"{one['load']:.0f}/s"
            print(f"  {channel:10}{one['rate']:>12.0f}{load:>22}{one['p50'] * 1e3:>10.0f}{one['p99'] * 1e3:>10.0f}")
    return found


# -- parts


def built(folder: Path, rules: int, events: int) -> tuple[Path, int]:
    """Make a file with a log; return it, and the instant at which its clock stands when it is read."""
    path = folder / f"base-{rules}-{events}.db"
    end = told([sys.executable, "-m", "benchmarks.workload", str(path), str(rules), str(events)])["end"]
    return path, int(end) + AFTER


def told(command: Sequence[str]) -> dict[str, Any]:
    """Run a measurement, and return what it prints."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def servers() -> Iterator[dict[str, int]]:
    """Run the servers on loopback; give their ports by channel."""
    command = [sys.executable, "-m", "benchmarks.servers"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def compare(first: Path, second: Path) -> None:
    """Compare two files table by table.

    Raises:
        Differs: with the table, the number of rows, and the first row that is not the same.
    """
    with closing(sqlite3.connect(first)) as one, closing(sqlite3.connect(second)) as other:
        names = [tables(connection) for connection in (one, other)]
        if names[0] != names[1]:
            raise Differs(f"tables {sorted(set(names[0]) ^ set(names[1]))}")
        for name in names[0]:
            rows, others = (sorted(map(repr, db.execute(f'SELECT * FROM "{name}"'))) for db in (one, other))
            if rows != others:
                pairs = zip([*rows, ""], [*others, ""], strict=False)
                odd = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
                raise Differs(f"table {name}: {len(rows)} and {len(others)} rows\n  {odd[0][:600]}\n  {odd[1][:600]}")


def tables(connection: sqlite3.Connection) -> list[str]:
    """Return the names of the tables."""
    found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    return [name for (name,) in found]


if __name__ == "__main__":
    sys.exit(main())
