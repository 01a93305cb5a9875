"""What was stopped when: the history of kills, put together from what was written down as each began and ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from tidings.event import Micros
from tidings.gates import scopes_of
from tidings.message import Message


@dataclass(frozen=True, slots=True)
class Act:
    """One line of what people did about stops."""

    seq: int
    at: Micros
    scope: str
    by: str
    reason: str = ""
    ends: str = ""
    """`release` or `drop`; nothing where the stop begins."""
    since: Micros | None = None
    """Of one that ends: when it began, where the line says so itself."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A scope that was stopped for a time, by whom, and why."""

    scope: str
    at: Micros
    until: Micros | None
    """From then on it held nothing new; None: it stands."""
    by: str
    reason: str
    how: str = ""
    """How it ended: `release`, `drop`."""
    ended_by: str = ""
    earlier: bool = False
    """It began before `at`, further back than is looked; by whom and why is not known."""
    ended_because: str = ""

    def holds(self, at: Micros) -> bool:
        """Return whether it stood at an instant."""
        return self.at <= at and (self.until is None or at < self.until)

    def meets(self, since: Micros, until: Micros) -> bool:
        """Return whether it stood at any time in [since, until]."""
        return self.at <= until and (self.until is None or since < self.until)


@dataclass(frozen=True, slots=True)
class Held:
    """One span for which a message was kept by stops that followed each other without a gap, or overlapped."""

    since: Micros
    """No earlier than its decision."""
    until: Micros | None
    how: str
    """How the last of them ended."""


@dataclass(frozen=True, slots=True)
class Stops:
    """The stops that are known."""

    all: Sequence[Stop] = field(default_factory=tuple)
    """The oldest first."""
    reach: Micros | None = None
    """At it and before nobody has looked; None: these are all that there ever were."""

    def knows(self, at: Micros) -> bool:
        """Return whether it is known what was stopped at an instant."""
        return self.reach is None or self.reach < at

    def of(self, message: Message) -> list[Stop]:
        """Return those that reach a message, whenever they stood."""
        scopes = scopes_of(message)
        return [one for one in self.all if one.scope in scopes]

    def at(self, message: Message, at: Micros) -> list[Stop]:
        """Return those that reach a message and stood at an instant."""
        return [one for one in self.of(message) if one.holds(at)]

    def held(self, message: Message, until: Micros) -> list[Held]:
        """Return for which spans a message was kept, from its decision to `until`, the oldest first."""
        spans: list[Held] = []
        for one in self.of(message):
            if not one.meets(message.created_at, until):
                continue
            last = spans[-1] if spans else None
            if last is not None and (last.until is None or one.at <= last.until):
                if last.until is not None and (one.until is None or one.until > last.until):
                    spans[-1] = replace(last, until=one.until, how=one.how)
            else:
                spans.append(Held(max(one.at, message.created_at), one.until, one.how))
        return spans


def stops_of(acts: Iterable[Act], standing: Iterable[Stop], reach: Micros | None = None) -> Stops:
    """Put beginnings and endings together, and what stands now beside them.

    Of one scope they take turns: what is stopped is not stopped again before it has ended. `reach` is how far back `acts`
    go, where there may be older ones; an ending whose beginning is older stood from then on at the latest.
    """
    begun: dict[str, Act] = {}
    found: list[Stop] = []
    for act in sorted(acts, key=lambda one: one.seq):
        first = begun.pop(act.scope, None)
        if not act.ends:
            begun[act.scope] = act
            continue
        by, reason, at = ("", "", reach) if first is None else (first.by, first.reason, first.at)
        if act.since is not None:
            at = act.since
        earlier = first is None and act.since is None
        # What ended where nobody looks is left out: of it there is nothing to say.
        if at is not None and not (earlier and act.at <= at):
            found.append(Stop(act.scope, at, max(at, act.at), by, reason, act.ends, act.by, earlier, act.reason))
    return Stops(sorted([*found, *standing], key=lambda one: (one.at, one.scope)), reach)
