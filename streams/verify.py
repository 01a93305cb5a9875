"""Verify: the journal is replayed on scratch state, and what it decides is compared with what is stored, byte for byte.

It asks the database for nothing but journal, records, log, rule sets and positions, and can write nothing: a login of
the role `tidings_verifier` is enough. Journal and records are read in pages, so that it holds the state of the rules,
never their history. It begins with the snapshot before which retention may have let things go, else with nothing, and
compares its state with every snapshot that it passes. A row that cannot be replayed is counted with its reason, and what
differs after it, up to the next snapshot, is told apart: nobody can say whether the state that it began from was the
right one.

Records of the log come from the table `log` only: the embedded log, or on a cluster what `tidings archive` copied.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from streams.codec import Codec
from streams.embedded_log import read_record
from streams.processors.detect import EPOCH, READER, record_row
from streams.processors.ground import ARCHIVE
from streams.rule_book import RuleBook
from streams.snapshots import Chain, chain_of, load
from streams.stores.postgres import PostgresStore
from streams.stores.rows import key_of
from streams.stores.sqlite import SqliteReader
from streams.verdict import SHOWN, Difference, NotReplayed, Progress, Verdict
from tidings import canonical
from tidings.errors import BadContract
from tidings.event import Event, Micros
from tidings.journal import CODE_VERSION, Entry, Span, read_entry
from tidings.log import Partition
from tidings.ports import Body, Find, Key, Read, Reader, Row, Scan, Transaction
from tidings.record import Record
from tidings.replay import Replay
from tidings.snapshot import Head, digest_of

T = TypeVar("T")

PAGE = 64
"""Rows of the journal that are read at once, with their events: about 32,000 of these at most."""
RECORDS = 2_000
"""Records that are looked at at once behind the end of the journal."""
PATIENCE = 10.0
"""Seconds without any progress of the archive after which it is not waited for."""
LOOK = 0.2


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


async def verify(
    journal: Journal, book: RuleBook, codec: Codec, progress: Progress = lambda _seq, _until: None
) -> Verdict:
    """Replay everything that is settled now, and compare.

    Raises:
        StoreUnavailable: the store cannot be read.
        RegistryUnavailable: a schema of the archived records cannot be asked for now.
    """
    compared = await _begun(journal, book, codec)
    await compared.replayed(await journal.settled(), None, progress)
    done = compared.seq
    while True:
        end, foreign = await journal.read(_foreign(done))
        compared.foreign(foreign)
        if end is None:
            return compared.verdict
        done = end


@dataclass(frozen=True)
class Reached:
    """How far a replay has come, and what it holds there."""

    verdict: Verdict
    sure: bool
    """Whether every row since the last snapshot was replayed."""
    seq: int
    positions: Mapping[Partition, int]
    replay: Replay
    begin: Head | None


async def reach(
    journal: Journal, book: RuleBook, codec: Codec, before: Micros, progress: Progress = lambda _seq, _until: None
) -> Reached:
    """Replay and compare, up to the first row that took a record which was appended at `before` or later.

    What the archive does not have yet ends it as well.

    Raises:
        StoreUnavailable, RegistryUnavailable: as `verify`.
        Misconfigured: the snapshot that it begins with cannot be used.
    """
    compared = await _begun(journal, book, codec)
    begin = compared.chain.begin
    await compared.replayed(await journal.settled(), before, progress)
    return Reached(compared.verdict, compared.sure, compared.seq, compared.positions, compared.replay, begin)


async def _begun(journal: Journal, book: RuleBook, codec: Codec) -> _Comparison:
    chain = await journal.read(chain_of)
    compared = _Comparison(journal, book, codec, chain)
    if chain.begin is not None:
        await compared.begin(chain.begin)
        compared.verdict.begins, compared.verdict.begins_how = chain.begin.seq, chain.begin.how
    return compared


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
    chain: Chain
    verdict: Verdict = field(default_factory=Verdict)
    sure: bool = True
    """Whether the state is that of everything before."""
    seq: int = 0
    """The last row that is in the state."""
    positions: dict[Partition, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.replay = Replay(self.book.get)
        self._ahead = list(self.chain.passed.values())

    async def begin(self, head: Head) -> None:
        """Take the state of a snapshot."""
        self.replay = await load(self.journal, head, self.replay)
        self.seq, self.sure = head.seq, True
        self.positions = {**self.positions, **head.positions}

    async def replayed(self, until: int, before: Micros | None, progress: Progress) -> None:
        """Replay up to a row, or to an instant, and compare."""
        going = True
        while going and self.seq < until:
            page = await self.journal.read(_page(self.seq, until))
            if not page.entries:
                return
            going = await self.page(page, before)
            progress(self.seq, until)
        if going:
            await self._pass(until + 1)

    async def _pass(self, seq: int) -> None:
        """Compare the state with the snapshots before a row; where it is not sure, go on with theirs."""
        while self._ahead and self._ahead[0].seq < seq:
            head = self._ahead.pop(0)
            if not self.sure:
                await self.begin(head)
                continue
            self.verdict.snapshots += 1
            if digest_of(self.replay) != head.digest:
                self._differs("snapshot", head.seq, {"rule": "", "firing_id": "", "kind": head.how, "n": 0}, sure=True)

    async def page(self, page: _Page, before: Micros | None) -> bool:
        """Replay a page, then compare what it decided with what is stored; False: it went as far as it may."""
        await self.codec.ready(read_record(row) for rows in page.log.values() for row in rows)
        stored: dict[int, dict[Key, Row]] = {}
        for one in page.records:
            stored.setdefault(one["seq"], {})[key_of("records")(one)] = one
        unmatched: list[tuple[Entry, Record, bool]] = []
        for entry in page.entries:
            if before is not None and _is_beyond(entry, page, before):
                await self._repeats(unmatched)
                return False
            await self._pass(entry.seq)
            self.seq = entry.seq
            self.positions |= {(span.topic, span.partition): span.end for span in entry.spans}
            self.verdict.rows += 1
            theirs = stored.pop(entry.seq, {})
            try:
                records = await self._again(entry, page)
            except _Unreplayable as fault:
                self._skip(entry, fault)
                self.verdict.unseen += len(theirs)
                continue
            sure = self.sure
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
        return True

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
            self._differs("state", entry.seq, lost, sure=self.sure)
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
            elif row is None and record.episode_at < self.chain.records_from:
                self.verdict.let_go += 1
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
        self.sure = False
        self.verdict.not_replayed[fault.reason] += 1
        if len(self.verdict.first_not) < SHOWN:
            self.verdict.first_not.append(NotReplayed(entry.seq, fault.reason, str(fault)))


def _is_beyond(entry: Entry, page: _Page, before: Micros) -> bool:
    """Return whether a row took a record of that instant or later, or one that is still to be archived."""
    for span in entry.spans:
        known = page.archived.get((span.topic, span.partition))
        if known is not None and known < span.end:
            return True
        rows = page.log[entry.seq, span]
        if rows and rows[-1]["appended_at"] >= before:
            return True
    return False


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
