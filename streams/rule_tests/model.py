"""Tests as values: a beginning, and entries that move the clock, say that something happens, or expect something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidings.event import Event, Micros
from tidings.receipts import Receipt
from tidings.rule import RuleSet

Path = tuple[str, ...]

VISIBLE = ("fired", "sent", "ticket", "webhook", "workflow", "stopped", "duplicate")
"""Outcomes that somebody sees: one that is not expected fails the test."""
NAMED = (
    "armed", "held", "suppressed", "disarmed", "rescheduled", "pending", "cleared", "resolved", "receipt", "cancelled",
    "expired", "late",
)  # fmt: skip
"""Outcomes that are compared only where a test names them."""
FAILED = "failed"
"""A message that could not be rendered: fails every test, and nobody can expect it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the file; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Expected:
    """One outcome that has to happen. What is None is not compared."""

    place: Place
    outcome: str
    severity: str | None = None
    channel: str | None = None
    to: str | None = None
    template: str | None = None
    data: Mapping[str, Any] | None = None
    """A subset, as the file has it: texts, numbers (integers and fractions), lists, mappings."""
    until: Micros | None = None
    reason: str | None = None
    name: str | None = None
    says: Mapping[str, str] = field(default_factory=dict)
    """By `subject`, `title` and `text`: a part of what the message says."""


@dataclass(frozen=True, slots=True)
class Given:
    """An event of the timeline, checked against its contract; `event.appended_at` is its arrival."""

    event: Event
    unset: frozenset[Path] = frozenset()
    """Fields that the test leaves out though the contract needs them: they hold a filler, and no rule may read them."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A receipt of a provider, for the newest message to `to`."""

    receipt: Receipt
    to: str
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a timeline: the clock goes to `at`, then what it says happens, then what it expects is compared."""

    place: Place
    at: Micros
    event: Given | None = None
    receipt: Arrived | None = None
    expected: tuple[Expected, ...] | None = None
    """None: nothing is compared here. Empty: nothing visible has happened since the last comparison."""


@dataclass(frozen=True)
class Test:
    """One test of one rule."""

    file: str
    place: Place
    name: str
    rule: str
    rules: RuleSet
    """The rule alone, live, with the parameters and teams of the test."""
    now: Micros
    people: tuple[Event, ...] = ()
    """`customer.*` events that made the customers known before the test begins."""
    zones: tuple[str, ...] = ()
    """Time zones of the customers, for whoever reads a failure."""
    timeline: tuple[Entry, ...] = ()
    types: frozenset[str] = field(default_factory=frozenset)
    """Every event type of the timeline."""
