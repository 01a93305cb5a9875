"""Both stores, filled alike, and what a list should hold: worked out from the rows by other means."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.plausible import Rows, rows
from streams.ledger.ledger import Ledger
from streams.ledger.rows import Filter, Outcome, outcome_of
from streams.stores.migrate import migrate
from streams.stores.postgres import PostgresStore
from streams.stores.sqlite import SqliteStore
from tests.services import database
from tidings.correction import NOTICE
from tidings.ports import Insert, Row, Transaction

NOW = 1_800_000_000_000_000
DECISIONS = 3_000


def insert(part: Any) -> Any:
    """Return the body that writes rows by table."""

    def body() -> Transaction[None]:
        for table, found in vars(part).items():
            if found:
                yield Insert(table, found, blind=True)

    return body


def everything() -> Rows:
    """Return the rows of the laboratory."""
    (found,) = rows(DECISIONS, NOW)
    return found


@dataclass
class Stand:
    """One store, filled."""

    store: Any
    ledger: Ledger
    rows: Rows
    loop: asyncio.Runner

    def __call__(self, what: Any) -> Any:
        """Await something in the stand's loop."""
        return self.loop.run(what)


class Kept:
    """What was asked, and by which values."""

    def __init__(self, asking: Any) -> None:
        self.asking = asking
        self.asked: dict[str, tuple[Any, ...]] = {}

    async def ask(self, statement: str, *values: Any, within: float = 5) -> Any:
        self.asked[statement] = values
        return await self.asking.ask(statement, *values, within=within)

    async def close(self) -> None:
        """Stays open: it is not ours."""


def stands(kind: str, folder: Path) -> Iterator[Stand]:
    """Give a store with the laboratory's rows, and its ledger."""
    found = everything()
    with asyncio.Runner() as loop:
        if kind == "sqlite":
            path = folder / "tidings.db"
            store: Any = loop.run(SqliteStore.open(path, lambda: NOW))
            stand = Stand(store, Ledger.of_file(path), found, loop)
            yield from _filled(stand)
        else:
            with database() as place:
                loop.run(migrate(place))
                store = loop.run(PostgresStore.open(place, lambda: NOW))
                yield from _filled(Stand(store, Ledger.of_database(place), found, loop))


def _filled(stand: Stand) -> Iterator[Stand]:
    try:
        stand(stand.store.run(insert(stand.rows)))
        yield stand
    finally:
        stand(stand.ledger.close())
        stand(stand.store.close())


def expected_decisions(found: Rows, about: Filter) -> list[str]:
    """Return the ids of the decisions that a filter lets through, newest first."""
    told: dict[str, list[Row]] = {}
    for message in found.messages:
        told.setdefault(message["run_id"], []).append(message)
    some = []
    for run in found.runs:
        mine = told.get(run["run_id"], [])
        fits = (
            (about.since is None or run["decided_at"] >= about.since)
            and (about.until is None or run["decided_at"] < about.until)
            and about.rule in (None, run["rule"])
            and about.recipient in (None, run["recipient"])
            and about.firing in (None, run["firing_id"])
            and _says(run, mine, about)
        )
        if fits:
            some.append((run["decided_at"], run["run_id"]))
    return [name for _, name in sorted(some, reverse=True)]


def _says(run: Row, mine: list[Row], about: Filter) -> bool:
    said = [(outcome_of(m["state"]), m["reason"]) for m in mine if m["role"] == NOTICE]
    said = said or [(Outcome.NOTHING, run["reason"])]
    return any(about.outcome in (None, word) and about.reason in (None, reason) for word, reason in said)


def expected_messages(found: Rows, about: Filter) -> set[str]:
    """Return the ids of the messages that a filter lets through."""
    runs = {run["run_id"]: run for run in found.runs}
    some = set()
    for message in found.messages:
        at = message["created_at"]
        run = runs[message["run_id"]]
        if (
            about.rule in (None, run["rule"])
            and about.recipient in (None, run["recipient"])
            and about.firing in (None, run["firing_id"])
            and about.channel in (None, message["channel"])
            and about.reason in (None, message["reason"])
            and (about.outcome is None or about.outcome is outcome_of(message["state"]))
            and (about.since is None or at >= about.since)
            and (about.until is None or at < about.until)
        ):
            some.add(message["message_id"])
    return some


def sample(found: Rows, seed: int) -> Row:
    """Return a run, by chance."""
    return random.Random(seed).choice(found.runs)


both = pytest.mark.parametrize("kind", ["sqlite", "postgres"], scope="module")
