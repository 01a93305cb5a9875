"""The loop by hand over a file: `by_hand.py` in SQLite. It imports nothing of ours.

It reads the log and writes the rows that the embedded worker writes, in batches and ticks of the same size: `run.py`
compares the files table by table.

    python benchmarks/handwritten.py FILE NOW
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from typing import Any

from benchmarks.by_hand import (
    BATCH,
    CHUNK,
    NEVER,
    TICK,
    TOPICS,
    Deciding,
    Place,
    Row,
    cpu,
    fingerprint,
    of_rule,
    watermarks,
)


class Loop(Deciding):
    """Reads the log to its end."""

    def __init__(self, path: str, now: int) -> None:
        self.now = now
        super().__init__()
        self.db = db = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536", "temp_store=MEMORY"):
            db.execute(f"PRAGMA {pragma}")
        self.rule_set = db.execute("SELECT value FROM epochs WHERE name = 'rule_set'").fetchone()[0]
        self.idle: set[str] = set()

    def run(self) -> None:
        """Run to the end."""
        while True:
            sources = self.read_sources()
            batch = [(topic, self.fetch(topic, sources[topic, 0][0])) for topic in TOPICS]
            busy = self.batch([(topic, rows) for topic, rows in batch if rows])
            self.mark_idle([topic for topic, rows in batch if not rows])
            ticked = False
            while self.tick():
                ticked = True
            if not (busy or ticked):
                return

    def read_sources(self) -> dict[Place, list[Any]]:
        """Return by partition: next offset, newest time, since when it is known to be empty."""
        rows = self.db.execute("SELECT topic, next_offset, max_time, caught_up_at FROM sources WHERE reader = 'detect'")
        return {(topic, 0): rest for topic, *rest in rows}

    def waiting(self, k: bytes) -> list[Row]:
        """Return what waits for a key."""
        query = "SELECT time, rank, source, ref, value FROM buffer WHERE k = ? ORDER BY time, rank, source, ref"
        return self.db.execute(query, (k,)).fetchall()

    def is_waiting(self, k: bytes, order: Row) -> bool:
        """Return whether an event waits already."""
        query = "SELECT 1 FROM buffer WHERE (k, time, rank, source, ref) = (?, ?, ?, ?, ?)"
        return self.db.execute(query, (k, *order)).fetchone() is not None

    def fetch(self, topic: str, start: int) -> list[Row]:
        """Read records."""
        query = (
            'SELECT "offset", appended_at, value, key FROM log WHERE topic = ? AND "partition" = 0 AND "offset" >= ? '
            'ORDER BY "offset" LIMIT ?'
        )
        return self.db.execute(query, (topic, start, BATCH)).fetchall()

    def batch(self, fetched: list[tuple[str, list[Row]]]) -> bool:
        """Decide what was fetched, in one transaction."""
        if not fetched:
            return False
        found = self.gather(
            ((topic, 0), appended_at, value) for topic, rows in fetched for _, appended_at, value, _ in rows
        )
        self.db.execute("BEGIN IMMEDIATE")
        self.begin()
        self.seq = self.next_seq()
        sources = self.read_sources()
        known = self.read_state([*found.customers, *found.invoices])
        self.events(found, known)
        before = watermarks(sources) if found.invoices else {}
        spans = []
        for topic, rows in fetched:
            source = sources[topic, 0]
            start, old, _ = source
            newest = found.newest[topic, 0]
            source[:2] = rows[-1][0] + 1, newest if old is None else max(old, newest)
            spans.append([topic, 0, start, source[0], []])
        after = watermarks(sources) if found.invoices else {}
        w0 = of_rule(before) if found.invoices else NEVER
        w1 = max(w0, of_rule(after)) if found.invoices else NEVER
        self.invoices(found, known, w0, w1)
        self.write("batch", spans, [], before, after)
        self.db.executemany(
            "UPDATE sources SET next_offset = ?, max_time = ?, fingerprint = ? WHERE reader = 'detect' AND topic = ?",
            [(*sources[topic, 0][:2], fingerprint(*rows[-1][1:]), topic) for topic, rows in fetched],
        )
        self.db.execute("COMMIT")
        return True

    def mark_idle(self, topics: list[str]) -> None:
        """Write down that topics were read to their ends."""
        fresh = [topic for topic in topics if topic not in self.idle]
        if fresh:
            query = "UPDATE sources SET caught_up_at = ? WHERE reader = 'detect' AND topic = ?"
            self.db.execute("BEGIN IMMEDIATE")
            self.db.executemany(query, [(self.now, topic) for topic in fresh])
            self.db.execute("COMMIT")
            self.idle.update(fresh)

    def tick(self) -> bool:
        """Run what W has reached, up to 200 keys."""
        topics = watermarks(self.read_sources())
        w = of_rule(topics)
        due = self.db.execute(
            "SELECT k, key, value FROM state WHERE class = 'rule:invoice-overdue' AND due IS NOT NULL AND due <= ? "
            "ORDER BY class, due, k LIMIT ?",
            (w, TICK),
        ).fetchall()
        if not due:
            return False
        self.db.execute("BEGIN IMMEDIATE")
        self.begin()
        self.seq = self.next_seq()
        due.sort()
        self.due(due, w)
        self.write("tick", [], [k.hex() for k, _, _ in due], topics, topics)
        self.db.execute("COMMIT")
        return True

    def read_state(self, keys: list[bytes]) -> dict[bytes, bytes | None]:
        """Return the values of rows of state."""
        found: dict[bytes, bytes | None] = {}
        for at in range(0, len(keys), CHUNK):
            part = keys[at : at + CHUNK]
            found.update(self.db.execute(f"SELECT k, value FROM state WHERE k IN ({','.join('?' * len(part))})", part))
        return found

    def next_seq(self) -> int:
        """Draw the number of a transaction."""
        query = (
            "INSERT INTO sequences VALUES ('journal', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 "
            "RETURNING value"
        )
        return int(self.db.execute(query).fetchone()[0])

    def write(
        self, kind: str, spans: list[Any], keys: list[str], before: dict[str, int], after: dict[str, int]
    ) -> None:
        """Write rows, records and the journal."""
        db = self.db
        gone = [(k,) for k, row in self.states.items() if row[4] is None]
        kept = [row for row in self.states.values() if row[4] is not None]
        db.executemany("DELETE FROM state WHERE k = ?", gone)
        db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?, ?, ?)", kept)
        where = "k = ? AND time = ? AND rank = ? AND source = ? AND ref = ?"
        db.executemany(f"DELETE FROM buffer WHERE {where}", self.leave)
        db.executemany("INSERT OR IGNORE INTO buffer VALUES (?, ?, ?, ?, ?, ?)", self.enter)
        db.executemany(f"INSERT OR IGNORE INTO records VALUES ({','.join('?' * 11)})", self.records)
        journal = self.journal(spans, keys, before, after)
        db.execute("INSERT INTO journal VALUES (?, ?, ?)", (self.seq, kind, journal))


def main() -> None:
    """Run, and print the time it took."""
    loop = Loop(sys.argv[1], int(sys.argv[2]))
    begun, used = time.perf_counter(), cpu()
    loop.run()
    print(json.dumps({"wall": time.perf_counter() - begun, "cpu": cpu() - used}))
    loop.db.close()


if __name__ == "__main__":
    main()
