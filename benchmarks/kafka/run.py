"""`make bench ON=kafka`: Tidings on a cluster beside what one would use instead, from one workload, in one run.

Every contestant is a process that reads the same topics from their beginning; all but the bare loop write into a copy
of the same database, and what they wrote is compared, table by table. Prints a table and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg

from benchmarks.aims import aim
from benchmarks.by_hand import TOPICS
from benchmarks.kafka import members as sharing
from benchmarks.kafka import plot, way
from benchmarks.kafka.ground import ROOT, Differs, Ground, compare, configure, copied, given, made, settle
from benchmarks.kafka.meter import Measured, Server, used_by
from tidings.errors import Misconfigured

TITLES = {
    "bare": "aiokafka, no database",
    "hand": "the same, transaction by hand",
    "core": "the same, Tidings' processors",
    "tidings": "Tidings",
    "faststream": "FastStream, batches",
    "faust_take": "Faust, take(500)",
    "faust_one": "Faust, async for",
}
YARDSTICK = "hand"
SLOW = {"faust_one": 20}
"""Who reads only one in so many of the events: a transaction an event takes all day, and its rate does not change."""
LEAST = 0.8
LOOK = 0.05
"""Seconds between two looks at a process."""
AT_MOST = 900.0
"""Seconds of one run."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    events: int
    keys: int
    rounds: int


FULL = Sizes(200_000, 1_000_000, 3)
QUICK = Sizes(3_000, 2_000, 1)


def main(asked: argparse.Namespace) -> int:
    """Run it."""
    if asked.quick:
        print("A quick run shows that everything runs; its figures prove nothing.")
    sizes = QUICK if asked.quick else FULL
    sizes = Sizes(asked.events or sizes.events, asked.keys or sizes.keys, asked.rounds or sizes.rounds)
    parts = set(asked.only or ("throughput", "members", "way"))
    names = [name for name in TITLES if name in (asked.contestant or TITLES) or name == YARDSTICK]
    try:
        with tempfile.TemporaryDirectory(prefix="tidings-bench-") as folder:
            ground = given(Path(folder), asked.partitions)
            found: dict[str, Any] = {"events": sizes.events, "keys": sizes.keys}
            if {"throughput", "members"} & parts:
                found |= on_full_topics(ground, sizes, names, parts, quick=asked.quick)
            if "way" in parts:
                print("From produce to acceptance …", file=sys.stderr)
                messages, seconds = (60, 2.0) if asked.quick else (2000, 15.0)
                apart = replace(
                    ground,
                    prefix=f"way_{ground.prefix}",
                    folder=ground.folder / "way",  # its rules alone: with those of the others every event sends twice
                    postgres=replace(ground.postgres, database=f"{ground.postgres.database}_way"),
                )
                apart.folder.mkdir()
                found["way"] = asyncio.run(way.measured(apart, messages=messages, seconds=seconds))
                way.report(found["way"], quick=asked.quick)
    except Misconfigured as fault:
        print(f"benchmarks: {fault}", file=sys.stderr)
        return 1
    except Differs as fault:
        print(f"\nThe rows are not the same, so there is no ratio: {fault}", file=sys.stderr)
        return 1
    if asked.plot is not None and "contestants" in found:
        asked.plot.write_text(plot.drawn(found["contestants"], TITLES), "utf-8")
    print(json.dumps(found, sort_keys=True))
    return 0


def on_full_topics(
    ground: Ground, sizes: Sizes, names: Sequence[str], parts: set[str], *, quick: bool
) -> dict[str, Any]:
    """Measure what reads topics that are full: Tidings beside others, one worker and two."""
    print(f"Writing {sizes.events:,} events and {sizes.keys:,} images …", file=sys.stderr)
    runs: dict[str, list[Measured]] = {}
    members: dict[int, dict[str, Any]] = {}
    with made(ground, sizes.events, sizes.keys) as events:
        if "throughput" in parts:
            runs = rounds(ground, events, sizes.rounds, names, quick=quick)
        if "members" in parts:
            print("  One worker, and two …", file=sys.stderr)
            members = {count: asyncio.run(sharing.measured(ground, count, events)) for count in (1, 2)}
    found = report(runs, sizes, quick=quick) if runs else {}
    if members:
        sharing.report(members)
        found["members"] = members
    return found


def rounds(ground: Ground, events: int, count: int, names: Sequence[str], *, quick: bool) -> dict[str, list[Measured]]:
    """Run everybody in turn, there and back; compare what they wrote in the first round."""
    runs: dict[str, list[Measured]] = {name: [] for name in names}
    for turn in range(count):
        for name in names if turn % 2 == 0 else names[::-1]:
            stop = events if quick else events // SLOW.get(name, 1)
            database = asyncio.run(copied(ground, name))
            print(f"  {turn + 1}/{count} {TITLES[name]} …", file=sys.stderr)
            runs[name].append(asyncio.run(measured(ground, name, database, stop)))
        if turn == 0:
            all_of_it = [one for one in names if one != "bare" and runs[one][0].events == events]
            now = time.time_ns() // 1000
            base = ground.postgres.database
            for name in all_of_it:
                asyncio.run(settle(ground, f"{base}_{name}", now))
            for name in all_of_it:
                asyncio.run(compare(ground, f"{base}_{YARDSTICK}", f"{base}_{name}"))
            print(f"  The rows of {', '.join(all_of_it)} are equal, table by table.", file=sys.stderr)
    return runs


async def measured(ground: Ground, name: str, database: str, stop: int) -> Measured:
    """Run one contestant to its end."""
    admin = await asyncpg.connect(ground.dsn("postgres"))
    watch = await asyncpg.connect(ground.dsn(database), server_settings={"search_path": "tidings"})
    server = Server(admin, database, watch.get_server_pid())
    process = await started(ground, name, database, stop)
    try:
        async with asyncio.timeout(AT_MOST):
            await server.look()
            by = by_position if name == "tidings" else by_word
            begun, ended, events = await by(process, server, watch, stop)
        transactions = await watch.fetchval("SELECT count(*) FROM journal WHERE kind <> 'switch'")
    except TimeoutError as fault:
        raise Misconfigured(f"{TITLES[name]} was not done after {AT_MOST:.0f} s: {_tail(ground, name)}") from fault
    finally:
        await stopped(process)
        await watch.close()
        await admin.close()
    return Measured(events, ended.at - begun.at, ended.client - begun.client, ended.server - begun.server, transactions)


@dataclass(frozen=True)
class Sample:
    """How much processor time both sides had had at a moment."""

    at: float
    client: float
    server: float


async def sample(process: Process, server: Server) -> Sample:
    """Look now."""
    seconds = await server.look()
    return Sample(time.perf_counter(), used_by(process.pid), seconds)


async def by_word(process: Process, server: Server, _: asyncpg.Connection, stop: int) -> tuple[Sample, Sample, int]:
    """Measure between the words `begun` and `done`."""
    assert process.stdout is not None
    begun = None
    while True:
        if begun is not None:
            await server.look()
        try:
            line = await asyncio.wait_for(process.stdout.readline(), LOOK)
        except TimeoutError:
            continue
        if not line:
            raise Misconfigured("a contestant ended before it was done; its last words are above")
        said = json.loads(line)
        if said["what"] == "begun":
            begun = await sample(process, server)
        elif begun is not None:
            return begun, await sample(process, server), max(stop, said["events"])


async def by_position(
    process: Process, server: Server, watch: asyncpg.Connection, stop: int
) -> tuple[Sample, Sample, int]:
    """Measure from the last look at which nothing was committed to the first at which everything was."""
    begun = await sample(process, server)
    while True:
        if process.returncode is not None:
            raise Misconfigured(f"the worker ended with {process.returncode}; its last words are above")
        now = await sample(process, server)
        done = await watch.fetchval(
            "SELECT sum(next_offset) FROM sources WHERE reader = 'detect' AND topic = ANY($1)", TOPICS
        )
        if done >= stop:
            return begun, now, stop
        if done == 0:
            begun = now
        await asyncio.sleep(LOOK)


async def started(ground: Ground, name: str, database: str, stop: int) -> Process:
    """Start a contestant."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    if name == "tidings":
        words = ["gateway.cli.main", "worker", "--config", str(configure(ground, database))]
    else:
        course = {
            "bootstrap": ground.kafka, "dsn": ground.dsn(database), "prefix": ground.prefix,
            "partitions": ground.partitions, "stop": stop,
        }  # fmt: skip
        module = "core" if name == "core" else "contestants"
        words = [f"benchmarks.kafka.{module}", name, json.dumps(course)]
    with (ground.folder / f"{name}.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", *words, cwd=ROOT, env=env, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if name != "tidings" else log, stderr=log,
        )  # fmt: skip


async def stopped(process: Process) -> None:
    """Let a contestant end, or end it."""
    assert process.stdin is not None
    process.stdin.close()
    with suppress(ProcessLookupError):
        if process.stdout is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()
            await process.wait()


def _tail(ground: Ground, name: str) -> str:
    return (ground.folder / f"{name}.log").read_text("utf-8", "replace")[-2000:]


def report(runs: dict[str, list[Measured]], sizes: Sizes, *, quick: bool) -> dict[str, Any]:
    """Print the table, and return its figures."""
    print(
        f"\n{sizes.events:,} events, {sizes.keys:,} images, {sizes.rounds} runs each (medians); ÷: by the loop by hand\n"
    )
    head = ("events/s", "µs client", "µs server", "a commit", "speed ÷", "CPU ÷")
    print(f"  {'':32}" + "".join(f"{title:>12}" for title in head))
    found: dict[str, Any] = {}
    for name, those in runs.items():
        one = {
            "rate": median(run.rate for run in those),
            "client": median(run.micros(run.client) for run in those),
            "server": median(run.micros(run.server) for run in those),
            "batch": median(run.events / run.transactions if run.transactions else 0 for run in those),
        }
        if YARDSTICK in runs:
            pairs = list(zip(those, runs[YARDSTICK], strict=True))
            one["ratio"] = median(a.rate / b.rate for a, b in pairs)
            one["ratio_cpu"] = median(b.micros(b.client + b.server) / a.micros(a.client + a.server) for a, b in pairs)
        found[name] = one
        server = "–" if name == "bare" else f"{one['server']:.1f}"
        batch = "–" if name == "bare" else f"{one['batch']:.0f}"
        ratios = "".join(f"{one[what]:>12.2f}" for what in ("ratio", "ratio_cpu") if what in one)
        print(f"  {TITLES[name]:32}{one['rate']:>12,.0f}{one['client']:>12.1f}{server:>12}{batch:>12}{ratios}")
    if "tidings" in found and "ratio" in found["tidings"]:
        ratio = found["tidings"]["ratio"]
        print(f"\n  Tidings: {ratio:.2f} of the loop by hand {aim(f'at least {LEAST}', ratio >= LEAST, quick=quick)}")
    if (load := os.getloadavg()[1]) > (os.cpu_count() or 1) + 1:
        print(f"\n  The machine was busy (load {load:.0f}): go by processor time, or run it again alone.")
    return {"events": sizes.events, "keys": sizes.keys, "contestants": found}
