"""The slow oracle: detection written straight from the definitions of `semantics.md`. Sort all events, apply them.

It shares nothing with the kernel but the firing id: no buffer, no watermark, no batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.simulator.rules import DECLINED, ISSUED, MOVED, PAID, PING
from tidings import ids
from tidings.event import DAY, SECOND, Event

Fact = tuple[str, str, str, int, str]
"""(rule, kind, firing id, logical time, recipient)"""


def expected(events: Sequence[Event], names: Sequence[str], *, once: bool, on_repeat: str) -> set[Fact]:
    """Return every detection record that the rules owe for `events`, each event taken once."""
    unique = {event.ref: event for event in events}
    facts: set[Fact] = set()
    if "paid" in names:
        facts |= {
            _fact("paid", "fired", (), event, event.occurred_at) for event in unique.values() if event.type == PAID
        }
    if "declined" in names:
        facts |= _recalled("declined", unique.values(), "customer_id")
    if "overdue" in names:
        roles = {ISSUED: "a", MOVED: "m", PAID: "c"}
        for key, history in _by(unique.values(), "invoice_id", roles).items():
            facts |= _missing("overdue", key, history, roles, once=once, on_repeat=on_repeat, due=_due_field)
    if "silent" in names:
        for key, history in _by(unique.values(), "customer_id", {PING: "ca"}).items():
            facts |= _missing("silent", key, history, {PING: "ca"}, once=False, on_repeat="keep", due=_due_after)
    return facts


def _recalled(rule: str, events: Iterable[Event], name: str) -> set[Fact]:
    """An event rule with `stop_on`: told at once; taken back if any stop of its key follows in order, within 90 days."""
    facts: set[Fact] = set()
    events = list(events)
    for event in events:
        if event.type == DECLINED:
            key = (event.data[name],)
            facts.add(_fact(rule, "fired", key, event, event.occurred_at))
            begun = (event.occurred_at, 0, event.source, event.ref)
            stops = [(e.occurred_at, 2, e.source, e.ref) for e in events if e.type == PAID and e.data[name] == key[0]]
            if any(begun < stop and stop[0] <= event.occurred_at + 90 * DAY for stop in stops):
                facts.add(_fact(rule, "stopped", key, event, event.occurred_at))
    return facts


def _due_field(arming: Event, data: dict[str, Any]) -> int | None:
    return data.get("due")


def _due_after(arming: Event, data: dict[str, Any]) -> int | None:
    return arming.occurred_at + 20 * SECOND


def _by(events: Any, name: str, roles: dict[str, str]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in events:
        if event.type in roles:
            found.setdefault(event.data[name], []).append(event)
    rank = {"a": 0, "ca": 0, "m": 1, "c": 2}
    for history in found.values():
        history.sort(key=lambda event: (event.occurred_at, rank[roles[event.type]], event.source, event.ref))
    return found


@dataclass
class _Armed:
    event: Event
    data: dict[str, Any]
    due: int


def _missing(
    rule: str, key: str, history: list[Event], roles: dict[str, str], *, once: bool, on_repeat: str, due: Any
) -> set[Fact]:
    facts: set[Fact] = set()
    armed: _Armed | None = None
    fired: _Armed | None = None
    ended: int | None = None
    moved: Event | None = None

    def passes(instant: int | None) -> None:
        """Let the deadline pass that lies strictly before `instant` (at the instant itself the event wins)."""
        nonlocal armed, fired, ended
        if armed is not None and (instant is None or armed.due < instant):
            facts.add(_fact(rule, "fired", (key,), armed.event, armed.due))
            ended = armed.due
            fired, armed = armed, None

    for event in history:
        passes(event.occurred_at)
        does = roles[event.type]
        dead = once and ended is not None and event.occurred_at - ended <= 7 * DAY
        if "c" in does:
            armed = None
            if fired is not None:
                facts.add(_fact(rule, "stopped", (key,), fired.event, event.occurred_at))
                fired = None
            ended, moved = event.occurred_at, None
        if "m" in does:
            if armed is not None:
                data = {**armed.data, **event.data}
                when = due(armed.event, data)
                armed = None if when is None else _Armed(armed.event, data, max(when, event.occurred_at))
            elif once and not dead and fired is None:
                moved = event
        if "a" in does and not dead and not (armed is not None and on_repeat == "keep"):
            data = dict(event.data) if moved is None else {**event.data, **moved.data}
            when = due(event, data)
            armed = None if when is None else _Armed(event, data, max(when, event.occurred_at))
            moved = None
    passes(None)
    return facts


def _fact(rule: str, kind: str, key: tuple[str, ...], episode: Event, at: int) -> Fact:
    firing = ids.firing_id(episode.tenant, rule, key, (episode.source, episode.ref))
    return (rule, kind, firing, at, f"customer:{episode.data['customer_id']}")
