"""Places in the log as commands print and take them: `topic[partition]@offset`, in the offsets of the store."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from gateway.cli.told import Told
from streams.processors.detect import READER
from streams.processors.ground import ARCHIVE
from tidings.log import LogRecord
from tidings.ports import Body, Find, Read, Transaction

PLACE = re.compile(r"([a-z0-9._-]{1,249})\[([0-9]{1,6})\]@([0-9]{1,18})(?:-([0-9]{1,18}))?")
EVER = 2**62


@dataclass(frozen=True)
class Range:
    """Offsets [first, last] of a partition."""

    topic: str
    partition: int
    first: int = 0
    last: int = EVER

    def __str__(self) -> str:
        """Return what was typed."""
        more = "" if self.last == self.first else f"-{self.last}"
        return f"{self.topic}[{self.partition}]@{self.first}{more}"


def of(record: LogRecord) -> str:
    """Return the name of a record's place."""
    return f"{record.topic}[{record.partition}]@{record.offset}"


def quoted(place: str) -> str:
    """Return a place as it stands in a command: a shell would take its brackets for a pattern."""
    return shlex.quote(place)


def read(text: str) -> Range | None:
    """Return the range that a place names, or None where the text is none."""
    match = PLACE.fullmatch(text)
    if match is None:
        return None
    first = int(match[3])
    return Range(match[1], int(match[2]), first, first if match[4] is None else int(match[4]))


@dataclass(frozen=True)
class Holdings:
    """What a log holds: for each partition its first offset, and the one behind its last."""

    partitions: Mapping[tuple[str, int], tuple[int, int]]
    name: str
    """Of the place that was read, for a sentence."""

    def check(self, one: Range) -> None:
        """See that a range lies in the log.

        Raises:
            Told: it does not; the text says what the log holds.
        """
        topics = sorted({topic for topic, _ in self.partitions})
        if one.topic not in topics:
            near = get_close_matches(one.topic, topics, 1)
            hint = f"did you mean {near[0]}?" if near else "'tidings contracts list' names the events of all topics"
            raise Told(f"{one}: {self.name} knows no topic {one.topic}; {hint}")
        numbers = sorted(number for topic, number in self.partitions if topic == one.topic)
        if one.partition not in numbers:
            raise Told(f"{one}: {one.topic} has the partitions {numbers[0]} to {numbers[-1]} in {self.name}")
        start, end = self.partitions[one.topic, one.partition]
        if one.last < one.first:
            raise Told(f"{one}: a range is written first-last, as {one.topic}[{one.partition}]@{one.last}-{one.first}")
        if not start <= one.first <= one.last < end:
            held = f"holds the offsets {start} to {end - 1}" if start < end else "holds no record yet"
            raise Told(f"{one}: {one.topic}[{one.partition}] {held} in {self.name}")


def held(topics: frozenset[str]) -> Body[dict[tuple[str, int], tuple[int, int]]]:
    """Return the body that reads what is held of some topics, and which partitions there are of all others.

    On a cluster it is what the archive has copied; those that nobody has copied anything of are empty.
    """

    def body() -> Transaction[dict[tuple[str, int], tuple[int, int]]]:
        rows = yield Find("sources", "by_topic", (READER,))
        places = sorted((row["topic"], row["partition"]) for row in rows)
        ends = {place: row["next_offset"] for place, row in (yield Read("log_heads", places)).items()}
        copied = yield Read("sources", [(ARCHIVE, *place) for place in places])
        ends |= {(topic, number): row["next_offset"] for (_, topic, number), row in copied.items()}
        found = {}
        for place in places:
            first = (yield Find("log", "by_offset", place, limit=1)) if place[0] in topics else []
            end = ends.get(place, 0)
            found[place] = (first[0]["offset"] if first else end, end)
        return found

    return body
