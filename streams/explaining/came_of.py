"""What became of events on which rules fire, or which arm them: of all that are asked about at once, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from handlers.operators.missing import MissingOperator
from handlers.rules.conditions.interpret import render_duration
from streams.explaining import says
from streams.explaining.because import because
from streams.explaining.books import Books
from streams.explaining.candidate import Candidate, Kind
from streams.explaining.seen import sentence_of
from streams.explaining.stops import read_stops, too_late
from streams.explaining.stored import MESSAGES, people_of
from streams.explaining.terms import Looked
from streams.explaining.veil import over
from streams.processors.catalogue import words_of
from streams.processors.detect import READER
from streams.processors.dispatch import resolve
from streams.wording import moment
from tidings import ids
from tidings.contract import Contract
from tidings.correction import NOTICE
from tidings.event import MINUTE, Event, Micros
from tidings.message import read_message
from tidings.ports import Body, FindEach, Read, Row, Transaction
from tidings.reasons import MessageState
from tidings.rule import Rule, RuleSet
from tidings.state import Kept
from tidings.stops import Stops

AROUND = 50
"""Events of one key that are looked at for what ended its wait."""
STOPPABLE = (MessageState.HELD, MessageState.EXPIRED, MessageState.CANCELLED)
"""States of messages that a stop may hold, or have held until they ended."""
Who = tuple[str, str]


@dataclass(frozen=True)
class Beginning:
    """An event on which a rule fires, or which arms it, by the rules in force now."""

    rule: Rule
    event: Event
    looked: Looked

    @property
    def firing_id(self) -> str:
        """The firing's id, if there is one."""
        return ids.firing_id(
            self.event.tenant, self.rule.id, self.looked.key, (self.event.source, self.event.ref)
        )  # fmt: skip

    @property
    def state_key(self) -> bytes:
        """Where the state of its key stands."""
        return ids.state_key(self.event.tenant, self.rule.state_class, self.looked.key)

    @property
    def is_armed(self) -> bool:
        """Whether it waits for something."""
        return self.looked.outcome == "armed"


@dataclass(frozen=True)
class Past:
    """What the store has of some beginnings."""

    runs: Mapping[str, Row]
    """By firing: the first run."""
    messages: Mapping[str, Sequence[Row]]
    """By run."""
    undispatched: frozenset[str]
    """Firings that wait for their recipient's pass."""
    states: Mapping[bytes, Kept]
    sources: Mapping[str, Sequence[Row]]
    """By topic: how far detection has read."""
    people: Mapping[Who, Mapping[tuple[str, ...], Row | None]]
    ended: Mapping[str, Micros]
    """By message: when it ended, where that is known."""
    stops: Stops

    def has_read(self, event: Event) -> bool:
        """Return whether detection has read the place of an event."""
        rows = self.sources.get(event.topic, ())
        return any(row["partition"] == event.partition and row["next_offset"] > event.offset for row in rows)

    def behind(self, topics: Sequence[str]) -> str:
        """Return which of some topics is furthest behind, as words; nothing where there are none."""
        read: dict[str, Micros | None] = {}
        for topic in topics:
            times = []
            for source in self.sources.get(topic, ()):
                known = [at for at in (source["max_time"], source["caught_up_at"]) if at is not None]
                times.append(max(known, default=None))
            read[topic] = None if not times or None in times else min(at for at in times if at is not None)
        oldest = min(read.items(), key=lambda one: one[1] or 0, default=None)
        if oldest is None:
            return ""
        return f"; {oldest[0]} was last read at {'no time' if oldest[1] is None else moment(oldest[1])}"


async def came_of(books: Books, rules: RuleSet, beginnings: Sequence[Beginning]) -> list[Candidate]:
    """Return what became of each."""
    if not beginnings:
        return []
    whom = [_may_have_switched_off(books, rules, one) if one.is_armed else None for one in beginnings]
    past = await books.reader.read(_read(books.tenant, beginnings, sorted({one for one in whom if one is not None})))
    open_ = [one for one in beginnings if one.is_armed and not _is_stored(past, one)]
    around = await _around(books, open_)
    found = []
    for one, who in zip(beginnings, whom, strict=True):
        told = _Told(books, rules, one, past, who)
        if _is_stored(past, one):
            found.append(told.stored())
        elif one.is_armed:
            found.append(told.waits(around.get(str(one.looked.key[0]), ())))
        else:
            found.append(told.unstored())
    return found


def title_of(books: Books, event: Event) -> str:
    """Return what an event says, of what, and when."""
    contract = books.archive.by_type.get(event.type)
    title = event.type if contract is None else sentence_of(contract)
    key = about_of(event, contract)
    named = f" ({key})" if key is not None else ""
    return f"{title}{named} on {moment(event.occurred_at)}"


def unfired(books: Books, event: Event) -> str:
    """Return that a rule did not fire for this event: beside it stands perhaps that it did for another."""
    key = about_of(event, books.archive.by_type.get(event.type))
    return f"For {'this event' if key is None else key} it did not fire: {title_of(books, event)}"


def about_of(event: Event, contract: Contract | None) -> str | None:
    """Return what an event is about beside the customer: its subject, or the first of its ids that is not personal."""
    if event.subject:
        return event.subject
    hidden = over({}, contract)
    named = (
        value
        for name, value in event.data.items()
        if name.endswith("_id") and name != "customer_id" and not hidden.hides((name,))
    )
    return next((str(value) for value in named if value is not None), None)


def _is_stored(past: Past, one: Beginning) -> bool:
    return one.firing_id in past.runs or one.firing_id in past.undispatched


def _may_have_switched_off(books: Books, rules: RuleSet, one: Beginning) -> Who | None:
    """Return whose choice a promise to tell depends on."""
    topic, customer = one.rule.topic, books.archive.customer_of(one.event)
    notice = None if topic is None else rules.notice_topics.get(topic)
    if topic is None or customer is None or one.rule.to.kind != "customer" or (notice is not None and notice.locked):
        return None
    return one.event.tenant, f"customer:{customer}"


def _read(tenant: str, beginnings: Sequence[Beginning], whom: Sequence[Who]) -> Body[Past]:
    """Return the body that reads what is stored of beginnings."""
    firings = list(dict.fromkeys(one.firing_id for one in beginnings))
    keys = sorted({(one.state_key,) for one in beginnings if one.is_armed})
    topics = sorted({topic for one in beginnings for topic in (*one.rule.topics, one.event.topic)})

    def body() -> Transaction[Past]:
        found = yield FindEach("runs", "by_firing", [(one,) for one in firings], limit=1)
        runs = {name: rows[0] for (name,), rows in found.items() if rows and rows[0]["tenant"] == tenant}
        rest = [(one,) for one in firings if one not in runs]
        records = (yield FindEach("records", "by_firing", rest, limit=1)) if rest else {}
        told = [(run["run_id"],) for run in runs.values()]
        messages = (yield FindEach("messages", "by_run", told, limit=MESSAGES)) if told else {}
        states = (yield Read("state", keys)) if keys else {}
        sources = yield FindEach("sources", "by_topic", [(READER, topic) for topic in topics])
        people: dict[Who, Mapping[tuple[str, ...], Row | None]] = {}
        for who in whom:
            people[who] = yield from people_of(who)
        return Past(
            runs, {run: rows for (run,), rows in messages.items()},
            frozenset(name for (name,), rows in records.items() if rows and rows[0]["tenant"] == tenant),
            {k: Kept.read(row["value"]) for (k,), row in states.items()},
            {topic: rows for (_, topic), rows in sources.items()}, people, *(yield from _ended(messages.values())),
        )  # fmt: skip

    return body


def _ended(found: Iterable[Sequence[Row]]) -> Transaction[tuple[dict[str, Micros], Stops]]:
    """Read when messages ended that a stop may have held, and what was stopped; nothing where there are none."""
    mine = [m for rows in found for m in map(read_message, rows) if m.state in STOPPABLE]
    if not mine:
        return {}, Stops()
    places = {m.message_id: (ids.outbox_id(m.message_id, str(m.state), m.rev),) for m in mine}
    rows = yield Read("outbox", sorted(places.values()))
    ended = {name: rows[place]["at"] for name, place in places.items() if place in rows}
    return ended, (yield from read_stops())


async def _around(books: Books, beginnings: Sequence[Beginning]) -> dict[str, list[Event]]:
    """Return the newest events, by the first value of the key, that may have ended some waits."""
    types: set[str] = set()
    for one in beginnings:
        assert isinstance(one.rule.operator, MissingOperator), "only such a rule is armed"
        types |= {matcher.type for matcher in (*one.rule.operator.expect, *one.rule.operator.cancel_on)}
    found: dict[str, list[Event]] = {str(one.looked.key[0]): [] for one in beginnings}
    for event in await books.archive.about_each(list(found), types) if found else ():
        for word in words_of(event, books.archive.by_type[event.type]) & found.keys():
            found[word].append(event)
    return found


@dataclass(frozen=True)
class _Told:
    """One beginning, and what is stored of it."""

    books: Books
    rules: RuleSet
    begun: Beginning
    past: Past
    who: Who | None
    """Whose choice a promise to tell depends on."""

    @property
    def title(self) -> str:
        return title_of(self.books, self.begun.event)

    def stored(self) -> Candidate:
        run = self.past.runs.get(self.begun.firing_id)
        rows = [] if run is None else self.past.messages.get(run["run_id"], ())
        notices = sorted((row for row in rows if row["role"] == NOTICE), key=lambda row: int(row["step"]))
        messages = [read_message(row) for row in notices]
        now, stops, ended = self.books.now(), self.past.stops, self.past.ended
        late = [m.message_id for m in messages if too_late(m, ended.get(m.message_id), stops, now) is not None]
        state, verdict = says.verdict(messages, None if run is None else run["reason"], stopped=late)
        reasons = [one for one in messages if one.reason is not None]
        kind: Kind = "told" if state == "sent" else "open" if state == "flit" else "not_told"
        text = f"{verdict}. {self.title}."
        if kind == "not_told" and reasons:
            why = because(reasons[0], ended.get(reasons[0].message_id), stops, now, rule=self.begun.rule)
            text = f"{verdict}. {why} {self.title}."
        name = self.begun.firing_id if run is None else run["run_id"]
        return Candidate(
            kind, text, self.begun.event, decision=name, looked=self.begun.looked,
            head=verdict[:1].lower() + verdict[1:],
        )  # fmt: skip

    def unstored(self) -> Candidate:
        if not self.past.has_read(self.begun.event):
            text = f"{self.title}: it has arrived, and is not decided yet."
            return Candidate("not_decided", text, self.begun.event, head="not decided yet")
        text = (
            f"It fires by the rules in force now, and no firing is stored. {self.title}: other rules were in "
            "force when it came, or it came too late."
        )
        head = "it fires by the rules in force now, and no firing is stored"
        return Candidate("not_fired", text, self.begun.event, looked=self.begun.looked, head=head)

    def waits(self, around: Sequence[Event]) -> Candidate:
        event, looked, operator = self.begun.event, self.begun.looked, self.begun.rule.operator
        assert isinstance(operator, MissingOperator), "only such a rule is armed"
        kept = self.past.states.get(self.begun.state_key, Kept())
        armed = (kept.state or {}).get("armed")
        awaited = says.listed(list(dict.fromkeys(one.type for one in operator.expect)), "or")
        closer = self._closer(around, operator)
        if armed is not None and armed["order"][3] == event.ref:
            due = armed["due"]
            # It waits in the buffer until none can come any more that happened before it.
            if closer is not None and closer.occurred_at <= due:
                return self._ended(closer, operator)
            if due > self.books.now():
                head = f"it tells on {moment(due)} unless {awaited} comes{self._off()}"
                text = f"It waits. {self.title}: {head}."
            else:
                head = f"its deadline passed on {moment(due)}, and it decides next"
                text = (
                    f"Its deadline passed on {moment(due)}. It decides once every topic it reads has been read up to "
                    f"then{self.past.behind(self.begun.rule.topics)}."
                )
            return Candidate("waiting", text, event, looked=looked, until=due, head=head)
        if closer is not None:
            return self._ended(closer, operator)
        if kept.waits:
            late = render_duration(operator.allowed_lateness)
            off = self._off()
            tells = "" if looked.until is None else f" it tells on {moment(looked.until)} unless {awaited} comes;"
            text = f"It waits. {self.title}:{tells} for {late} events that happened before it may still come{off}."
            head = f"it waits, and{tells.rstrip(';')}{off}" if tells else "it waits for what may still come"
            return Candidate("waiting", text, event, looked=looked, until=looked.until, head=head)
        text = f"{self.title}: it waited, and waits no more; what ended that is not kept any more."
        return Candidate("ended", text, event, looked=looked, head="it waited, and waits no more")

    def _off(self) -> str:
        """Return what is to be said beside a promise to tell, where the customer wants nothing of this topic now."""
        if self.who is None or self.begun.rule.topic is None:
            return ""
        person = resolve(self.rules, self.who, dict(self.past.people[self.who]))
        return ", but they have switched this topic off" if person.has_switched_off(self.begun.rule.topic) else ""

    def _closer(self, around: Sequence[Event], operator: MissingOperator) -> Event | None:
        """Return what ends the wait of a key: of its events the first that closes after the arming."""
        closing = (*operator.expect, *operator.cancel_on)
        types = {one.type for one in closing}
        mine = [one for one in around if one.type in types][:AROUND]
        found = [
            one
            for one in mine
            if operator.key(one) == self.begun.looked.key
            and (operator.once or one.occurred_at >= self.begun.event.occurred_at)
            and any(matcher.matches(one, self.begun.rule.params) for matcher in closing)
        ]
        return min(found, key=lambda one: one.occurred_at, default=None)

    def _ended(self, closer: Event, operator: MissingOperator) -> Candidate:
        event, looked = self.begun.event, self.begun.looked
        after = closer.occurred_at - event.occurred_at
        when = f"{render_duration(after // MINUTE * MINUTE)} later" if after >= 0 else "before it"
        spare = ""
        if looked.until is not None and closer.occurred_at <= looked.until:
            spare = f", {render_duration((looked.until - closer.occurred_at) // MINUTE * MINUTE)} before its deadline"
        came = closer.type in {one.type for one in operator.expect}
        word = "was followed by" if came else "was cancelled by"
        text = f"{unfired(self.books, event)} {word} {closer.type} {when}{spare}."
        head = f"it did not fire, for the event {word} {closer.type} {when}{spare}"
        return Candidate("in_time" if came else "ended", text, event, looked=looked, head=head)
