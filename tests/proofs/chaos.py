"""What is done to a cluster while it works: every stroke waits until its victim itself is in the middle of something."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from aiokafka import AIOKafkaProducer, errors

from streams.embedded import wall_clock
from tests.proofs.stand import Stand
from tests.proofs.workload import Shop, Written
from tidings.event import SECOND

PATIENCE = 180.0
"""Seconds within which something has to go on after a stroke."""
DRAW = 20.0
"""Seconds after which another victim is drawn."""
MOVED, IN_HAND = "offsets that it has just moved", "messages in its hands"
"""In the middle of what a worker, and what a deliverer is hit."""
SLEEP = 13.0
"""Seconds for which a process stands still: beyond the ten after which the group goes on without it."""


@dataclass
class Feed:
    """Writes what happens in the shop to the topics, whoever dies meanwhile."""

    stand: Stand
    shop: Shop
    written: list[Written] = field(default_factory=list)
    """In the order in which they were handed over."""
    keep: bool = True
    """Whether `written` holds them all."""
    count: int = 0
    again: int = 0
    """Handed over once more, because nobody knew whether they had been taken."""
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    """By partition: the offset behind the last record that the broker has acknowledged."""

    async def run(self) -> None:
        producer = AIOKafkaProducer(
            **self.stand.kafka.connection().options(), acks="all", enable_idempotence=True, linger_ms=5,
            request_timeout_ms=60_000,
        )  # fmt: skip
        await producer.start()
        try:
            await self._send(producer, list(self.shop.customers()))
            while not self.shop.over:
                begun = wall_clock()
                await self._send(producer, list(self.shop.due(begun)))
                if (took := wall_clock() - begun) > SECOND:
                    self.shop.stood(took)
                await asyncio.sleep(0.05)
        finally:
            await producer.stop()

    async def _send(self, producer: AIOKafkaProducer, records: Sequence[Written]) -> None:
        self.count += len(records)
        if self.keep:
            self.written += records
        todo = list(records)
        while todo:
            answers = await asyncio.gather(
                *[await producer.send(one.topic, one.value, key=one.key) for one in todo], return_exceptions=True
            )
            failed = [one for one, answer in zip(todo, answers, strict=True) if isinstance(answer, BaseException)]
            for answer in answers:
                if isinstance(answer, BaseException):
                    if not isinstance(answer, errors.KafkaError):
                        raise answer
                    continue
                place = (answer.topic, answer.partition)
                self.ends[place] = max(self.ends.get(place, 0), answer.offset + 1)
            self.again += len(failed)
            todo = failed


@dataclass(frozen=True)
class Why:
    """In the middle of what a victim is hit."""

    what: str
    count: int

    def __str__(self) -> str:
        return f"{self.count} {self.what}"


Place = tuple[str, int]


@dataclass
class Chaos:
    """Kills and pauses in an order that a seed draws."""

    stand: Stand
    victims: Sequence[str]
    """Processes that are killed and paused."""
    kills: int
    pauses: int
    broker: int
    database: int
    seed: int = 1
    rest: tuple[float, float] = (2.0, 6.0)
    """Seconds between two strokes."""
    done: Counter[str] = field(default_factory=Counter)
    deadlocks: int = 0
    """That the server has found, before each of its deaths."""
    hurt: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By stroke: in the middle of what its victim was."""
    asleep: set[str] = field(default_factory=set)

    def strokes(self, stroke: str) -> str:
        """Return how often, and in the middle of what."""
        parts = [f"{count} with {what}" for (one, what), count in sorted(self.hurt.items()) if one == stroke]
        return f"{self.done[stroke]}: {', '.join(parts)}"

    async def run(self) -> None:
        """Strike until every kind has counted as often as asked for."""
        chance = Random(self.seed)
        todo = ["kill"] * self.kills + ["pause"] * self.pauses + ["broker"] * self.broker + ["database"] * self.database
        chance.shuffle(todo)
        kinds = itertools.cycle(sorted({self.stand.verbs[name] for name in self.victims}))
        waking: list[asyncio.Task[None]] = []
        begun = time.monotonic()
        while todo:
            await asyncio.sleep(chance.uniform(*self.rest))
            stroke = todo.pop()
            match stroke:
                case "kill" | "pause":
                    name, why = await self._busy(chance, stroke, next(kinds))
                    if stroke == "kill":
                        self.stand.running[name].tell(signal.SIGKILL)
                    else:
                        waking.append(asyncio.create_task(self._pause(name)))
                case "broker":
                    name, why = "the broker", await self._anybody()
                    await asyncio.to_thread(self.stand.kafka.kill)
                    await asyncio.to_thread(self.stand.kafka.start)
                case _:
                    name, why = "the database", await self._anybody()
                    self.deadlocks += await self._deadlocks()
                    await asyncio.to_thread(self.stand.postgres.kill)
                    await asyncio.to_thread(self.stand.postgres.start)
            self.done[stroke] += 1
            self.hurt[stroke, why.what] += 1
            print(f"{time.monotonic() - begun:6.1f} s  {stroke} {name}: {why}")
        await asyncio.gather(*waking)

    async def _busy(self, chance: Random, stroke: str, kind: str) -> tuple[str, Why]:
        """Draw a victim of a kind, and wait until it has moved offsets of its own, or has messages in hand; return it.

        One that has nothing to do is left for another.
        """
        mine = [name for name in self.victims if self.stand.verbs[name] == kind]
        async with asyncio.timeout(PATIENCE):
            while True:
                awake = [name for name in mine if name not in self.asleep and self.stand.running[name].runs]
                if not awake:
                    await asyncio.sleep(0.5)
                    continue
                name = chance.choice(awake)
                look = self._in_hand if self.stand.verbs[name] == "deliver" else self._moves
                with suppress(TimeoutError):
                    async with asyncio.timeout(DRAW):
                        why = await look(name)
                    if stroke == "pause":
                        self.asleep.add(name)
                    return name, why

    async def _in_hand(self, name: str) -> Why:
        while not (many := await self.stand.in_hand(name)):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.02)
        return Why(IN_HAND, many)

    async def _moves(self, name: str) -> Why:
        places: frozenset[Place] = frozenset()
        was = 0
        while True:
            owned, positions = await self.stand.owned(name), await self.stand.positions()
            read = sum(positions.get(place, 0) for place in owned)
            # Of the same partitions: what it was given meanwhile it has not read.
            if owned and places == owned and read > was:
                return Why(MOVED, read - was)
            places, was = owned, read

    async def _anybody(self) -> Why:
        """Wait until offsets move: broker and database are in the middle of everything."""
        before = await self.stand.offsets()
        async with asyncio.timeout(PATIENCE):
            while (moved := await self.stand.offsets()) == before:  # noqa: ASYNC110 - it is in other processes
                await asyncio.sleep(0.05)
        return Why("offsets that were just moved", moved - before)

    async def finish(self) -> None:
        """Count what the server has found since its last death."""
        self.deadlocks += await self._deadlocks()

    async def _pause(self, name: str) -> None:
        one = self.stand.running[name]
        one.tell(signal.SIGSTOP)
        await asyncio.sleep(SLEEP)
        one.tell(signal.SIGCONT)
        self.asleep.discard(name)

    async def _deadlocks(self) -> int:
        (row,) = await self.stand.ask("SELECT deadlocks FROM pg_stat_database WHERE datname = 'tidings'")
        return int(row[0])


@dataclass
class Pauses:
    """How long something stood although there was something to read."""

    whole: float = 0.0
    """Seconds in which nothing at all was read."""
    one: float = 0.0
    """Seconds in which a partition was not read."""

    def figures(self) -> dict[str, object]:
        return {
            "longest time in which nothing was read, and something was there": f"{self.whole:.1f} s",
            "longest time in which one partition was not read": f"{self.one:.1f} s",
        }


async def pauses_of(stand: Stand, feed: Feed, stop: asyncio.Event) -> Pauses:
    """Watch until told to stop. What is unread is what brokers have acknowledged beyond the positions in the database."""
    found = Pauses()
    since: dict[tuple[str, int], tuple[int, float]] = {}
    read, moved = -1, time.monotonic()
    while not stop.is_set():
        await asyncio.sleep(0.2)
        ends = dict(feed.ends)
        positions = await stand.positions()
        now = time.monotonic()
        unread = {place for place, end in ends.items() if positions.get(place, 0) < end}
        total = sum(positions.values())
        if total != read or not unread:
            read, moved = total, now
        found.whole = max(found.whole, now - moved)
        for place in unread:
            at, begun = since.get(place, (-1, now))
            if at != positions.get(place, 0):
                at, begun = positions.get(place, 0), now
            since[place] = at, begun
            found.one = max(found.one, now - begun)
        for place in since.keys() - unread:
            del since[place]
    return found
