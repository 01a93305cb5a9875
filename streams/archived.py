"""Looking for one event in the table `log`, the archive of a cluster or the log of a file: too large to be read whole.

What the database knows of a firing leads to it: the journal names the records that its batch took, and the time of its
episode lies near their append. Without a firing the newest records of each partition are looked through.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from streams.embedded_log import read_record
from streams.processors.ground import ARCHIVE
from streams.processors.intake import MAX_CLOCK_SKEW
from tidings import canonical
from tidings.event import Micros
from tidings.journal import Span, read_entry
from tidings.log import LogRecord, Partition
from tidings.ports import Body, Find, Read, Reader, Scan, Transaction

PAGE = 1_000
FORWARD = 20_000
"""Records of a partition that are looked at from the time of an episode on."""
NEWEST = 20_000
"""Records at the end of each partition that are looked at for an event of which no firing is known."""


Gaps = Mapping[Partition, tuple[int, int]]


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


async def near(
    reader: Reader, found: Trace, topics: Sequence[str], only: Gaps | None = None
) -> AsyncIterator[LogRecord]:  # fmt: skip
    """Yield the records among which the event of a firing is: those of its batch, then those around its time.

    `only` those, where something else has found that the event is in no other.
    """
    for span in found.spans:
        place = (span.topic, span.partition)
        least = span.start if only is None else max(span.start, only.get(place, (span.end, 0))[0])
        async for record in _records(reader, place, least, span.end):
            yield record
    for place, end in await reader.read(_ends(topics)) if only is None or only else ():
        if only is not None and place not in only:
            continue
        start = await _first_at(reader, place, end, found.at - MAX_CLOCK_SKEW)
        least = start if only is None else max(start, only[place][0])
        async for record in _records(reader, place, least, min(end, start + FORWARD)):
            yield record


async def newest(
    reader: Reader, topics: Sequence[str] | None = None, *, page: int | None = None, most: int | None = None
) -> AsyncIterator[LogRecord]:
    """Yield the newest records of every partition, the newest pages first; of a partition `most`."""
    page, most = page or PAGE, most or NEWEST
    ends = await reader.read(_ends(topics))
    for back in range(0, most, page):
        for place, end in ends:
            if end - back > 0:
                start = max(0, end - back - page)
                for record in reversed(await reader.read(_page(place, start, end - back, page))):
                    yield record


async def gaps(reader: Reader) -> Gaps:
    """Return, by partition, which records the catalogue has not read yet: the first, and the end.

    On a cluster there are none: the archive writes both in one transaction.
    """
    return await reader.read(_gaps)


async def uncatalogued(reader: Reader, topics: Sequence[str] | None = None) -> AsyncIterator[LogRecord]:
    """Yield the records that the catalogue has not read yet, of each partition the newest `NEWEST` at most."""
    for place, (start, end) in sorted((await gaps(reader)).items()):
        if topics is None or place[0] in topics:
            async for record in _records(reader, place, max(start, end - NEWEST), end):
                yield record


def _gaps() -> Transaction[Gaps]:
    if (yield Find("sources", "by_topic", (ARCHIVE,), limit=1)):
        return {}
    heads = {(row["topic"], row["partition"]): row["next_offset"] for row in (yield Scan("log_heads"))}
    done = {(row["topic"], row["partition"]): row["next_offset"] for row in (yield Scan("catalogued"))}
    return {place: (done.get(place, 0), end) for place, end in heads.items() if done.get(place, 0) < end}


def partitions(topics: Sequence[str]) -> Body[int]:
    """Return the body that counts the partitions of some topics."""

    def body() -> Transaction[int]:
        return len((yield from _ends(topics)()))

    return body


def _ends(topics: Sequence[str] | None) -> Body[list[tuple[Partition, int]]]:
    """Return the body that reads how far each partition goes: as it was copied, or, where the log is a table, as it is."""

    def body() -> Transaction[list[tuple[Partition, int]]]:
        rows = (yield Find("sources", "by_topic", (ARCHIVE,))) or (yield Scan("log_heads"))
        return [
            ((row["topic"], row["partition"]), row["next_offset"])
            for row in rows
            if topics is None or row["topic"] in topics
        ]

    return body


async def _first_at(reader: Reader, place: Partition, end: int, at: Micros) -> int:
    """Return the first offset whose append lies at or after an instant: appends of a partition are in order of time."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        rows = await reader.read(_page(place, middle, end, 1))
        if rows and rows[0].appended_at < at:
            low = int(rows[0].offset) + 1
        else:
            high = middle
    return low


async def _records(reader: Reader, place: Partition, start: int, end: int) -> AsyncIterator[LogRecord]:
    while start < end:
        rows = await reader.read(_page(place, start, end, PAGE))
        for record in rows:
            yield record
        if len(rows) < PAGE:
            return
        start = rows[-1].offset + 1


def _page(place: Partition, start: int, end: int, limit: int) -> Body[list[LogRecord]]:
    def body() -> Transaction[list[LogRecord]]:
        rows = yield Find("log", "by_offset", place, above=start - 1, upto=end - 1, limit=limit)
        return [read_record(row) for row in rows]

    return body
