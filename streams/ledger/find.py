"""Finding what a text names: a customer, a decision, a message, an event, or the events of an order or an invoice."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from streams.codec import Codec
from streams.embedded_log import read_record
from streams.ledger.asking import Asking
from streams.ledger.rows import Found
from streams.processors.catalogue import LONGEST, number_of, paths_of, readable, words_of
from streams.stores.rows import row_of
from tidings.contract import Contract, value_at
from tidings.event import Event
from tidings.log import LogRecord
from tidings.tables import TABLES

SHORT = 8
"""Characters of an id from which on its beginning is enough."""
MOST = 20
"""Of each kind that are named."""
LOOKED = 500
"""Entries of the catalogue for one word that are looked at."""
LOOKED_EACH = 2_000
"""The same of several words together."""
SHAPES = (1, 10, 50, 200)

LOG = ", ".join(f'l."{column.name}"' for column in TABLES["log"].columns)
# CROSS JOIN keeps SQLite to this order: without statistics it would read the whole catalogue instead of a block's part.
RECORDS = """
SELECT {log} FROM (
    SELECT topic, partition, "offset", appended_at FROM (
        SELECT c.topic, c.partition, c."offset", c.appended_at FROM blocks b CROSS JOIN catalogue c
        WHERE c.topic = b.topic AND c.partition = b.partition AND c.block = b.block AND c.tenant = $1 AND c.term IN ({terms})
        ORDER BY b.appended_at DESC LIMIT {looked}
    ) AS such ORDER BY appended_at DESC, "offset" DESC LIMIT $2
) AS w JOIN log l ON l.topic = w.topic AND l.partition = w.partition AND l."offset" = w."offset"
AND l.appended_at = w.appended_at ORDER BY l.appended_at DESC, l."offset" DESC
"""
CUSTOMER = "SELECT recipient FROM recipients WHERE tenant = $1 AND recipient = $2"
TOLD = "SELECT recipient FROM runs WHERE tenant = $1 AND recipient = $2 LIMIT 1"
REFERENCE = """
SELECT message_id FROM (SELECT message_id, tenant FROM messages WHERE reference = $1 LIMIT 100) AS such
WHERE tenant = $2 LIMIT 20
"""
BY_START = """
SELECT DISTINCT {key} FROM (
    SELECT {key}, tenant FROM {table} WHERE {key} >= $1 AND {key} < $2 ORDER BY {key} LIMIT 100
) AS such WHERE tenant = $3 ORDER BY {key} LIMIT 20
"""

LOG_ROW = row_of("log")


@dataclass(frozen=True)
class Finder:
    """Looks texts up for one tenant."""

    asking: Asking
    tenant: str
    codec: Codec | None
    """Reads events; None: they are not found."""

    async def find(self, text: str) -> list[Found]:
        """Return what a text names, the surest first; nothing where it names nothing."""
        text = text.strip()
        if not text or len(text) > LONGEST or "\x00" in text:
            return []
        found = [*(await self._people(text)), *(await self._ids(text))]
        for row in await self.asking.ask(REFERENCE, text, self.tenant):
            found.append(Found("message", str(row[0]), "provider reference"))  # noqa: PERF401 - reads as the others do
        known = {one.id for one in found}
        for event in await self.events(text, MOST):
            why = self._why(text, event)
            if why == "customer" and f"customer:{text}" not in known:
                found.append(Found("customer", f"customer:{text}", "named by events"))
                known.add(f"customer:{text}")
            elif why != "customer":
                found.append(self._event(event, why))
        return found

    async def events(self, word: str, limit: int) -> list[Event]:
        """Return the newest events that have a word: an id, a key, a customer; newest first."""
        return await self.events_of([word], limit)

    async def events_of(self, words: Collection[str], limit: int) -> list[Event]:
        """Return the newest events that have one of some words, newest first; of each word at least the newest `limit`."""
        if self.codec is None or not words:
            return []
        records = await self._of_each(words, limit)
        await self.codec.ready(records)
        contracts, wanted = self.codec.contracts.by_type, set(words)
        return [
            event for event in readable(records, self.codec.decode) if words_of(event, contracts[event.type]) & wanted
        ]  # fmt: skip

    async def records(self, word: str, limit: int) -> list[LogRecord]:
        """Return the newest records that may have a word, as the log holds them."""
        return await self._records([word], limit)

    async def _of_each(self, words: Collection[str], limit: int) -> list[LogRecord]:
        """Return the newest records of some words: asked together, and in halves where the answer was full.

        A word with many records would else leave no room for those of the others.
        """
        found: dict[tuple[str, int, int], LogRecord] = {}
        parts = [list(dict.fromkeys(words))]
        while parts:
            part = parts.pop()
            records = await self._records(part, limit)
            if len(records) >= limit and len(part) > 1:
                middle = len(part) // 2
                parts += [part[:middle], part[middle:]]
                continue
            found |= {(one.topic, one.partition, one.offset): one for one in records}
        return sorted(found.values(), key=lambda one: (-one.appended_at, -one.offset))

    async def _records(self, words: Collection[str], limit: int) -> list[LogRecord]:
        terms = sorted({number_of(self.tenant, word) for word in words})
        # Few shapes, so that few plans are kept: the last one is asked for again.
        size = next((size for size in SHAPES if size >= len(terms)), len(terms))
        terms += [terms[-1]] * (size - len(terms))
        marks = ", ".join(f"${at}" for at in range(3, 3 + size))
        statement = RECORDS.format(log=LOG, terms=marks, looked=LOOKED if size == 1 else LOOKED_EACH)
        return [
            read_record(LOG_ROW(tuple(row))) for row in await self.asking.ask(statement, self.tenant, limit, *terms)
        ]

    async def _people(self, text: str) -> list[Found]:
        names = [text] if ":" in text else [f"customer:{text}", f"team:{text}"]
        return [
            Found(name.partition(":")[0], name, "id")
            for name in names
            if await self.asking.ask(CUSTOMER, self.tenant, name) or await self.asking.ask(TOLD, self.tenant, name)
        ]

    async def _ids(self, text: str) -> list[Found]:
        text = text.lower()
        if len(text) < SHORT or not set(text) <= set("0123456789abcdef-"):
            return []
        ask: list[tuple[str, str, str]] = [
            ("decision", BY_START.format(table="runs", key="run_id"), text),
            ("message", BY_START.format(table="messages", key="message_id"), text),
            ("firing", BY_START.format(table="runs", key="firing_id"), text),
        ]
        found: list[Found] = []
        for kind, statement, start in ask:
            rows: Sequence[Any] = await self.asking.ask(statement, start, f"{start}~", self.tenant)
            found += [Found(kind, str(row[0]), "id" if row[0] == text else "beginning of its id") for row in rows]
        return found

    def _event(self, event: Event, why: str) -> Found:
        contract = self._contract(event)
        customer = None if contract.customer is None else value_at(event.data, contract.customer)
        return Found(
            "event", event.ref, why, (event.topic, event.partition, event.offset), event.type, event.occurred_at,
            None if customer is None else f"customer:{customer}",
        )  # fmt: skip

    def _why(self, text: str, event: Event) -> str:
        if text in (event.id, event.ref):
            return "id"
        contract = self._contract(event)
        if contract.customer is not None and str(value_at(event.data, contract.customer)) == text:
            return "customer"
        return next((".".join(path) for path in paths_of(contract) if str(value_at(event.data, path)) == text), "key")

    def _contract(self, event: Event) -> Contract:
        assert self.codec is not None
        return self.codec.contracts.by_type[event.type]
