"""Redrive: what went to the dead letters becomes new intake, and is marked in the same transaction.

By the process that owns the file: itself, or the running engine through its socket (`streams.control`). Nothing is
redriven twice, whatever crashes between the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streams.embedded_log import Append, append
from streams.processors.audit import audit
from tidings.ports import Body, Now, Put, Read, Transaction


@dataclass(frozen=True, slots=True)
class Redriven:
    """A dead letter, by its key in `dead_letters`, and the records that it becomes now."""

    place: tuple[str, str, int, int]
    appends: tuple[Append, ...]


def redrive(letters: Sequence[Redriven]) -> Body[int]:
    """Return the body that appends and marks; its result: how many letters, without those that were marked before."""

    def body() -> Transaction[int]:
        rows = yield Read("dead_letters", [letter.place for letter in letters])
        fresh = {place for place, row in rows.items() if row["redriven_at"] is None}
        todo = [letter for letter in letters if letter.place in fresh]
        if not todo:
            return 0
        yield from append([record for letter in todo for record in letter.appends])()
        now = yield Now()
        yield Put("dead_letters", [{**rows[letter.place], "redriven_at": now} for letter in todo])
        return len(todo)

    return body


def set_aside(places: Sequence[tuple[str, str, int, int]], who: str, reason: str) -> Body[int]:
    """Return the body that marks letters as not to be taken in again; its result: how many were not marked before."""

    def body() -> Transaction[int]:
        rows = yield Read("dead_letters", list(places))
        fresh = [row for row in rows.values() if row["redriven_at"] is None and row["aside_at"] is None]
        if fresh:
            now = yield Now()
            yield Put("dead_letters", [{**row, "aside_at": now} for row in fresh], only=("aside_at",))
            named = sorted({(row["topic"], row["partition"], row["offset"]) for row in fresh})
            yield from audit("dead-letters set aside", who, {"letters": [list(one) for one in named], "reason": reason})
        return len({(row["topic"], row["partition"], row["offset"]) for row in fresh})

    return body


def marked(letters: Sequence[Redriven], who: str, reason: str) -> Body[int]:
    """Return the body that marks letters whose records were published; its result as that of `redrive`."""

    def body() -> Transaction[int]:
        rows = yield Read("dead_letters", [letter.place for letter in letters])
        fresh = [row for row in rows.values() if row["redriven_at"] is None]
        if fresh:
            now = yield Now()
            yield Put("dead_letters", [{**row, "redriven_at": now} for row in fresh], only=("redriven_at",))
            yield from _written(who, reason, [letter.place for letter in letters])
        return len(fresh)

    return body


def redrive_by_person(letters: Sequence[Redriven], who: str, reason: str) -> Body[int]:
    """Return `redrive` with its row in the audit."""

    def body() -> Transaction[int]:
        done = yield from redrive(letters)()
        if done:
            yield from _written(who, reason, [letter.place for letter in letters])
        return done

    return body


def _written(who: str, reason: str, places: Sequence[tuple[str, str, int, int]]) -> Transaction[None]:
    named = sorted({place[1:] for place in places})
    yield from audit("dead-letters redrive", who, {"letters": [list(one) for one in named], "reason": reason})


def to_json(append: Append) -> list[Any]:
    """Return a record as one line of JSON carries it."""
    headers = [[name, value.hex()] for name, value in append.headers]
    key, value = (None if raw is None else raw.hex() for raw in (append.key, append.value))
    return [append.topic, key, value, headers, append.partition]


def from_json(row: Sequence[Any]) -> Append:
    """Return the record that `to_json` wrote.

    Raises:
        ValueError, TypeError: it is none.
    """
    topic, key, value, headers, partition = row
    if not isinstance(topic, str) or type(partition) is not int:
        raise TypeError("a record has a topic and a partition")
    raw = [None if one is None else bytes.fromhex(one) for one in (key, value)]
    return Append(topic, raw[0], raw[1], tuple((str(name), bytes.fromhex(one)) for name, one in headers), partition)


def letters_to_json(letters: Sequence[Redriven]) -> list[Any]:
    """Return letters as one line of JSON carries them."""
    return [{"place": list(one.place), "appends": [to_json(each) for each in one.appends]} for one in letters]


def letters_from_json(rows: Sequence[Mapping[str, Any]]) -> list[Redriven]:
    """Return what `letters_to_json` wrote.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """
    found = []
    for row in rows:
        reader, topic, partition, offset = row["place"]
        if type(partition) is not int or type(offset) is not int:
            raise TypeError("a place ends with two numbers")
        place = (str(reader), str(topic), partition, offset)
        found.append(Redriven(place, tuple(from_json(each) for each in row["appends"])))
    return found
