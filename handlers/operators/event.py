"""`when: {event: …}`: a rule decides at once, on each event; with `stop_on` it remembers what it said, to take it back.

Without `stop_on` nothing is kept. With it, state of a key (canonical JSON, absent where nothing is known):

- `open`   episodes that fired and may be taken back: `order`, `item` and `data` of their event; at most `OPEN_LIMIT`
- `stop`   order of the newest stopping event, kept until W has passed it: an event that fired before it in time, and
           comes after it, is taken back at once

Stops skip the buffer. Which records come out does not depend on the order of arrival: an episode is taken back if any
stopping event follows it in order, and `stopped` carries the time of the episode, not of the one stop that came first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handlers.operators.episode import MEMORY, begin, remembered, say
from tidings.contract import value_at
from tidings.event import MINUTE, Event, Micros
from tidings.rule import Emission, Episode, Item, Matcher, Rule, State

OPEN_LIMIT = 1_000
"""Episodes of one key that can be taken back; what fires beyond is told and stays told."""
OPEN, STOP = 0, 2
"""Ranks at an equal instant: what opens, then what closes."""

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopMatcher:
    """An event that ends episodes, and where it names their key."""

    matcher: Matcher
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class EventOperator:
    """Fires on each event that matches and, with `changed`, changed at least one of the named fields.

    A repeat of the event has the same firing id, and the primary key of the records refuses it.
    """

    matcher: Matcher
    changed: tuple[str, ...] = ()
    stops: tuple[StopMatcher, ...] = ()
    match_here: tuple[Path, ...] = ()
    """Where the firing event names the key, in the order of each stop's `paths`."""
    keep: frozenset[str] = frozenset()
    """Top-level fields of the payload that the all-clear and the recipient read."""
    allowed_lateness: Micros = MINUTE
    """How long a stop is remembered for an event that fires behind it."""

    kind: str = field(default="event", init=False)
    prompt: bool = field(default=True, init=False)

    @property
    def stateful(self) -> bool:
        """Whether episodes are remembered."""
        return bool(self.stops)

    @property
    def matchers(self) -> tuple[Matcher, ...]:
        """The one event, and what stops it."""
        return (self.matcher, *(stop.matcher for stop in self.stops))

    def fires(self, event: Event, params: Mapping[str, Any]) -> Sequence[Emission]:
        """Return one firing whose episode is the event itself, or nothing."""
        return (_fired(event),) if self._opens(event, params) else ()

    def says(self, event: Event, item: Item) -> Sequence[Emission]:
        """Return the same where the event opened the item; `item` has asked the condition."""
        return (_fired(event),) if "a" in item.body["roles"] else ()

    def _opens(self, event: Event, params: Mapping[str, Any]) -> bool:
        matcher = self.matcher
        if event.type != matcher.type:
            return False
        if matcher.condition is not None and not matcher.condition.true(event.data, event, params):
            return False
        return not self.changed or any(has_changed(event.data, name) for name in self.changed)

    def key(self, event: Event) -> tuple[Any, ...] | None:
        """Return the values that a stop must share; an event rule without stops has the empty key."""
        if not self.stops:
            return ()
        paths = self.match_here
        if event.type != self.matcher.type:
            paths = next((stop.paths for stop in self.stops if stop.matcher.type == event.type), ())
        values = tuple(value_at(event.data, path) for path in paths)
        return None if None in values else values

    def item(self, event: Event, params: Mapping[str, Any]) -> Item | None:
        """Keep what the all-clear needs of an event that fires; of one that stops, its order."""
        if not self.stops:
            return None
        opens = self._opens(event, params)
        stops = any(stop.matcher.matches(event, params) for stop in self.stops)
        if not (opens or stops):
            return None
        body: dict[str, Any] = {"type": event.type, "roles": "a" * opens + "c" * stops}
        if opens:
            body |= remembered(event, self.keep)
        return Item(event.occurred_at, OPEN if opens else STOP, event.source, event.ref, body)

    def closes(self, item: Item) -> bool:
        """Late ones count as well: what fired has fired, and what stops it stops it."""
        return True

    def timer(self, state: State | None) -> Micros | None:
        """Return the earliest end of a memory."""
        return min((at for at, _ in self._timers(state)), default=None) if state is not None else None

    @staticmethod
    def _timers(state: State) -> list[tuple[Micros, str]]:
        timers = [(state["open"][0]["order"][0] + MEMORY, "open")] if state.get("open") else []
        return [*timers, (state["stops"][0][0], "stops")] if "stops" in state else timers

    def apply(self, state: State | None, item: Item, rule: Rule) -> tuple[State | None, Sequence[Emission]]:
        """Apply a punctual event: it stops what lies before it, and is stopped by what lies behind it."""
        new, said = self._meet(dict(state or {}), item)
        if "c" in item.body["roles"]:
            new["stops"] = _thinned([*new.get("stops", ()), list(item.order)])
        return new or None, said

    def late(self, state: State | None, item: Item, rule: Rule) -> tuple[State | None, Sequence[Emission]]:
        """Apply a late event: the same, but nobody comes behind it any more, so it is not remembered as a stop."""
        new, said = self._meet(dict(state or {}), item)
        return new or None, said

    def expire(self, state: State, rule: Rule) -> tuple[State | None, Sequence[Emission]]:
        """Forget what can be taken back no more."""
        new = dict(state)
        _, which = min(self._timers(state))
        new[which] = new[which][1:]
        if not new[which]:
            del new[which]
        return new or None, ()

    def _meet(self, new: dict[str, Any], item: Item) -> tuple[dict[str, Any], list[Emission]]:
        order, roles = list(item.order), item.body["roles"]
        said: list[Emission] = []
        episodes = list(new.pop("open", ()))
        if "c" in roles:
            ended = [one for one in episodes if _ends(order, one)]
            said += [_stopped(one) for one in ended]
            episodes = [one for one in episodes if one not in ended]
        if "a" in roles:
            mine = begin(item)
            if any(_ends(stop, mine) for stop in new.get("stops", ())):
                said.append(_stopped(mine))
            elif len(episodes) < OPEN_LIMIT and all(one["order"] != mine["order"] for one in episodes):
                episodes = sorted([*episodes, mine], key=lambda one: one["order"])
        if episodes:
            new["open"] = episodes
        return new, said


def _fired(event: Event) -> Emission:
    return Emission("fired", 0, Episode(event.occurred_at, event.source, event.ref), event.occurred_at, event)


def _ends(stop: Sequence[Any], episode: Mapping[str, Any]) -> bool:
    begun = episode["order"]
    return bool(begun < stop and stop[0] <= begun[0] + MEMORY)


def _thinned(stops: Sequence[list[Any]]) -> list[list[Any]]:
    """Return the stops without those whose absence changes no answer: whatever they end, the next one ends as well."""
    kept: list[list[Any]] = []
    for stop in sorted(stops):
        if kept and kept[-1] == stop:
            continue
        if len(kept) > 1 and stop[0] - kept[-2][0] <= MEMORY:
            kept.pop()
        kept.append(stop)
    return kept


def _stopped(episode: Mapping[str, Any]) -> Emission:
    return say("stopped", episode, episode["order"][0])


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
