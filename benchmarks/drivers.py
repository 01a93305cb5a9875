"""asyncpg or psycopg 3: the two transactions that a cluster runs all day, with equal statements.

`python -m benchmarks.drivers HOST:PORT [--keys N]` against a server of whose `postgres` user no password is asked. A batch
locks, reads and writes 500 rows of state and adds a journal row; an urgent one locks a person and a message, writes
the message and an attempt. `store` is
the same through the store port. Printed: milliseconds by the clock, and of processor time of the client and the server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import psycopg

from streams.stores import postgres_sql as sql
from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from streams.stores.postgres_connections import SETTINGS, connect
from tidings.ports import Body, Lock, Put, Row, Transaction
from tidings.tables import TABLES

NAME = "tidings_drivers"
BATCH = 500
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Work:
    """What one transaction locks and writes."""

    locks: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]
    puts: Sequence[tuple[str, Sequence[Row]]]


def batch(rows: random.Random, keys: int, number: int) -> Work:
    """Return a batch's transaction."""
    chosen = sorted(rows.randrange(keys).to_bytes(16, "big") for _ in range(BATCH))
    ks = [(k,) for k in dict.fromkeys(chosen)]
    state = [
        {"k": k, "class": "rule:r", "tenant": "t", "key": "[]", "value": os.urandom(120), "due": None} for (k,) in ks
    ]
    return Work(
        [("state", ks)], [("state", state), ("journal", [{"seq": number, "kind": "batch", "body": b"x" * 300}])]
    )


def urgent(rows: random.Random, _: int, number: int) -> Work:
    """Return a delivery's transaction."""
    name = f"{rows.randrange(1000):08d}"
    message = {
        "message_id": name, "tenant": "t", "recipient": name, "run_id": "r", "firing_id": "f", "rule": "rule",
        "role": "notice", "step": 0, "channel": "email", "state": "sending", "reason": None, "open": 1, "due_at": 5,
        "created_at": 1, "deadline": 9, "start_by": 5, "seen": 0, "rev": number, "owner": "o", "attempt": 1,
        "on_unknown": "resend", "receipt": None, "body": b"y" * 600,
    }  # fmt: skip
    attempt = {
        "message_id": name, "no": number, "provider": "p", "owner": "o", "intent_at": 1, "start_by": 5, "seen": 0,
        "asked": b"{}", "outcome": None, "ended_at": None, "first_byte_at": None, "detail": "",
    }  # fmt: skip
    return Work(
        [("recipients", [("t", name)]), ("messages", [(name,)])], [("messages", [message]), ("attempts", [attempt])]
    )


def arrays(table: str, rows: Sequence[Row]) -> list[list[Any]]:
    """Return one array a column."""
    return [[row[column.name] for row in rows] for column in TABLES[table].columns]


async def with_asyncpg(connection: asyncpg.Connection, work: Work) -> None:
    """Run a transaction, one statement after another."""
    await connection.execute("BEGIN")
    for table, keys in work.locks:
        columns = [list(column) for column in zip(*keys, strict=True)]
        await connection.fetch(sql.make_and_lock(table), *columns)
        await connection.fetch(sql.read(table), *columns)
    for table, rows in work.puts:
        await connection.fetch(sql.put(table), *arrays(table, rows))
    await connection.execute("COMMIT")


async def with_psycopg(connection: psycopg.AsyncConnection[Any], work: Work) -> None:
    """Run a transaction, with everything that needs no answer of the one before in a pipeline."""
    async with connection.cursor(binary=True) as cursor:
        async with connection.pipeline():
            for table, keys in work.locks:
                columns = [list(column) for column in zip(*keys, strict=True)]
                await cursor.execute(_percent(sql.make_and_lock(table)), columns, prepare=True)
                await cursor.execute(_percent(sql.read(table)), columns, prepare=True)
        await cursor.fetchall()
        async with connection.pipeline():
            for table, rows in work.puts:
                await cursor.execute(_percent(sql.put(table)), arrays(table, rows), prepare=True)
            await connection.commit()


def as_body(work: Work) -> Body[None]:
    """Return the same transaction as a body of the store port."""

    def body() -> Transaction[None]:
        for table, keys in work.locks:
            yield Lock(table, keys)
        for table, rows in work.puts:
            yield Put(table, rows)

    return body


_known: dict[str, Any] = {}


def _percent(statement: str) -> Any:
    if statement not in _known:
        text = statement
        for at in range(30, 0, -1):
            text = text.replace(f"${at}::", "%s::")
        _known[statement] = text.encode()
    return _known[statement]


def server_seconds(pid: int) -> float:
    """Return the processor time of a backend on this machine."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


async def measure(
    name: str, run: Callable[[Work], Awaitable[None]], make: Callable[[random.Random, int, int], Work], pid: int,
    keys: int, rounds: int,
) -> None:  # fmt: skip
    """Print one line."""
    chance = random.Random(7)
    works = [make(chance, keys, 1_000_000 * (1 + hash(name) % 1000) + number) for number in range(rounds)]
    for work in works[: rounds // 10]:
        await run(work)
    wall, client, server = time.perf_counter(), time.process_time(), server_seconds(pid)
    for work in works[rounds // 10 :]:
        await run(work)
    n = (rounds - rounds // 10) / 1000
    print(
        f"{name:28} {(time.perf_counter() - wall) / n:8.2f} {(time.process_time() - client) / n:8.2f} "
        f"{(server_seconds(pid) - server) / n:8.2f}"
    )


async def compare(place: Place, keys: int) -> None:
    """Load some keys, and run both drivers over both transactions."""
    await migrate(place)
    connection = await connect(place)
    await connection.execute(
        "INSERT INTO state SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), 'rule:r', 't', '[]', "
        f"convert_to(repeat('s', 120), 'UTF8') FROM generate_series(0, {keys - 1}) n"
    )
    await connection.execute("VACUUM ANALYZE state")
    pid = connection.get_server_pid()
    other = await psycopg.AsyncConnection.connect(
        host=place.host, port=place.port, user=place.user, dbname=place.database,
        options=f"-c search_path={place.schema} " + " ".join(f"-c {k}={v}" for k, v in SETTINGS.items() if k != "application_name"),
    )  # fmt: skip
    other.prepare_threshold = 0
    print(f"{'':28} {'ms':>8} {'client':>8} {'server':>8}")
    for what, make, rounds in (("batch", batch, 200), ("urgent", urgent, 1000)):
        for turn in range(2):
            await measure(
                f"{what} asyncpg {turn}", lambda work: with_asyncpg(connection, work), make, pid, keys, rounds
            )
            await measure(
                f"{what} psycopg {turn}",
                lambda work: with_psycopg(other, work),
                make,
                other.info.backend_pid,
                keys,
                rounds,
            )

        store = await PostgresStore.open(place, writers=1)
        await store.run(as_body(Work([("recipients", [("t", "nobody")])], [])))
        (its,) = (one.get_server_pid() for one in store._writers._free)  # noqa: SLF001 - whose time is counted
        for turn in range(2):
            await measure(
                f"{what} store {turn}", lambda work, store=store: store.run(as_body(work)), make, its, keys, rounds
            )
        await store.close()
    await connection.close()
    await other.close()


async def main() -> None:
    """Make a database of our own, compare, and drop it."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("server", help="HOST:PORT")
    arguments.add_argument("--keys", type=int, default=200_000)
    given = arguments.parse_args()
    host, _, port = given.server.rpartition(":")
    place = Place(host, int(port), "postgres", "postgres")
    admin = await connect(place, {})
    await admin.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
    await admin.execute(f"CREATE DATABASE {NAME}")
    try:
        await compare(replace(place, database=NAME), given.keys)
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
        await admin.close()


if __name__ == "__main__":
    asyncio.run(main())
