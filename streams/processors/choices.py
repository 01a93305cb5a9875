"""A customer's own word, given over HTTP: a row and a contract event, in force at the next send check.

Where the log is a table both are written in one transaction. On a cluster the event is durable in its topic before the
row is written, and the row before anybody is answered; if the row does not come to be, whoever reads the topic makes
it. Row and event have one version (time and reference), so that reading the event afterwards changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from streams.codec import Codec
from streams.embedded_log import Append, append
from streams.json_events import from_json, rfc3339
from streams.processors.deliver import lock_people
from streams.processors.people import heard
from tidings import canonical
from tidings.event import Event, Micros
from tidings.log import LogRecord
from tidings.person import read_person
from tidings.ports import Body, Now, Put, Read, Row, Store, StoreUnavailable, Transaction

TYPE = "customer.preference.changed"
SOURCE = "tidings/links"
TURNS = 5
"""Tries, where the customer's row changes under us each time."""

Publish = Callable[[Sequence[Append]], Awaitable[Any]]


class _Moved(Exception):
    """The row changed between our look and our lock."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Nothing of a topic any more, over no channel."""

    tenant: str
    customer: str
    topic: str

    @property
    def place(self) -> tuple[str, str]:
        """Key of the customer's row."""
        return (self.tenant, f"customer:{self.customer}")


@dataclass(frozen=True, slots=True)
class _Said:
    event: Event
    append: Append
    in_store: bool
    """Whether the log is a table of the store."""


def is_off(choice: Choice) -> Body[bool]:
    """Return the body that asks whether it is so already."""

    def body() -> Transaction[bool]:
        return (yield from _look(choice))[0]

    return body


async def switch_off(store: Store, codec: Codec, publish: Publish, choice: Choice) -> bool:
    """Switch a topic off for a customer, durably; False: it was off. The next intent finds it so.

    Raises:
        StoreUnavailable: it is not known to be in force; once more does no harm.
        BadContract: topic or customer are none that the contract takes.
    """
    for turn in range(TURNS):
        off, at, in_store = await store.read(_standing(codec, choice))
        if off:
            return False
        said = await _said(codec, choice, at, in_store=in_store)
        try:
            if not in_store:
                await publish([said.append])
            await store.run(_apply(choice, said), urgent=True)
        except _Moved:
            if turn == TURNS - 1:
                raise StoreUnavailable("the customer's row changes again and again") from None
            continue
        return True
    raise AssertionError("unreachable")


def _standing(codec: Codec, choice: Choice) -> Body[tuple[bool, Micros, bool]]:
    """Return the body that asks whether it is off, for a time later than any word about it, and where the log is."""

    def body() -> Transaction[tuple[bool, Micros, bool]]:
        off, newest = yield from _look(choice)
        place = (codec.contracts.by_type[TYPE].topic, 0)
        heads = yield Read("log_heads", [place])
        return off, max((yield Now()), newest + 1), place in heads

    return body


async def _said(codec: Codec, choice: Choice, at: Micros, *, in_store: bool) -> _Said:
    contract = codec.contracts.by_type[TYPE]
    name = sha256(canonical.dumps([choice.tenant, choice.customer, choice.topic, at])).hexdigest()[:32]
    data = {"customer_id": choice.customer, "topic": choice.topic, "allowed": False}
    plain = {"id": name, "source": SOURCE, "time": rfc3339(at), "data": data}
    key, value = codec.encode(TYPE, from_json(contract, plain, tenant=choice.tenant))
    record = LogRecord(contract.topic, 0, 0, at, key, value, ())
    await codec.ready([record])
    return _Said(codec.decode(record), Append(contract.topic, key, value), in_store)


def _look(choice: Choice) -> Transaction[tuple[bool, Micros]]:
    """Read whether the topic is off, and the time of the newest word about it."""
    rows: dict[tuple[str, ...], Row] = yield Read("recipients", [choice.place])
    row = rows.get(choice.place)
    if row is not None and row["linked_to"] is not None:
        rows |= yield Read("recipients", [(choice.tenant, row["linked_to"])])
    newest = 0
    off = bool(rows)
    for place, each in rows.items():
        off = off and read_person(place[0], place[1], each).has_switched_off(choice.topic)
        said = canonical.loads(each["profile"]).get("preferences", {})
        times = [entry["v"][0] for name, entry in said.items() if name.partition("/")[0] == choice.topic]
        newest = max([newest, *times])
    return off, newest


def _apply(choice: Choice, said: _Said) -> Body[None]:
    def body() -> Transaction[None]:
        if said.in_store:
            yield from append([said.append])()
        held = yield from lock_people([choice.place])
        row = held[choice.place]
        if row is not None and row["linked_to"] is not None and (choice.tenant, row["linked_to"]) not in held:
            raise _Moved
        now = yield Now()
        changed = heard(held, choice.place, said.event, now)
        if not changed:
            raise _Moved
        yield Put("recipients", [changed[place] for place in sorted(changed)])

    return body
