"""The outbox: outcome events in the transaction that makes them, numbered, published, let go of.

`telling` stands around the bodies of other processors, so that nothing can write a detection record or end a message
and forget to tell it. Without it (embedded: there are no topics) nothing is written and nothing costs.

Numbers are drawn in a transaction of their own, by one relay at a time: without gaps, in the order of `seq`. What was
written under one lock (a key's, a recipient's) has its `seq` in the order of the commits, and whatever a relay can see
was committed before what it cannot see yet, or has nothing to do with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tidings import canonical
from tidings.event import Micros
from tidings.log import Partition
from tidings.outcomes import KEPT_BACK, NUMBERED, SUSPECT, TOPICS, WAITING, firing_event, has_ended, message_event
from tidings.ports import (
    Body,
    Delete,
    Exclude,
    Find,
    FindEach,
    Insert,
    Lock,
    NextSeq,
    Now,
    Op,
    Put,
    Read,
    Row,
    Scan,
    Store,
    Transaction,
)

T = TypeVar("T")

RELAY = "relay"
"""Named lock under which numbers are drawn, and the epoch row that says whose turn it is."""


@dataclass(frozen=True, slots=True)
class Published:
    """Outcomes that went to a topic."""

    topic: str
    count: int


@dataclass(frozen=True, slots=True)
class TookOver:
    """This process publishes from now on; `published` rows of another one were in the topics already."""

    published: int


@dataclass(frozen=True)
class Telling:
    """A store that writes the outbox beside what it is asked to write."""

    store: Store

    async def run(self, body: Body[T], *, urgent: bool = False) -> T:
        """Run a body and tell what it made."""
        return await self.store.run(telling(body), urgent=urgent)

    async def read(self, body: Body[T]) -> T:
        """Run a body that only reads."""
        return await self.store.read(body)


def telling(body: Body[T]) -> Body[T]:
    """Return the body with the outbox rows of the records that it inserts and the messages that it ends."""

    def told() -> Transaction[T]:
        made = _Made()
        steps = body()
        reply: Any = None
        try:
            while True:
                op = steps.send(reply)
                if isinstance(op, (Put, Insert)) and op.table == "messages":
                    yield from made.look(op.rows)
                reply = yield op
                made.note(op, reply)
        except StopIteration as stop:
            yield from made.tell()
            return stop.value  # type: ignore[no-any-return]
        finally:
            steps.close()

    return told


@dataclass
class _Made:
    """What a transaction has written so far."""

    records: list[Row] = field(default_factory=list)
    ended: dict[str, Row] = field(default_factory=dict)
    open: dict[str, bool] = field(default_factory=dict)
    """By message: whether it was open when the transaction came upon it, and is now."""

    def look(self, rows: Sequence[Row]) -> Transaction[None]:
        """Read the state of messages that are written without having been read."""
        names = sorted({(row["message_id"],) for row in rows if has_ended(row)} - {(one,) for one in self.open})
        if names:
            found = yield Read("messages", names)
            self.open |= {name: (name,) not in found or not has_ended(found[name,]) for (name,) in names}

    def note(self, op: Op, reply: Any) -> None:
        """Take down what an operation read or wrote."""
        if isinstance(op, Insert) and op.table == "records":
            self.records += [row for row, is_new in zip(op.rows, reply, strict=True) if is_new]
        elif isinstance(op, (Put, Insert)) and op.table == "messages":
            for row in op.rows:
                name, over = row["message_id"], has_ended(row)
                if over and self.open[name]:
                    self.ended[name] = row
                self.open[name] = not over
        elif isinstance(op, (Lock, Read)) and op.table == "messages":
            self._seen(row for row in reply.values() if row is not None)
        elif isinstance(op, Find) and op.table == "messages":
            self._seen(reply)
        elif isinstance(op, FindEach) and op.table == "messages":
            self._seen(row for rows in reply.values() for row in rows)

    def _seen(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.open[row["message_id"]] = not has_ended(row)

    def tell(self) -> Transaction[None]:
        """Write the outbox."""
        if not self.records and not self.ended:
            return
        now = yield Now()
        rows = [firing_event(row, no, now) for no, row in enumerate(self.records)]
        if self.ended:
            # Drawn under the recipients' locks, which everything that ends a message holds.
            seq = yield NextSeq("outbox")
            rows += [message_event(row, seq, no, now) for no, row in enumerate(self.ended.values())]
        yield Insert("outbox", rows, blind=True)


def find_open() -> Transaction[bool]:
    """Say whether anything waits to be published."""
    asked = [(topic, state) for topic in TOPICS for state in (NUMBERED, WAITING)]
    found = yield FindEach("outbox", "by_open", asked, limit=1)
    return any(found.values())


def lead(owner: str, lease: Micros) -> Body[bool]:
    """Return the body that makes a relay the one whose turn it is, unless another one has it."""

    def body() -> Transaction[bool]:
        yield Exclude(RELAY)
        now = yield Now()
        known = yield from _turn()
        if known is not None and known["owner"] != owner and now < known["until"] <= now + lease:
            return False
        yield from _take(owner, now + lease)
        return True

    return body


def leave(owner: str) -> Body[None]:
    """Return the body that ends a relay's turn, for another one to begin at once."""

    def body() -> Transaction[None]:
        yield Exclude(RELAY)
        known = yield from _turn()
        if known is not None and known["owner"] == owner:
            yield from _take("", 0)

    return body


def _turn() -> Transaction[dict[str, Any] | None]:
    row = (yield Read("epochs", [(RELAY,)])).get((RELAY,))
    return None if row is None else canonical.loads(row["value"].encode())


def _take(owner: str, until: Micros) -> Transaction[None]:
    value = canonical.dumps({"owner": owner, "until": until}).decode()
    yield Put("epochs", [{"name": RELAY, "value": value}])


def settle(owner: str, last: Mapping[Partition, int]) -> Body[Settled | None]:
    """Return the body that compares with the topics, whose last numbers are `last`; None: it is another's turn.

    What is in the topics already was published by a relay that did not live to say so, and is let go.
    """

    def body() -> Transaction[Settled | None]:
        yield Exclude(RELAY)
        if not (yield from _is_mine(owner)):
            return None
        rows = yield Read("outbox_heads", sorted(last))
        heads = {(row["topic"], row["partition"]): row["number"] for row in rows.values()}
        behind = {place: (ours, at) for place, at in last.items() if (ours := heads.get(place, 0)) < at}
        if behind:
            return Settled(behind)
        given = yield from numbered()
        there = [row for row in given if row["number"] <= last.get((row["topic"], row["partition"]), 0)]
        if there:
            yield Delete("outbox", [(row["id"],) for row in there])
        left = {(row["topic"], row["partition"], row["number"]) for row in given}
        lost = {
            place: (heads.get(place, 0), at)
            for place, at in last.items()
            if at < heads.get(place, 0) and (*place, at + 1) not in left
        }
        return Settled({}, lost, len(there))

    return body


@dataclass(frozen=True, slots=True)
class Settled:
    """How database and topics stand to each other: by partition, the last number in each."""

    behind: Mapping[Partition, tuple[int, int]]
    """The topic knows outcomes that this database does not: nothing may be numbered before that is mended."""
    lost: Mapping[Partition, tuple[int, int]] = field(default_factory=dict)
    """The topic has lost outcomes that were published: made again, or cut off."""
    published: int = 0
    """Rows that were in the topics already."""


def everything(_: Row) -> bool:
    """Every row can be written."""
    return True


def number(
    owner: str,
    lease: Micros,
    partition_of: Callable[[str, str], int],
    limit: int,
    writable: Callable[[Row], bool] = everything,
) -> Body[Sequence[Row] | None]:
    """Return the body that gives the next rows their numbers; None: it is another's turn.

    Its result is to be published in its order, which is that of the numbers in each partition. What has numbers
    already comes alone, first. `partition_of` is asked with topic and key. What the topics know from a database that
    is gone (`told`) is left out, and let go. What is not `writable` gets no number, so that it leaves no gap and holds up
    nothing; its row is kept back.
    """

    def body() -> Transaction[Sequence[Row] | None]:
        yield Exclude(RELAY)
        if not (yield from _is_mine(owner)):
            return None
        yield from _take(owner, (yield Now()) + lease)
        if rows := (yield from numbered()):
            return rows
        waiting = yield FindEach("outbox", "by_open", [(topic, WAITING) for topic in TOPICS], limit=limit)
        found = [row for rows in waiting.values() for row in rows]
        if not found:
            return []
        told = yield Read("told", sorted({(row["about"],) for row in found}))
        known = {about for (about,), row in told.items() if row["state"] != SUSPECT}
        if known:
            yield Delete("outbox", [(row["id"],) for row in found if row["about"] in known])
        found = [row for row in found if row["about"] not in known]
        if unfit := [row for row in found if not writable(row)]:
            yield Put("outbox", [{**row, "unpublished": KEPT_BACK} for row in unfit])
            gone = {row["id"] for row in unfit}
            found = [row for row in found if row["id"] not in gone]
        rows = [{**row, "unpublished": NUMBERED, "partition": partition_of(row["topic"], row["key"])} for row in found]
        places = sorted({(row["topic"], row["partition"]) for row in rows})
        heads = dict.fromkeys(places, 0)
        for row in (yield Read("outbox_heads", places)).values():
            heads[row["topic"], row["partition"]] = row["number"]
        for row in rows:
            heads[row["topic"], row["partition"]] = row["number"] = heads[row["topic"], row["partition"]] + 1
        if rows:
            yield Put("outbox", rows)
            yield from put_heads(heads)
        return rows

    return body


def put_heads(heads: Mapping[Partition, int]) -> Transaction[None]:
    """Write the last number of partitions."""
    yield Put("outbox_heads", [{"topic": t, "partition": p, "number": n} for (t, p), n in sorted(heads.items())])


def numbered() -> Transaction[list[Row]]:
    """Read the rows that have a number and may be in their topic, in the order in which they are published."""
    given = yield FindEach("outbox", "by_open", [(topic, NUMBERED) for topic in TOPICS])
    return sorted(
        (row for rows in given.values() for row in rows),
        key=lambda row: (row["topic"], row["partition"], row["number"]),
    )


def _is_mine(owner: str) -> Transaction[bool]:
    known = yield from _turn()
    return known is not None and known["owner"] == owner


def published(rows: Sequence[Row]) -> Body[None]:
    """Return the body that lets go of what is in the topics: they are its history, its number stays in the head."""

    def body() -> Transaction[None]:
        yield Delete("outbox", [(row["id"],) for row in rows])

    return body


def read_heads() -> Transaction[dict[Partition, int]]:
    """Read the last number that was given in each partition."""
    return {(row["topic"], row["partition"]): row["number"] for row in (yield Scan("outbox_heads"))}
