"""`tidings ground rebuild`: what a database that is gone has sent, from the outcome topics into the one that is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streams.codec import Codec
from streams.kafka.cluster import Refused
from streams.kafka.connection import Connection
from streams.kafka.outcome_log import partitions, places_of, read_after
from streams.processors import endings, ground, outcomes, rebuild
from streams.processors.ground import DISPATCH, Older
from streams.processors.rebuild import Gathered, Open
from tidings.errors import BadContract
from tidings.event import Micros
from tidings.log import Partition
from tidings.outcomes import told_row
from tidings.ports import Row, Store

WITHIN = 3600.0
"""Seconds for reading what the topics know more."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known, and what nobody can know."""

    heads: Mapping[Partition, int]
    """The last numbers that the database gave."""
    gathered: Gathered
    open: Open
    hold: Row | None
    """That of dispatch."""
    older: Older | None = None
    """What it says."""

    @property
    def firings_without_end(self) -> list[str]:
        """Firings of which the topics know, and no message of which has ended there: it waits, or was being sent."""
        return sorted(set(self.gathered.firings) - self.gathered.ended)

    @property
    def is_needed(self) -> bool:
        """Whether the topics know more than the database, or somebody says that it is older."""
        return self.hold is not None or any(at > self.heads.get(p, 0) for p, at in self.gathered.last.items())


async def look(connection: Connection, store: Store, codec: Codec) -> Picture:
    """Read the topics beyond the database, and sort what is open here; write nothing.

    Raises:
        Away, Refused, Misconfigured: the topics cannot be read, or hold what is no outcome of ours.
    """
    counts = await partitions(connection)
    known = await store.read(outcomes.read_heads)
    heads = {place: known.get(place, 0) for place in places_of(counts)}
    found = await read_after(connection, heads, within=WITHIN)
    await codec.ready([record for records in found.values() for record in records.values()])
    ends: dict[str, Row] = {}
    said: dict[str, Row] = {}
    firings: dict[str, Micros] = {}
    ended: set[str] = set()
    newest: Micros | None = None
    for place, records in sorted(found.items()):
        for record in records.values():
            try:
                event = codec.decode(record)
            except BadContract as fault:
                text = f"{place[0]}[{place[1]}]@{record.offset} is no outcome: {fault}"
                raise Refused(text) from fault
            row = told_row(event.data, event.id, record.appended_at)
            newest = max(newest or 0, record.appended_at)
            if "message_id" in event.data:
                ends[row["id"]] = row
                ended.add(event.data["firing_id"])
            else:
                said[row["id"]] = row
                firings[event.data["firing_id"]] = record.appended_at
    gaps = sum(next(iter(records)) - heads[place] - 1 for place, records in found.items() if records)
    last = {place: max(records, default=heads[place]) for place, records in found.items()}
    gathered = Gathered(last, ends, said, firings, frozenset(ended), gaps, newest)
    hold = (await store.read(ground.read_holds)).get(DISPATCH)
    still = await store.read(rebuild.find_open(gathered, hold))
    return Picture(heads, gathered, still, hold, None if hold is None else ground.read_older(hold))


async def apply(store: Store, picture: Picture, who: str, *, ask: bool) -> int:
    """Write what is known, and let dispatch go on; return how many messages of this database have ended by it.

    With `ask`, what may have been sent is taken for unknown: looked up at its provider, else as its rule's
    `on_unknown` says. Without, it is sent. Safe to repeat, and to be killed anywhere.
    """
    if picture.hold is None:
        behind = {place: (picture.heads[place], at) for place, at in picture.gathered.last.items()}
        await store.run(
            ground.hold_dispatch(Older({}, {place: pair for place, pair in behind.items() if pair[1] > pair[0]}))
        )
    ended = 0
    for page in rebuild.pages(picture.gathered, picture.open.waiting, ask=ask):
        ended += await store.run(rebuild.learn(page))
    await store.run(rebuild.finish(picture.gathered))
    ending = await store.run(ground.release_dispatch(who))
    if ending is not None:
        await endings.finish(store, ending)
    return ended
