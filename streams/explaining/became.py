"""What became of the messages of a firing, with what they say: written again from the rule set that decided them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    (found,) = await books.reader.read(lambda: _read([message]))
    return await _became(books, found)


@dataclass(frozen=True)
class _Stored:
    """A message as it is stored, with what hangs on it."""

    message: Message
    rows: Rows
    attempt: Row | None
    ended_at: Micros | None
    stops: Stops
    """Nothing where no reason could be one."""


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


def _read(messages: Sequence[Message]) -> Transaction[list[_Stored]]:
    found = []
    unsaid = all(message.reason is None for message in messages)
    stops = Stops() if unsaid else (yield from read_stops())
    for message in messages:
        sent = yield from with_attempts(message)
        rows = yield from people_of((message.tenant, message.recipient))
        attempt = sent.attempts[-1] if sent.attempts and sent.attempts[-1]["no"] == message.attempt else None
        found.append(_Stored(message, rows, attempt, sent.ended_at, Stops() if message.reason is None else stops))
    return found


def _messages(firing: str) -> Body[list[_Stored]]:
    def body() -> Transaction[list[_Stored]]:
        found: list[Message] = []
        for run in (yield Find("runs", "by_firing", (firing,))):
            found += map(read_message, (yield Find("messages", "by_run", (run["run_id"],))))
        return (yield from _read(found))

    return body
