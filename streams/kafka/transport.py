"""Faust's transport, over its aiokafka driver: what flows through a stream are whole batches of one partition.

Five things are not as in the stock driver. A stream element is a batch, which knows at which position its fetch began
and ended, so that one that was lost on the way is noticed. Positions come from whoever keeps them (`Positions`), never
from what Kafka has committed; that is advisory, and committed only for the longest prefix of what was acknowledged.
A topic that has enough waiting is not asked for more, and holds up no other one. A message is acknowledged by whoever
took it, and by nothing else: no exception, no end of a stream, no cancellation does it. A rebalance waits for batches
that are in work, and for no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol, cast

import faust
from aiokafka import AIOKafkaConsumer, ConsumerRecord, OffsetAndMetadata, TopicPartition, errors
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from streams.kafka.connection import Connection

logger = logging.getLogger("tidings.kafka")

RECORDS = 1_000
"""In a batch at most, and of one topic waiting before it is asked for no more: what a transaction costs beside its rows
is a twentieth of it then, and its locks are held for less than a tenth of a second."""
BYTES = 1024 * 1024
"""Of a partition in one fetch, as they are on the wire; a single record that is larger comes alone."""
POLL = 0.5
"""Seconds that one question for records may take; what becomes possible meanwhile interrupts it."""
FETCH_WAIT_MS = 100
"""A broker answers an empty fetch after this time; meanwhile it is asked for no other partition that it leads."""
GATHER = 0.04
"""Seconds that records wait for others behind a batch that was small: a transaction for each one would cost twenty times
what its decision does. Whoever comes after a pause does not wait."""
FEW = 100
"""Records in a round; with more of them a transaction is cheap already, and more are there."""
METADATA_MS = 30_000
"""New partitions are read after this time at the latest: until then they hold their topic's watermark."""
COMMIT_EVERY = 2.0
BEAT = 1.0
"""Seconds between two heartbeats at most: by their answers members hear that the group is to be joined again."""
SEEK_WITHIN = 0.8
"""Part of the time that Faust gives a seek: what has no position then is asked for again later, and not read meanwhile."""
PAUSE = 0.5


@dataclass(frozen=True)
class Pace:
    """How long a member of the group may be silent, in seconds."""

    session: float = 10.0
    """Without a heartbeat: then its partitions go to others. Heartbeats come from a thread of their own."""
    rebalance: float = 30.0
    """For everybody to finish what is in work, and to join again."""
    request: float = 15.0

    @property
    def heartbeat(self) -> float:
        """Seconds between two heartbeats."""
        return min(self.session / 3, BEAT)


class Positions(Protocol):
    """Whoever knows where reading goes on."""

    async def assigned(self, places: frozenset[TP]) -> Mapping[TP, int]:
        """Return the next offset of each partition that may be read now; others are left alone.

        Asked after each rebalance, for everything that is assigned now. Never fails.
        """
        ...

    def unreadable(self, place: TP, fault: Exception) -> None:
        """Take note that a partition cannot be read at its position; it is left alone."""
        ...


@dataclass(slots=True, eq=False)
class Records:
    """A batch: consecutive records of one partition."""

    place: TP
    start: int
    """Where the fetch stood before."""
    end: int
    """Where it stands now: behind the last record, and behind markers of transactions that follow it."""
    records: Sequence[ConsumerRecord]
    epoch: int
    """Of the seek that it follows."""
    applied: int | None = None
    """Set by whoever took it: the next offset that may be committed, once it is acknowledged."""

    @property
    def last(self) -> int:
        """Offset after the last record."""
        return cast(int, self.records[-1].offset) + 1


class Whole(faust.Schema[Any, Any]):
    """Hands batches through: they are no bytes."""

    def compile(self, app: Any, **_: Any) -> Any:
        """Return the function by which Faust makes an event of a message."""
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return create_event(None, message.value, None, message)

        return decode


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Owns the aiokafka consumer; every method with an underscore runs in its loop."""

    transport: Transport

    def __post_init__(self) -> None:
        """Begin without positions."""
        super().__post_init__()
        self._next: dict[TP, int] = {}
        self._epoch = 0
        self._interrupted = asyncio.Event()

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        ours = cast(Transport, transport)
        pace = ours.pace
        conf = self.app.conf
        return AIOKafkaConsumer(
            **ours.connection.options(),
            client_id=conf.broker_client_id,
            group_id=conf.id,
            partition_assignment_strategy=[RangePartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_poll_records=RECORDS,
            max_partition_fetch_bytes=BYTES,
            max_poll_interval_ms=3_600_000,  # progress is watched by ourselves
            fetch_max_wait_ms=FETCH_WAIT_MS,
            metadata_max_age_ms=METADATA_MS,
            request_timeout_ms=int(pace.request * 1000),
            session_timeout_ms=int(pace.session * 1000),
            heartbeat_interval_ms=int(pace.heartbeat * 1000),
            rebalance_timeout_ms=int(pace.rebalance * 1000),
        )

    async def poll(self, places: Iterable[TP]) -> list[Records]:
        """Return what there is of some partitions, or nothing after `POLL`."""
        found = await self.call_thread(self._poll, [TopicPartition(*place) for place in places])
        return cast(list[Records], found)

    def interrupt(self) -> None:
        """End a question for records that finds none: others may be asked for now."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self.thread_loop.call_soon_threadsafe(self._interrupted.set)

    async def seek_to(self, positions: Mapping[TP, int], *, afresh: bool) -> int:
        """Set positions, with `afresh` as the only ones; return the number of this seek."""
        found = await self.call_thread(self._seek_to, positions, afresh=afresh)
        return cast(int, found)

    async def standing(self) -> Mapping[TP, tuple[int, int]]:
        """Return of each partition that is read where the fetch stands, and where the last batch ended."""
        found = await self.call_thread(self._standing)
        return cast(Mapping[TP, tuple[int, int]], found)

    async def _poll(self, places: Sequence[TopicPartition]) -> list[Records]:
        consumer = self._ensure_consumer()
        epoch = self._epoch
        found = await consumer.getmany(*places)
        if not found and self.consumer.flow_active:
            asking = asyncio.create_task(consumer.getmany(*places, timeout_ms=int(POLL * 1000)))
            waking = asyncio.create_task(self._interrupted.wait())
            try:
                await asyncio.wait((asking, waking), return_when=asyncio.FIRST_COMPLETED)
            finally:
                waking.cancel()
                self._interrupted.clear()
                asking.cancel()  # records are taken out without an await: cancelled, it has taken none
            with contextlib.suppress(asyncio.CancelledError):
                found = await asking
        batches = []
        for at, records in found.items():
            place = TP(at.topic, at.partition)
            start = self._next.get(place)
            if start is None or at not in consumer.assignment():
                continue
            end = await consumer.position(at)
            if epoch != self._epoch and not start <= records[0].offset <= records[-1].offset < end:
                continue  # somebody has sought another position meanwhile
            self._next[place] = end
            batches.append(Records(place, start, end, records, self._epoch))
        return batches

    async def _seek_to(self, positions: Mapping[TP, int], *, afresh: bool) -> int:
        consumer = self._ensure_consumer()
        self._epoch += 1
        if afresh:
            self._next = {}
        assigned = consumer.assignment()
        for place, offset in positions.items():
            at = TopicPartition(*place)
            if at in assigned:
                consumer.seek(at, offset)
                self._next[place] = offset
        return self._epoch

    async def _standing(self) -> Mapping[TP, tuple[int, int]]:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        found = {}
        for place, after in list(self._next.items()):
            at = TopicPartition(*place)
            if at in assigned:
                found[place] = (await consumer.position(at), after)
        return found

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Tell Kafka how far we are: for its tools, and for nothing here."""
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        known = {TopicPartition(*place): OffsetAndMetadata(offset, "") for place, offset in offsets.items()}
        try:
            async with asyncio.timeout(self._within):
                await consumer.commit({at: meta for at, meta in known.items() if at in assigned})
        except (errors.KafkaError, TimeoutError) as fault:
            logger.info("positions could not be told to Kafka: %s", type(fault).__name__)
            return False
        return True

    @property
    def _within(self) -> float:
        return self.transport.pace.heartbeat

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Watch nothing: progress is a metric, and liveness."""

    def on_crash(self, msg: str, *fmt: Any, **_: Any) -> None:
        """Print nothing: whoever runs the application is told."""


@dataclass
class _Book:
    """Batches of one partition that were handed out, in order."""

    open: deque[Records] = field(default_factory=deque)
    told: int | None = None
    """What was committed last."""
    ready: int | None = None
    """The end of the acknowledged prefix."""


class Consumer(driver.Consumer):
    """Hands batches to the conductor, keeps the books of what is acknowledged, and commits its prefix."""

    transport: Transport
    _thread: ConsumerThread

    def __post_init__(self) -> None:
        """Begin with nothing that may be read."""
        super().__post_init__()
        self._may_read: set[TP] = set()
        self._waiting: dict[str, int] = defaultdict(int)
        self._books: dict[TP, _Book] = {}
        self._sought: dict[TP, int] = {}
        self._afresh = 0
        self._room = asyncio.Event()
        self._full: set[str] = set()
        self._working = 0
        self._at_rest = asyncio.Event()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def reading(self) -> frozenset[TP]:
        """What is assigned and may be read."""
        return frozenset(self._may_read)

    async def perform_seek(self) -> None:
        """Go on where the positions say. Faust asks this after each rebalance, before records flow."""
        places = frozenset(self.assignment())
        self._may_read.clear()
        positions: Mapping[TP, int] = {}
        # Beyond `broker_request_timeout` Faust would cut it off in the middle, and let records flow.
        within = SEEK_WITHIN * self.transport.pace.request
        try:
            async with asyncio.timeout(within):
                positions = await self.transport.positions.assigned(places)
        except TimeoutError:
            logger.warning("positions are not known in %.0f s; asked again later", within)
        self._books = {}
        self._afresh = await self._thread.seek_to(positions, afresh=True)
        self._sought = dict.fromkeys(places, self._afresh)
        self._waiting.clear()
        self._may_read = {place for place in positions if place in places}
        self._room.set()

    async def go_on(self, positions: Mapping[TP, int]) -> None:
        """Read some partitions from other positions on."""
        assigned = self.assignment()
        known = {place: offset for place, offset in positions.items() if place in assigned}
        if known:
            self._sought |= dict.fromkeys(known, await self._thread.seek_to(known, afresh=False))
            for place in known:
                self._books.pop(place, None)
            self._may_read |= known.keys()
            self._room.set()
            self._thread.interrupt()

    def leave(self, places: Iterable[TP]) -> None:
        """Read some partitions no more."""
        self._may_read -= set(places)

    async def standing(self) -> Mapping[TP, tuple[int, int]]:
        """Return of each partition that is read where the fetch stands, and where the last batch ended."""
        return await self._thread.standing()

    def is_stale(self, batch: Records) -> bool:
        """Whether its partition has been sought elsewhere since it was fetched."""
        return batch.epoch < self._sought.get(batch.place, 0)

    def let_go(self, message: Any) -> None:
        """Make room for another batch, and wait for this one no more: it is fetched again, or somebody else has it."""
        batch: Records = message.value
        self._unacked_messages.discard(message)
        if batch.epoch < self._afresh:
            return
        topic = batch.place.topic
        self._waiting[topic] -= len(batch.records)
        if self._waiting[topic] < RECORDS:
            self._room.set()
            if topic in self._full:
                self._thread.interrupt()

    def ack(self, message: Any) -> bool:
        """Take note that a batch is applied: from now on its end may be committed."""
        batch: Records = message.value
        message.acked = True
        self.let_go(message)
        book = self._books.get(batch.place)
        if book is not None:
            while book.open and book.open[0].applied is not None:
                book.ready = book.open.popleft().applied
        if self._waiting_for_ack is not None and not self._waiting_for_ack.done():
            self._waiting_for_ack.set_result(None)
        return True

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: FBT001, FBT002 - Faust's signature
        """Commit the acknowledged prefix of each partition."""
        ready = {p: b.ready for p, b in self._books.items() if b.ready is not None and b.ready != b.told}
        if not ready or not await self._thread.commit(ready):
            return False
        for place, offset in ready.items():
            if (book := self._books.get(place)) is not None:
                book.told = offset
        return True

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Have a batch in work: a rebalance and an end in order wait for it."""
        self._working += 1
        self._at_rest.clear()
        try:
            yield
        finally:
            self._working -= 1
            if not self._working:
                self._at_rest.set()

    async def wait_empty(self) -> None:
        """Wait for what is in work, then say how far we are; Faust asks it before partitions are given back.

        It would wait for everything that was handed out, in rounds of a second, until the collector has found what it
        has itself thrown out of the agents' queues. That is in nobody's hands, and is fetched again by whoever is next.
        """
        await asyncio.sleep(0)  # an agent that has just been given a batch begins with it
        while self._working and not self.should_stop:
            await self.wait(cast(Any, self._at_rest), timeout=1.0)
        self._unacked_messages.clear()
        await self.commit_and_end_transactions()

    async def verify_all_partitions_active(self) -> None:
        """Watch nothing: progress is a metric, and liveness."""

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not self.flow_active:
                    await self.wait(cast(Any, self.can_resume_flow))
                    continue
                batches = await self._asked()
                for batch in batches:
                    await self._hand_out(batch)
                if batches and sum(len(batch.records) for batch in batches) < FEW:
                    await self.sleep(GATHER)
        except self.consumer_stopped_errors:
            if not self.transport.app.should_stop:
                raise

    async def _asked(self) -> Sequence[Records]:
        """Ask for records of everything that has room."""
        self._full = {topic for topic, count in self._waiting.items() if count >= RECORDS}
        places = [place for place in self._may_read if place.topic not in self._full]
        if not places:
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._room.wait(), POLL)
            return ()
        try:
            found = await self._thread.poll(places)
        except errors.OffsetOutOfRangeError as fault:
            for at in fault.args[0]:
                place = TP(at.topic, at.partition)
                self.leave([place])
                self.transport.positions.unreadable(place, fault)
            return ()
        except errors.IllegalStateError:
            return ()  # a rebalance is under way
        except errors.KafkaError as fault:
            if isinstance(fault, (errors.ConsumerStoppedError, *DENIED)):
                raise
            # A broker that is away, a record that is damaged there: it may be better when asked again.
            logger.warning("records could not be read: %s", type(fault).__name__)
            await self.sleep(PAUSE)
            return ()
        fresh = [batch for batch in found if not self.is_stale(batch)]
        for batch in fresh:
            self._waiting[batch.place.topic] += len(batch.records)
            self._books.setdefault(batch.place, _Book()).open.append(batch)
        return fresh

    async def _hand_out(self, batch: Records) -> None:
        first = batch.records[0]
        message = ConsumerMessage(
            batch.place.topic, batch.place.partition, first.offset, first.timestamp / 1000, first.timestamp_type,
            None, None, cast(bytes, batch), None, 0, 0, batch.place, time_in=monotonic(),
            generation_id=self.app.consumer_generation_id,
        )  # fmt: skip
        await self.callback(message)


DENIED = (
    errors.TopicAuthorizationFailedError, errors.ClusterAuthorizationFailedError, errors.GroupAuthorizationFailedError,
)  # fmt: skip


class Producer(driver.Producer):
    """Faust wants one; nothing here publishes, so it has no connection."""

    async def on_start(self) -> None:
        """Connect to nobody."""

    async def flush(self) -> None:
        """Have nothing to send."""


class Transport(driver.Transport):
    """What the application is made with; `App` hands it the connection."""

    Consumer = Consumer
    Producer = Producer

    def __init__(self, app: Any, connection: Connection, positions: Positions, pace: Pace) -> None:
        super().__init__([], app)
        self.connection = connection
        self.positions = positions
        self.pace = pace
