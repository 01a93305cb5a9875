"""Verify: the journal is replayed on scratch state, and what it decides is compared with what is stored, byte for byte.

It asks the database for nothing but journal, records, log, rule sets and positions, and can write nothing: a login of
the role `tidings_verifier` is enough. Journal and records are read in pages, so that it holds the state of the rules,
never their history. A row that cannot be replayed is counted with its reason, and what differs after it is told apart:
nobody can say whether the state that it began from was the right one.

Records of the log come from the table `log` only: the embedded log, or on a cluster what `tidings archive` copied.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from streams.codec import Codec
from streams.embedded_log import read_record
from streams.processors.detect import EPOCH, READER, record_row
from streams.processors.ground import ARCHIVE
from streams.rule_book import RuleBook
from streams.stores.postgres import PostgresStore
from streams.stores.rows import key_of
from streams.stores.sqlite import SqliteReader
from tidings import canonical
from tidings.errors import BadContract
from tidings.event import Event
from tidings.journal import CODE_VERSION, Entry, Span, read_entry
from tidings.log import Partition
from tidings.ports import Body, Find, Key, Read, Reader, Row, Scan, Transaction
from tidings.record import Record
from tidings.replay import Replay

T = TypeVar("T")

PAGE = 64
"""Rows of the journal that are read at once, with their events: about 32,000 of these at most."""
RECORDS = 2_000
"""Records that are looked at at once behind the end of the journal."""
PATIENCE = 10.0
"""Seconds without any progress of the archive after which it is not waited for."""
LOOK = 0.2
SHOWN = 10
"""Differences, and rows that were not replayed, that are kept to be shown; all are counted."""


class Journal(Reader, Protocol):
    """A store that is looked at beside its owners."""

    async def settled(self) -> int:
        """Return the last `seq` up to which every row of the journal is there, or never will be."""
        ...


@dataclass(frozen=True)
class FileJournal:
    """The journal of an embedded file; its log is the table itself."""

    file: SqliteReader

    async def read(self, body: Body[T]) -> T:
        """Run a body that only reads."""
        return self.file.read(body)

    async def settled(self) -> int:
        """Return the last `seq`: one writer numbers rows and commits them in one order."""
        return self.file.last_seq()


@dataclass(frozen=True)
class ServerJournal:
    """The journal of a cluster, and the archive of its log."""

    store: PostgresStore

    async def read(self, body: Body[T]) -> T:
        """Run a body that only reads."""
        return await self.store.read(body)

    async def settled(self) -> int:
        """Return the last `seq` behind which nothing is under way, once the archive has what it needs, or stands still."""
        until = await self.store.settled(EPOCH)
        wanted = await self.store.read(_positions(READER))
        before: Mapping[Partition, int] = {}
        moved = time.monotonic()
        while time.monotonic() - moved < PATIENCE:
            now = await self.store.read(_positions(ARCHIVE))
            if all(at >= wanted.get(place, 0) for place, at in now.items()):
                break
            if now != before:
                before, moved = now, time.monotonic()
            await asyncio.sleep(LOOK)
        return until


def _positions(reader: str) -> Body[dict[Partition, int]]:
    def body() -> Transaction[dict[Partition, int]]:
        rows = yield Find("sources", "by_topic", (reader,))
        return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}

    return body


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the replay and the store disagree. It holds names, never what an event says."""

    seq: int
    what: str
    """`missing`: only the replay has it. `extra`: only the store. `differs`. `state`: a tick took a key without one."""
    rule: str
    firing: str
    kind: str
    n: int
    fields: tuple[str, ...] = ()
    """What differs, where both have it."""
    sure: bool = True
    """Whether everything before it was replayed."""


@dataclass(frozen=True, slots=True)
class NotReplayed:
    """A row of the journal that could not be replayed."""

    seq: int
    reason: str
    """`not_archived`, `let_go`, `unreadable`, `other_code`, `rules`, or `failed`."""
    detail: str


WORDS: Mapping[str, str] = {
    "not_archived": "their events were not copied into the archive yet",
    "let_go": "their events are in the archive no more, or never were",
    "unreadable": "their events cannot be read with these contracts",
    "other_code": "another version of the code decided them",
    "rules": "their rule set does not load with this version",
    "failed": "the code fails on them",
}


@dataclass
class Verdict:
    """What was compared, and what came of it."""

    rows: int = 0
    """Of the journal, replayed or not."""
    events: int = 0
    """That were decided again."""
    decided: int = 0
    """Detection records that the replay made, repeats included."""
    repeats: int = 0
    """Of these, what was recorded by an earlier row already."""
    compared: int = 0
    """Stored records that the replay made as well."""
    differences: int = 0
    unsure: int = 0
    """Of the differences, those after a row that was not replayed."""
    unseen: int = 0
    """Stored records of rows that were not replayed."""
    not_replayed: Counter[str] = field(default_factory=Counter)
    """Rows of the journal, by reason."""
    first: list[Difference] = field(default_factory=list)
    first_not: list[NotReplayed] = field(default_factory=list)

    @property
    def code(self) -> int:
        """Return 0: no difference; 1: there is one; 2: it cannot be told."""
        if self.differences > self.unsure:
            return 1
        return 2 if self.not_replayed else 0


Progress = Callable[[int, int], None]
"""Told after every page: the last `seq` that was compared, and the one at which it ends."""


async def verify(
    journal: Journal, book: RuleBook, codec: Codec, progress: Progress = lambda _seq, _until: None
) -> Verdict:
    """Replay everything that is settled now, and compare.

    Raises:
        StoreUnavailable: the store cannot be read.
        RegistryUnavailable: a schema of the archived records cannot be asked for now.
    """
    until = await journal.settled()
    compared = _Comparison(journal, book, codec)
    done = 0
    while done < until:
        page = await journal.read(_page(done, until))
        if not page.entries:
            break
        await compared.page(page)
        done = page.entries[-1].seq
        progress(done, until)
    while True:
        end, foreign = await journal.read(_foreign(done))
        compared.foreign(foreign)
        if end is None:
            return compared.verdict
        done = end


@dataclass(frozen=True, slots=True)
class _Page:
    entries: Sequence[Entry]
    records: Sequence[Row]
    """Stored under the `seq` of these entries."""
    log: Mapping[tuple[int, Span], Sequence[Row]]
    archived: Mapping[Partition, int]
    """How far the archive has come; empty where the log is the table itself."""


def _page(after: int, until: int) -> Body[_Page]:
    def body() -> Transaction[_Page]:
        rows = yield Scan("journal", (after,), PAGE)
        entries = [read_entry(row) for row in rows if row["seq"] <= until]
        if not entries:
            return _Page((), (), {}, {})
        records = yield Find("records", "by_seq", (), above=after, upto=entries[-1].seq)
        log = {}
        for entry in entries:
            for span in entry.spans:
                place = (span.topic, span.partition)
                log[entry.seq, span] = yield Find("log", "by_offset", place, above=span.start - 1, upto=span.end - 1)
        archived = yield from _positions(ARCHIVE)()
        return _Page(entries, records, log, archived)

    return body


def _foreign(after: int) -> Body[tuple[int | None, list[Row]]]:
    """Return how far it looked (None: to the end), and the stored records of rows that the journal does not have.

    A record and its row are committed together, and this is one instant: a system that goes on is not accused.
    """

    def body() -> Transaction[tuple[int | None, list[Row]]]:
        rows: list[Row] = yield Find("records", "by_seq", (), above=after, limit=RECORDS)
        end = None
        if len(rows) == RECORDS:
            # All of the last row of the journal, which the limit may have cut.
            end = rows[-1]["seq"]
            rows = yield Find("records", "by_seq", (), above=after, upto=end)
        known = yield Read("journal", sorted({(row["seq"],) for row in rows}))
        return end, [row for row in rows if (row["seq"],) not in known]

    return body


def _stored(keys: Sequence[Key]) -> Body[dict[Key, Row]]:
    def body() -> Transaction[dict[Key, Row]]:
        return (yield Read("records", keys))  # type: ignore[no-any-return]

    return body


class _Unreplayable(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass
class _Comparison:
    journal: Journal
    book: RuleBook
    codec: Codec
    verdict: Verdict = field(default_factory=Verdict)

    def __post_init__(self) -> None:
        self.replay = Replay(self.book.get)

    async def page(self, page: _Page) -> None:
        """Replay a page, then compare what it decided with what is stored."""
        await self.codec.ready(read_record(row) for rows in page.log.values() for row in rows)
        stored: dict[int, dict[Key, Row]] = {}
        for one in page.records:
            stored.setdefault(one["seq"], {})[key_of("records")(one)] = one
        unmatched: list[tuple[Entry, Record, bool]] = []
        for entry in page.entries:
            self.verdict.rows += 1
            theirs = stored.pop(entry.seq, {})
            try:
                records = await self._again(entry, page)
            except _Unreplayable as fault:
                self._skip(entry, fault)
                self.verdict.unseen += len(theirs)
                continue
            sure = not self.verdict.not_replayed
            for record in records:
                row = theirs.pop((record.episode_at, record.firing_id, record.kind, record.n), None)
                if row is None:
                    unmatched.append((entry, record, sure))
                else:
                    self._compare(entry, record, row, sure=sure)
            for left in theirs.values():
                self._differs("extra", left["seq"], left, sure=sure)
        self.foreign([left for rows in stored.values() for left in rows.values()])
        await self._repeats(unmatched)

    def foreign(self, rows: Sequence[Row]) -> None:
        """Count records under numbers that the journal does not have: nobody whom we know wrote them."""
        for row in rows:
            self._differs("extra", row["seq"], row, sure=True)

    async def _again(self, entry: Entry, page: _Page) -> Sequence[Record]:
        """Replay one row of the journal.

        Raises:
            _Unreplayable: it cannot be; the state is as it was.
        """
        if entry.code != CODE_VERSION:
            raise _Unreplayable("other_code", f"code {entry.code}, this is {CODE_VERSION}")
        if entry.kind != "switch":
            try:
                await self.book.learn(entry.rule_set)
            except ValueError as fault:
                raise _Unreplayable("rules", f"rule set {entry.rule_set[:12]}: {fault}") from fault
        events = [event for span in entry.spans for event in self._events(entry, span, page)]
        try:
            again = self.replay.apply(entry, events)
        except Exception as fault:
            raise _Unreplayable("failed", type(fault).__name__) from fault
        self.verdict.events += len(events)
        self.verdict.decided += len(again.records)
        for k in again.lost:
            lost = {"rule": "", "firing_id": k.hex(), "kind": entry.kind, "n": 0}
            self._differs("state", entry.seq, lost, sure=not self.verdict.not_replayed)
        return again.records

    def _events(self, entry: Entry, span: Span, page: _Page) -> list[Event]:
        place = f"{span.topic}[{span.partition}]@{span.start}–{span.end - 1}"
        known = page.archived.get((span.topic, span.partition))
        if known is not None and known < span.end:
            raise _Unreplayable("not_archived", f"{place}; the archive stands at {known}")
        rows = page.log[entry.seq, span]
        # A batch ends with a record that was there, whatever gaps a topic has otherwise.
        if not rows or rows[-1]["offset"] != span.end - 1:
            raise _Unreplayable("let_go", place)
        try:
            return [self.codec.decode(read_record(row)) for row in rows if row["offset"] not in span.left_out]
        except BadContract as fault:
            raise _Unreplayable("unreadable", f"{place}: {fault.reason}") from fault

    def _compare(self, entry: Entry, record: Record, row: Row, *, sure: bool) -> None:
        self.verdict.compared += 1
        ours = record_row(record, entry.seq)
        names = [name for name in ours if name not in ("body", "unread") and ours[name] != row[name]]
        if record.body != bytes(row["body"]):
            names += _fields(record.body, bytes(row["body"]))
        if names:
            self._differs("differs", entry.seq, row, tuple(names), sure=sure)

    async def _repeats(self, unmatched: Sequence[tuple[Entry, Record, bool]]) -> None:
        """Look for what was decided and not stored by the same row: an earlier one must have it."""
        keys = dict.fromkeys((r.episode_at, r.firing_id, r.kind, r.n) for _, r, _ in unmatched)
        found = await self.journal.read(_stored(list(keys))) if keys else {}
        for entry, record, sure in unmatched:
            row = found.get((record.episode_at, record.firing_id, record.kind, record.n))
            if row is not None and row["seq"] < entry.seq:
                self.verdict.repeats += 1
            elif row is None:
                self._differs("missing", entry.seq, record_row(record, entry.seq), sure=sure)
            else:
                self._differs("differs", entry.seq, row, ("seq",), sure=sure)

    def _differs(self, what: str, seq: int, row: Row, fields: tuple[str, ...] = (), *, sure: bool) -> None:
        self.verdict.differences += 1
        self.verdict.unsure += not sure
        if len(self.verdict.first) < SHOWN:
            one = Difference(seq, what, row["rule"], row["firing_id"], row["kind"], row["n"], fields, sure)
            self.verdict.first.append(one)

    def _skip(self, entry: Entry, fault: _Unreplayable) -> None:
        self.verdict.not_replayed[fault.reason] += 1
        if len(self.verdict.first_not) < SHOWN:
            self.verdict.first_not.append(NotReplayed(entry.seq, fault.reason, str(fault)))


def _fields(ours: bytes, theirs: bytes) -> list[str]:
    """Name what differs between two bodies."""
    try:
        one, other = canonical.loads(ours), canonical.loads(theirs)
    except ValueError:
        return ["body"]
    if not isinstance(other, dict):
        return ["body"]
    nothing: Any = object()
    names = [name for name in sorted({*one, *other}) if one.get(name, nothing) != other.get(name, nothing)]
    return [f"body.{name}" for name in names] or ["body"]
