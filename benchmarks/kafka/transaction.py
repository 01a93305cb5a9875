"""The loop by hand on a cluster: a batch, or a tick, is one transaction of PostgreSQL. It imports nothing of ours.

It keeps what a hand that knows what it does would keep: offsets in the transaction, compared before they are moved; keys
locked in one order, also those that are not there yet; W read after the locks; what others hear of a firing, in the outbox;
all writes in one statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import monotonic, time_ns
from typing import Any, Protocol
from uuid import uuid5

import asyncpg

from benchmarks.by_hand import (
    ABSENCE,
    NEVER,
    ROOT,
    TICK,
    Deciding,
    Place,
    Row,
    derived,
    fingerprint,
    of_rule,
    to_json,
    watermarks,
)  # fmt: skip

OUTBOX, FIRINGS = uuid5(ROOT, "outbox").bytes, "decision.firing.recorded"

TICK_EVERY = 0.25
"""Seconds between two looks at what is due, as in a worker."""

HELD = """
SELECT topic, partition, next_offset, max_time FROM sources
WHERE reader = 'detect' AND (topic, partition) IN (SELECT * FROM unnest($1::text[], $2::bigint[]))
ORDER BY topic, partition FOR NO KEY UPDATE
"""
MAKE_AND_LOCK = """
INSERT INTO state AS t (k, class, tenant, key) SELECT k, '', '', '' FROM unnest($1::bytea[]) AS q(k) ORDER BY k
ON CONFLICT (k) DO UPDATE SET class = excluded.class WHERE false RETURNING k
"""
VALUES = "SELECT k, value FROM state WHERE k = ANY($1::bytea[])"
SOURCES = """
SELECT topic, partition, next_offset, max_time, caught_up_at FROM sources
WHERE reader = 'detect' AND topic = ANY($1::text[])
"""
WAITING = """
SELECT k, time, rank, source, ref, value FROM buffer WHERE k = ANY($1::bytea[]) ORDER BY k, time, rank, source, ref
"""
DUE = """
SELECT k FROM state WHERE class = 'rule:invoice-overdue' AND due IS NOT NULL AND due <= $1 ORDER BY class, due, k LIMIT $2
"""
LOCK_DUE = "SELECT k, key, value FROM state WHERE k = ANY($1::bytea[]) ORDER BY k FOR NO KEY UPDATE"
WRITE = """
WITH gone AS (
    DELETE FROM state WHERE k = ANY($1::bytea[])
), kept AS (
    UPDATE state t SET class = q.class, tenant = q.tenant, key = q.key, value = q.value, due = q.due
    FROM unnest($2::bytea[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bigint[])
        AS q(k, class, tenant, key, value, due)
    WHERE t.k = q.k
), leave AS (
    DELETE FROM buffer t USING unnest($8::bytea[], $9::bigint[], $10::bigint[], $11::text[], $12::text[])
        AS q(k, time, rank, source, ref)
    WHERE t.k = q.k AND t.time = q.time AND t.rank = q.rank AND t.source = q.source AND t.ref = q.ref
), enter AS (
    INSERT INTO buffer (k, time, rank, source, ref, value)
    SELECT * FROM unnest($13::bytea[], $14::bigint[], $15::bigint[], $16::text[], $17::text[], $18::bytea[])
    ON CONFLICT DO NOTHING
), said AS (
    INSERT INTO records (episode_at, firing_id, kind, n, tenant, rule, recipient, seq, logical_at, body, unread)
    SELECT * FROM unnest($19::bigint[], $20::text[], $21::text[], $22::bigint[], $23::text[], $24::text[], $25::text[],
        $26::bigint[], $27::bigint[], $28::bytea[], $29::bigint[])
    ON CONFLICT DO NOTHING RETURNING firing_id, kind, n
), told AS (
    INSERT INTO outbox (id, topic, key, about, seq, no, at, unpublished, body)
    SELECT q.id, q.topic, q.key, q.id, $35, q.no, $38, 1, q.body
    FROM unnest($20::text[], $21::text[], $22::bigint[], $39::text[], $40::text[], $41::text[], $42::bigint[], $43::bytea[])
        AS q(firing_id, kind, n, id, topic, key, no, body) JOIN said USING (firing_id, kind, n)
    ON CONFLICT DO NOTHING
), moved AS (
    UPDATE sources t SET next_offset = q.next_offset, max_time = q.max_time, fingerprint = q.fingerprint
    FROM unnest($30::text[], $31::bigint[], $32::bigint[], $33::bigint[], $34::text[])
        AS q(topic, partition, next_offset, max_time, fingerprint)
    WHERE t.reader = 'detect' AND t.topic = q.topic AND t.partition = q.partition
)
INSERT INTO journal (seq, kind, body) VALUES ($35, $36, $37)
"""


class Moved(Exception):
    """The database stands elsewhere than the batch begins."""


class Record(Protocol):
    """What is needed of a record, whoever consumed it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes


class Hand(Deciding):
    """Applies batches over one connection."""

    def __init__(self, db: asyncpg.Connection, rule_set: str, prefix: str) -> None:
        super().__init__()
        self.db = db
        self.rule_set = rule_set
        self.prefix = len(prefix)
        self.buffered: dict[bytes, list[Row]] = {}
        self.ticked = 0.0

    @classmethod
    async def open(cls, dsn: str, prefix: str) -> Hand:
        """Connect."""
        db = await asyncpg.connect(dsn, server_settings={"search_path": "tidings"})
        rule_set = await db.fetchval("SELECT value FROM epochs WHERE name = 'rule_set'")
        return cls(db, rule_set, prefix)

    async def batch(self, records: Sequence[Record]) -> None:
        """Decide records, which are consecutive in each partition, in one transaction."""
        by_place: dict[Place, list[Record]] = {}
        for record in records:
            by_place.setdefault((record.topic[self.prefix :], record.partition), []).append(record)
        found = self.gather(
            (place, one.timestamp * 1000, one.value) for place, those in by_place.items() for one in those
        )
        async with self.db.transaction():
            held = await self._hold(by_place, found.newest)
            keys = sorted([*found.customers, *found.invoices])
            known = await self._lock(keys)
            rows = await self.db.fetch(SOURCES, ABSENCE) if found.invoices else ()
            sources = {(topic, partition): rest for topic, partition, *rest in rows}
            before = watermarks(sources) if found.invoices else {}
            for place in held.keys() & sources.keys():
                sources[place][:2] = held[place]
            after = watermarks(sources) if found.invoices else {}
            w0 = of_rule(before) if found.invoices else NEVER
            w1 = max(w0, of_rule(after)) if found.invoices else NEVER
            await self._begin(k for k in found.invoices if (raw := known.get(k)) and b'"waits":0' not in raw)
            self.events(found, known)
            self.invoices(found, known, w0, w1)
            spans = [[*place, those[0].offset, held[place][0], []] for place, those in sorted(by_place.items())]
            moved = [(*place, *source, _mark(by_place[place][-1])) for place, source in held.items()]
            await self._write("batch", self.journal(spans, [], before, after), moved)

    async def ticks(self) -> None:
        """Run what is due, if it is time to look."""
        if monotonic() - self.ticked >= TICK_EVERY:
            while await self.tick():
                pass
            self.ticked = monotonic()

    async def tick(self) -> bool:
        """Run what W has reached, up to 200 keys."""
        w = of_rule(await self._watermarks())
        due = [k for (k,) in await self.db.fetch(DUE, w, TICK)]
        if not due:
            return False
        async with self.db.transaction():
            rows = await self.db.fetch(LOCK_DUE, due)
            topics = await self._watermarks()
            await self._begin(k for k, _, raw in rows if b'"waits":0' not in raw)
            self.due(rows, of_rule(topics))
            journal = self.journal([], [k.hex() for k, _, _ in rows], topics, topics)
            await self._write("tick", journal, [])
        return True

    def begin(self) -> None:
        """Forget what the last transaction wrote."""
        super().begin()
        self.causes: list[str] = []

    def record(
        self, rule: str, kind: str, key: list[str], episode: tuple[int, str, str], at: int, who: str, data: list[Any]
    ) -> None:
        """Note a detection record, and what began it."""
        super().record(rule, kind, key, episode, at, who, data)
        self.causes.append(episode[2])

    def waiting(self, k: bytes) -> list[Row]:
        """Return what waits for a key; it was read before."""
        return self.buffered.get(k, [])

    def is_waiting(self, k: bytes, order: Row) -> bool:
        """Return whether an event waits already."""
        return any(row[:4] == order for row in self.waiting(k))

    async def _watermarks(self) -> dict[str, int]:
        rows = await self.db.fetch(SOURCES, ABSENCE)
        return watermarks({(topic, partition): rest for topic, partition, *rest in rows})

    async def _hold(self, by_place: dict[Place, list[Record]], newest: dict[Place, int]) -> dict[Place, list[Any]]:
        """Lock positions, compare them; return what they will be, as [next offset, newest time]."""
        places = sorted(by_place)
        rows = await self.db.fetch(HELD, [topic for topic, _ in places], [partition for _, partition in places])
        held = {(topic, partition): [at, old] for topic, partition, at, old in rows}
        for place, those in by_place.items():
            if held[place][0] != those[0].offset:
                raise Moved(f"{place} is at {held[place][0]}, the batch begins at {those[0].offset}")
            old = held[place][1]
            held[place] = [those[-1].offset + 1, newest[place] if old is None else max(old, newest[place])]
        return held

    async def _lock(self, keys: Sequence[bytes]) -> dict[bytes, bytes | None]:
        if not keys:
            return {}
        made = {k for (k,) in await self.db.fetch(MAKE_AND_LOCK, keys)}
        there = [k for k in keys if k not in made]
        return dict(await self.db.fetch(VALUES, there)) if there else {}

    async def _begin(self, waiting: Iterable[bytes]) -> None:
        """Draw the number, now that all is locked, and read what waits."""
        self.begin()
        self.seq = await self.db.fetchval("SELECT nextval('seq_journal')")
        self.buffered = {}
        if keys := list(waiting):
            for k, *row in await self.db.fetch(WAITING, keys):
                self.buffered.setdefault(k, []).append(tuple(row))

    async def _write(self, kind: str, journal: bytes, moved: Sequence[Row]) -> None:
        gone = [k for k, row in self.states.items() if row[4] is None]
        kept = [row for row in self.states.values() if row[4] is not None]
        values = [
            gone, *_columns(kept, 6), *_columns(self.leave, 5), *_columns(self.enter, 6), *_columns(self.records, 11),
            *_columns(moved, 5), self.seq, kind, journal, *self._told(),
        ]  # fmt: skip
        await self.db.execute(WRITE, *values)

    def _told(self) -> list[Any]:
        """Return what others hear of the records: the time, and columns of the outbox."""
        now = time_ns() // 1000
        rows = []
        for no, ((_, firing, kind, n, tenant, rule, who, _, at, _, _), cause) in enumerate(
            zip(self.records, self.causes, strict=True)
        ):
            name = derived(OUTBOX, firing, kind, n)
            meta = {
                "event_id": name, "type": FIRINGS, "source": "tidings", "subject": firing, "occurred_at": at,
                "recorded_at": now, "actor": None, "tenant": tenant, "sequence": None, "correlation_id": firing,
                "causation_id": cause,
            }  # fmt: skip
            event = {
                "meta": meta, "firing_id": firing, "rule": rule, "kind": kind, "recipient": who, "logical_at": at, "n": n,
                "severity": "medium",
            }  # fmt: skip
            rows.append((name, f"{FIRINGS}.v1", who, no, to_json(event).encode()))
        return [now, *_columns(rows, 5)]


def _columns(rows: Sequence[Row], width: int) -> list[list[Any]]:
    return [[row[at] for row in rows] for at in range(width)]


def _mark(last: Record) -> str:
    return fingerprint(last.timestamp * 1000, last.value, last.key)
