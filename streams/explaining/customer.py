"""One customer: how they are reached, what they have chosen, what is still to come for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streams.explaining.books import Books
from streams.explaining.candidate import Candidate
from streams.explaining.stored import people_of
from streams.explaining.veil import masked
from streams.explaining.whom import since_of
from streams.explaining.why_not import still_waiting
from streams.processors.dispatch import resolve
from tidings.event import DAY, Micros
from tidings.message import Message, read_message
from tidings.person import PROFILE_ADDRESS, Person
from tidings.ports import Body, Find, Row, Transaction
from tidings.rule import RuleSet

OPEN = 50
"""Messages still to come that are shown."""
BACK: Micros = 30 * DAY
"""How far back events are looked at for absences that wait."""


@dataclass(frozen=True, slots=True)
class Reach:
    """One way to somebody; the address is masked."""

    channel: str
    shown: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody said about a topic or a class of consent."""

    name: str
    sentence: str
    state: str
    """`yes`, `no`, `unsaid`, `locked`"""
    says: str
    since: Micros | None = None


@dataclass(frozen=True)
class Customer:
    """What a page shows of somebody."""

    name: str
    person: Person
    linked_to: str | None
    reach: Sequence[Reach]
    topics: Sequence[Choice]
    consents: Sequence[Choice]
    open: Sequence[Message]
    waiting: Sequence[Candidate]


async def customer(books: Books, name: str) -> Customer:
    """Return what is known of a customer, or of a foreign id; of one of whom nothing is known as well."""
    rules = await books.active()
    who = (books.tenant, f"customer:{name}")
    rows, messages = await books.reader.read(_read(who))
    person = resolve(rules, who, rows)
    since = since_of(rows)
    linked = None if person.recipient == who[1] else person.recipient.partition(":")[2]
    return Customer(
        name, person, linked, _reach(person), _topics(rules, person, since), _consents(rules, person, since),
        messages, await still_waiting(books, name, since=books.now() - BACK),
    )  # fmt: skip


def _read(who: tuple[str, str]) -> Body[tuple[dict[tuple[str, ...], Row | None], list[Message]]]:
    def body() -> Transaction[tuple[dict[tuple[str, ...], Row | None], list[Message]]]:
        rows = yield from people_of(who)
        found = yield Find("messages", "by_recipient", (*who, 1), limit=OPEN)
        messages = [read_message(row) for row in found]
        return rows, sorted(messages, key=lambda one: (one.due_at or one.created_at, one.message_id))

    return body


def _reach(person: Person) -> list[Reach]:
    found = []
    for channel in PROFILE_ADDRESS:
        address = person.address(channel)
        gone = address is not None and person.gone.get(channel) == address
        note = "takes nothing from us any more" if gone else ""
        found.append(Reach(channel, masked(address) if address else "none known", note))
    found.append(Reach("push", "the app of this customer" if person.known else "none known"))
    return found


def _topics(rules: RuleSet, person: Person, since: dict[str, Micros]) -> list[Choice]:
    found = []
    for name, topic in sorted(rules.notice_topics.items()):
        if topic.locked:
            found.append(Choice(name, topic.sentence, "locked", "always told"))
            continue
        off = [one for one in person.preferences if one.startswith(f"{name}/") and not person.preferences[one]]
        wanted = person.preferences.get(name, True)
        says = "on" if wanted else "switched off"
        if wanted and off:
            says = f"off for {', '.join(one.partition('/')[2] for one in off)}"
        at = max((since[f"topic:{one}"] for one in (name, *off) if f"topic:{one}" in since), default=None)
        found.append(Choice(name, topic.sentence, "yes" if wanted and not off else "no", says, at))
    return found


def _consents(rules: RuleSet, person: Person, since: dict[str, Any]) -> list[Choice]:
    classes = {rule.consent for rule in rules.active if rule.to.kind == "customer"} | set(person.consent)
    found = []
    for name in sorted(classes):
        given = person.consent.get(name)
        word = "service messages" if name == "transactional" else name
        if given is None:
            says = "go unless withdrawn" if name == "transactional" else "never asked"
            state = "yes" if name == "transactional" else "unsaid"
        else:
            says, state = ("given", "yes") if given else ("withdrawn", "no")
        found.append(Choice(name, word, state, says, since.get(f"consent:{name}")))
    return found
