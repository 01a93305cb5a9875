"""The worker: fetch, decide, mark idle, tick. In: the topics of the rules. Out: detection records, in the store.

A redelivered batch is recognised by its offset and skipped. A batch that makes our own code fail is halved until the
single record is found, which goes to the dead letters as `internal_error`; the others are decided.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from streams.processors import detect, people
from streams.processors.detect import Batch, Idle, Outdated, Skipped
from streams.processors.intake import prepare, set_aside
from streams.rule_book import Learn, nobody_switches, now_active
from tidings.errors import Misconfigured, Refusal
from tidings.event import Micros
from tidings.log import Decoder, Fetched, Log, LogRecord, Partition
from tidings.ports import Runtime, Store, StoreUnavailable
from tidings.rule import RuleSet

logger = logging.getLogger("tidings.worker")

Observe = Callable[[object], None]
Ready = Callable[[Sequence[LogRecord]], Awaitable[None]]
"""Awaited before records are decoded: finds out what decoding them needs (`Codec.ready`)."""


def _unobserved(_: object) -> None:
    """Nobody watches."""


async def nothing_to_ask(_: Sequence[LogRecord]) -> None:
    """Everything is known already."""


async def in_halves(
    records: Sequence[LogRecord],
    starts: Mapping[Partition, int],
    decode: Decoder,
    apply: Callable[[Batch], Awaitable[None]],
) -> None:
    """Apply records as one batch; where our own code fails, in halves, until the one that does it is set aside."""
    try:
        await apply(prepare(records, starts, decode))
    except (StoreUnavailable, Misconfigured):
        raise
    except Exception as fault:  # noqa: BLE001 - whatever our own code raises, one record does it
        record = records[0]
        if len(records) > 1:
            half = len(records) // 2
            await in_halves(records[:half], starts, decode, apply)
            ends = {**starts, **{(r.topic, r.partition): r.offset + 1 for r in records[:half]}}
            await in_halves(records[half:], ends, decode, apply)
            return
        place = (record.topic, record.partition)
        # Type and line only: the text of an exception may hold what the record holds.
        frame = traceback.extract_tb(fault.__traceback__)[-1]
        where = f"{frame.filename}:{frame.lineno}"
        logger.error("internal_error at %s[%d]@%d: %s in %s", *place, record.offset, type(fault).__name__, where)  # noqa: TRY400
        await apply(set_aside(record, starts[place], f"{type(fault).__name__}: {fault}"))


@dataclass
class Worker:
    """One reader of some partitions. `step` does one round and says whether there was anything to do."""

    store: Store
    log: Log
    runtime: Runtime
    decode: Decoder
    rules: RuleSet
    load_rules: Callable[[str], RuleSet]
    grace: Micros
    batch_limit: int = 500
    observe: Observe = _unobserved
    learn: Learn = nobody_switches
    """Reads a rule set that another process has made active."""
    ready: Ready = nothing_to_ask
    positions: dict[Partition, int] = field(default_factory=dict)
    marked: dict[Partition, Micros] = field(default_factory=dict)
    quiet: object = None
    """Where the sources were when no rule had anything due."""

    async def assign(self, places: Sequence[Partition]) -> None:
        """Take over partitions: positions come from the database, never from the broker."""
        self.positions = dict.fromkeys(places, 0)
        self.marked.clear()
        await self._seek(places)

    async def step(self) -> bool:
        """Do one round: one batch, idle marks, and the timers that are due."""
        fetched = await self.log.fetch(self.positions, self.batch_limit)
        records = [record for one in fetched for record in one.records]
        busy = bool(records)
        if records:
            await self.apply(records, {one.partition: one.position for one in fetched if one.records})
        if idle := idle_in(fetched, self.marked):
            await self.store.run(detect.mark_idle(idle))
            self.marked.update({one.place: one.since for one in idle})
        return await self.tick() or busy

    async def apply(self, records: Sequence[LogRecord], starts: Mapping[Partition, int]) -> None:
        """Decide a batch; halve it where our own code fails."""
        await self.ready(records)
        await in_halves(records, starts, self.decode, self._detect)

    async def tick(self) -> bool:
        """Run the timers and buffers that W has reached; a reader asks first whose they are."""
        found = await self.store.read(detect.find_due(self.rules, grace=self.grace, seen=self.quiet))
        if isinstance(found, Outdated):
            await self._switch(found)
            return True
        for rule in found.rules:
            while True:
                done = await self.store.run(detect.tick(self.rules, rule, grace=self.grace))
                if isinstance(done, Outdated):
                    await self._switch(done)
                    return True
                if done is None:
                    break
                self.observe(done)
                if done.touched < detect.TICK:
                    break  # that was all that was due
        self.quiet = found.seen
        return bool(found.rules)

    async def _detect(self, batch: Batch) -> None:
        while True:
            done = await self.store.run(detect.detect(self.rules, batch, grace=self.grace))
            if isinstance(done, Outdated):
                await self._switch(done)
                continue
            if isinstance(done, Skipped):
                self.positions.update({p: max(0, at) for p, at in done.positions.items() if p in self.positions})
                self.observe(done)
                return
            self.positions.update({(s.topic, s.partition): s.end for s in batch.spans})
            self.observe(batch)
            self.observe(done)
            return

    async def _switch(self, outdated: Outdated) -> None:
        self.quiet = None
        if outdated.active is not None:
            self.rules = await now_active(self.load_rules, self.learn, outdated.active)

    async def _seek(self, places: Sequence[Partition], reader: str = detect.READER) -> None:
        rows = await self.store.read(detect.read_positions(places, reader))
        self.positions.update(rows)


def idle_since(fetched: Fetched) -> Micros:
    """Return since when an empty partition is known to be empty: when the fetch was sent, not when it came back."""
    return fetched.sent_at


def idle_in(fetched: Sequence[Fetched], marked: Mapping[Partition, Micros]) -> list[Idle]:
    """Return the partitions that are known to be empty since a later instant than was marked."""
    return [
        Idle(one.partition, one.position, since)
        for one in fetched
        if one.caught_up and (since := idle_since(one)) > marked.get(one.partition, since - 1)
    ]


@dataclass
class PeopleReader:
    """The reader of `customer.*` topics: see `streams.processors.people`."""

    store: Store
    log: Log
    decode: Decoder
    batch_limit: int = 200
    observe: Observe = _unobserved
    marks_idle: bool = False
    """Whether it says how far words about people are known: dispatch asks that where the log's heads are nobody's rows."""
    ready: Ready = nothing_to_ask
    positions: dict[Partition, int] = field(default_factory=dict)
    marked: dict[Partition, Micros] = field(default_factory=dict)

    async def assign(self, places: Sequence[Partition]) -> None:
        """Take over partitions, from the positions in the database."""
        self.positions = dict.fromkeys(places, 0)
        self.positions.update(await self.store.read(detect.read_positions(places, people.READER)))

    async def step(self) -> bool:
        """Project one batch."""
        busy = False
        fetched = await self.log.fetch(self.positions, self.batch_limit)
        for one in fetched:
            if one.records:
                await self.apply(one.records, {one.partition: one.position})
                busy = True
        if self.marks_idle and (idle := idle_in(fetched, self.marked)):
            await self.store.run(detect.mark_idle(idle, reader=people.READER))
            self.marked.update({one.place: one.since for one in idle})
        return busy

    async def apply(self, records: Sequence[LogRecord], starts: Mapping[Partition, int]) -> None:
        """Project records, halving where our own code fails."""
        await self.ready(records)
        await in_halves(records, starts, self.decode, self._project)

    async def _project(self, batch: Batch) -> None:
        done = await self.store.run(people.project(batch), urgent=True)
        if isinstance(done, Skipped):
            self.positions.update({p: max(0, at) for p, at in done.positions.items() if p in self.positions})
            self.observe(done)
        else:
            self.positions.update({(s.topic, s.partition): s.end for s in batch.spans})
            # Detection reads the same records: what nobody can read is told by it. What our code failed on here is ours.
            own = tuple(one for one in batch.refused if one.reason == Refusal.INTERNAL_ERROR)
            self.observe(replace(batch, refused=own))
