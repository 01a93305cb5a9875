"""Quiet hours: when a person's own clock says that they are not to be disturbed. Pure; the rules of zones are `tzdata`'s.

Quiet is what the wall clock shows, so an hour that is repeated in autumn is quiet twice. Between two changes of its
offset a zone's clock runs evenly; the search for an opening goes from one such stretch to the next, and never adds a
duration to a local time. An end of 02:15 that spring leaves out is thereby an opening at 03:00.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from tidings.event import DAY, HOUR, MINUTE, SECOND, Micros

EVERY_DAY = frozenset(range(7))

WEEK: Micros = 7 * DAY
MONDAY: Micros = 3 * DAY
"""The epoch was a Thursday: added to a local time, weeks begin on Monday."""
HORIZON: Micros = 5 * WEEK
"""How far is searched: windows repeat weekly, and a change of the offset can swallow a week's only opening or two."""
STRETCH: Micros = 64 * DAY
"""Offsets are remembered for so long a time at once."""
SET_BACK: Micros = 3 * HOUR
"""By so much a stretch is longer at most, where the clock is set back in it: the most since 2020 (Antarctica/Casey)."""
PROBE: Micros = DAY
"""Offset changes of one zone lie at least 167 hours apart in all of tzdata; a test looks at each of them."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST: Micros = -(62_135_596_800 - 2 * 86_400) * SECOND
LAST: Micros = (253_402_300_799 - 2 * 86_400) * SECOND
"""Two days inside the years 1 to 9999, which `datetime` knows; outside, the offset stays as it was there."""


@dataclass(frozen=True, slots=True)
class Window:
    """[start, end) in minutes of the wall clock's day; an end before the start spans midnight."""

    start: int
    """0 to 1439."""
    end: int
    """0 to 1440; 1440 is 24:00. Never equal to `start`."""
    days: frozenset[int] = EVERY_DAY
    """Days on which the window *starts*; Monday is 0."""


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Windows of a policy, in the zone of the customer or in one that is named."""

    windows: tuple[Window, ...]
    timezone: str = "customer"
    """`customer`, or an IANA zone."""
    if_unknown: str = "UTC"
    """Zone that counts where the customer's is not known, or no zone at all."""

    def zone(self, customers: str | None) -> str:
        """Return the zone in which the windows are read, for a customer of a zone (or none)."""
        named = customers if self.timezone == "customer" else self.timezone
        return named if named is not None and is_zone(named) else self.if_unknown

    def is_quiet(self, at: Micros, zone: str) -> bool:
        """Return whether the wall clock of `zone` shows a quiet time at `at`."""
        offset, _ = _offset(zone, at)
        return bisect_right(_edges(self.windows), (at + offset + MONDAY) % WEEK) % 2 == 1

    def opening(self, at: Micros, zone: str) -> Micros | None:
        """Return the smallest instant at or after `at` that is not quiet, or None where that never comes."""
        return self._next(at, zone, quiet=False)

    def closing(self, at: Micros, zone: str) -> Micros | None:
        """Return the smallest instant at or after `at` that is quiet, or None: what begins must begin before it."""
        return self._next(at, zone, quiet=True)

    @property
    def longest(self) -> Micros:
        """Return how long a message may have to wait for an opening; 0 where it is never quiet, or always."""
        edges = _edges(self.windows)
        if not edges or edges == (0, WEEK):
            return 0
        spans = [end - begin for begin, end in zip(edges[::2], edges[1::2], strict=True)]
        over_sunday = spans[0] + spans[-1] if len(spans) > 1 and edges[0] == 0 and edges[-1] == WEEK else 0
        return max(*spans, over_sunday) + SET_BACK

    def to_json(self) -> dict[str, Any]:
        """Return the policy as canonical JSON has it, for the rows of messages."""
        windows = [{"start": one.start, "end": one.end, "days": sorted(one.days)} for one in self.windows]
        return {"windows": windows, "timezone": self.timezone, "if_unknown": self.if_unknown}

    def _next(self, at: Micros, zone: str, *, quiet: bool) -> Micros | None:
        edges = _edges(self.windows)
        if not quiet and edges == (0, WEEK):
            return None
        if quiet and not edges:
            return None
        instant, horizon = at, at + HORIZON
        while instant <= horizon:
            offset, until = _offset(zone, instant)
            local = (instant + offset + MONDAY) % WEEK
            passed = bisect_right(edges, local)
            if (passed % 2 == 1) is quiet:
                return instant
            edge = edges[passed] if passed < len(edges) else WEEK
            instant = min(instant + edge - local, until)
        return None


def read_quiet_hours(body: Any) -> QuietHours | None:
    """Return what `to_json` gave; None stays None."""
    if body is None:
        return None
    windows = tuple(Window(one["start"], one["end"], frozenset(one["days"])) for one in body["windows"])
    return QuietHours(windows, body["timezone"], body["if_unknown"])


def is_zone(name: str) -> bool:
    """Return whether a name is an IANA zone, exactly as it is written there."""
    return name in _zones()


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    """Return the names that the package lists. No other name is ever looked for, so none becomes a path."""
    return frozenset((files("tzdata") / "zones").read_text("utf-8").split())


@lru_cache(maxsize=1024)
def _load(zone: str) -> ZoneInfo:
    """Return a zone from the package, never from the machine.

    `ZoneInfo(name)` prefers the machine's files; workers with other files would open at other times, and a replayed
    decision would differ from what was recorded. A new release of tzdata comes with the lock file instead.
    """
    if not is_zone(zone):
        text = f"{zone[:60]!r} is no IANA zone"
        raise ValueError(text)
    with files("tzdata").joinpath("zoneinfo", *zone.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=zone)


@lru_cache(maxsize=512)
def _edges(windows: tuple[Window, ...]) -> tuple[Micros, ...]:
    """Return where quiet begins and ends in the clock's week, in turns, beginning with a beginning."""
    spans = []
    for window in windows:
        length = (window.end if window.end > window.start else window.end + 1440) - window.start
        for day in window.days:
            begins = day * DAY + window.start * MINUTE
            ends = begins + length * MINUTE
            spans.append((begins, min(ends, WEEK)))
            if ends > WEEK:
                spans.append((0, ends - WEEK))
    edges: list[Micros] = []
    for begins, ends in sorted(spans):
        if edges and begins <= edges[-1]:
            edges[-1] = max(edges[-1], ends)
        else:
            edges += [begins, ends]
    return tuple(edges)


def _offset(zone: str, at: Micros) -> tuple[Micros, Micros]:
    """Return the offset of a zone at an instant, and an instant until which it surely stays."""
    number = at // STRETCH
    begins, offsets = _stretch(zone, number)
    place = bisect_right(begins, at) - 1
    return offsets[place], begins[place + 1] if place + 1 < len(begins) else (number + 1) * STRETCH


@lru_cache(maxsize=8192)
def _stretch(zone: str, number: int) -> tuple[tuple[Micros, ...], tuple[Micros, ...]]:
    """Return the instants of one stretch at which an offset begins, and the offsets."""
    start, end = number * STRETCH, (number + 1) * STRETCH
    known = _load(zone)
    begins, offsets = [start], [_asked(known, start)]
    for at in range(start, end, PROBE):
        before, after = at, min(at + PROBE, end - SECOND)
        changed = _asked(known, after)
        if changed == offsets[-1]:
            continue
        while after - before > SECOND:  # zones change at whole seconds
            middle = before + (after - before) // (2 * SECOND) * SECOND
            if _asked(known, middle) == offsets[-1]:
                before = middle
            else:
                after = middle
        begins.append(after)
        offsets.append(changed)
    return tuple(begins), tuple(offsets)


def _asked(zone: ZoneInfo, at: Micros) -> Micros:
    instant = EPOCH + timedelta(microseconds=min(max(at, FIRST), LAST))
    offset = instant.astimezone(zone).utcoffset() or timedelta()
    return offset // timedelta(microseconds=1)
