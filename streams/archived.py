"""Looking for one event in the archive of a cluster, which is too large to be read from its beginning.

What the database knows of a firing leads to it: the journal names the records that its batch took, and the time of its
episode lies near their append. Without a firing the newest records of each partition are looked through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from streams.embedded_log import read_record
from streams.processors.ground import ARCHIVE
from streams.processors.intake import MAX_CLOCK_SKEW
from tidings import canonical
from tidings.event import Micros
from tidings.journal import Span, read_entry
from tidings.log import LogRecord, Partition
from tidings.ports import Body, Find, Read, Transaction

T = TypeVar("T")
Ask = Callable[[Body[Any]], Any]
"""Runs a reader's body."""

PAGE = 1_000
FORWARD = 20_000
"""Records of a partition that are looked at from the time of an episode on."""
NEWEST = 20_000
"""Records at the end of each partition that are looked at for an event of which no firing is known."""


@dataclass(frozen=True)
class Trace:
    """What the database knows of the event with which a firing began."""

    ref: str
    at: Micros
    rule: str
    spans: tuple[Span, ...]
    """Of the batch that decided it; none where a timer did."""


def trace(name: str) -> Body[Trace | None]:
    """Return the body that reads what is known of the firing of an id, or of a message's."""

    def body() -> Transaction[Trace | None]:
        messages = yield Read("messages", [(name,)])
        firing = next((row["firing_id"] for row in messages.values()), name)
        for row in (yield Find("records", "by_firing", (firing,), limit=1)):
            entry = (yield Read("journal", [(row["seq"],)])).get((row["seq"],))
            spans = () if entry is None else read_entry(entry).spans
            ref = str(canonical.loads(row["body"])["episode"]["event"])
            return Trace(ref, row["episode_at"], row["rule"], spans)
        return None

    return body


def near(ask: Ask, found: Trace, topics: Sequence[str]) -> Iterator[LogRecord]:
    """Yield the records among which the event of a firing is: those of its batch, then those around its time."""
    for span in found.spans:
        yield from _records(ask, (span.topic, span.partition), span.start, span.end)
    for place, end in _ends(ask, topics):
        start = _first_at(ask, place, end, found.at - MAX_CLOCK_SKEW)
        yield from _records(ask, place, start, min(end, start + FORWARD))


def newest(ask: Ask) -> Iterator[LogRecord]:
    """Yield the newest records of every partition, the newest pages first."""
    ends = _ends(ask, None)
    for back in range(0, NEWEST, PAGE):
        for place, end in ends:
            if end - back > 0:
                yield from reversed(list(_records(ask, place, max(0, end - back - PAGE), end - back)))


def _ends(ask: Ask, topics: Sequence[str] | None) -> list[tuple[Partition, int]]:
    def body() -> Transaction[list[tuple[Partition, int]]]:
        rows = yield Find("sources", "by_topic", (ARCHIVE,))
        return [
            ((row["topic"], row["partition"]), row["next_offset"])
            for row in rows
            if topics is None or row["topic"] in topics
        ]

    found: list[tuple[Partition, int]] = ask(body)
    return found


def _first_at(ask: Ask, place: Partition, end: int, at: Micros) -> int:
    """Return the first offset whose append lies at or after an instant: appends of a partition are in order of time."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        rows = ask(_page(place, middle, end, 1))
        if rows and rows[0].appended_at < at:
            low = int(rows[0].offset) + 1
        else:
            high = middle
    return low


def _records(ask: Ask, place: Partition, start: int, end: int) -> Iterator[LogRecord]:
    while start < end:
        rows: list[LogRecord] = ask(_page(place, start, end, PAGE))
        yield from rows
        if len(rows) < PAGE:
            return
        start = rows[-1].offset + 1


def _page(place: Partition, start: int, end: int, limit: int) -> Body[list[LogRecord]]:
    def body() -> Transaction[list[LogRecord]]:
        rows = yield Find("log", "by_offset", place, above=start - 1, upto=end - 1, limit=limit)
        return [read_record(row) for row in rows]

    return body
