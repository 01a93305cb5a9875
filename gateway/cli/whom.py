"""Whom a message is for, and what it says to them: read beside the engine, for those who ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from streams.processors.dispatch import resolve
from tidings.message import Message
from tidings.person import Person
from tidings.ports import Body, Read, Row, Transaction
from tidings.rule import RuleSet


def person_of(rules: RuleSet, message: Message) -> Body[Person]:
    """Return the body that reads the person behind a message: the customer to whom a foreign id is linked, the team."""

    def body() -> Transaction[Person]:
        who = (message.tenant, message.recipient)
        rows: dict[tuple[str, ...], Row | None] = {who: None, **(yield Read("recipients", [who]))}
        row = rows[who]
        if row is not None and row["linked_to"] is not None:
            rows.update((yield Read("recipients", [(message.tenant, row["linked_to"])])))
        return resolve(rules, who, rows)

    return body


def content_of(
    render: Callable[[RuleSet, Message, Person], Mapping[str, Any]], rules: RuleSet, message: Message, person: Person
) -> Mapping[str, Any]:
    """Return what a message says; nothing where it cannot be written, which is told when it fails."""
    try:
        return render(rules, message, person)
    except ValueError:
        return {}
