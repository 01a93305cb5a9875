"""Every statement of the store over tables with many rows, and how the server carries it out.

`python -m tests.postgres.plans` prints the table of docs/postgres.md.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from streams.stores import postgres_sql as sql
from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.postgres_connections import SETTINGS, connect
from streams.stores.postgres_counts import KEYS, MESSAGES, RECORDS, UNSENT
from tests.services import database
from tidings.ports import Find, Scan
from tidings.tables import LOCK_ORDER, TABLES, Table

ROWS: Mapping[str, int] = {
    "state": 60_000, "buffer": 30_000, "records": 60_000, "journal": 20_000, "log": 60_000, "dead_letters": 20_000,
    "recipients": 30_000, "runs": 40_000, "messages": 60_000, "attempts": 60_000, "receipts": 40_000,
    "outbox": 40_000, "told": 20_000, "catalogue": 60_000, "audit": 20_000,
}  # fmt: skip
"""Tables that grow with the events or the customers; the others have a row a topic or a rule."""

NOW = 1_800_000_000_000_000
DAY = 86_400_000_000

VALUES: Mapping[tuple[str, str], str] = {
    ("records", "episode_at"): f"{NOW} - n % 60 * {DAY}",
    ("records", "unread"): "CASE WHEN n % 500 = 0 THEN 1 END",
    ("log", "appended_at"): f"{NOW} + (n % 9 - 1) * {DAY}",
    ("log", "topic"): "'topic' || n % 5",
    ("log", "partition"): "n % 12",
    ("state", "k"): "decode(md5(n::text), 'hex')",
    ("state", "class"): "'rule:' || n % 8",
    ("state", "due"): "CASE WHEN n % 3 = 0 THEN n END",
    ("buffer", "k"): "decode(md5((n / 5)::text), 'hex')",
    ("recipients", "next_at"): "CASE WHEN n % 200 = 0 THEN n END",
    ("runs", "open"): "CASE WHEN n % 100 = 0 THEN 1 END",
    ("messages", "state"): "CASE WHEN n % 50 = 0 THEN 'pending' WHEN n % 200 = 1 THEN 'held' ELSE 'accepted' END",
    ("messages", "due_at"): "CASE WHEN n % 50 = 0 OR n % 200 = 1 THEN n END",
    ("messages", "open"): "CASE WHEN n % 50 = 0 OR n % 200 = 1 THEN 1 END",
    ("catalogue", "topic"): "'topic' || n % 5",
    ("catalogue", "partition"): "n % 12",
    ("catalogue", "block"): "n / 4096",
    ("audit", "verb"): "CASE WHEN n % 20 = 0 THEN 'kill' ELSE 'messages open' END",
    ("outbox", "topic"): "'topic' || n % 2",
    ("outbox", "unpublished"): "1",
}
"""What a column holds where it matters to the planner: most of what there is, has ended."""
PLAIN = {"int": "n", "text": "'x' || n", "bytes": "convert_to('x' || n, 'UTF8')"}


async def load(connection: asyncpg.Connection) -> None:
    """Fill the tables."""
    await connection.execute(f"SELECT make_partitions({NOW}), make_partitions({NOW - 45 * DAY})")
    for name, count in ROWS.items():
        columns = [VALUES.get((name, c.name), PLAIN[c.kind]) for c in TABLES[name].columns]
        await connection.execute(
            f'INSERT INTO "{name}" SELECT {", ".join(columns)} FROM generate_series(1, {count}) n ON CONFLICT DO NOTHING'
        )
    await connection.execute("VACUUM ANALYZE")


@dataclass
class Asked:
    """A statement with values, and what it is for."""

    what: str
    statement: str
    values: list[Any] = field(default_factory=list)


SAMPLES = {"int": 100, "text": "x100", "bytes": b"x100"}
FIRST: Mapping[str, Any] = {
    "class": "rule:1",
    "state": "pending",
    "topic": "topic1",
    "partition": 3,
    "open": 1,
    "unread": 1,
    "unpublished": 1,
}


def sample(table: Table, name: str) -> Any:
    """Return a value that such a column has."""
    return FIRST.get(name, SAMPLES[next(column.kind for column in table.columns if column.name == name)])


def asked() -> Iterator[Asked]:
    """Return every shape of statement that bodies can ask for, on every table that grows."""
    for name in ROWS:
        table = TABLES[name]
        keys = [[sample(table, key)] * 3 for key in table.key_names]
        yield Asked(f"Read {name}", sql.read(name), keys)
        yield Asked(f"Scan {name}", *sql.scan(Scan(name, limit=100)))
        after = tuple(sample(table, key) for key in table.key_names)
        yield Asked(f"Scan {name}, from a key on", *sql.scan(Scan(name, after, 100)))
        for index in table.indexes:
            for width in range(1 if len(index.columns) > 1 else 0, len(index.columns) + 1):
                equals = tuple(sample(table, column) for column in index.columns[:width])
                bounded = width < len(index.columns) and sample(table, index.columns[width]).__class__ is int
                if width < len(index.columns) and not bounded:
                    continue
                op = Find(name, index.name, equals, limit=32, upto=10_000 if bounded else None)
                named = " ".join((*index.columns[:width], *(("≤",) if bounded else ())))
                yield Asked(f"Find {name}.{index.name} ({named})", *sql.find(op))
        if name in LOCK_ORDER:
            yield Asked(f"Lock {name}", sql.lock(name), keys)
        columns = [[sample(table, column.name)] for column in table.columns]
        yield Asked(f"Put {name}, locked", sql.update(name, sql.all_names(table)[table.key :]), columns)
        yield Asked(f"Delete {name}", sql.delete(name), keys)
    newest = Find("audit", "by_verb", ("kill",), limit=200, backwards=True)
    yield Asked("Find audit.by_verb (verb), the newest", *sql.find(newest))
    for what, statement in (("messages", MESSAGES), ("keys", KEYS), ("records", RECORDS), ("unsent", UNSENT)):
        yield Asked(f"count of open {what}", statement)


async def plan_of(connection: asyncpg.Connection, one: Asked) -> dict[str, Any]:
    """Run a statement, take it back, and return how it was carried out."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        found = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {one.statement}", *one.values)
    finally:
        await transaction.rollback()
    return json.loads(found)[0]["Plan"]  # type: ignore[no-any-return]


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a plan and everything below it."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def summary(plan: Mapping[str, Any]) -> str:
    """Return the indexes that are walked, partitions counted."""
    counts: dict[str, int] = {}
    for node in nodes(plan):
        if "Index Name" in node:
            name = re.sub(r"_(\d{6,9}|default)", "", node["Index Name"])
            name = re.sub(r"_idx\d*$", "", name)
            counts[f"{node['Node Type']} {name}"] = counts.get(f"{node['Node Type']} {name}", 0) + 1
        elif node["Node Type"] in ("Sort", "Incremental Sort", "Merge Append"):
            counts[node["Node Type"]] = 1
    return ", ".join(f"{name}{f' × {count}' if count > 1 else ''}" for name, count in counts.items())


async def fill(place: Place) -> None:
    """Make the tables and load them."""
    await migrate(place)
    connection = await connect(place, {})
    await load(connection)
    await connection.close()


async def plans(place: Place, settings: Mapping[str, str]) -> list[tuple[Asked, dict[str, Any]]]:
    """Return the plan of every statement, with the planner as it is or as the store sets it."""
    connection = await connect(place, settings)
    try:
        return [(one, await plan_of(connection, one)) for one in asked()]
    finally:
        await connection.close()


if __name__ == "__main__":
    with database() as where:
        print("| what is asked | how it is found | rows read |\n|---|---|---|")
        asyncio.run(fill(where))
        for one, plan in asyncio.run(plans(where, SETTINGS)):
            print(f"| {one.what} | {summary(plan)} | {int(plan['Actual Rows'])} |")
