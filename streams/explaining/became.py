"""What became of the messages of a firing, with what they say: written again from the rule set that decided them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streams.explaining.books import Books
from streams.explaining.stored import people_of
from streams.explaining.whom import content_of
from streams.processors.dispatch import resolve
from tidings.message import Message, read_message
from tidings.person import Person
from tidings.ports import Body, Find, Read, Row, Transaction

Rows = dict[tuple[str, ...], Row | None]


@dataclass(frozen=True)
class Became:
    """A message, for whom it is, what it says, and its last attempt."""

    message: Message
    person: Person
    content: Mapping[str, Any]
    attempt: Row | None


async def became(books: Books, firing: str) -> list[Became]:
    """Return the messages of a firing, of all its runs."""
    return [await _became(books, *found) for found in await books.reader.read(_messages(firing))]


async def became_of(books: Books, message: Message) -> Became:
    """Return what became of one message."""

    def body() -> Transaction[tuple[Rows, Row | None]]:
        rows = yield from people_of((message.tenant, message.recipient))
        place = (message.message_id, message.attempt)
        return rows, (yield Read("attempts", [place])).get(place)

    return await _became(books, message, *(await books.reader.read(body)))


async def _became(books: Books, message: Message, rows: Rows, attempt: Row | None) -> Became:
    rules = await books.pinned(str(message.body["rule_set"]))
    if rules is None:  # an old set that this version does not read: what it said is not shown
        return Became(message, Person(message.tenant, message.recipient, known=False), {}, attempt)
    person = resolve(rules, (message.tenant, message.recipient), rows)
    return Became(message, person, content_of(books.render, rules, message, person), attempt)


def _messages(firing: str) -> Body[list[tuple[Message, Rows, Row | None]]]:
    def body() -> Transaction[list[tuple[Message, Rows, Row | None]]]:
        found = []
        for run in (yield Find("runs", "by_firing", (firing,))):
            for row in (yield Find("messages", "by_run", (run["run_id"],))):
                message = read_message(row)
                rows = yield from people_of((message.tenant, message.recipient))
                place = (message.message_id, message.attempt)
                found.append((message, rows, (yield Read("attempts", [place])).get(place)))
        return found

    return body
