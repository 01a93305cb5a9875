"""The horizon: the row of the journal before which a cluster may let go of log, journal and records.

`advance` moves it. Everything that is to be let go is replayed once more, from the snapshot before, and compared with
what is stored; what the replay then holds is the next snapshot. So each follows from the one before, and what proved it
is let go only afterwards. It reads in pages, like `verify`, and keeps neither a lock nor a long snapshot of the database.

Where rows cannot be replayed (another release decided them, nothing archived their events), nothing can be proved: then
the tables are taken as they stand, and the chain begins anew. Detection waits for that for the moment in which a snapshot
of the server is begun, and not while it is read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg

from streams.codec import Codec
from streams.processors.detect import EPOCH, READER
from streams.rule_book import RuleBook
from streams.stores.place import Place
from streams.stores.postgres_connections import connect
from streams.stores.postgres_transaction import lock_number
from streams.verdict import Progress, Verdict
from streams.verify import Journal, Reached, reach
from tidings import canonical
from tidings.event import Micros
from tidings.log import Partition
from tidings.rule import Item
from tidings.snapshot import HEAD, KEYS, Digest, Head, Kept, contents, kept_by, packed
from tidings.state import StateRef

SETTINGS = {"application_name": "tidings migrate", "lock_timeout": "5s"}
STATE = 'SELECT k, "class", tenant, key, value FROM state ORDER BY k'
BUFFER = 'SELECT k, "time", rank, source, ref, value FROM buffer ORDER BY k, "time", rank, source, ref'
POSITIONS = "SELECT topic, partition, next_offset FROM sources WHERE reader = $1"
PUT = "INSERT INTO snapshots (seq, part, body) VALUES ($1, $2, $3)"


class Differs(Exception):
    """What is stored is not what the journal says. Nothing is let go: it would be the evidence."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(f"{verdict.differences - verdict.unsure} differences")
        self.verdict = verdict


@dataclass(frozen=True)
class Horizon:
    """What may be let go: rows of the journal up to `seq`, records of the log before `positions`."""

    seq: int
    positions: dict[Partition, int] = field(default_factory=dict)
    head: Head | None = None
    """The snapshot there; None: nothing was decided yet."""
    moved: bool = False
    why: str | None = None
    """Why the tables were taken as they stand: a reason of `streams.verdict.WORDS`, or `asked`."""


async def advance(
    place: Place,
    journal: Journal,
    book: RuleBook,
    codec: Codec,
    before: Micros,
    now: Micros,
    *,
    plan: bool = False,
    anew: bool = False,
    progress: Progress = lambda _seq, _until: None,
) -> Horizon:
    """Move the horizon to `before`, as far as everything up to there is proved; with `plan` only say where to.

    `anew` takes the tables as they stand, whatever a replay would say.

    Raises:
        Differs: a replay finds differences.
        StoreUnavailable, RegistryUnavailable, Misconfigured: as `streams.verify.verify`.
    """
    reached = None if anew else await reach(journal, book, codec, before, progress)
    if reached is not None and reached.verdict.differences > reached.verdict.unsure:
        raise Differs(reached.verdict)
    if reached is not None and reached.sure:
        return await _replayed(place, reached, now, plan=plan)
    why = "asked" if reached is None else next(iter(reached.verdict.not_replayed))
    if plan:
        return Horizon(0, why=why)
    head = await take(place, now)
    return Horizon(head.seq, dict(head.positions), head, moved=True, why=why)


async def _replayed(place: Place, reached: Reached, now: Micros, *, plan: bool) -> Horizon:
    begin, positions = reached.begin, dict(reached.positions)
    if reached.seq == (0 if begin is None else begin.seq):
        return Horizon(reached.seq, positions, begin)
    if plan:
        return Horizon(reached.seq, positions, begin, moved=True)
    before = None if begin is None else (begin.seq, begin.digest)

    async def parts() -> AsyncIterator[tuple[int, bytes]]:
        for part in contents(kept_by(reached.replay)):
            yield part

    connection = await connect(place, SETTINGS)
    try:
        head = Head(reached.seq, "replayed", now, positions, 0, 0, "", before, reached.verdict.compared)
        head = await _write(connection, head, parts())
    finally:
        await connection.close()
    return Horizon(head.seq, positions, head, moved=True)


async def take(place: Place, now: Micros) -> Head:
    """Take the tables as they stand, and write them as a snapshot of the last row of the journal.

    Raises:
        StoreUnavailable: the server cannot be reached.
    """
    lock, reading, writing = [await connect(place, SETTINGS) for _ in range(3)]
    try:
        async with reading.transaction(isolation="repeatable_read", readonly=True):
            async with lock.transaction():
                # Whoever writes the journal shares this lock: nothing is under way, so the numbers have no gap to come.
                await lock.execute(f"SELECT pg_advisory_xact_lock({lock_number(place.schema, EPOCH)})")
                seq = int(await reading.fetchval("SELECT max(seq) FROM journal") or 0)
            rows = await reading.fetch(POSITIONS, READER)
            positions = {(row["topic"], row["partition"]): row["next_offset"] for row in rows}
            return await _write(writing, Head(seq, "taken", now, positions, 0, 0, ""), _tables(reading))
    finally:
        for connection in (lock, reading, writing):
            await connection.close()


async def _tables(connection: asyncpg.Connection) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the contents of the parts, from the rows of `state` with those of `buffer` beside them."""
    waiting = aiter(connection.cursor(BUFFER, prefetch=KEYS))
    ahead: Any = await anext(waiting, None)
    kept: list[Kept] = []
    async for row in connection.cursor(STATE, prefetch=KEYS):
        waits = []
        while ahead is not None and ahead["k"] == row["k"]:
            body = canonical.loads(bytes(ahead["value"]))
            waits.append(Item(ahead["time"], ahead["rank"], ahead["source"], ahead["ref"], body))
            ahead = await anext(waiting, None)
        key = tuple(canonical.loads(row["key"]))
        kept.append(Kept(StateRef(row["k"], row["class"], row["tenant"], key, row["key"]), row["value"], waits))
        if len(kept) == KEYS:
            for part in contents(kept):
                yield part
            kept = []
    for part in contents(kept):
        yield part


async def _write(connection: asyncpg.Connection, head: Head, parts: AsyncIterator[tuple[int, bytes]]) -> Head:
    """Write a snapshot, part by part, in one transaction: it is there with its head, or not at all."""
    digest, keys, number = Digest(), 0, 0
    async with connection.transaction():
        await connection.execute("DELETE FROM snapshots WHERE seq = $1", head.seq)
        async for count, content in parts:
            digest.add(content)
            keys, number = keys + count, number + 1
            await connection.execute(PUT, head.seq, number, packed(content))
        head = replace(head, keys=keys, parts=number, digest=str(digest))
        await connection.execute(PUT, head.seq, HEAD, head.to_bytes())
    return head
