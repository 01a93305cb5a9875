"""Where in the log an instant lies: how many events came between two instants, without counting any.

Offsets of a partition are in the order of their append times, so an instant is found by halving, and what was found is
kept. On a cluster the log is the archive, which may be some seconds behind.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from streams.ledger.asking import Asking
from streams.processors.ground import ARCHIVE
from tidings.event import MINUTE, Micros
from tidings.log import Partition

HEADS = "SELECT topic, partition, next_offset FROM log_heads"
ARCHIVED = f"SELECT topic, partition, next_offset FROM sources WHERE reader = '{ARCHIVE}'"
AT = (
    'SELECT "offset", appended_at FROM log WHERE topic = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4 '
    'ORDER BY topic, partition, "offset" LIMIT 1'
)
SETTLED: Micros = 2 * MINUTE
"""What was appended so long ago is there."""
MOST_MARKS = 2_000
"""Of one partition; the oldest are let go."""


@dataclass
class Marks:
    """Of all partitions."""

    asking: Asking
    _known: dict[Partition, list[tuple[Micros, int]]] = field(default_factory=dict)
    """By partition: instants with the first offset at or after them, in order."""

    async def counts(self, edges: Sequence[Micros], now: Micros) -> dict[str, list[int]]:
        """Return by topic how many records were appended between each two edges."""
        ends: dict[Partition, int] = {}
        for topic, partition, end in [*await self.asking.ask(HEADS), *await self.asking.ask(ARCHIVED)]:
            ends[topic, partition] = max(ends.get((topic, partition), 0), int(end))
        found: dict[str, list[int]] = {}
        for place, end in sorted(ends.items()):
            if end <= 0:
                continue
            offsets = await self._offsets(place, end, edges, now)
            numbers = found.setdefault(place[0], [0] * (len(edges) - 1))
            for at, (low, high) in enumerate(pairwise(offsets)):
                numbers[at] += high - low
        return found

    async def _offsets(self, place: Partition, end: int, edges: Sequence[Micros], now: Micros) -> list[int]:
        """Return the first offset at or after each edge; between two that are equal nothing is asked."""
        found = [0] * len(edges)
        known = self._known.setdefault(place, [])

        async def between(first: int, last: int) -> None:
            if last - first < 2:  # noqa: PLR2004 - nothing lies between neighbours
                return
            middle = (first + last) // 2
            if found[first] == found[last]:
                found[middle] = found[first]
            else:
                found[middle] = await self._find(place, known, edges[middle], found[first], found[last], now)
            await between(first, middle)
            await between(middle, last)

        found[0] = await self._find(place, known, edges[0], 0, end, now)
        found[-1] = end if edges[-1] > now else await self._find(place, known, edges[-1], found[0], end, now)
        await between(0, len(edges) - 1)
        return found

    async def _find(
        self, place: Partition, known: list[tuple[Micros, int]], at: Micros, low: int, high: int, now: Micros
    ) -> int:  # fmt: skip
        spot = bisect_right(known, (at, 2**63))
        if spot and known[spot - 1][0] == at:
            return known[spot - 1][1]
        if spot:
            low = max(low, known[spot - 1][1])
        if spot < len(known):
            high = min(high, known[spot][1])
        found = high  # offsets have gaps: the log may begin late, and a broker counts what is no record
        while low < high:
            middle = (low + high) // 2
            rows: Sequence[Any] = await self.asking.ask(AT, *place, middle, high)
            if rows and int(rows[0][1]) < at:
                low = int(rows[0][0]) + 1
            else:
                high = middle
                found = int(rows[0][0]) if rows else found
        if at + SETTLED < now:
            insort(known, (at, found))
            del known[: max(0, len(known) - MOST_MARKS)]
        return found
