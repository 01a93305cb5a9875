"""Numbers and times in words, for the lines that people read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tidings.event import DAY, HOUR, MINUTE, SECOND, Micros

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST: Micros = 2**53
"""Later instants (the year 2255) are the fault of a value, and are not shown."""
SPANS = ((365 * DAY, "year"), (DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (SECOND, "second"))


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return `1 event`, `2 events`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def times(number: int) -> str:
    """Return `once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def moment(at: Micros, zone: str | None = None) -> str:
    """Return an instant to the minute: `2012-01-18 08:00 in London`, or in UTC."""
    if not 0 <= at < LAST:
        return "a time out of bounds"
    found = EPOCH + timedelta(microseconds=at)
    if zone is None or zone in ("UTC", "Etc/UTC"):
        return f"{found:%Y-%m-%d %H:%M} UTC"
    try:
        there = found.astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"{found:%Y-%m-%d %H:%M} UTC"
    return f"{there:%Y-%m-%d %H:%M} in {zone.rpartition('/')[2].replace('_', ' ')}"


def span(time: Micros) -> str:
    """Return a length of time in its largest unit: `14 years`."""
    size, name = next(((size, name) for size, name in SPANS if time >= size), SPANS[-1])
    return counted(max(0, time) // size, name)
