"""`when: {event: …}`: a rule decides at once, on each event, and keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidings.event import Event, Micros
from tidings.rule import Emission, Episode, Item, Matcher, Rule, State


@dataclass(frozen=True)
class EventOperator:
    """Fires on each event that matches and, with `changed`, changed at least one of the named fields.

    A repeat of the event has the same firing id, and the primary key of the records refuses it.
    """

    matcher: Matcher
    changed: tuple[str, ...] = ()
    keep: frozenset[str] = frozenset()

    kind: str = field(default="event", init=False)
    stateful: bool = field(default=False, init=False)
    prompt: bool = field(default=False, init=False)
    allowed_lateness: Micros = field(default=0, init=False)

    @property
    def matchers(self) -> tuple[Matcher, ...]:
        """The one event."""
        return (self.matcher,)

    def fires(self, event: Event, params: Mapping[str, Any]) -> Sequence[Emission]:
        """Return one firing whose episode is the event itself, or nothing."""
        if not self.matcher.matches(event, params):
            return ()
        if self.changed and not any(has_changed(event.data, name) for name in self.changed):
            return ()
        return (Emission("fired", 0, Episode(event.occurred_at, event.source, event.ref), event.occurred_at, event),)

    def key(self, event: Event) -> tuple[Any, ...] | None:
        """An event rule has no state; its key in the record is empty."""
        return ()

    def item(self, event: Event, params: Mapping[str, Any]) -> Item | None:
        """Nothing is kept."""
        return None

    def closes(self, item: Item) -> bool:
        """Nothing is open."""
        return False

    def timer(self, state: State | None) -> Micros | None:
        """No timer."""
        return None

    def apply(self, state: State | None, item: Item, rule: Rule) -> tuple[State | None, Sequence[Emission]]:
        """Never called: there is no item."""
        return state, ()

    def expire(self, state: State, rule: Rule) -> tuple[State | None, Sequence[Emission]]:
        """Never called: there is no timer."""
        return state, ()

    def late(self, state: State | None, item: Item, rule: Rule) -> tuple[State | None, Sequence[Emission]]:
        """Never called: there is no item."""
        return state, ()


def has_changed(data: Mapping[str, Any], name: str) -> bool:
    """Return whether a change event certainly changed the field `name`.

    Where `before` or `after` is missing (a creation, a deletion, an image that is not known) the answer is unknown,
    and unknown is not true. A `before` that covers only some fields says nothing about the others.
    """
    before, after = data.get("before"), data.get("after")
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return False
    for side, coverage in ((before, data.get("before_coverage")), (after, data.get("after_coverage"))):
        if name not in side or coverage in ("KEY_ONLY", "UNKNOWN", "ABSENT"):
            return False
        if coverage == "CHANGED_FIELDS_ONLY" and name not in (data.get("changed_fields") or ()):
            return False
    return bool(before[name] != after[name])
