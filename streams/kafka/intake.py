"""Intake of a worker on Kafka: batches become transactions, in the order of each partition, from the database's positions.

The database decides. Kafka may give one partition to two workers, a batch may be lost on the way, a process may have
slept: each batch says where its fetch began, and is applied only where the row in `sources` stands at or behind that,
cut where it stands inside; whoever moved the row meanwhile is followed. Offsets in `sources` are Kafka's plus the
partition's `base` (`streams.processors.ground`).
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from faust.types import TP

from streams.kafka.cluster import Refused, records_of
from streams.kafka.connection import Connection
from streams.kafka.reach import Away
from streams.kafka.transport import Records
from streams.processors import detect, ground, people
from streams.processors.detect import Idle, Skipped
from streams.processors.ground import Source
from streams.processors.worker import Observe, PeopleReader, Worker
from tidings.errors import Misconfigured
from tidings.event import Micros
from tidings.log import Partition
from tidings.ports import Row, Store, StoreReplaced, StoreUnavailable

logger = logging.getLogger("tidings.worker")

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between two attempts to apply a batch while the store is away."""
FLOW = 0.05
"""Seconds between two looks whether records flow again."""
TURNS = 50
"""How often a batch follows others that move its position, before it is fetched again."""


class Ground(Protocol):
    """Whoever says which logs are those that were read."""

    async def check(self, places: Sequence[Partition]) -> Mapping[Partition, object]:
        """Return what is not to be read now, with the reason.

        Raises:
            Away, Refused, StoreUnavailable: nothing is known; read nothing, and ask again.
        """
        ...

    async def ids(self, topics: Collection[str]) -> Mapping[str, str]:
        """Return the ids that topics have now; of those that there are, where the brokers give any.

        Raises:
            Away, Refused: nothing is known.
        """
        ...

    async def went_back(self, place: Partition, reader: str, position: int, known: int) -> None:
        """Take note that the database has forgotten what this process saw it commit: it is an older one now."""
        ...

    async def watch(self) -> bool:
        """One round, now and then: compare the database with what the topics know."""
        ...


@dataclass(slots=True)
class Part:
    """A partition that this worker reads."""

    kafka: TP
    base: int
    readers: tuple[str, ...]
    at: int
    """Kafka's offset up to which everything has been applied, markers of transactions included."""
    committed: dict[str, int] = field(default_factory=dict)
    """By reader: the position that this process saw the database commit."""
    log_id: str | None = None
    """Of the topic that is read."""


@dataclass
class Counts:
    """What happened since the start."""

    batches: int = 0
    skipped: int = 0
    """Times that somebody else had moved a position, so that nothing of a batch was written."""
    holes: int = 0
    """Times that a batch had been lost on the way, and its partition was sought again."""
    seconds: float = 0.0
    """Spent on batches."""
    marks: int = 0


@dataclass
class Intake:
    """See the module. It is what the application asks for positions, and what takes its batches."""

    store: Store
    connection: Connection
    worker: Worker
    people: PeopleReader
    go_on: Callable[[Mapping[TP, int]], Awaitable[None]]
    """Seeks, in the application."""
    flows: Callable[[], bool]
    """Whether no rebalance is under way, and nobody has asked us to stop."""
    ground: Ground | None = None
    parts: dict[Partition, Part] = field(default_factory=dict)
    unread: dict[Partition, str] = field(default_factory=dict)
    """What is assigned and not read, with the reason."""
    counts: Counts = field(default_factory=Counts)
    moved: float = field(default_factory=time.monotonic)
    """When a batch was last committed (`time.monotonic`)."""
    away_since: float | None = None
    """Since when the store takes no batch."""
    fault: BaseException | None = None
    """What ended the intake; nothing is acknowledged any more."""
    newest: dict[str, Micros] = field(default_factory=dict)
    """By topic: append time of the newest record that was applied."""
    _assignment: int = 0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Of whoever takes over what is not read yet."""
    _fresh: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        for one in (self.worker, self.people):
            one.observe = self._counting(one.observe)

    async def assigned(self, places: frozenset[TP]) -> Mapping[TP, int]:
        """Take partitions over, after a rebalance; see `transport.Positions`.

        What was ours before, and nobody has read meanwhile, goes on at once: its log was looked at when it was taken
        over. What is new is looked at while that is read.
        """
        self._assignment += 1
        self.close()
        before = {place: (part, self._positions(place)) for place, part in self.parts.items()}
        self.parts.clear()
        self.worker.positions.clear()
        self.people.positions.clear()
        self.unread = dict.fromkeys((self._ours(place) for place in places), "")
        kept = await self._go_on_with({place: one for place, one in before.items() if place in self.unread})
        if not kept:
            return await self._take_over(list(self.unread))
        if self.unread:
            self._fresh = asyncio.create_task(self._take_over_soon(list(self.unread)))
        return kept

    def close(self) -> None:
        """Take nothing more over."""
        if self._fresh is not None:
            self._fresh.cancel()
            self._fresh = None

    def unreadable(self, place: TP, fault: Exception) -> None:
        """Leave a partition alone until it is looked at again."""
        ours = self._ours(place)
        self._drop(ours)
        self.unread[ours] = ""
        logger.warning("%s:%d cannot be read at its position: %s", *ours, type(fault).__name__)

    async def look_again(self) -> bool:
        """One round: take over what was not read, where it may be read by now."""
        if self.unread and self.flows() and not self._turn.locked():
            async with self._turn:
                await self.go_on(await self._take_over(list(self.unread)))
        return False

    async def take(self, batch: Records) -> bool:
        """Apply a batch; True: it is in the database. Raises nothing: what cannot be told here ends the process.

        From a fault on nothing is applied or acknowledged any more, here and in every other agent.
        """
        pause = FIRST_PAUSE
        while self.fault is None:
            try:
                done = await self._take(batch)
            except StoreReplaced as fault:
                self.fault = self.fault or fault
            except StoreUnavailable as fault:
                if self.away_since is None:
                    self.away_since = time.monotonic()
                    logger.error("the store takes no batch, tried again until it does: %s", fault)  # noqa: TRY400 - a state
                if not self.flows():
                    return False
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except Exception as fault:  # noqa: BLE001 - nothing may escape an agent: Faust would go on behind the batch
                # Type and place only: the text of an exception may hold what a record holds.
                frame = traceback.extract_tb(fault.__traceback__)[-1]
                where = f"{frame.filename}:{frame.lineno}"
                logger.error("a fault of ours: %s in %s; this worker ends", type(fault).__name__, where)  # noqa: TRY400
                self.fault = self.fault or fault
            else:
                if self.away_since is not None:
                    logger.info("the store takes batches again")
                self.away_since = None
                return done
        return False

    async def mark_idle(self, ends: Mapping[TP, int], standing: Mapping[TP, tuple[int, int]], since: Micros) -> int:
        """Write down what is empty at its end, known since before `ends` were asked for; return how many rows moved.

        A partition is empty there when everything up to its end has been *applied*. Where the fetch stands counts only
        where nothing that it brought is still in work, or was lost: markers of transactions are no records.
        """
        found: dict[str, list[Idle]] = {detect.READER: [], people.READER: []}
        positions = {detect.READER: self.worker.positions, people.READER: self.people.positions}
        for place, part in self.parts.items():
            end = ends.get(part.kafka)
            fetched, after = standing.get(part.kafka, (-1, -2))
            reached = max(part.at, fetched) if after == part.at else part.at
            if end is None or reached < end:
                continue
            for reader in part.readers:
                if (position := positions[reader].get(place)) is not None:
                    found[reader].append(Idle(place, position, since))
        marked = 0
        for reader, idle in found.items():
            if idle:
                marked += await self.store.run(detect.mark_idle(idle, reader=reader))
        self.counts.marks += marked
        return marked

    def left_behind(self, ids: Mapping[str, str]) -> list[Partition]:
        """Read no more of what is another topic now, by the ids of Kafka's names; it is looked at again, and held."""
        found = []
        for place, part in list(self.parts.items()):
            now = ids.get(part.kafka.topic)
            if None not in (now, part.log_id) and now != part.log_id:
                found.append(place)
                self._drop(place)
                self.unread[place] = ""
        return found

    def behind(self, ends: Mapping[TP, int]) -> dict[Partition, int]:
        """Return how many offsets lie between what was applied and the end of each partition that is read."""
        return {place: max(0, ends[part.kafka] - part.at) for place, part in self.parts.items() if part.kafka in ends}

    async def _take(self, batch: Records) -> bool:
        place = self._ours(batch.place)
        part = self.parts.get(place)
        if part is None:
            return False
        began = time.monotonic()
        for reader in part.readers:
            if not await self._apply(reader, place, part, batch):
                self.counts.holes += 1
                self._drop(place)
                self.unread[place] = ""
                await self.go_on(await self._take_over([place]))
                return False
        if self.parts.get(place) is not part:
            return False  # taken from us meanwhile; it is in the database nevertheless
        part.at = batch.end
        batch.applied = batch.last
        self.newest[place[0]] = max(self.newest.get(place[0], 0), batch.records[-1].timestamp * 1000)
        self.counts.batches += 1
        self.moved = time.monotonic()
        self.counts.seconds += self.moved - began
        return True

    async def _apply(self, reader: str, place: Partition, part: Part, batch: Records) -> bool:
        """Apply what a reader has not; False: what lies before the batch is missing."""
        one: Worker | PeopleReader = self.worker if reader == detect.READER else self.people
        start, end = batch.start + part.base, batch.last + part.base
        for _ in range(TURNS):
            at = one.positions.get(place)
            if self.ground is not None and at is not None and at < (known := part.committed.get(reader, at)):
                await self.ground.went_back(place, reader, at, known)
            if at is None or at < start:
                return False
            if at >= end:
                part.committed[reader] = at
                return True
            every = batch.records if at == start else [r for r in batch.records if r.offset + part.base >= at]
            await one.apply(records_of(every, place, part.base), {place: at})
            if one.positions.get(place) == end:
                part.committed[reader] = end
                return True
        return False

    async def _take_over(self, places: Sequence[Partition]) -> dict[TP, int]:
        """Read where to go on; what may not be read, or is not known, stays in `unread`."""
        held: Mapping[Partition, object] = {}
        assignment = self._assignment
        try:
            if self.ground is not None:
                held = await self.ground.check(places)
            rows = await self.store.read(ground.read_sources(places, (detect.READER, people.READER)))
        except (Away, Refused, StoreUnavailable) as fault:
            self._leave(places, f"positions are not known: {fault}")
            return {}
        except Misconfigured as fault:
            self.fault = self.fault or fault
            return {}
        if assignment != self._assignment:
            return {}
        for place in places:
            if place in held:
                self._leave([place], f"held: {held[place]}")
        return self._begin([place for place in places if place not in held], rows)

    async def _take_over_soon(self, places: Sequence[Partition]) -> None:
        """Take partitions over that came with a rebalance, and read them once records flow again."""
        try:
            async with self._turn:
                positions = await self._take_over(places)
                while not self.flows():  # noqa: ASYNC110 - Faust has no event for it
                    await asyncio.sleep(FLOW)
                await self.go_on(positions)
        except Exception as fault:  # noqa: BLE001 - as in a loop: whoever runs us is told
            self.fault = self.fault or fault

    async def _go_on_with(self, before: Mapping[Partition, tuple[Part, Mapping[str, int]]]) -> dict[TP, int]:
        """Go on with what nobody has moved since we had it; anything else is taken over as if it were new."""
        if not before:
            return {}
        ids: Mapping[str, str] = {}
        try:
            if self.ground is not None:
                # A topic that was made again under us comes with a rebalance as well, and its offsets say nothing.
                ids = await self.ground.ids({topic for topic, _ in before})
            rows = await self.store.read(ground.read_sources(sorted(before), (detect.READER, people.READER)))
        except (Away, Refused, Misconfigured, StoreUnavailable):
            return {}  # whoever takes them over says it

        def is_same(place: Partition) -> bool:
            part, positions = before[place]
            known = {reader: row for (reader, *_), row in _of(rows, place).items()}
            logs = {(row["base"], row["log_id"]) for row in known.values()}
            at = {reader: row["next_offset"] for reader, row in known.items()}
            is_ours = self.ground is None or ids.get(place[0]) == part.log_id
            return is_ours and logs == {(part.base, part.log_id)} and at == positions

        return self._begin([place for place in before if is_same(place)], rows)

    def _begin(self, places: Sequence[Partition], rows: Mapping[Source, Row]) -> dict[TP, int]:
        """Return where to read partitions that may be read; one without a row stays in `unread`."""
        positions: dict[TP, int] = {}
        for place in places:
            kafka = TP(self.connection.prefix + place[0], place[1])
            known = {reader: row for (reader, *_), row in _of(rows, place).items()}
            if detect.READER not in known:
                self._leave([place], "it has no row in the database: run 'tidings topics apply'")
                continue
            base = known[detect.READER]["base"]
            readers = tuple(reader for reader in (people.READER, detect.READER) if reader in known)
            self.worker.positions[place] = known[detect.READER]["next_offset"]
            if people.READER in known:
                self.people.positions[place] = known[people.READER]["next_offset"]
            at = min(row["next_offset"] for row in known.values()) - base
            log_id = known[detect.READER]["log_id"]
            self.parts[place] = Part(kafka, base, readers, at, log_id=log_id)
            self.unread.pop(place, None)
            positions[kafka] = at
        return positions

    def _positions(self, place: Partition) -> dict[str, int]:
        """Return where our readers stand."""
        held = {detect.READER: self.worker.positions, people.READER: self.people.positions}
        return {reader: positions[place] for reader, positions in held.items() if place in positions}

    def _counting(self, observe: Observe) -> Observe:
        def observed(seen: object) -> None:
            self.counts.skipped += isinstance(seen, Skipped)
            observe(seen)

        return observed

    def _leave(self, places: Sequence[Partition], why: str) -> None:
        for place in places:
            if self.unread.get(place) != why:
                logger.warning("%s:%d is not read: %s", *place, why)
            self.unread[place] = why

    def _drop(self, place: Partition) -> None:
        self.parts.pop(place, None)
        self.worker.positions.pop(place, None)
        self.people.positions.pop(place, None)

    def _ours(self, place: TP) -> Partition:
        return (place.topic.removeprefix(self.connection.prefix), place.partition)


def _of(rows: Mapping[Source, Row], place: Partition) -> dict[Source, Row]:
    sources = [(reader, *place) for reader in (people.READER, detect.READER)]
    return {source: rows[source] for source in sources if source in rows}
