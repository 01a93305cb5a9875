"""How far the brokers' clocks are from ours: a tiny record to each partition of the clock topic, every ten seconds.

A partition's leader stamps the append, and answers with its stamp: it lies between our sending and our receiving, or
the clocks differ. W of an idle partition is a worker's clock less the grace, compared with stamps of the broker; above
half of the grace a worker marks nothing idle (`Skew.ok`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer, errors

from streams.kafka.connection import Connection
from streams.kafka.topics import CLOCK
from tidings.event import SECOND, Micros

logger = logging.getLogger("tidings.skew")

EVERY = 10.0
KEEP = 6
"""Samples of a partition: the one with the quickest answer counts."""
FIRST = 3
"""Samples of a partition that are taken at once while there is none: a process that begins reads its answers late."""
OLDEST: Micros = 70 * SECOND
"""A sample that is older says nothing any more."""
PATIENCE_MS = 5_000
APPEND_TIME = 1
"""Kafka's number for stamps of the broker."""
MILLI: Micros = 1_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer: the broker's clock was ahead of ours by `skew`, give or take `error`."""

    skew: Micros
    error: Micros
    at: Micros
    """By a clock that nobody sets."""
    drift: Micros
    """Ours less that clock: how far ours has been set since shows in the difference."""

    @property
    def worst(self) -> Micros:
        """How far the clocks may be apart at most."""
        return abs(self.skew) + self.error


def sampled(sent: Micros, stamped_ms: int, answered: Micros, steady: Micros) -> Sample:
    """Return the sample of a record; the stamp has milliseconds only."""
    stamp = stamped_ms * MILLI + MILLI // 2
    return Sample(stamp - (sent + answered) // 2, (answered - sent) // 2 + MILLI // 2, steady, answered - steady)


def _wall() -> Micros:
    return time.time_ns() // 1000


def _steady() -> Micros:
    return time.monotonic_ns() // 1000


@dataclass
class Skew:
    """Run `measuring()` beside whoever asks `ok`."""

    connection: Connection
    every: float = EVERY
    wall: Callable[[], Micros] = _wall
    steady: Callable[[], Micros] = _steady
    samples: dict[int, deque[Sample]] = field(default_factory=dict)
    """By partition of the clock topic, which stands for the broker that leads it."""

    def best(self) -> dict[int, Sample]:
        """Return what is known now, corrected by what our own clock was set since."""
        now, drift = self.steady(), self.wall() - self.steady()
        found = {}
        for partition, kept in list(self.samples.items()):
            fresh = [one for one in kept if now - one.at <= OLDEST]
            if fresh:
                one = min(fresh, key=lambda sample: sample.error)
                found[partition] = Sample(one.skew - (drift - one.drift), one.error, one.at, drift)
        return found

    def worst(self) -> Micros | None:
        """Return how far a broker's clock may be from ours, or None where that is not known."""
        return max((one.worst for one in self.best().values()), default=None)

    def ok(self, grace: Micros) -> bool:
        """Say whether the clocks are known to be near enough for idle marks."""
        worst = self.worst()
        return worst is not None and worst <= grace // 2

    def take(self, partition: int, sample: Sample) -> None:
        """Keep a sample."""
        self.samples.setdefault(partition, deque(maxlen=KEEP)).append(sample)

    async def measuring(self) -> None:
        """Measure until cancelled; whatever fails is measured again later, and meanwhile nothing is known."""
        said = ""
        while True:
            try:
                await self._measure_on()
            except (errors.KafkaError, OSError, TimeoutError) as fault:
                if (now := type(fault).__name__) != said:
                    logger.warning("the brokers' clocks cannot be measured: %s", now)
                said = now
                await asyncio.sleep(self.every)

    async def _measure_on(self) -> None:
        producer: Any = AIOKafkaProducer(
            **self.connection.options(), acks=1, linger_ms=0, request_timeout_ms=PATIENCE_MS, retry_backoff_ms=100
        )
        try:
            await producer.start()
            while True:
                await self.measure(producer)
                await asyncio.sleep(self.every)
        finally:
            # Not `wait_for`: a cancellation that comes as the stop is done would be lost in it, and measuring never end.
            with contextlib.suppress(errors.KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(PATIENCE_MS / 1000):
                    await producer.stop()

    async def measure(self, producer: Any) -> None:
        """Take one sample of each partition."""
        topic = self.connection.prefix + CLOCK
        for partition in sorted(await producer.partitions_for(topic)):
            for _ in range(1 if partition in self.samples else FIRST):
                sent = self.wall()
                answer = await producer.send_and_wait(topic, b"", partition=partition)
                if answer.timestamp_type != APPEND_TIME:
                    logger.warning("%s has producers' times: run 'tidings topics apply'", CLOCK)
                    return
                self.take(partition, sampled(sent, answer.timestamp, self.wall(), self.steady()))
