"""Quiet hours: when a person's own clock says that they are not to be disturbed. Pure; the rules of zones are `tzdata`'s."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tidings.event import Micros

EVERY_DAY = frozenset(range(7))


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
        raise NotImplementedError

    def is_quiet(self, at: Micros, zone: str) -> bool:
        """Return whether the wall clock of `zone` shows a quiet time at `at`."""
        raise NotImplementedError

    def opening(self, at: Micros, zone: str) -> Micros | None:
        """Return the smallest instant at or after `at` that is not quiet, or None where that never comes."""
        raise NotImplementedError

    def closing(self, at: Micros, zone: str) -> Micros | None:
        """Return the smallest instant at or after `at` that is quiet, or None: what begins must begin before it."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return the policy as canonical JSON has it, for the rows of messages."""
        raise NotImplementedError


def read_quiet_hours(body: Any) -> QuietHours | None:
    """Return what `to_json` gave; None stays None."""
    raise NotImplementedError
