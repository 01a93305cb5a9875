"""A worker on a cluster: Faust brings batches, the database takes them. The composition root of `tidings worker`.

Any number of them share the partitions. What ends one is told by `check`: whoever runs it makes an exit code of that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiokafka import errors
from faust.types import TP

from schemas import Contracts
from streams.codec import Codec
from streams.kafka.app import App, make_app
from streams.kafka.cluster import opened
from streams.kafka.connection import Connection
from streams.kafka.ends import Ends
from streams.kafka.ground import WATCH
from streams.kafka.intake import Ground, Intake
from streams.kafka.log import KafkaLog
from streams.kafka.reach import Away
from streams.kafka.skew import Skew
from streams.kafka.topic_ids import Absence
from streams.kafka.topics import CLOCK, is_read
from streams.kafka.transport import Pace
from streams.loops import AWAY_LIMIT, Loop, Loops, RealRuntime, maintaining
from streams.processors import detect
from streams.processors.outcomes import Telling
from streams.processors.worker import Observe, PeopleReader, Ready, Worker, nothing_to_ask
from streams.rule_book import RuleBook
from streams.stores.counts import Waiting
from streams.stores.postgres import PostgresStore
from tidings import watermark
from tidings.errors import Misconfigured
from tidings.event import SECOND, Micros
from tidings.log import Decoder, Partition
from tidings.ports import Row, Scan, StoreUnavailable, Transaction
from tidings.rule import RuleSet

logger = logging.getLogger("tidings.worker")

LOOK_FOR_RULES = 1.0
TICK = 0.25
"""Seconds between two looks for timers that W has reached."""
BARRIER = 1.0
"""Seconds between two questions where partitions end; W of what is idle moves as often."""
LOOK_AGAIN = 2.0
LOOK_AT_TOPICS = 5.0
MAINTAIN = 3600.0
STUCK = 60.0
"""Seconds with unread records and without a batch after which it is not alive."""
ROUND = 3.0
"""Seconds that the loops have for their last round."""
NONE_YET = RuleSet("", (), {})


class Broken(Exception):
    """Faust, or a task of it, has ended by itself. Start the process again."""


@dataclass
class WorkerProcess:
    """Made over an open store; `start` joins the group, `stop` leaves it."""

    store: PostgresStore
    connection: Connection
    contracts: Contracts
    clock: Callable[[], int]
    name: str
    ground: Ground | None = None
    skew: Skew | None = None
    """How far the brokers' clocks are from ours; without it nobody asks, and they are taken to be near."""
    observe: Observe = lambda _: None
    pace: Pace = field(default_factory=Pace)
    grace: Micros = watermark.GRACE
    away_limit: float = AWAY_LIMIT
    decode: Decoder | None = None
    ready: Ready = nothing_to_ask

    concerns: frozenset[str] = field(default=frozenset({"rules", "detection"}), init=False)

    def __post_init__(self) -> None:
        self.book = RuleBook(self.contracts, self.store)
        self.loops = Loops(lambda seen: self.observe(seen))  # noqa: PLW0108 - the observer may change
        self.ends = Ends(self.connection)
        self.behind: Mapping[Partition, int] = {}
        """Of what this worker reads: records that are not applied, as the last barrier found them."""
        self.kafka_away: float | None = None
        self.topics: frozenset[str] = frozenset()
        """What is read, as Kafka names it."""
        self.absence = Absence()
        self.watermarks: Mapping[str, Micros] = {}
        """By topic, from all workers' rows."""
        self.intake: Intake | None = None
        self.app: App | None = None
        self._measuring: asyncio.Task[None] | None = None
        self._quiet_since = time.monotonic()

    async def start(self) -> None:
        """Wait for the first rule set, then join the group and run.

        Raises:
            Misconfigured: topics are missing, or the active rules do not load with this version.
            Away: no broker answers.
        """
        self.loops.start({"maintain": Loop(maintaining(self.store), MAINTAIN)})
        if self.ground is not None:
            self.loops.start({"ground": Loop(self.ground.watch, WATCH)})
        if self.skew is not None:
            self._measuring = asyncio.create_task(self.skew.measuring())
        topics = await self._topics()
        self.topics = frozenset(f"{self.connection.prefix}{topic}" for topic in topics)
        rules = await self.book.active()
        if rules is None:
            logger.warning("no rule set is active: run 'tidings rules apply'")
        while rules is None:
            await asyncio.sleep(LOOK_FOR_RULES)
            rules = await self.book.active()
        decode = self.decode or Codec(self.contracts).decode
        watched, log = self.loops.watched, KafkaLog(self.connection)
        worker = Worker(
            Telling(self.store), log, RealRuntime(self.clock), decode, rules, self.book.get, self.grace, observe=watched,
            learn=self.book.learn, ready=self.ready,
        )  # fmt: skip
        people = PeopleReader(self.store, log, decode, observe=watched, marks_idle=True, ready=self.ready)
        intake = Intake(self.store, self.connection, worker, people, self._go_on, self._flows, self.ground)
        self.intake = intake
        self.app = make_app(self.connection, topics, intake.take, intake, self.pace, self.name)
        self.loops.start(
            {
                "tick": Loop(worker.tick, TICK),
                "barrier": Loop(self._barrier, BARRIER),
                "unread": Loop(intake.look_again, LOOK_AGAIN),
                "topics": Loop(self._look_at_topics, LOOK_AT_TOPICS),
                "intake": Loop(self._watch, BARRIER, since=lambda: self._quiet_since),
            }
        )
        try:
            await self.app.start()
        except errors.KafkaError as fault:
            text = f"no broker answers: {type(fault).__name__}"
            raise Away(text) from fault

    async def stop(self) -> None:
        """Finish the batches in work, tell Kafka how far we are, leave the group."""
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.gather(self._measuring, return_exceptions=True)
        if self.intake is not None:
            self.intake.close()
        if self.app is not None:
            await self.app.stop()
        await self.loops.stop(ROUND)
        await self.ends.close()

    def check(self) -> None:
        """Raise what ended the worker, if anything did.

        Raises:
            StoreUnavailable, Away: the store, or every broker, has been away for long.
            Broken: Faust has ended.
        """
        self.loops.check()
        if self.intake is not None and self.intake.fault is not None:
            raise self.intake.fault
        now = time.monotonic()
        if (since := self.store_away) is not None and now - since > self.away_limit:
            text = f"the database has been away for {now - since:.0f} s"
            raise StoreUnavailable(text)
        if self.kafka_away is not None and now - self.kafka_away > self.away_limit:
            text = f"no broker has answered for {now - self.kafka_away:.0f} s"
            raise Away(text)
        if self.app is not None and self.app.crashed:
            raise Broken(type(self.app.crash_reason).__name__) from self.app.crash_reason

    @property
    def store_away(self) -> float | None:
        """Since when the store takes nothing (`time.monotonic`)."""
        since = [self.loops.away_since, None if self.intake is None else self.intake.away_since]
        return min((one for one in since if one is not None), default=None)

    @property
    def rules(self) -> RuleSet:
        """The rule set in use; an empty one before there is any."""
        return NONE_YET if self.intake is None else self.intake.worker.rules

    @property
    def progress(self) -> Mapping[str, float]:
        """By loop: when it last finished a round, or was started (`time.monotonic`)."""
        return self.loops.progress

    @property
    def skews(self) -> Mapping[str, Micros | None]:
        """By whose clock: how far it is ahead of ours."""
        if self.skew is None:
            return {}
        return {f"broker of {CLOCK}:{number}": sample.skew for number, sample in self.skew.best().items()}

    @property
    def halted(self) -> str:
        """Why nothing is marked idle now, or nothing. Events are decided nevertheless."""
        if self.skew is None or self.skew.ok(self.grace):
            return ""
        worst = self.skew.worst()
        if worst is None:
            return "the brokers' clocks are not known yet; nothing is marked idle"
        return f"a broker's clock may be {worst / SECOND:.1f} s from ours; nothing is marked idle"

    @property
    def newest(self) -> Mapping[str, Micros]:
        """By topic: append time of the newest record that was applied here."""
        return {} if self.intake is None else self.intake.newest

    @property
    def lags(self) -> Mapping[tuple[str, str], int]:
        """By reader and topic: records of its partitions that this worker has not applied."""
        found: dict[tuple[str, str], int] = defaultdict(int)
        for place, records in self.behind.items():
            part = None if self.intake is None else self.intake.parts.get(place)
            for reader in () if part is None else part.readers:
                found[reader, place[0]] += records
        return found

    @property
    def partitions(self) -> frozenset[Partition]:
        """What this worker reads."""
        return frozenset() if self.intake is None else frozenset(self.intake.parts)

    @property
    def rebalances(self) -> int:
        """How many this worker has seen."""
        return 0 if self.app is None else self.app.rebalances

    async def waiting(self, *, within: float) -> Waiting:
        """Count what is open, in about `within` seconds at most."""
        return await self.store.waiting(within=within)

    async def _topics(self) -> list[str]:
        async with opened(self.connection) as cluster:
            there = await cluster.topics()
        wanted = sorted({c.topic for c in self.contracts.by_type.values() if is_read(c.topic)})
        if missing := [topic for topic in wanted if topic not in there]:
            text = f"{len(missing)} topics are missing, as {missing[0]}: run 'tidings topics apply'"
            raise Misconfigured(text)
        return wanted

    async def _go_on(self, positions: Mapping[TP, int]) -> None:
        if self.app is not None and positions:
            await self.app.intake.go_on(positions)

    def _flows(self) -> bool:
        return self.app is not None and not self.app.should_stop and self.app.flow_control.is_active()

    async def _barrier(self) -> bool:
        """One round: ask where partitions end, and mark those idle whose every record is applied."""
        app, intake = self.app, self.intake
        if app is None or intake is None:
            return False
        since = self.clock()
        try:
            ends = await self.ends.ask(part.kafka for part in list(intake.parts.values()))
            ids = await self.ends.ids(self.topics)
        except Away as fault:
            if self.kafka_away is None:
                logger.error("%s; tried again until one does", fault)  # noqa: TRY400 - a state
            self.kafka_away = self.kafka_away or time.monotonic()
            return False
        if self.kafka_away is not None:
            logger.info("brokers answer again")
        self.kafka_away = None
        self.absence.look(self.topics, ids)
        if not self._flows():
            return False
        if left := intake.left_behind(ids):
            app.intake.leave(TP(self.connection.prefix + topic, number) for topic, number in left)
        standing = await app.intake.standing()
        self.behind = intake.behind(ends)
        if not self.halted:
            await intake.mark_idle(ends, standing, since)
        return False

    async def _watch(self) -> bool:
        """One round: nothing stands while nothing is unread, or what it waits for is away."""
        unread = any(self.behind.values())
        if not unread or self.store_away is not None or self.kafka_away is not None:
            self._quiet_since = time.monotonic()
        elif self.intake is not None:
            self._quiet_since = max(self._quiet_since, self.intake.moved)
        return False

    async def _look_at_topics(self) -> bool:
        """One round: read how far each topic is known to be complete, for the metrics."""
        rows = await self.store.read(_sources)
        by_topic: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_topic[row["topic"]].append(row)
        self.watermarks = {topic: watermark.of_topic(found, self.grace) for topic, found in by_topic.items()}
        return False


def _sources() -> Transaction[list[Row]]:
    return [row for row in (yield Scan("sources")) if row["reader"] == detect.READER]
