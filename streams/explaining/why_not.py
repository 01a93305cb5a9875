"""Why somebody did not hear of something: for each rule that could have spoken, how far it came.

A rule that did not fire leaves no trace. So the customer's own events are found again, each rule looks at each of them
once more, and the one that came closest answers. What fired, was suppressed or waits is read as it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from handlers.operators.missing import MissingOperator
from streams.explaining import veil
from streams.explaining.archive import Changes
from streams.explaining.books import Books
from streams.explaining.came_of import Beginning, came_of, title_of, unfired
from streams.explaining.candidate import RANK, Candidate
from streams.explaining.terms import Looked, begins, look, opening
from streams.json_events import rfc3339
from streams.wording import moment
from tidings import canonical
from tidings.event import DAY, Event, Micros
from tidings.ports import Body, Read, Transaction
from tidings.rule import Rule, RuleSet

WINDOW: Micros = 7 * DAY
EVENTS = 500
"""Events of the customer that are looked at, the newest."""
LOOKS = 100
"""Events that one rule looks at again."""
DECISIONS = 20
"""Firings of one rule that are looked up."""
ALSO = 2
"""Further answers of one rule."""


class NoSuchRule(ValueError):
    """There is no such rule, nor such a topic."""


@dataclass(frozen=True)
class RuleAnswer:
    """Why one rule did not speak, or that it did."""

    rule: Rule
    first: Candidate
    also: Sequence[Candidate] = ()

    @property
    def all(self) -> list[Candidate]:
        """Every answer, what came furthest first."""
        return [self.first, *self.also]

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "rule": self.rule.id, "title": self.rule.title, "status": self.rule.status, **self.first.to_json(),
            "also": [one.to_json() for one in self.also],
        }  # fmt: skip


@dataclass(frozen=True)
class WhyNot:
    """The whole answer."""

    customer: str
    about: str | None
    since: Micros
    until: Micros
    rule_set: str
    known: bool
    """Whether anybody has told us of this customer."""
    looked_at: int
    """Events of the customer in the window, of the types that the rules read: what else arrived is not among them."""
    more: bool
    """Whether there were more than are looked at."""
    answers: Sequence[RuleAnswer]
    """What came furthest first."""
    earlier: Micros | None = None
    """Where nothing in the window fits: when the newest that does happened before it."""

    @property
    def reads(self) -> str:
        """Whose types were looked at, in words."""
        return "this rule reads" if len(self.answers) == 1 else "these rules read"

    @property
    def says(self) -> str:
        """The answer in one sentence."""
        if not self.answers:
            return "No rule tells customers anything of this kind."
        best = self.answers[0]
        if best.first.kind == "nothing":
            reads = _reads(best.rule) if len(self.answers) == 1 else self.reads
            about = f" about {self.about}" if self.about else ""
            says = f"Nothing of this customer{about} arrived in this time that {reads}"
            if self.earlier is None:
                return f"{says}."
            return f"{says}; something did on {moment(self.earlier)}: look further back."
        return f"{best.rule.title or best.rule.id}: {best.first.says}"

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "customer": self.customer, "about": self.about, "since": rfc3339(self.since), "until": rfc3339(self.until),
            "rule_set": self.rule_set, "known": self.known, "events": self.looked_at, "more": self.more,
            "says": self.says, "rules": [one.to_json() for one in self.answers],
        }  # fmt: skip


async def why_not(
    books: Books,
    customer: str,
    *,
    rule: str | None = None,
    about: str | None = None,
    since: Micros | None = None,
    until: Micros | None = None,
    reveal: bool = False,
) -> WhyNot:
    """Return why a customer did not hear of something, by the rules in force now.

    `rule` is the id of a rule, or a topic that customers may switch off; `about` an event, or a business key such as an
    order. Without a window the last week counts.

    Raises:
        NoSuchRule: neither a rule nor a topic has this name.
    """
    rules = await books.active()
    now = books.now()
    until = now if until is None else until
    since = until - WINDOW if since is None else since
    asked = _asked(rules, rule)
    types = {kind for one in asked for kind in one.types}
    events = await books.archive.about(customer, types, limit=EVENTS + 1, since=since, until=until)
    events = [event for event in events if books.archive.customer_of(event) == customer]
    more = len(events) > EVENTS
    events = await books.archive.all_completed(events[:EVENTS])
    looking = [_Rule(books, rules, one, about, reveal) for one in asked]
    answers = []
    for one, candidates in zip(asked, await _candidates(looking, events), strict=True):
        found = sorted(candidates, key=lambda c: (RANK[c.kind], _misses(c), -_time(c)))
        answers.append(RuleAnswer(one, found[0], found[1 : 1 + ALSO]))
    answers.sort(key=lambda one: (RANK[one.first.kind], _misses(one.first), -_time(one.first), one.rule.id))
    known = (await books.reader.read(_known((books.tenant, f"customer:{customer}")))) is not None
    earlier = None
    if all(one.first.kind == "nothing" for one in answers):
        before = await books.archive.about(customer, types, limit=EVENTS, until=since - 1)
        earlier = next(
            (
                event.occurred_at
                for event in before
                if books.archive.customer_of(event) == customer and (about is None or books.archive.names(event, about))
            ),
            None,
        )
    return WhyNot(customer, about, since, until, rules.hash, known, len(events), more, answers, earlier)


async def still_waiting(books: Books, customer: str, *, since: Micros) -> list[Candidate]:
    """Return the absences that wait for a customer's deadline, the next one first."""
    rules = await books.active()
    waits = [one for one in rules.active if isinstance(one.operator, MissingOperator) and one.to.kind == "customer"]
    types = {one.operator.after.type for one in waits if isinstance(one.operator, MissingOperator)}
    now = books.now()
    events = await books.archive.about(customer, types, limit=LOOKS, since=since, until=now)
    events = [event for event in events if books.archive.customer_of(event) == customer]
    looking = [_Rule(books, rules, one, None, reveal=False) for one in waits]
    found = [one for candidates in await _candidates(looking, events) for one in candidates]
    found = [one for one in found if one.kind == "waiting" and one.until is not None]
    return sorted(found, key=lambda one: (one.until or 0, _time(one)))


def _asked(rules: RuleSet, name: str | None) -> list[Rule]:
    """Return the rules that are meant: those that tell customers, or those of one name."""
    if name is None:
        return [one for one in rules.active if one.to.kind == "customer"]
    found = [one for one in rules.active if name in (one.id, one.topic)]
    if not found:
        names = [*rules.by_id, *(one.topic for one in rules.rules if one.topic)]
        near = get_close_matches(name, names, 1)
        draft = rules.by_id.get(name)
        hint = f"; did you mean {near[0]!r}?" if near and near[0] != name else ""
        text = (
            f"the rule {name!r} is a draft: it decides nothing"
            if draft
            else f"there is no rule or topic {name!r}{hint}"
        )
        raise NoSuchRule(text)
    return found


def _reads(rule: Rule, who: str = "this rule") -> str:
    return f"{who} reads ({', '.join(sorted(opening(rule)))})"


def _misses(candidate: Candidate) -> int:
    return 0 if candidate.looked is None else candidate.looked.misses


def _time(candidate: Candidate) -> Micros:
    return 0 if candidate.event is None else candidate.event.occurred_at


async def _candidates(looking: Sequence[_Rule], events: Sequence[Event]) -> list[list[Candidate]]:
    """Return by rule how far each event came, at least one answer; what is stored is read for all of them at once."""
    changes: Changes = {}
    looked = [await one.looks(events, changes) for one in looking]
    begun = [one for found in looked for one in found if isinstance(one, Beginning)]
    first = looking[0] if looking else None
    came: Mapping[int, Candidate] = {}
    if first is not None:
        came = dict(zip(map(id, begun), await came_of(first.books, first.rules, begun), strict=True))
    return [[came[id(one)] if isinstance(one, Beginning) else one for one in found] for found in looked]


@dataclass(frozen=True)
class _Rule:
    """One rule, and the events of one customer."""

    books: Books
    rules: RuleSet
    rule: Rule
    about: str | None
    reveal: bool

    async def looks(self, events: Sequence[Event], changes: Changes) -> list[Beginning | Candidate]:
        """Return what each event came to: it began something, or is an answer itself."""
        found: list[Beginning | Candidate] = []
        decisions = 0
        mine = [event for event in events if event.type in self.rule.types and self._is_about(event)]
        veils = {kind: self._veil(kind) for kind in self.rule.types}
        for event in mine[:LOOKS]:
            if decisions == DECISIONS:
                break
            seen = await self.books.archive.beside(self.rule, event, changes)
            if decisions > ALSO and not begins(self.rule, seen):
                continue  # what began something came further than what did not, and there is enough of it to answer with
            looked = look(self.rule, seen, veils[event.type])
            if looked.outcome in ("fired", "armed"):
                decisions += 1
                found.append(Beginning(self.rule, event, looked))
            elif (one := self._not_begun(event, looked)) is not None:
                found.append(one)
        if found:
            return found
        return [Candidate("nothing", f"Nothing arrived that {_reads(self.rule, 'it')}.")]

    def _is_about(self, event: Event) -> bool:
        if self.about is None:
            return True
        key = self.rule.operator.key(event) or ()
        return self.about in [str(part) for part in key] or self.books.archive.names(event, self.about)

    def _veil(self, kind: str) -> veil.Veil:
        contract = self.rules.contracts.get(kind)
        return veil.OPEN if self.reveal else veil.over(self.rules.contracts, contract, self.rule)

    def _not_begun(self, event: Event, looked: Looked) -> Candidate | None:
        if looked.outcome == "null_key":
            return Candidate("null_key", f"{title_of(self.books, event)}: {looked.says}", event, looked=looked)
        if looked.outcome != "no_match" or event.type not in opening(self.rule):
            return None
        if not looked.kept_by:
            return Candidate("not_fired", f"{unfired(self.books, event)}.", event, looked=looked)
        text = f"{unfired(self.books, event)}. {looked.kept_by}."
        return Candidate("near_miss", text, event, looked=looked)


def _known(who: tuple[str, str]) -> Body[dict[str, Any] | None]:
    def body() -> Transaction[dict[str, Any] | None]:
        row = (yield Read("recipients", [who])).get(who)
        found: dict[str, Any] | None = None if row is None else canonical.loads(row["profile"])
        return found or None

    return body
