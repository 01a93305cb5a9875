"""Publishing for others, all day: acknowledged by every copy, or kept in the table `intake` until Kafka takes it.

Whoever is told that an event was taken may forget it, so it is durable before: in Kafka with `acks=all`, or where
Kafka is silent for two seconds, in the database. What is kept is published in its order once Kafka answers, and until
then everything that comes is kept behind it; what is kept for a topic that is missing waits alone. A record may come twice: killed between publishing and deleting, or taken
by Kafka after we gave up waiting. That is no second event; who reads knows it by its reference. With several of these
processes, one that did not keep the record itself learns within a moment that something is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer, errors

from streams.embedded_log import Append, NoTopic, log_row, read_record
from streams.kafka.cluster import Refused, opened
from streams.kafka.connection import Connection
from streams.kafka.reach import Away, reachable, refusal
from tidings.errors import Misconfigured
from tidings.event import SECOND, Micros
from tidings.log import LogRecord
from tidings.ports import (
    Body,
    Delete,
    Exclude,
    Insert,
    NextSeq,
    Now,
    Put,
    Read,
    Row,
    Scan,
    Store,
    StoreUnavailable,
    Transaction,
)

logger = logging.getLogger("tidings.intake")

SILENT = 2.0
"""Seconds without an answer after which records are kept instead."""
GIVE_UP_MS = 30_000
"""For the client's own repeats of one request."""
PART = 500
"""Kept records that are published at once."""
PART_WITHIN = 20.0
MOST_KEPT = 200_000
"""Records that are kept at most; beyond that nothing more is taken."""
LEASE: Micros = 30 * SECOND
"""For how long one process publishes what is kept, while the others leave it alone."""
EPOCH = "intake"
"""Row of `epochs`: who publishes what is kept, and until when."""
REST = 0.25
"""Seconds between two looks at what is kept."""
LOOK_AGAIN = 5.0
"""Seconds between two looks for a topic that is missing, and over what is kept for it."""

Place = tuple[str, int, int]


def keep(appends: Sequence[Append], most: int = MOST_KEPT) -> Body[bool]:
    """Return the body that keeps records; False, and none is, where too many are kept already."""

    def body() -> Transaction[bool]:
        first = yield Scan("intake", limit=1)
        now = yield Now()
        rows: list[Row] = []
        for one in appends:
            seq = yield NextSeq("intake")
            if first and seq - first[0]["seq"] >= most:
                return False
            written = log_row(LogRecord(one.topic, 0, 0, now, one.key, one.value, one.headers))
            rows.append(
                {"seq": seq, "at": now, **{name: written[name] for name in ("topic", "key", "value", "headers")}}
            )
        yield Insert("intake", rows)
        return True

    return body


def claim(owner: str) -> Body[bool]:
    """Return the body that makes a process the one that publishes what is kept, unless another one is."""

    def body() -> Transaction[bool]:
        yield Exclude("intake")
        now = yield Now()
        row = (yield Read("epochs", [(EPOCH,)])).get((EPOCH,))
        if row is not None:
            who, _, until = row["value"].rpartition(" ")
            if who != owner and int(until) > now:
                return False
        yield Put("epochs", [{"name": EPOCH, "value": f"{owner} {now + LEASE}"}])
        return True

    return body


def _kept(after: int) -> Body[list[Row]]:
    def body() -> Transaction[list[Row]]:
        return (yield Scan("intake", (after,), PART))  # type: ignore[no-any-return]

    return body


@dataclass
class Publisher:
    """One producer of a process. Run `step` as a loop; `stop` ends it."""

    connection: Connection
    store: Store
    owner: str
    """Name of this process; no two may share one."""
    stamp: Callable[[], int] | None = None
    """Milliseconds that records bear; None: the brokers'."""
    silent: float = SILENT
    behind: bool = field(default=False, init=False)
    """Whether something is kept, as far as this process knows."""
    _producer: Any = field(default=None, init=False)
    _topics: frozenset[str] = field(default=frozenset(), init=False)
    _looked: float = field(default=float("-inf"), init=False)
    _keeping: int = field(default=0, init=False)
    """Keeps that are under way."""
    _kept: int = field(default=0, init=False)
    """Grows whenever a keep ends: what was read before that says nothing of it."""
    _aside: frozenset[str] = field(default=frozenset(), init=False)
    """Topics that are missing, and for which something is kept; it holds up no other topic."""
    _looks: int = field(default=0, init=False)
    """Grows whenever the topics are looked up."""
    _stale: bool = field(default=False, init=False)
    """Whether one of the topics may be gone since."""
    _passed: tuple[int, int, int] = field(default=(0, 0, 0), init=False)
    """Up to where all that is kept is set aside, and `_looks` and `_kept` when that was seen."""
    _said: str = field(default="", init=False)

    async def publish(self, appends: Sequence[Append]) -> list[Place | None]:
        """Publish records, or keep them; returns once they are durable, with the place of those that Kafka has.

        Raises:
            StoreUnavailable: neither was to be had. Some may have been published; a repeat does no harm.
        """
        await self._see_topics({one.topic for one in appends})
        if self.behind or self._producer is None or any(one.topic in self._aside for one in appends):
            return await self._keep(appends)
        answers = await self._sent(appends, self.silent)
        places: list[Place | None] = [one if isinstance(one, tuple) else None for one in answers]
        left = [append for append, place in zip(appends, places, strict=True) if place is None]
        if left:
            fault = next((one for one in answers if isinstance(one, BaseException)), None)
            self._tell(f"Kafka does not take events, they are kept: {_why(fault, self.connection)}")
            await self._keep(left)
        return places

    async def step(self) -> bool:
        """Publish what is kept, a part at a time; say whether there was any."""
        if self._producer is None and not await self._connect():
            return False
        if not await self._ready():
            return False
        self.behind = True
        if not await self.store.run(claim(self.owner)):
            return False
        # Read again: whoever had it before us may have published some of it meanwhile.
        rows = await self._ready()
        if self._producer is None or not rows:
            return False
        appends = [
            Append(
                row["topic"],
                row["key"],
                row["value"],
                read_record({"partition": 0, "offset": 0, "appended_at": 0, **row}).headers,
            )
            for row in rows
        ]
        answers = await self._sent(appends, PART_WITHIN)
        left: dict[str, BaseException | None] = {}
        gone = []
        for row, answer in zip(rows, answers, strict=True):
            # Of each topic from the first on, so that what is left keeps its order.
            if isinstance(answer, tuple) and row["topic"] not in left:
                gone.append((row["seq"],))
            elif not isinstance(answer, tuple):
                left.setdefault(row["topic"], answer)
        if gone:
            await self.store.run(lambda: (yield Delete("intake", gone)))
        if left:
            # One of them may be gone since the last look.
            self._stale = True
            topic, fault = next(iter(left.items()))
            self._tell(f"Kafka does not take what is kept for {topic}: {_why(fault, self.connection)}")
        return bool(gone)

    async def _ready(self) -> list[Row]:
        """Read the first of what is kept and has a topic; where there is none, nobody is behind any more."""
        if self._aside or self._stale:
            await self._look()
        topics, seen, idle = self._topics, (self._looks, self._kept), not self._keeping
        # What others keep may be committed out of its order, so what was passed is read again after each look.
        after, aside = (self._passed[0], self._aside) if self._passed[1:] == seen else (0, frozenset[str]())
        while True:
            rows = await self.store.read(_kept(after))
            ready = [row for row in rows if row["topic"] in topics]
            aside |= {row["topic"] for row in rows} - topics
            if ready or len(rows) < PART:
                break
            after = rows[-1]["seq"]
        self._passed = (after, *seen)
        if new := aside - self._aside:
            logger.error("what is kept for them waits, other topics go on: %s", self._no_topic(new))
        self._aside |= aside
        if not ready and idle and seen[1] == self._kept and not self._keeping:
            self._aside = aside
            if self.behind:
                self.behind = False
                self._tell("")
        return ready

    async def stop(self) -> None:
        """Let go of the brokers."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stopped(producer)

    async def _sent(self, appends: Sequence[Append], within: float) -> list[Place | BaseException | None]:
        """Send records in their order; for each its place, what went wrong, or None: no answer in time."""
        producer = self._producer
        waiting: list[Any] = []
        end = time.monotonic() + within
        fault: BaseException | None = None
        try:
            for one in appends:
                async with asyncio.timeout(max(0.0, end - time.monotonic())):
                    waiting.append(
                        await producer.send(
                            self.connection.prefix + one.topic, one.value, one.key, headers=list(one.headers),
                            timestamp_ms=None if self.stamp is None else self.stamp(),
                        )
                    )  # fmt: skip
        except (errors.KafkaError, TimeoutError, OSError) as found:
            fault = found
        if waiting:
            await asyncio.wait(waiting, timeout=max(0.0, end - time.monotonic()))
        answers: list[Place | BaseException | None] = []
        for one, future in zip(appends, waiting, strict=False):
            future.add_done_callback(_heard)
            if not future.done():
                answers.append(None)
            elif (wrong := future.exception()) is not None:
                answers.append(wrong)
            else:
                answers.append((one.topic, future.result().partition, future.result().offset))
        answers += [fault] * (len(appends) - len(answers))
        if any(isinstance(one, errors.KafkaError) for one in answers):
            # An idempotent producer that lost a batch takes no other.
            await self.stop()
        return answers

    async def _keep(self, appends: Sequence[Append]) -> list[Place | None]:
        self.behind = True
        self._keeping += 1
        try:
            if not await self.store.run(keep(appends)):
                text = f"Kafka is away, and {MOST_KEPT} records wait for it already"
                raise StoreUnavailable(text)
        finally:
            self._keeping -= 1
            self._kept += 1
        return [None] * len(appends)

    async def _connect(self) -> bool:
        producer = None
        try:
            await reachable(self.connection, within=self.silent)
            async with opened(self.connection, within=self.silent * 2) as cluster:
                self._see(await cluster.topics())
            producer = AIOKafkaProducer(
                **self.connection.options(),
                acks="all",
                enable_idempotence=True,
                linger_ms=0,
                request_timeout_ms=GIVE_UP_MS,
            )
            async with asyncio.timeout(self.silent * 2):
                await producer.start()
        except (Away, Refused, Misconfigured, errors.KafkaError, OSError, TimeoutError) as fault:
            if producer is not None:
                await _stopped(producer)
            self.behind = True
            self._tell(f"Kafka cannot be reached, events are kept: {fault}")
            return False
        self._producer = producer
        return True

    async def _see_topics(self, names: set[str]) -> None:
        """A topic that is made by a first record has none of its settings, and what is kept for none would wait for ever."""
        if names <= self._topics or self._producer is None:
            return
        await self._look()
        if missing := names - self._topics:
            text = self._no_topic(missing)
            self._tell(text)
            raise NoTopic(text, frozenset(missing))

    async def _look(self) -> None:
        """Look the topics up, unless that was done a moment ago."""
        if time.monotonic() - self._looked < LOOK_AGAIN:
            return
        self._looked = time.monotonic()
        with contextlib.suppress(Away, Refused, Misconfigured):
            async with opened(self.connection, within=self.silent) as cluster:
                self._see(await cluster.topics())

    def _see(self, topics: Iterable[str]) -> None:
        self._topics = frozenset(topics)
        self._looks += 1
        self._stale = False

    def _no_topic(self, names: Iterable[str]) -> str:
        missing = ", ".join(sorted(self.connection.prefix + name for name in names))
        return f"there is no topic {missing}: tidings topics apply"

    def _tell(self, text: str) -> None:
        if text == self._said:
            return
        if text:
            logger.error("%s", text)
        else:
            logger.info(
                "Kafka takes events again; nothing is kept any more%s",
                " but for topics that are missing" * bool(self._aside),
            )
        self._said = text


def _heard(future: Any) -> None:
    if not future.cancelled():
        future.exception()


def _why(fault: BaseException | None, connection: Connection) -> str:
    if isinstance(fault, errors.KafkaError):
        return refusal(fault, "publishing", connection)
    return "no answer in time" if fault is None or isinstance(fault, TimeoutError) else type(fault).__name__


async def _stopped(producer: Any) -> None:
    """End a producer; what it still holds is kept elsewhere, so nobody waits long for it."""
    with contextlib.suppress(errors.KafkaError, OSError, TimeoutError, asyncio.CancelledError):
        await asyncio.wait_for(producer.stop(), 1.0)
