"""What the proof has counted, as values: parts of time, and what a window of them adds up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from streams.ledger.rows import Count, Outcome, outcome_of
from tidings.event import DAY, HOUR, MINUTE, Micros

SMALL: Micros = 5 * MINUTE
"""Parts of the last hours; older ones are whole hours."""


class Window(StrEnum):
    """How far back a page looks."""

    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"

    @property
    def size(self) -> Micros:
        """How long it is."""
        return {Window.HOUR: HOUR, Window.DAY: DAY, Window.WEEK: 7 * DAY, Window.MONTH: 30 * DAY}[self]

    @property
    def point(self) -> Micros:
        """How long one point of its line is."""
        return {Window.HOUR: SMALL, Window.DAY: HOUR, Window.WEEK: 6 * HOUR, Window.MONTH: DAY}[self]

    def edges(self, now: Micros) -> list[Micros]:
        """Return where its points begin, and where the last one ends: after now. It begins at a full point."""
        end = now // self.point * self.point + self.point
        return list(range(end - self.size, end + 1, self.point))


Cell = tuple[str, str, str, str | None]
"""(rule, channel, state, reason)"""


@dataclass
class Part:
    """Everything that was decided in [start, start + size), counted from both sides in one snapshot."""

    start: Micros
    size: Micros
    runs: Counter[str] = field(default_factory=Counter)
    """Decisions by rule."""
    steps: int = 0
    """Steps that became due, as the runs say."""
    notices: Counter[Cell] = field(default_factory=Counter)
    """Messages of steps, as they stand."""
    corrections: Counter[Cell] = field(default_factory=Counter)
    settled: bool = False
    """Nothing of it changes any more: it is not counted again."""
    open: dict[str, tuple[bool, Cell]] | None = None
    """By id the messages that may still change, once nothing else does: whether a notice, and the cell; None: not known."""

    def add(self, other: Part) -> None:
        """Take in another one."""
        self.runs.update(other.runs)
        self.notices.update(other.notices)
        self.corrections.update(other.corrections)
        self.steps += other.steps

    @property
    def is_followed(self) -> bool:
        """Whether it is known what of it may still change."""
        return self.settled or self.open is not None

    def follow(self, message_id: str, state: str | None, reason: str | None) -> None:
        """Put an open message where it stands now; None: it is not there any more, which the sum then says."""
        assert self.open is not None
        notice, (rule, channel, *before) = self.open[message_id]
        if [state, reason] == before:
            return
        cells = self.notices if notice else self.corrections
        old = self.open[message_id][1]
        cells[old] -= 1
        if not cells[old]:
            del cells[old]
        if state is not None:
            cells[rule, channel, state, reason] += 1
        if state is not None and outcome_of(state) is Outcome.IN_FLIGHT:
            self.open[message_id] = (notice, (rule, channel, state, reason))
        else:
            del self.open[message_id]
            self.settled = not self.open

    @property
    def in_flight(self) -> int:
        """Messages of it that may still change."""
        return sum(
            number
            for cells in (self.notices, self.corrections)
            for (_, _, state, _), number in cells.items()
            if outcome_of(state) is Outcome.IN_FLIGHT
        )


NEWEST = 20
"""Attempts of a way out by which it is said how it does now."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way out, by its newest attempts."""

    provider: str
    outcomes: Mapping[str, int]
    """Attempts by outcome: `accepted`, `not_sent`, `ambiguous`, `permanent`; `open` where it is not known."""
    last_at: Micros
    """Of the newest attempt that ended."""
    took: Micros | None
    """Half of those that were accepted took no longer."""
    error: str
    """The newest one's detail; empty where there is none."""
    error_at: Micros | None
    newest: Mapping[str, int] = field(default_factory=dict)
    """Of `outcomes`, those of the newest `NEWEST` that ended: how it does now."""


@dataclass(frozen=True, slots=True)
class RuleCounts:
    """Three counts of one rule, never one."""

    events_read: int
    """Events of the types that it names."""
    fired: int
    """Decisions to tell somebody."""
    told: int
    """Messages that a provider took."""
    outcomes: Mapping[Outcome, int]
    """Messages of its steps."""


@dataclass(frozen=True, slots=True)
class Latency:
    """From the event to the provider's yes, of messages that nothing made wait: neither a step before nor a gate."""

    half: Micros
    most: Micros
    """95 of a hundred took no longer."""
    measured: int
    """Messages: such ones among the newest that were accepted."""
    line: Sequence[Micros] = ()
    """The same of groups of equal size, the oldest first."""


@dataclass(frozen=True, slots=True)
class Overview:
    """A window, counted. Nothing in it is asked of the store when a page is shown."""

    window: Window
    since: Micros
    until: Micros
    """When the counting ended: the age of the proof."""
    took: float
    """Seconds that the last round has counted."""
    complete: bool
    """Whether every part of the window has been counted; while not, the numbers are the least."""
    events: Mapping[str, int]
    """Events in, by topic."""
    decisions: int
    steps_due: int
    """Deliveries decided, as the runs say it."""
    outcomes: Mapping[Outcome, int]
    """Deliveries as they stand, as the messages say it."""
    channels: Mapping[str, int]
    suppressed: Mapping[str, int]
    """By reason."""
    corrections: Mapping[Outcome, int]
    """All-clears and updates; they belong to no step."""
    event_line: Sequence[int]
    decision_line: Sequence[int]
    delivery_line: Sequence[int]
    rules: Mapping[str, RuleCounts]
    latency: Latency | None
    ways: Sequence[Way]
    in_flight: Mapping[tuple[str, str | None], Count]
    """All that is open now, by state and reason, of whatever age."""
    ready: float = 0.0
    """When the counting ended on the clock that never runs fast (`time.monotonic`)."""

    @property
    def events_in(self) -> int:
        """Events in, of all topics."""
        return sum(self.events.values())

    @property
    def adds_up(self) -> bool:
        """Whether both sides say the same."""
        return self.difference == 0

    @property
    def difference(self) -> int:
        """Steps due of which there is no message (or, below zero, messages of which there is no step)."""
        return self.steps_due - sum(self.outcomes.values())


def by_outcome(cells: Mapping[Cell, int]) -> dict[Outcome, int]:
    """Add cells up by outcome."""
    found: Counter[Outcome] = Counter()
    for (_, _, state, _), number in cells.items():
        found[outcome_of(state)] += number
    return dict(found)


def line(parts: Iterable[tuple[Micros, int]], edges: Sequence[Micros], point: Micros) -> list[int]:
    """Return what falls into each point of a window; parts are never longer than a point."""
    found = [0] * (len(edges) - 1)
    for start, number in parts:
        at = (start - edges[0]) // point
        if 0 <= at < len(found):
            found[at] += number
    return found


def rank(ordered: Sequence[Micros], percent: int) -> Micros:
    """Return the value below or at which so many of a hundred lie."""
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * percent // 100) - 1))]
