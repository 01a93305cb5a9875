"""What each line of a rule did: its own conditions asked again of the newest events, and what is stored of its firings."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from handlers.operators.event import EventOperator
from handlers.operators.missing import MissingOperator
from streams.explaining.books import Books
from streams.explaining.near import Near, closest, is_near, near
from streams.explaining.says import NAMED, brief
from streams.explaining.source import Source, read_files, source_of
from streams.explaining.terms import Looked, look
from streams.wording import counted
from tidings import ids
from tidings.event import Event, Micros
from tidings.message import Message, read_message
from tidings.ports import Body, Find, FindEach, Transaction
from tidings.reasons import MessageState
from tidings.rule import Matcher, Rule

NEWEST = 2_000
"""Events of the rule's types that are looked at."""
NEWEST_READING = 50
"""The same of a rule that reads other entities: each costs a look of its own."""
IN_A_ROW = 5
BREATH = 0.001
"""Seconds after so many events in a row: a page that is asked meanwhile is done in one or two of them."""
FIRINGS = 300
"""Firings whose messages are counted."""
CLOSEST = 5
ARMED = 1_000
"""Waiting keys that are counted."""


@dataclass(frozen=True)
class Did:
    """What a rule did with the newest events."""

    rule_set: str
    rule: Rule
    events: int
    limit: int
    since: Micros | None
    """Time of the oldest event that was looked at."""
    at: Micros
    """When this was counted."""
    fired: int
    told: int
    """Firings of which a message left."""
    waiting: int
    more_waiting: bool
    next_due: Micros | None
    source: Source | None
    lines: Mapping[int, str]
    """By number of the line: what it did."""
    outcomes: Mapping[str, int]
    """Messages by `state` or `state: reason`, of the firings that were looked at."""
    misses: Sequence[tuple[str, int, int]] = ()
    """Terms that were not true: the term, how often, of how many events."""
    near: Sequence[Near] = ()
    """The newest events that one term alone kept from firing."""
    closest: Sequence[Near] = ()
    """Those that came closest to their limit; where it is none, the newest."""
    nearly: int = 0
    """How many there were of these."""

    @property
    def bounded(self) -> bool:
        """Whether there may be older events that were not looked at."""
        return self.events >= self.limit

    @property
    def base(self) -> str:
        """Of what the figures are."""
        of = "the newest " if self.bounded else "all "
        return f"of {of}{counted(self.events, 'event')} that it reads"


async def did(books: Books, rule: Rule, rule_set: str) -> Did:
    """Count what a rule did. It looks at every event again: do it beside the page, and keep it."""
    limit = NEWEST_READING if rule.reads else NEWEST
    events = await books.archive.newest(rule.types, limit)
    looked = []
    for number, event in enumerate(events):
        seen = await books.archive.beside(rule, event)
        looked.append((seen, look(rule, seen)))
        if number % IN_A_ROW == 0:
            await asyncio.sleep(BREATH)  # whoever else lives in this loop has work to do
    begun = [(event, one) for event, one in looked if one.outcome in ("fired", "armed")]
    firings = [
        ids.firing_id(event.tenant, rule.id, one.key, (event.source, event.ref)) for event, one in begun[:FIRINGS]
    ]
    found = await books.reader.read(_messages(firings))
    waiting = await books.reader.read(_waiting(rule))
    source = source_of(rule, await books.reader.read(read_files(rule_set)))
    told = sum(any(m.state is MessageState.ACCEPTED for m in some) for some in found.values())
    messages = [message for some in found.values() for message in some]
    lines = {} if source is None else _lines(rule, source, looked, messages, len(found), waiting[0])
    outcomes = Counter(_outcome(message) for message in messages if message.role == "notice")
    times = [event.occurred_at for event in events]
    misses = [(event, one) for event, one in looked if is_near(rule, event, one)]
    return Did(
        rule_set, rule, len(events), limit, min(times, default=None), books.now(), len(found), told, waiting[0], waiting[1],
        waiting[2], source, lines, outcomes, _misses([one for _, one in looked]),
        near(books, rule, (event for event, _ in misses)), near(books, rule, closest(misses), CLOSEST), len(misses),
    )  # fmt: skip


def _outcome(message: Message) -> str:
    if message.is_open:
        return "in flight"
    word = "sent" if message.state is MessageState.ACCEPTED else str(message.state)
    return f"{word}: {brief(message.reason)}" if message.reason else word


def _misses(looked: Sequence[Looked]) -> list[tuple[str, int, int]]:
    """Return which terms failed how often, the most frequent first."""
    asked: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for one in looked:
        for part in one.parts:
            asked[part.text] += 1
            failed[part.text] += part.truth != "true"
    return [(text, number, asked[text]) for text, number in failed.most_common(5) if number]


def _lines(
    rule: Rule,
    source: Source,
    looked: Sequence[tuple[Event, Looked]],
    messages: Sequence[Message],
    fired: int,
    waiting: int,
) -> dict[int, str]:
    said: dict[int, list[str]] = {}

    def at(place: str, text: str) -> None:
        line = source.places.get(place)
        if line is not None and text not in said.setdefault(line, []):
            said[line].append(text)

    operator = rule.operator
    if isinstance(operator, EventOperator):
        mine = [one for event, one in looked if event.type == operator.matcher.type]
        holds = sum(one.outcome == "fired" for one in mine)
        at("when.event", f"{len(mine):,} came")
        if "when.if" in source.places or not operator.changed:
            passed = f"{holds:,} of {len(mine):,} passed" if mine else "none came"
            at("when.if" if "when.if" in source.places else "when", passed)
        at("when.changed", f"{_part(mine, 'changed'):,} changed")
        at("stop_on", f"{sum(one.outcome == 'stopped' for _, one in looked):,} took it back")
    elif isinstance(operator, MissingOperator):
        _of_missing(operator, looked, at, fired, waiting)
    for number, step in enumerate(rule.steps):
        some = [m for m in messages if m.role == "notice" and m.step == number]
        at(f"then.{number}", _step(some, NAMED.get(step.channel, step.channel)))
    for number, _ in enumerate(rule.on_stop):
        some = [m for m in messages if m.role != "notice" and m.step == number]
        at(f"on_stop.{number}", f"{sum(m.state is MessageState.ACCEPTED for m in some):,} sent")
    held = Counter(m.reason for m in messages if m.reason is not None and m.role == "notice")
    at("policy", ", ".join(f"{n:,} {brief(r)}" for r, n in held.most_common(3) if r in ("quiet_hours", "no_consent")))
    at("topic", f"{held['topic_off']:,} switched off" if held["topic_off"] else "")
    at("status", f"{held['shadow']:,} kept back" if held["shadow"] else "")
    at("to", f"{held['unknown_customer']:,} unknown" if held["unknown_customer"] else "")
    at("expires", f"{sum(m.state is MessageState.EXPIRED for m in messages):,} too late")
    return {line: ", ".join(one for one in texts if one) for line, texts in said.items() if any(texts)}


def _of_missing(
    operator: MissingOperator, looked: Sequence[tuple[Event, Looked]], at: Callable[[str, str], None], fired: int, waiting: int
) -> None:  # fmt: skip
    def number(matchers: Sequence[Matcher], *outcomes: str) -> int:
        types = {one.type for one in matchers}
        return sum(event.type in types and one.outcome in outcomes for event, one in looked)

    armed, seen = number([operator.after], "armed"), number([operator.after], "armed", "no_match", "null_key")
    at("when.missing.after", f"{armed:,} of {seen:,} armed it" if seen else "none came")
    at("when.missing.expect", f"{number(operator.expect, 'disarmed'):,} came")
    at("when.missing.cancel_on", f"{number(operator.cancel_on, 'disarmed'):,} cancelled")
    at("when.missing.reschedule_on", f"{number(operator.reschedule_on, 'rescheduled'):,} moved")
    at("when.missing.deadline", f"{fired:,} passed it, {waiting:,} wait")


def _part(looked: Sequence[Looked], word: str) -> int:
    return sum(any(word in part.text and part.truth == "true" for part in one.parts) for one in looked)


def _step(messages: Sequence[Message], name: str) -> str:
    sent = sum(m.state is MessageState.ACCEPTED for m in messages)
    open_ = sum(m.is_open for m in messages)
    parts = [f"{sent:,} sent", *([f"{open_:,} wait"] if open_ else [])]
    other = Counter(str(m.state) for m in messages if not m.is_open and m.state is not MessageState.ACCEPTED)
    return (
        ", ".join([*parts, *(f"{n:,} {state}" for state, n in other.most_common(2))]) if messages else f"no {name} yet"
    )


def _messages(firings: Sequence[str]) -> Body[dict[str, list[Message]]]:
    """Return the body that reads the messages of the firings that there are."""

    def body() -> Transaction[dict[str, list[Message]]]:
        if not firings:
            return {}
        records = yield FindEach("records", "by_firing", [(one,) for one in dict.fromkeys(firings)], limit=1)
        found: dict[str, list[Message]] = {name: [] for (name,), rows in records.items() if rows}
        runs = (yield FindEach("runs", "by_firing", [(one,) for one in found], limit=10)) if found else {}
        firing_of = {run["run_id"]: name for (name,), rows in runs.items() for run in rows}
        told = (yield FindEach("messages", "by_run", [(one,) for one in firing_of])) if firing_of else {}
        for (run,), rows in told.items():
            found[firing_of[run]] += map(read_message, rows)
        return found

    return body


def _waiting(rule: Rule) -> Body[tuple[int, bool, Micros | None]]:
    """Return the body that counts the keys of a rule with a timer; of those that remember a firing as well, the armed."""

    def body() -> Transaction[tuple[int, bool, Micros | None]]:
        if not isinstance(rule.operator, MissingOperator):
            return 0, False, None
        rows = yield Find("state", "by_due", (rule.state_class,), limit=ARMED)
        armed = [row["due"] for row in rows if b'"armed"' in (row["value"] or b"")]
        return len(armed), len(rows) == ARMED, min(armed, default=None)

    return body
