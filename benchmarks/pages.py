"""What pages ask of the store, over a million decisions: 50th and 95th percentile of each question.

Of a file also the processor's time, which others on the machine do not lengthen.

python -m benchmarks.pages [--decisions N] [--data FOLDER] [--postgres HOST:PORT/DATABASE]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.plausible import Rows, rows
from streams.ledger.ledger import Ledger
from streams.ledger.proof import Proof
from streams.ledger.rows import Filter, Outcome
from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.postgres_connections import connect
from streams.stores.rows import values_of
from streams.stores.sqlite import SqliteStore
from tidings.event import DAY, HOUR
from tidings.tables import TABLES

NOW = 1_800_000_000_000_000
DECISIONS = 1_000_000
TURNS = 60
Ask = Callable[[], Awaitable[Any]]


def fill_file(path: Path, decisions: int) -> None:
    """Make a file and write rows of so many decisions."""

    async def make() -> None:
        await (await SqliteStore.open(path, lambda: NOW)).close()

    asyncio.run(make())
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("PRAGMA synchronous=OFF")
        file.execute("PRAGMA cache_size=-400000")
        for part in rows(decisions, NOW, over=30 * DAY, at_once=20_000):
            file.execute("BEGIN")
            for table, found in vars(part).items():
                marks = ", ".join("?" * len(TABLES[table].columns))
                file.executemany(f"INSERT INTO {table} VALUES ({marks})", map(values_of(table), found))
            file.execute("COMMIT")
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def fill_database(place: Place, decisions: int) -> None:
    """Write rows of so many decisions into a database that has none."""
    await migrate(place)
    connection = await connect(place, {})
    for part in rows(decisions, NOW, over=30 * DAY, at_once=20_000):
        for table, found in vars(part).items():
            columns = [column.name for column in TABLES[table].columns]
            await connection.copy_records_to_table(
                table, schema_name=place.schema, columns=columns, records=map(values_of(table), found)
            )
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


def questions(ledger: Ledger, chance: random.Random, some: Rows, number: int) -> Iterator[tuple[str, Ask]]:
    """Yield what pages ask; each with other values whenever it is asked."""
    day = Filter(since=NOW - DAY)

    def recipient() -> str:
        return f"customer:c-{chance.randrange(number // 10)}"

    async def deep() -> None:
        page = await ledger.decisions(Filter(until=NOW - chance.randrange(25 * DAY)))
        await ledger.decisions(before=page.older)

    yield "decisions, newest", ledger.decisions
    yield "decisions, one day", lambda: ledger.decisions(day)
    yield "decisions, deep in the past, next page", deep
    yield "decisions of a rule", lambda: ledger.decisions(Filter(rule="rule-03"))
    yield "decisions of a seldom rule", lambda: ledger.decisions(Filter(rule="rule-11"))
    yield "decisions of a customer", lambda: ledger.decisions(Filter(recipient=recipient()))
    for outcome in Outcome:
        yield f"decisions {outcome}", lambda outcome=outcome: ledger.decisions(Filter(outcome=outcome))
    yield "decisions by reason", lambda: ledger.decisions(Filter(reason="no_address"))
    yield "decisions by a reason that never was", lambda: ledger.decisions(Filter(reason="render"))
    yield "decisions of a rule, failed", lambda: ledger.decisions(Filter(rule="rule-07", outcome=Outcome.FAILED))
    yield "decision", lambda: ledger.decision(chance.choice(some.runs)["run_id"])
    yield "counts of decisions, all", ledger.decision_counts
    yield "counts of decisions, one day", lambda: ledger.decision_counts(day)
    yield "counts of decisions, a rule", lambda: ledger.decision_counts(Filter(rule="rule-00"))
    yield "messages, newest", ledger.messages
    yield "messages failed, of SMS", lambda: ledger.messages(Filter(outcome=Outcome.FAILED, channel="sms"))
    yield "messages of a customer", lambda: ledger.messages(Filter(recipient=recipient()))
    yield "counts of messages", ledger.message_counts
    yield "message", lambda: ledger.message(chance.choice(some.messages)["message_id"])
    yield "dead letters", ledger.dead_letters
    yield "find a customer", lambda: ledger.find(recipient())
    yield "find a message by the beginning", lambda: ledger.find(chance.choice(some.messages)["message_id"][:8])
    yield "find a provider's reference", lambda: ledger.find(f"ref-{chance.choice(some.messages)['message_id']}")


async def measure(ledger: Ledger, number: int, turns: int) -> list[tuple[str, list[float], list[float]]]:
    """Return by question: milliseconds by the clock, and of the processor, in order."""
    chance = random.Random(7)
    some = next(rows(min(number, 20_000), NOW, over=30 * DAY, at_once=20_000)) if number <= 20_000 else Rows()
    if not some.runs:
        for _, part in zip(range(3), rows(number, NOW, over=30 * DAY, at_once=20_000), strict=False):
            some.runs += part.runs
            some.messages += part.messages
    found = []
    for name, ask in questions(ledger, chance, some, number):
        took, used = [], []
        for _ in range(turns):
            begun, busy = time.perf_counter(), time.process_time()
            await ask()
            took.append((time.perf_counter() - begun) * 1000)
            used.append((time.process_time() - busy) * 1000)
        found.append((name, sorted(took), sorted(used)))
    return found


async def count(ledger: Ledger) -> tuple[float, float]:
    """Return seconds of the first round of the proof, and of the second; without its rests."""

    async def at_once(_: float) -> None:
        return None

    proof = Proof(ledger, lambda: NOW + HOUR, at_once)
    begun = time.perf_counter()
    await proof.step()
    first = time.perf_counter()
    await proof.step()
    return first - begun, time.perf_counter() - first


async def report(ledger: Ledger, number: int, turns: int) -> None:
    """Measure, and print."""
    print(f"| {number:,} decisions | p50 ms | p95 ms | processor, p50 | p95 |\n|---|---|---|---|---|")
    for name, took, used in await measure(ledger, number, turns):
        half, most = turns // 2, turns * 95 // 100
        print(f"| {name} | {took[half]:.1f} | {took[most]:.1f} | {used[half]:.1f} | {used[most]:.1f} |")
    first, again = await count(ledger)
    print(f"\nThe proof counts everything in {first:.1f} s, and what is not settled in {again:.1f} s.")
    await ledger.close()


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--decisions", type=int, default=DECISIONS)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--data", type=Path, help="where the file is made, or is from the last time")
    parser.add_argument("--postgres", help="HOST:PORT/DATABASE, empty or from the last time; user postgres")
    arguments = parser.parse_args()
    if arguments.postgres:
        where, _, database = arguments.postgres.partition("/")
        host, _, port = where.partition(":")
        place = Place(host, int(port), database, "postgres")

        async def server() -> None:
            await migrate(place)
            ledger = Ledger.of_database(place)
            if not (await ledger.decisions()).rows:
                await fill_database(place, arguments.decisions)
            await report(ledger, arguments.decisions, arguments.turns)

        asyncio.run(server())
        return
    with tempfile.TemporaryDirectory(prefix="tidings-pages-") as folder:
        path = (arguments.data or Path(folder)) / "tidings.db"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            begun = time.perf_counter()
            fill_file(path, arguments.decisions)
            print(f"filled in {time.perf_counter() - begun:.0f} s: {path.stat().st_size / 1e9:.2f} GB\n")
        asyncio.run(report(Ledger.of_file(path), arguments.decisions, arguments.turns))


if __name__ == "__main__":
    main()
