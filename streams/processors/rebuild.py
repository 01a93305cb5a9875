"""A database that was restored learns from the outcome topics what the one that is gone has sent.

Every body here may run again: the ids are derived, and what is known is known. Dispatch is held while they run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streams.processors import ground, told
from streams.processors.deliver import lock_people, wake
from streams.processors.detect import READER
from streams.processors.outcomes import RELAY, numbered, put_heads, read_heads
from tidings import outcomes
from tidings.event import Micros
from tidings.log import Partition
from tidings.message import message_row, read_message
from tidings.outcomes import SUSPECT
from tidings.ports import Body, Delete, Exclude, Find, Lock, Now, Put, Read, Row, Transaction
from tidings.reasons import UNSENT, MessageState

PAGE = 500


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the topics know beyond the numbers of the database."""

    last: Mapping[Partition, int]
    """The last number of each partition."""
    ends: Mapping[str, Row] = field(default_factory=dict)
    """Messages, as rows of `told`."""
    said: Mapping[str, Row] = field(default_factory=dict)
    """Outcomes of detection, by the id of the event, as rows of `told`."""
    firings: Mapping[str, Micros] = field(default_factory=dict)
    """Firings that these are about, and when the last of them was written."""
    ended: frozenset[str] = frozenset()
    """Firings of which a message has ended."""
    gaps: int = 0
    """Numbers that retention took before they were read."""
    newest: Micros | None = None
    """When the last of all was written: what came later, nobody knows."""


@dataclass(frozen=True, slots=True)
class Open:
    """Messages of this database that have not ended here."""

    known: int
    """The topics know how they ended."""
    waiting: Sequence[str]
    """The topics know nothing, and nothing is in flight here: they were sent since, or not."""
    in_flight: Sequence[str]
    """They were with a provider when the database was copied: reconciled as ever."""
    fresh: int = 0
    """What they are about happened since the hold began: surely nobody was told."""
    unread: int = 0
    """Records that the database that is gone had decided, and this one has not yet; what it decided and dispatch has not
    looked at counts as one."""


def find_open(gathered: Gathered, hold: Row | None) -> Body[Open]:
    """Return the reader's body that sorts what is open, since dispatch was held."""

    def body() -> Transaction[Open]:
        now = yield Now()
        since = now if hold is None else hold["at"]
        decided = {} if hold is None else ground.read_older(hold).committed
        sources = yield Read("sources", sorted((READER, *place) for place in decided))
        at = {(row["topic"], row["partition"]): row["next_offset"] for row in sources.values()}
        unread = sum(max(0, theirs - at.get(place, 0)) for place, (_, theirs) in decided.items())
        unread += len((yield Find("records", "by_unread", (1,), limit=1)))
        known, waiting, flying, fresh = 0, [], [], 0
        for state in (one for one in MessageState if one.is_open):
            for row in (yield Find("messages", "by_work", (str(state),))):
                if row["message_id"] in gathered.ends:
                    known += 1
                elif state in UNSENT and read_message(row).body["logical_at"] > since:
                    fresh += 1
                elif state in UNSENT:
                    waiting.append(row["message_id"])
                else:
                    flying.append(row["message_id"])
        return Open(known, sorted(waiting), sorted(flying), fresh, unread)

    return body


def learn(rows: Sequence[Row]) -> Body[int]:
    """Return the body that writes a page of `told` and ends what is here and open; its result: how many messages."""
    by_id = {row["id"]: row for row in rows}

    def body() -> Transaction[int]:
        found = yield Read("messages", sorted((name,) for name in by_id))
        held = yield from lock_people([(row["tenant"], row["recipient"]) for row in found.values()])
        locked = yield Lock("messages", sorted(found))
        yield Put("told", rows)
        changed = []
        for row in locked.values():
            message = read_message(row)
            end = by_id[message.message_id]
            after = message if end["state"] == SUSPECT else outcomes.corrected(message, end)
            if after != message:
                changed.append(after)
        if changed:
            yield Put("messages", [message_row(message) for message in changed])
            yield from wake(changed, held)
        return len(changed)

    return body


def finish(gathered: Gathered) -> Body[Mapping[Partition, int]]:
    """Return the body after which the relay goes on behind the topics' last numbers; the heads as they were.

    What had a number here and is in the topics was published; what will be made again is found in `told`.
    """

    def body() -> Transaction[Mapping[Partition, int]]:
        yield Exclude(RELAY)
        heads = yield from read_heads()
        there = [
            row
            for row in (yield from numbered())
            if row["number"] <= gathered.last.get((row["topic"], row["partition"]), 0)
        ]
        if there:
            yield Delete("outbox", [(row["id"],) for row in there])
        yield from put_heads({place: max(at, heads.get(place, 0)) for place, at in gathered.last.items()})
        yield Put("epochs", [{"name": told.TOLD, "value": str(gathered.newest or 0)}])
        return heads

    return body


def pages(gathered: Gathered, suspects: Sequence[str], *, ask: bool) -> list[list[Row]]:
    """Return the rows of `told`, in pages; with `ask` what may have been sent is taken for unknown."""
    rows = [*gathered.ends.values(), *gathered.said.values()]
    if ask:
        names = dict.fromkeys([*suspects, *gathered.firings])
        rows += [
            {"id": name, "state": SUSPECT, "reason": None, "reference": None, "at": gathered.firings.get(name, 0)}
            for name in names
        ]
    return [rows[at : at + PAGE] for at in range(0, len(rows), PAGE)]
