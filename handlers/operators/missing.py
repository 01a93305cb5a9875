"""`when: {missing: …}`: something was seen, and what should have followed by a deadline was not.

State of a key (canonical JSON, absent where nothing is known):

- `armed`  the episode that waits: `order` and `item` of its event, `due`, `data` (rewritten by reschedules)
- `fired`  the newest episode that fired, kept so that a later closer can say `stopped`: at most `MEMORY`
- `ended`  with `once`: when the key's life ended; it does not arm again within `DEDUPE_HORIZON`
- `moved`  with `once`: the newest reschedule that came before the arming

Everything is O(1) a key. Order of time is the loop's affair (`tidings.detection`): this file sees events and timers
already in order, and late closers apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from handlers.operators.episode import MEMORY, begin, event_of, remembered, say
from tidings.event import DAY, MINUTE, Event, Micros
from tidings.rule import Emission, Expression, Item, Matcher, Rule, State
from tidings.unknown import UNKNOWN

DEDUPE_HORIZON: Micros = 7 * DAY
"""How long before its arming a key that lives once may have been closed or rescheduled, and how long it stays dead."""

LAST: Micros = 2**53
"""No deadline lies beyond (the year 2255): what does is the fault of a value, and never fires."""

ARM, MOVE, CLOSE = 0, 1, 2
"""Ranks at an equal instant: what arms, then what reschedules, then what closes."""


@dataclass(frozen=True)
class MissingOperator:
    """Fires when `after` was seen and none of `expect` with a time ≤ the deadline."""

    after: Matcher
    expect: tuple[Matcher, ...]
    deadline: Expression
    by: tuple[str, ...]
    cancel_on: tuple[Matcher, ...] = ()
    reschedule_on: tuple[Matcher, ...] = ()
    once: bool = False
    on_repeat: Literal["keep", "restart"] = "keep"
    allowed_lateness: Micros = MINUTE
    keep: frozenset[str] = frozenset()
    """Top-level fields of the payload that the rule reads: deadline, `with`, the path to the customer."""

    kind: str = field(default="missing", init=False)
    stateful: bool = field(default=True, init=False)
    prompt: bool = field(default=False, init=False)

    @property
    def matchers(self) -> tuple[Matcher, ...]:
        """All events that the operator looks at."""
        return (self.after, *self.expect, *self.cancel_on, *self.reschedule_on)

    def fires(self, event: Event, params: Mapping[str, Any]) -> Sequence[Emission]:
        """A stateful operator decides nothing on one event."""
        return ()

    def says(self, event: Event, item: Item) -> Sequence[Emission]:
        """Nothing is said before the order is known."""
        return ()

    def key(self, event: Event) -> tuple[Any, ...] | None:
        """Return the values of `by`, or None where one is null."""
        values = tuple(event.data.get(name) for name in self.by)
        return None if None in values else values

    def item(self, event: Event, params: Mapping[str, Any]) -> Item | None:
        """Keep what the roles of the event need: the conditions are decided here, on the whole payload."""
        arms = self.after.matches(event, params)
        moves = any(matcher.matches(event, params) for matcher in self.reschedule_on)
        closes = any(matcher.matches(event, params) for matcher in (*self.expect, *self.cancel_on))
        if not (arms or moves or closes):
            return None
        body: dict[str, Any] = {"type": event.type, "roles": "a" * arms + "m" * moves + "c" * closes}
        if arms or moves:
            body |= remembered(event, self.keep)
        rank = ARM if arms else MOVE if moves else CLOSE
        return Item(event.occurred_at, rank, event.source, event.ref, body)

    def closes(self, item: Item) -> bool:
        """Return whether the item may close an episode."""
        return "c" in item.body["roles"]

    def timer(self, state: State | None) -> Micros | None:
        """Return the earliest of: the deadline, the end of a memory."""
        if state is None:
            return None
        return min(self._timers(state))[0]

    def _timers(self, state: State) -> list[tuple[Micros, int]]:
        # At one instant an end comes before a due; the rank of the pair says so.
        timers = []
        if "fired" in state:
            timers.append((state["fired"]["at"] + MEMORY, 0))
        if "ended" in state:
            timers.append((state["ended"] + DEDUPE_HORIZON, 1))
        if "moved" in state:
            timers.append((state["moved"]["at"] + DEDUPE_HORIZON, 2))
        if "armed" in state:
            timers.append((state["armed"]["due"], 3))
        return timers

    def apply(self, state: State | None, item: Item, rule: Rule) -> tuple[State | None, Sequence[Emission]]:
        """Apply a punctual event. It closes first, then moves, then arms; it never closes what it arms."""
        new = dict(state or {})
        said: list[Emission] = []
        roles = item.body["roles"]
        if "c" in roles:
            said += self._close(new, item)
        if "m" in roles:
            self._move(new, item, rule)
        if "a" in roles:
            self._arm(new, item, rule)
        return new or None, said

    def expire(self, state: State, rule: Rule) -> tuple[State | None, Sequence[Emission]]:
        """Apply the earliest timer: forget, or fire."""
        new = dict(state)
        at, which = min(self._timers(state))
        if which == 3:  # noqa: PLR2004 - the rank given in `_timers`
            armed = new.pop("armed")
            new["fired"] = {"at": at, "order": armed["order"], "item": armed["item"], "data": armed["data"]}
            if self.once:
                new["ended"] = max(new.get("ended", at), at)
            return new, (say("fired", armed, at),)
        del new[("fired", "ended", "moved")[which]]
        return new or None, ()

    def late(self, state: State | None, item: Item, rule: Rule) -> tuple[State | None, Sequence[Emission]]:
        """Apply a late closer: it disarms what has not fired, and otherwise takes back what has."""
        new = dict(state or {})
        said = self._close(new, item)
        return new or None, said

    def _close(self, new: dict[str, Any], item: Item) -> list[Emission]:
        said = []
        order = list(item.order)
        if "armed" in new and (new["armed"]["order"] < order or self._dead(new["armed"], item)):
            # Never past the due: the loop has run every timer before it hands over an event, late ones included.
            del new["armed"]
        if "fired" in new and (new["fired"]["order"] < order or self._dead(new["fired"], item)):
            said.append(say("stopped", new.pop("fired"), item.time))
        if self.once:
            new["ended"] = max(new.get("ended", item.time), item.time)
            new.pop("moved", None)
        return said

    def _dead(self, episode: Mapping[str, Any], item: Item) -> bool:
        """Return whether a key that lives once was closed before it was armed; a late closer may be the first to say so."""
        return self.once and item.time >= episode["order"][0] - DEDUPE_HORIZON

    def _move(self, new: dict[str, Any], item: Item, rule: Rule) -> None:
        if "armed" in new:
            armed = dict(new["armed"])
            armed["data"] = {**armed["data"], **item.body["data"]}
            due = self._due(armed, item.time, rule)
            if due is None:
                del new["armed"]
            else:
                armed["due"] = due
                new["armed"] = armed
        elif self.once and "fired" not in new and "ended" not in new:
            new["moved"] = {"at": item.time, "data": item.body["data"]}

    def _arm(self, new: dict[str, Any], item: Item, rule: Rule) -> None:
        if "armed" in new and self.on_repeat == "keep":
            return
        if self.once and "ended" in new:
            # The timer of `ended` has run when the horizon is over, so that it is here means: still dead.
            return
        armed = begin(item)
        if "moved" in new:
            armed["data"] = {**armed["data"], **new.pop("moved")["data"]}
        due = self._due(armed, item.time, rule)
        if due is None:
            new.pop("armed", None)
        else:
            armed["due"] = due
            new["armed"] = armed

    def _due(self, armed: Mapping[str, Any], set_at: Micros, rule: Rule) -> Micros | None:
        """Return max(deadline, time of the event that set it); None where the deadline is unknown: it never fires."""
        deadline: Any = self.deadline.value(armed["data"], event_of(armed), rule.params)
        if deadline is UNKNOWN or deadline is None or deadline > LAST:
            return None
        return max(int(deadline), set_at)
