"""Why somebody did not hear of something: for each rule that could have spoken, how far it came.

A rule that did not fire leaves no trace. So the customer's own events are found again, each rule looks at each of them
once more, and the one that came closest answers. What fired, was suppressed or waits is read as it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from handlers.operators.missing import MissingOperator
from handlers.rules.conditions.interpret import render_duration
from streams.explaining import says, veil
from streams.explaining.books import Books
from streams.explaining.seen import sentence_of
from streams.explaining.stored import Stored, people_of, read_decision
from streams.explaining.terms import Looked, look
from streams.json_events import rfc3339
from streams.processors.detect import READER
from streams.processors.dispatch import resolve
from streams.wording import counted, moment
from tidings import canonical, ids
from tidings.event import DAY, MINUTE, Event, Micros
from tidings.ports import Body, Find, Read, Transaction
from tidings.rule import Rule, RuleSet
from tidings.state import Kept

WINDOW: Micros = 7 * DAY
EVENTS = 500
"""Events of the customer that are looked at, the newest."""
LOOKS = 100
"""Events that one rule looks at again."""
DECISIONS = 20
"""Firings of one rule that are looked up."""
AROUND = 50
"""Events of one key that are looked at for what ended its wait."""
ALSO = 2
"""Further answers of one rule."""

Kind = Literal[
    "told", "not_told", "open", "waiting", "in_time", "ended", "not_decided", "near_miss", "null_key", "not_fired", "nothing",
]  # fmt: skip
ICONS: dict[Kind, str] = {
    "told": "sent", "not_told": "supp", "open": "flit", "waiting": "flit", "in_time": "none", "ended": "none",
    "not_decided": "flit", "near_miss": "none", "null_key": "warn", "not_fired": "none", "nothing": "none",
}  # fmt: skip
RANK: dict[Kind, int] = {
    "not_told": 0, "open": 0, "told": 1, "waiting": 2, "not_decided": 2, "in_time": 3, "ended": 3, "near_miss": 4,
    "not_fired": 4, "null_key": 5, "nothing": 6,
}  # fmt: skip
"""How far a rule came: what comes first answers."""


class NoSuchRule(ValueError):
    """There is no such rule, nor such a topic."""


@dataclass(frozen=True)
class Candidate:
    """What one event came to with one rule."""

    kind: Kind
    says: str
    event: Event | None = None
    title: str = ""
    decision: str | None = None
    """Id of the decision, where there is one."""
    looked: Looked | None = None
    until: Micros | None = None
    head: str = ""
    """Of what began something: what became of it, without the event."""

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        event = self.event
        return {
            "answer": self.kind, "says": self.says, "decision": self.decision,
            "until": None if self.until is None else rfc3339(self.until),
            "event": None if event is None else {
                "ref": event.ref, "id": event.id, "type": event.type, "occurred_at": rfc3339(event.occurred_at),
            },
            "terms": [] if self.looked is None else [part.to_json() for part in self.looked.parts],
        }  # fmt: skip


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
    """Events of the customer in the window."""
    more: bool
    """Whether there were more than are looked at."""
    answers: Sequence[RuleAnswer]
    """What came furthest first."""

    @property
    def says(self) -> str:
        """The answer in one sentence."""
        if not self.answers:
            return "No rule tells customers anything of this kind."
        best = self.answers[0]
        if best.first.kind == "nothing":
            head = "Nothing of this customer arrived" if not self.looked_at else "Nothing arrived that these rules read"
            return f"{head}{f' about {self.about}' if self.about else ''} in this time."
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
    answers = []
    for one in asked:
        looking = _Rule(books, rules, one, about, until, reveal)
        found = sorted(await looking.candidates(events), key=lambda c: (RANK[c.kind], _misses(c), -_time(c)))
        answers.append(RuleAnswer(one, found[0], found[1 : 1 + ALSO]))
    answers.sort(key=lambda one: (RANK[one.first.kind], _misses(one.first), -_time(one.first), one.rule.id))
    known = (await books.reader.read(_known((books.tenant, f"customer:{customer}")))) is not None
    return WhyNot(customer, about, since, until, rules.hash, known, len(events), more, answers)


async def still_waiting(books: Books, customer: str, *, since: Micros) -> list[Candidate]:
    """Return the absences that wait for a customer's deadline, the next one first."""
    rules = await books.active()
    waits = [one for one in rules.active if isinstance(one.operator, MissingOperator) and one.to.kind == "customer"]
    types = {one.operator.after.type for one in waits if isinstance(one.operator, MissingOperator)}
    now = books.now()
    events = await books.archive.about(customer, types, limit=LOOKS, since=since, until=now)
    events = [event for event in events if books.archive.customer_of(event) == customer]
    found = []
    for one in waits:
        candidates = await _Rule(books, rules, one, None, now, reveal=False).candidates(events)
        found += [candidate for candidate in candidates if candidate.kind == "waiting" and candidate.until is not None]
    return sorted(found, key=lambda one: (one.until or 0, _time(one)))


async def begun(books: Books, rules: RuleSet, event: Event, looked: Looked) -> Candidate:
    """Return what became of an event on which a rule fires, or which arms it."""
    return await _Rule(books, rules, looked.rule, None, books.now(), reveal=False).begun(event, looked)


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


def _misses(candidate: Candidate) -> int:
    return 0 if candidate.looked is None else candidate.looked.misses


def _time(candidate: Candidate) -> Micros:
    return 0 if candidate.event is None else candidate.event.occurred_at


def _key_of(event: Event) -> str | None:
    """Return what an event is about beside the customer: the first of its ids."""
    named = (value for name, value in event.data.items() if name.endswith("_id") and name != "customer_id")
    return next((str(value) for value in named if value is not None), None)


@dataclass(frozen=True)
class _Rule:
    """One rule, and the events of one customer."""

    books: Books
    rules: RuleSet
    rule: Rule
    about: str | None
    until: Micros
    reveal: bool

    async def candidates(self, events: Sequence[Event]) -> list[Candidate]:
        """Return how far each event came; at least one answer."""
        found: list[Candidate] = []
        decisions = 0
        mine = [event for event in events if event.type in self.rule.types and self._is_about(event)]
        for event in mine[:LOOKS]:
            seen = await self.books.archive.beside(self.rule, event)
            looked = look(self.rule, seen, self._veil(event))
            if looked.outcome in ("fired", "armed") and decisions < DECISIONS:
                decisions += 1
                found.append(await self.begun(event, looked))
            elif (one := self._not_begun(event, looked)) is not None:
                found.append(one)
        if found:
            return found
        kinds = ", ".join(sorted(self._opening()))
        return [Candidate("nothing", f"Nothing arrived that it reads ({kinds}).")]

    def _is_about(self, event: Event) -> bool:
        if self.about is None:
            return True
        key = self.rule.operator.key(event) or ()
        return self.about in [str(part) for part in key] or self.books.archive.names(event, self.about)

    def _veil(self, event: Event) -> veil.Veil:
        contract = self.rules.contracts.get(event.type)
        return veil.OPEN if self.reveal else veil.over(self.rules.contracts, contract, self.rule)

    def _opening(self) -> set[str]:
        """Types of the events that may begin something."""
        operator = self.rule.operator
        return {operator.after.type} if isinstance(operator, MissingOperator) else {operator.matchers[0].type}

    def _title(self, event: Event) -> str:
        contract = self.books.archive.by_type.get(event.type)
        title = event.type if contract is None else sentence_of(contract)
        key = event.subject or _key_of(event)
        named = f" ({key})" if key is not None else ""
        return f"{title}{named} on {moment(event.occurred_at)}"

    def _not_begun(self, event: Event, looked: Looked) -> Candidate | None:
        if looked.outcome == "null_key":
            return Candidate("null_key", f"{self._title(event)}: {looked.says}", event, looked=looked)
        if looked.outcome != "no_match" or event.type not in self._opening():
            return None
        failed = [part for part in looked.parts if part.truth != "true"]
        if not failed:
            return Candidate("not_fired", f"It did not fire. {self._title(event)}.", event, looked=looked)
        first = failed[0]
        word = "could not be known" if first.truth == "unknown" else "was false"
        values = f": {first.values}" if first.values else ""
        short = f", {first.short} away" if first.short else ""
        others = f", and {counted(len(failed) - 1, 'more term')}" if len(failed) > 1 else ""
        text = f"It did not fire. Nearest: {self._title(event)}. {first.text} {word}{values}{short}{others}."
        return Candidate("near_miss", text, event, looked=looked)

    async def begun(self, event: Event, looked: Looked) -> Candidate:
        """Return what became of an event on which the rule fires, or which arms it."""
        firing = ids.firing_id(event.tenant, self.rule.id, looked.key, (event.source, event.ref))
        stored = await self.books.reader.read(read_decision(firing, self.books.tenant))
        if stored is not None:
            return self._stored(event, looked, stored)
        if looked.outcome == "armed":
            return await self._waits(event, looked)
        if not await self.books.reader.read(_decided(event)):
            return Candidate(
                "not_decided", f"{self._title(event)}: it has arrived, and is not decided yet.", event,
                head="not decided yet",
            )  # fmt: skip
        text = (
            f"It fires by the rules in force now, and no firing is stored. {self._title(event)}: other rules were in "
            "force when it came, or it came too late."
        )
        head = "it fires by the rules in force now, and no firing is stored"
        return Candidate("not_fired", text, event, looked=looked, head=head)

    def _stored(self, event: Event, looked: Looked, stored: Stored) -> Candidate:
        messages = [one.message for one in stored.notices]
        state, verdict = says.verdict(messages, None if stored.run is None else stored.run.reason)
        reasons = [one for one in messages if one.reason is not None]
        kind: Kind = "told" if state == "sent" else "open" if state == "flit" else "not_told"
        text = f"{verdict}. {self._title(event)}."
        if kind == "not_told" and reasons:
            text = f"{verdict}. {says.sentence(reasons[0].reason, reasons[0].state)} {self._title(event)}."
        name = stored.firing_id if stored.run is None else stored.run.run_id
        return Candidate(kind, text, event, decision=name, looked=looked, head=verdict[:1].lower() + verdict[1:])

    async def _waits(self, event: Event, looked: Looked) -> Candidate:
        operator = self.rule.operator
        assert isinstance(operator, MissingOperator), "only such a rule is armed"
        k = ids.state_key(event.tenant, self.rule.state_class, looked.key)
        kept, read = await self.books.reader.read(_state(k, self.rule.topics))
        state = kept.state or {}
        armed = state.get("armed")
        awaited = says.listed(list(dict.fromkeys(one.type for one in operator.expect)), "or")
        off = await self._off(event)
        closer = await self._closer(event, looked, operator)
        if armed is not None and armed["order"][3] == event.ref:
            due = armed["due"]
            # It waits in the buffer until none can come any more that happened before it.
            if closer is not None and closer.occurred_at <= due:
                return self._ended(event, looked, closer, operator)
            if due > self.books.now():
                head = f"it tells on {moment(due)} unless {awaited} comes{off}"
                text = f"It waits. {self._title(event)}: {head}."
            else:
                head = f"its deadline passed on {moment(due)}, and it decides next"
                text = (
                    f"Its deadline passed on {moment(due)}. It decides once every topic it reads has been read up to "
                    f"then{self._behind(read)}."
                )
            return Candidate("waiting", text, event, looked=looked, until=due, head=head)
        if closer is not None:
            return self._ended(event, looked, closer, operator)
        if kept.waits:
            late = render_duration(operator.allowed_lateness)
            tells = "" if looked.until is None else f" it tells on {moment(looked.until)} unless {awaited} comes;"
            text = (
                f"It waits. {self._title(event)}:{tells} for {late} events that happened before it may still come{off}."
            )
            head = f"it waits, and{tells.rstrip(';')}{off}" if tells else "it waits for what may still come"
            return Candidate("waiting", text, event, looked=looked, until=looked.until, head=head)
        text = f"{self._title(event)}: it waited, and waits no more; what ended that is not kept any more."
        return Candidate("ended", text, event, looked=looked, head="it waited, and waits no more")

    async def _off(self, event: Event) -> str:
        """Return what is to be said beside a promise to tell, where the customer wants nothing of this topic now."""
        topic, customer = self.rule.topic, self.books.archive.customer_of(event)
        notice = None if topic is None else self.rules.notice_topics.get(topic)
        if (
            topic is None
            or customer is None
            or self.rule.to.kind != "customer"
            or (notice is not None and notice.locked)
        ):
            return ""
        who = (event.tenant, f"customer:{customer}")
        person = resolve(self.rules, who, await self.books.reader.read(lambda: people_of(who)))
        return ", but they have switched this topic off" if person.has_switched_off(topic) else ""

    @staticmethod
    def _behind(read: dict[str, Micros | None]) -> str:
        oldest = min(read.items(), key=lambda one: one[1] or 0, default=None)
        if oldest is None:
            return ""
        return f"; {oldest[0]} was last read at {'no time' if oldest[1] is None else moment(oldest[1])}"

    async def _closer(self, event: Event, looked: Looked, operator: MissingOperator) -> Event | None:
        """Return what ends the wait of a key: of its events the first that closes after the arming."""
        closing = (*operator.expect, *operator.cancel_on)
        around = await self.books.archive.about(str(looked.key[0]), {one.type for one in closing}, limit=AROUND)
        found = [
            one
            for one in around
            if operator.key(one) == looked.key
            and (operator.once or one.occurred_at >= event.occurred_at)
            and any(matcher.matches(one, self.rule.params) for matcher in closing)
        ]
        return min(found, key=lambda one: one.occurred_at, default=None)

    def _ended(self, event: Event, looked: Looked, closer: Event, operator: MissingOperator) -> Candidate:
        after = closer.occurred_at - event.occurred_at
        when = f"{render_duration(after // MINUTE * MINUTE)} later" if after >= 0 else "before it"
        spare = ""
        if looked.until is not None and closer.occurred_at <= looked.until:
            spare = f", {render_duration((looked.until - closer.occurred_at) // MINUTE * MINUTE)} before its deadline"
        came = closer.type in {one.type for one in operator.expect}
        word = "was followed by" if came else "was cancelled by"
        text = f"It never fired. Nearest: {self._title(event)} {word} {closer.type} {when}{spare}."
        head = f"it never fired, for the event {word} {closer.type} {when}{spare}"
        return Candidate("in_time" if came else "ended", text, event, looked=looked, head=head)


def _state(k: bytes, topics: Sequence[str]) -> Body[tuple[Kept, dict[str, Micros | None]]]:
    def body() -> Transaction[tuple[Kept, dict[str, Micros | None]]]:
        row = (yield Read("state", [(k,)])).get((k,))
        read: dict[str, Micros | None] = {}
        for topic in topics:
            times = []
            for source in (yield Find("sources", "by_topic", (READER, topic))):
                known = [at for at in (source["max_time"], source["caught_up_at"]) if at is not None]
                times.append(max(known, default=None))
            read[topic] = None if not times or None in times else min(at for at in times if at is not None)
        return Kept.read(None if row is None else row["value"]), read

    return body


def _decided(event: Event) -> Body[bool]:
    """Return the body that says whether detection has read the place of an event."""

    def body() -> Transaction[bool]:
        place = (READER, event.topic, event.partition)
        row = (yield Read("sources", [place])).get(place)
        return row is not None and row["next_offset"] > event.offset

    return body


def _known(who: tuple[str, str]) -> Body[dict[str, Any] | None]:
    def body() -> Transaction[dict[str, Any] | None]:
        row = (yield Read("recipients", [who])).get(who)
        found: dict[str, Any] | None = None if row is None else canonical.loads(row["profile"])
        return found or None

    return body
