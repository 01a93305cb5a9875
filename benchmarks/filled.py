"""A store as an installation of some weeks has it: a million decisions, their events, and one customer who is never quiet.

The shop itself decides everything for that customer; what lies beside it are rows as it would have written them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from benchmarks.plausible import rows
from schemas import contracts
from streams.embedded_log import log_row
from streams.json_events import from_json, rfc3339
from streams.processors.catalogue import entries
from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from streams.stores.postgres_connections import connect
from streams.stores.rows import values_of
from streams.stores.sqlite import SqliteStore
from tests.explaining.laboratory import Shop
from tidings import canonical, ids
from tidings.event import DAY, HOUR, SECOND
from tidings.log import LogRecord
from tidings.ports import Row
from tidings.tables import TABLES

OVER = 30 * DAY
AT_ONCE = 20_000
BUSY = "busy"
KIND = "billing.payment.failed"
EUROS = {"amount_minor": 9000, "currency": "EUR"}
Write = Callable[[str, Sequence[Row]], Awaitable[None]]


@asynccontextmanager
async def opened(where: Path | Place) -> Any:
    """Open the shop on a file, or on a database; what is in it stays."""
    shop = Shop()
    store: SqliteStore | PostgresStore
    if isinstance(where, Path):
        store = await SqliteStore.open(where, lambda: shop.clock)
    else:
        await migrate(where)
        store = await PostgresStore.open(where, lambda: shop.clock)
    try:
        await shop.open(store)
        yield shop
        await shop.asking.close()
    finally:
        await store.close()


async def fill(shop: Shop, where: Path | Place, decisions: int, events: int, firings: int) -> None:
    """Fill an empty shop."""
    topic = contracts().by_type[KIND].topic
    if isinstance(where, Path):
        with closing(sqlite3.connect(where, isolation_level=None)) as file:
            file.execute("PRAGMA synchronous=OFF")
            file.execute("PRAGMA cache_size=-400000")

            async def insert(table: str, found: Sequence[Row]) -> None:
                marks = ", ".join("?" * len(TABLES[table].columns))
                file.execute("BEGIN")
                file.executemany(f"INSERT INTO {table} VALUES ({marks})", map(values_of(table), found))
                file.execute("COMMIT")

            await _rows(shop, topic, insert, decisions, events)
            for statement in _read_to_the_end(topic, events):
                file.execute(statement)
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    else:
        connection = await connect(where, {})

        async def copy(table: str, found: Sequence[Row]) -> None:
            columns = [column.name for column in TABLES[table].columns]
            await connection.copy_records_to_table(
                table, schema_name=where.schema, columns=columns, records=map(values_of(table), found)
            )

        await _rows(shop, topic, copy, decisions, events)
        for statement in _read_to_the_end(topic, events):
            await connection.execute(statement)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()
    await shop.worker.assign(shop.places)
    await _story(shop, firings)


def _read_to_the_end(topic: str, events: int) -> Iterator[str]:
    """Yield what says that the events of the rows have been decided, and can be found."""
    yield f"UPDATE log_heads SET next_offset = {events} WHERE topic = '{topic}'"
    yield f"UPDATE sources SET next_offset = {events} WHERE topic = '{topic}'"
    yield f"INSERT INTO catalogued VALUES ('{topic}', 0, {events})"


async def _rows(shop: Shop, topic: str, write: Write, decisions: int, events: int) -> None:
    rules = tuple(rule.id for rule in shop.rules.rules)
    number = 0
    for part in rows(decisions, shop.clock, over=OVER, at_once=AT_ONCE, rules=rules):
        await write("records", [_record(run, number + at) for at, run in enumerate(part.runs)])
        for table, found in vars(part).items():
            await write(table, found)
        # Of the newest decisions the events are kept.
        kept = [
            _logged(shop, topic, run, at, at - (decisions - events))
            for at, run in enumerate(part.runs, number)
            if at >= decisions - events
        ]
        number += len(part.runs)
        if kept:
            await write("log", [log_row(one) for one in kept])
            terms, blocks = entries(map(shop.codec.decode, kept), contracts().by_type)
            await write("catalogue", terms)
            await write("blocks", [one for one in blocks if one["block"] not in _written])
            _written.update(one["block"] for one in blocks)


_written: set[int] = set()
"""Blocks of the catalogue that are there: a part of the rows may begin within one."""


def _name(number: int) -> str:
    return f"pay-{number}"


def _record(run: Row, number: int) -> Row:
    at = run["logical_at"]
    ref = ids.event_ref("default", "shop", f"evt-{_name(number)}", at)
    body = {
        "tenant": "default", "rule": run["rule"], "rule_set": run["rule_set"], "firing_id": run["firing_id"],
        "kind": "fired", "n": 0, "key": [_name(number)], "episode": {"at": at, "source": "shop", "event": ref},
        "logical_at": at, "severity": "medium", "recipient": run["recipient"], "data": [],
    }  # fmt: skip
    return {
        "episode_at": at, "firing_id": run["firing_id"], "kind": "fired", "n": 0, "tenant": "default", "rule": run["rule"],
        "recipient": run["recipient"], "seq": 0, "logical_at": at, "body": canonical.dumps(body), "unread": None,
    }  # fmt: skip


def _logged(shop: Shop, topic: str, run: Row, number: int, offset: int) -> LogRecord:
    at = run["logical_at"]
    data = {
        "payment_id": _name(number), "customer_id": run["recipient"].partition(":")[2], "amount": EUROS,
        "code": "expired_card",
    }  # fmt: skip
    told = {"id": f"evt-{_name(number)}", "source": "shop", "time": rfc3339(at), "data": data}
    key, value = shop.codec.encode(KIND, from_json(contracts().by_type[KIND], told))
    return LogRecord(topic, 0, offset, at, key, value, ())


async def _story(shop: Shop, firings: int) -> None:
    """Let so much happen to one customer, within some days."""
    await shop.customer(BUSY)
    await shop.rests()
    for number in range(firings):
        await shop.happens(
            KIND, payment_id=f"busy-{number}", customer_id=BUSY, amount=EUROS,
            code="expired_card" if number % 3 else "fraud_suspected",
        )  # fmt: skip
        if number % 4 == 0:
            await shop.happens("sales.order.placed", order_id=f"ord-{number}", customer_id=BUSY, total=EUROS)
        if number % 100 == 0:
            await shop.rests(HOUR)
    await shop.rests(SECOND)
    await shop.catalogued()
