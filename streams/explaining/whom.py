"""Whom a message is for, and what it says to them: read beside the engine, for those who ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from streams.processors.dispatch import resolve
from tidings import canonical
from tidings.event import Micros
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


def since_of(rows: Mapping[tuple[str, ...], Row | None]) -> dict[str, Micros]:
    """Return when a person said what they said about consent and topics, by `consent:CLASS` and `topic:NAME`."""
    found: dict[str, Micros] = {}
    for row in rows.values():
        body = {} if row is None else canonical.loads(row["profile"])
        for kind, section in (("consent", "consent"), ("topic", "preferences")):
            for name, entry in body.get(section, {}).items():
                found[f"{kind}:{name}"] = max(entry["v"][0], found.get(f"{kind}:{name}", 0))
    return found
