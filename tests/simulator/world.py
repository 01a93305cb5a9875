"""The world around the kernel: a log with a clock of its own, a provider that lies, people who change their minds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.simulator.scheduler import Scheduler
from tidings.event import MINUTE, SECOND, Event
from tidings.log import Fetched, LogRecord, Partition
from tidings.ports import Outcome, Outgoing


@dataclass
class SimLog:
    """Partitions of events; the append time is the log's own and never goes back inside a partition."""

    scheduler: Scheduler
    partitions_: dict[Partition, list[LogRecord]] = field(default_factory=dict)
    events: dict[tuple[str, int, int], Event] = field(default_factory=dict)
    slow: float = 0.1
    ahead: float = 0.04
    stalled: set[Partition] = field(default_factory=set)
    """Partitions whose fetches do not come back."""

    def append(self, topic: str, partition: int, event: dict[str, Any]) -> None:
        """Append an event now."""
        records = self.partitions_.setdefault((topic, partition), [])
        offset, at = len(records), self.scheduler.clock
        records.append(LogRecord(topic, partition, offset, at, b"k", b"v"))
        self.events[topic, partition, offset] = Event(
            topic=topic, partition=partition, offset=offset, appended_at=at, **event
        )

    async def fetch(self, positions: Mapping[Partition, int], limit: int) -> Sequence[Fetched]:
        """Answer after a delay before and after the log was looked at."""
        random = self.scheduler.random
        sent_at = self.scheduler.clock
        places = [place for place in positions if place not in self.stalled]
        random.shuffle(places)
        if random.random() < self.slow:
            await self.scheduler.sleep(int(random.random() * 3 * SECOND))
        found = []
        for place in places:
            records = self.partitions_.get(place, [])
            at = positions[place]
            if random.random() < self.ahead and at < len(records):
                # An answer was lost after the client had moved on: its position is ahead of the database.
                at = random.randint(at + 1, len(records))
            found.append(Fetched(place, at, records[at : at + limit], len(records), sent_at))
        if random.random() < self.slow:
            await self.scheduler.sleep(int(random.random() * 20 * SECOND))
        return found

    async def partitions(self, topics: Sequence[str]) -> Sequence[Partition]:
        """Return what exists."""
        return [place for place in self.partitions_ if place[0] in topics]

    def decode(self, record: LogRecord) -> Event:
        """Return the event of a record."""
        return self.events[record.topic, record.partition, record.offset]


@dataclass
class SimRuntime:
    """Clock, sleep and concurrency of one simulated process; its clock may be a little wrong."""

    scheduler: Scheduler
    skew: int = 0

    def now(self) -> int:
        return self.scheduler.clock + self.skew

    async def sleep(self, micros: int) -> None:
        await self.scheduler.sleep(micros)

    async def gather(self, jobs: Sequence[Any]) -> list[Any]:
        return await self.scheduler.gather(jobs)


Outage = tuple[int, int, Outcome]
"""From when to when a provider is away, and what it then says."""
AWAY = (
    Outcome("not_sent", detail="connect", away=True),
    Outcome("not_sent", detail="configuration: refused", retry_after=MINUTE, away=True),
    Outcome("not_sent", detail="429", retry_after=20 * SECOND, away=True),
    Outcome("ambiguous", detail="lost", away=True),
)


def outages(random: Random, start: int, length: int) -> list[Outage]:
    """Draw when a provider is away for everybody, within some time."""
    found: list[Outage] = []
    while random.random() < 0.7:
        since = start + int(random.random() * length)
        found.append((since, since + int((10 + 80 * random.random()) * SECOND), random.choice(AWAY)))
    return found


@dataclass
class SimProvider:
    """A provider that accepts, refuses, loses answers, hangs, and whose books lag behind."""

    scheduler: Scheduler
    chaos: float
    can_look_up: bool
    on_first_byte: Any
    name: str = "sim"
    lease: int = 30 * SECOND
    on_accepted: Any = lambda message_id: None
    lag: int = 20 * SECOND
    accepted: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """By message: (attempt, when)."""
    outages: Sequence[Outage] = ()
    met: int = 0
    """Attempts that found it away."""

    async def send(self, outgoing: Outgoing) -> Outcome:
        random = self.scheduler.random
        chaos = random.random() < self.chaos
        if chaos and random.random() < 0.2:
            await self.scheduler.sleep(int(random.random() * 12 * SECOND))  # a pause before the first byte
        if self.scheduler.clock >= outgoing.start_by:
            return Outcome("not_sent", detail="start_by is over")
        first = self.scheduler.clock
        for since, until, says in self.outages:
            if since <= first < until:
                self.met += 1
                return says
        self.on_first_byte(outgoing, first)
        kind = random.choice(("refused", "permanent", "lost_answer", "lost_body", "hang")) if chaos else "fine"
        if kind == "refused":
            return Outcome("not_sent", detail="4yz", first_byte_at=first)
        if kind == "permanent":
            return Outcome("permanent", detail="5yz", first_byte_at=first)
        if kind == "lost_body":
            return Outcome("ambiguous", first_byte_at=first)
        self.accepted.setdefault(outgoing.message_id, []).append((outgoing.attempt, self.scheduler.clock))
        self.on_accepted(outgoing.message_id)
        if random.random() < 0.3:
            await self.scheduler.sleep(int(random.random() * 5 * SECOND))
        if kind == "lost_answer":
            return Outcome("ambiguous", first_byte_at=first)
        if kind == "hang":
            await self.scheduler.sleep(int(random.random() * 60 * SECOND))
        return Outcome("accepted", reference="ref", first_byte_at=first)

    async def look_up(self, message_id: str) -> str | None:
        await self.scheduler.sleep(int(self.scheduler.random.random() * SECOND))
        if self.scheduler.random.random() < 0.2:
            return None
        seen = any(at + self.lag <= self.scheduler.clock for _, at in self.accepted.get(message_id, ()))
        return "accepted" if seen else "absent"
