"""What became of the messages of a firing, with what they say: written again from the rule set that decided them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streams.explaining.because import because
from streams.explaining.books import Books
from streams.explaining.stops import read_stops
from streams.explaining.stored import people_of, with_attempts
from streams.explaining.whom import content_of
from streams.processors.dispatch import resolve
from tidings.event import Micros
from tidings.message import Message, read_message
from tidings.person import Person
from tidings.ports import Body, Find, Row, Transaction
from tidings.stops import Stops

Rows = dict[tuple[str, ...], Row | None]


@dataclass(frozen=True)
class Became:
    """A message, for whom it is, what it says, and its last attempt."""

    message: Message
    person: Person
    content: Mapping[str, Any]
    attempt: Row | None
    because: str
    """Why it is where it is, in a sentence; empty where there is nothing to say."""


async def became(books: Books, firing: str) -> list[Became]:
    """Return the messages of a firing, of all its runs."""
    return [await _became(books, one) for one in await books.reader.read(_messages(firing))]


async def became_of(books: Books, message: Message) -> Became:
    """Return what became of one message."""
    return await _became(books, await books.reader.read(lambda: _read(message)))


@dataclass(frozen=True)
class _Stored:
    """A message as it is stored, with what hangs on it."""

    message: Message
    rows: Rows
    attempt: Row | None
    ended_at: Micros | None
    stops: Stops


async def _became(books: Books, one: _Stored) -> Became:
    message, now = one.message, books.now()
    rules = await books.pinned(str(message.body["rule_set"]))
    if rules is None:  # an old set that this version does not read: what it said is not shown
        stranger = Person(message.tenant, message.recipient, known=False)
        return Became(message, stranger, {}, one.attempt, because(message, one.ended_at, one.stops, now))
    person = resolve(rules, (message.tenant, message.recipient), one.rows)
    why = because(
        message, one.ended_at, one.stops, now, rule=rules.by_id.get(message.rule), zone=person.timezone
    )  # fmt: skip
    return Became(message, person, content_of(books.render, rules, message, person), one.attempt, why)


def _read(message: Message) -> Transaction[_Stored]:
    sent = yield from with_attempts(message)
    rows = yield from people_of((message.tenant, message.recipient))
    attempt = sent.attempts[-1] if sent.attempts and sent.attempts[-1]["no"] == message.attempt else None
    stops = Stops() if message.reason is None else (yield from read_stops())
    return _Stored(message, rows, attempt, sent.ended_at, stops)


def _messages(firing: str) -> Body[list[_Stored]]:
    def body() -> Transaction[list[_Stored]]:
        found = []
        for run in (yield Find("runs", "by_firing", (firing,))):
            for row in (yield Find("messages", "by_run", (run["run_id"],))):
                found.append((yield from _read(read_message(row))))  # noqa: PERF401 - a comprehension cannot yield
        return found

    return body
