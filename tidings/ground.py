"""When the ground moves: whether a log is still the one that a reader read. Facts in, a finding out; no clock, no socket.

Offsets here are the log's own. Those of the store are `base` higher: a topic that is made again begins at 0 once more,
and its records must never be taken for those that journal, dead letters and archive know by the same offset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Moved(StrEnum):
    """How a log can cease to be the one that was read."""

    GONE = "gone"
    """The partition is not there any more."""
    SHORTER = "shorter"
    """It ends before the position: made again, or cut off."""
    EXPIRED = "expired"
    """It begins behind the position: what lay between was never read."""
    REMADE = "remade"
    """The topic of that name is another one than was read: deleted, and made again."""
    DIFFERS = "differs"
    """The record before the position is another one: the log was cut off, and has grown since."""

    @property
    def is_another_log(self) -> bool:
        """Whether offsets mean other records than they did."""
        return self is not Moved.EXPIRED


@dataclass(frozen=True, slots=True)
class Standing:
    """What the database says of one reader of a partition."""

    position: int
    """Where it goes on."""
    fingerprint: str | None = None
    """Of the record before the position; None where nobody took it down."""
    log_id: str | None = None
    """Of the topic that was read, as the brokers number topics; None where nobody took it down."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the log says of itself."""

    start: int
    end: int
    before: str | None = None
    """Fingerprint of the record right before the position; None: there is none."""
    log_id: str | None = None
    """Of the topic; None where the brokers number none."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a source is held."""

    moved: Moved
    position: int
    start: int = 0
    end: int = 0

    @property
    def expired(self) -> int:
        """How many records went unread."""
        return self.start - self.position if self.moved is Moved.EXPIRED else 0

    def to_body(self) -> dict[str, int]:
        """Return what the table `holds` keeps beside the reason."""
        return {"position": self.position, "start": self.start, "end": self.end}

    def __str__(self) -> str:
        """Return the sentence for log and doctor."""
        match self.moved:
            case Moved.GONE:
                return f"the partition is not there; {self.position} was to be read next"
            case Moved.SHORTER:
                return f"the log ends at {self.end}, and {self.position} was to be read next: it was made again, or cut off"
            case Moved.EXPIRED:
                lost = f"{self.expired} record{'' if self.expired == 1 else 's'}"
                return f"the log begins at {self.start}, and {self.position} was to be read next: {lost} expired unread"
            case Moved.REMADE:
                return f"the topic was deleted and made again; {self.position} was to be read next in the old one"
            case Moved.DIFFERS:
                where = self.position - 1
                return f"the record at {where} is not the one that was read there: the log was made again, or cut off"


def judge(standing: Standing, seen: Seen | None) -> Finding | None:
    """Say what is wrong with the log of a partition (None: it is not there), if anything is."""
    at = standing.position
    if seen is None:
        # Rows are written before their partitions are made; until then there is nothing to read.
        return Finding(Moved.GONE, at) if at > 0 else None
    found = (at, seen.start, seen.end)
    if at > 0 and None not in (standing.log_id, seen.log_id) and standing.log_id != seen.log_id:
        # Also where the record before the position fits: it may be one of the new log, read before anybody noticed.
        return Finding(Moved.REMADE, *found)
    if seen.end < at:
        return Finding(Moved.SHORTER, *found)
    if seen.start > at:
        return Finding(Moved.EXPIRED, *found)
    if standing.fingerprint is not None and seen.start < at and seen.before != standing.fingerprint:
        return Finding(Moved.DIFFERS, *found)
    return None


def is_proven(standing: Standing, seen: Seen | None) -> bool:
    """Say whether the log shows the very record that was read: only this ends a hold without a person."""
    same = standing.fingerprint is not None and seen is not None and seen.before == standing.fingerprint
    return same and judge(standing, seen) is None


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a person says that a held partition goes on."""

    at: int
    """An offset of the log as it is now."""
    skipped: int
    """Records of the log now that are before it, and nobody will read."""
    read: int
    """Records of the log now that come."""
    expired: int = 0
    """Records that retention took before they were read."""
    another_log: bool = False


class NoChoice(ValueError):
    """It cannot go on there; the text says why."""


def choose(findings: Sequence[Finding], seen: Seen | None, where: int | str) -> Choice:
    """Return what a decision means for a partition: `where` is `start`, `end`, or an offset.

    Raises:
        NoChoice: the log holds no such place.
    """
    if seen is None:
        raise NoChoice("the partition is not there: 'tidings topics apply' makes it, then decide")
    places: Mapping[int | str, int] = {"start": seen.start, "end": seen.end}
    at = places.get(where, where)
    if not isinstance(at, int) or not seen.start <= at <= seen.end:
        raise NoChoice(f"the log holds {seen.start} to {seen.end}; {where} is not in it")
    another = any(one.moved.is_another_log for one in findings)
    expired = max((one.expired for one in findings), default=0)
    return Choice(at, at - seen.start, seen.end - at, expired, another)


def moved_row(
    row: Mapping[str, Any], choice: Choice, highest: int, fingerprint: str | None, log_id: str | None
) -> dict[str, Any]:
    """Return a source's row after the decision; `highest` is the highest position of all readers in the store's offsets.

    The store's offsets never go back, and one is left out, so that whoever still holds a batch at the old position
    finds another one.
    """
    if choice.another_log:
        base = highest + 1 - choice.at
        return {**row, "base": base, "next_offset": highest + 1, "fingerprint": fingerprint, "log_id": log_id}
    if row["next_offset"] - row["base"] >= choice.at:
        return dict(row)
    return {**row, "next_offset": row["base"] + choice.at, "fingerprint": fingerprint}
