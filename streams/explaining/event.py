"""One event, whole: what it says, what every rule made of it, which decisions came of it, and where none did, what came closest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streams.explaining import says, veil
from streams.explaining.books import Books
from streams.explaining.came_of import Beginning, came_of
from streams.explaining.candidate import ICONS, RANK, Candidate
from streams.explaining.seen import Seen, seen_of
from streams.explaining.terms import Looked, look
from streams.wording import counted
from tidings.event import Event

CLOSEST = ("no_match", "null_key")


@dataclass(frozen=True)
class Came:
    """What one rule made of the event, and what became of it where it began something."""

    looked: Looked
    begun: Candidate | None = None

    @property
    def decision(self) -> str | None:
        """Id of the decision that came of it."""
        return None if self.begun is None else self.begun.decision

    @property
    def title(self) -> str:
        """Of the rule."""
        return self.looked.rule.title or self.looked.rule.id


@dataclass(frozen=True)
class EventStory:
    """What a page shows of one event."""

    event: Event
    seen: Seen
    customer: str | None
    came: Sequence[Came]
    """By the rules in force now; what led furthest first."""
    unread: int
    """Rules that do not read this kind of event."""

    @property
    def decisions(self) -> list[Came]:
        """Those of which a decision came."""
        return [one for one in self.came if one.decision is not None]

    @property
    def verdict(self) -> tuple[str, str]:
        """The state, and the answer in one sentence."""
        found = self.decisions
        if len(found) == 1 and found[0].begun is not None:
            return ICONS[found[0].begun.kind], f"{found[0].title}: {found[0].begun.head}"
        if found:
            kinds = [one.begun.kind for one in found if one.begun is not None]
            words = {"told": "told somebody", "not_told": "told nobody", "open": "still under way"}
            sums = [f"{kinds.count(kind)} {word}" for kind, word in words.items() if kind in kinds]
            return ICONS[
                min(kinds, key=ORDER.index)
            ], f"{counted(len(found), 'decision')} came of it: {says.listed(sums)}"
        if not self.came:
            return "none", "No rule reads this kind of event"
        first = self.came[0]
        if first.begun is not None:
            return ICONS[first.begun.kind], f"{first.title}: {first.begun.head}"
        took = [one for one in self.came if one.looked.outcome not in CLOSEST]
        if took:
            return "none", f"It began nothing, and ended something: {took[0].title} {took[0].looked.says}"
        return "none", f"Nothing came of it: {counted(len(self.came), 'rule')} looked, and none fired"

    @property
    def closest(self) -> str:
        """Where nothing came of it: the rule that came closest, and what kept it."""
        if self.decisions or not self.came or self.came[0].looked.outcome not in CLOSEST:
            return ""
        looked = self.came[0].looked
        if not looked.kept_by:
            return f"Closest: {self.came[0].title}. It {looked.says}."
        return f"Closest: {self.came[0].title}. {looked.kept_by}."


ORDER = ["told", "open", "not_told"]
"""Of several decisions the one that gives the colour."""


async def event_story(books: Books, name: str, *, reveal: bool = False) -> EventStory | None:
    """Return what came of an event, named by its id or our reference; None: it is not among those that are kept.

    Without `reveal` what its contract marks personal is named and not shown.
    """
    event = await books.archive.named(name)
    if event is None or event.tenant != books.tenant:
        return None
    rules = await books.active()
    event = await books.archive.completed(event)
    looks = []
    for rule in rules.by_type.get(event.type, ()):
        over = veil.OPEN if reveal else veil.over(rules.contracts, rules.contracts.get(event.type), rule)
        looked = look(rule, await books.archive.beside(rule, event), over)
        if looked.outcome != "other_event":
            looks.append(looked)
    started = [Beginning(one.rule, event, one) for one in looks if one.outcome in ("fired", "armed")]
    became = dict(zip((one.rule.id for one in started), await came_of(books, rules, started), strict=True))
    came = [Came(one, became.get(one.rule.id)) for one in looks]
    came.sort(key=_furthest)
    unread = sum(event.type not in one.types for one in rules.active)
    customer = books.archive.customer_of(event)
    return EventStory(event, seen_of(event, books.archive.by_type, reveal=reveal), customer, came, unread)


def _furthest(one: Came) -> tuple[int, int, str]:
    kind = (
        RANK[one.begun.kind]
        if one.begun is not None
        else RANK["near_miss" if one.looked.outcome != "null_key" else "null_key"]
    )
    if one.begun is None and one.looked.outcome not in CLOSEST:
        kind -= 1  # it ended something
    return kind, one.looked.misses, one.looked.rule.id
