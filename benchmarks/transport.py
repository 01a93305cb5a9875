"""The transport alone: what it costs to bring records to a processor that does nothing, beside aiokafka and stock Faust.

`python -m benchmarks.transport HOST:PORT [--records N] [--rounds N]`. Each reader is a process of its own, reads one topic
of four partitions to its end, and tells its processor time from the first record to the last; rounds alternate. What it
prints are the medians, in microseconds a record, and their ratio to `getmany`: of the transport alone, and with each
record decoded by our codec.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas import contracts
from schemas.examples import described
from streams.codec import Codec
from streams.json_events import from_json
from streams.kafka.app import make_app
from streams.kafka.connection import Connection
from streams.kafka.transport import BYTES, RECORDS
from tidings.log import LogRecord

ROOT = Path(__file__).parents[1]
TOPIC = "transport.v1"
PARTITIONS = 4
TYPE = "billing.payment.failed"
DECODED = "billing.payment.failed.v1"
"""Where the codec is told that they lie."""
READERS = ("getmany", "ours", "stock")
TARGET = 1.3


@dataclass
class Meter:
    """Counts; measures from the first record to the last one."""

    expected: int
    decode: Callable[[LogRecord], Any] | None = None
    seen: int = 0
    began: float = 0.0
    cost: float = 0.0

    def __post_init__(self) -> None:
        self.over = asyncio.Event()

    def add(self, records: Sequence[Any]) -> None:
        """Take records; what the first ones cost is not counted."""
        count = len(records)
        if self.decode is not None:
            for one in records:
                self.decode(LogRecord(DECODED, one.partition, one.offset, one.timestamp * 1000, one.key, one.value))
        if not self.seen:
            self.began = time.process_time()
            self.expected -= count
            count = 0
            self.seen = 1
        self.seen += count
        if self.seen > self.expected and not self.over.is_set():
            self.cost = (time.process_time() - self.began) / max(1, self.expected)
            self.over.set()


async def getmany(connection: Connection, meter: Meter) -> None:
    """Read with aiokafka and nothing else."""
    consumer = AIOKafkaConsumer(
        f"{connection.prefix}{TOPIC}", **connection.options(), group_id=f"{connection.prefix}getmany{os.getpid()}",
        auto_offset_reset="earliest", enable_auto_commit=False, max_partition_fetch_bytes=BYTES, max_poll_records=RECORDS,
    )  # fmt: skip
    await consumer.start()
    while not meter.over.is_set():
        for records in (await consumer.getmany(timeout_ms=500)).values():
            meter.add(records)
    await consumer.stop()


class _Start:
    async def assigned(self, places: frozenset[Any]) -> Mapping[Any, int]:
        """Begin at the beginning."""
        return dict.fromkeys(places, 0)

    def unreadable(self, place: Any, fault: Exception) -> None:
        """Fail."""
        raise fault


async def ours(connection: Connection, meter: Meter) -> None:
    """Read with Faust over our transport."""

    async def take(batch: Any) -> bool:
        meter.add(batch.records)
        batch.applied = batch.last
        return True

    app = make_app(connection, [TOPIC], take, _Start())
    await app.start()
    await meter.over.wait()
    await app.stop()


async def stock(connection: Connection, meter: Meter) -> None:
    """Read with Faust as it comes, record by record."""
    import faust

    app = faust.App(
        f"{connection.prefix}stock{os.getpid()}", broker=f"kafka://{connection.bootstrap[0]}", env={"": ""},
        value_serializer="raw", consumer_auto_offset_reset="earliest", topic_disable_leader=True,
        topic_allow_declare=False, web_enabled=False, autodiscover=False,
    )  # fmt: skip
    app._create_directories = lambda: None  # type: ignore[method-assign]  # noqa: SLF001 - it would make a folder here

    async def read(stream: Any) -> None:
        async for event in stream.events():
            meter.add((event.message,))

    app.agent(app.topic(f"{connection.prefix}{TOPIC}", value_type=bytes), name="read")(read)
    await app.start()
    await meter.over.wait()
    print(json.dumps(meter.cost), flush=True)
    os._exit(0)  # it would commit each of its offsets first


async def fill(connection: Connection, count: int) -> None:
    """Make the topic, with records in it."""
    admin = AIOKafkaAdminClient(**connection.options())
    await admin.start()
    await admin.create_topics([NewTopic(f"{connection.prefix}{TOPIC}", PARTITIONS, 1)])
    await admin.close()
    producer = AIOKafkaProducer(**connection.options(), linger_ms=20)
    await producer.start()
    contract = contracts().by_type[TYPE]
    key, body = Codec(contracts()).encode(TYPE, from_json(contract, described(contract)))
    for _ in range(0, count, 10_000):
        jobs = [
            await producer.send(f"{connection.prefix}{TOPIC}", body, key=key, partition=n % PARTITIONS)
            for n in range(10_000)
        ]
        await asyncio.gather(*jobs)
    await producer.stop()


async def forget(connection: Connection) -> None:
    """Delete the topic."""
    admin = AIOKafkaAdminClient(**connection.options())
    await admin.start()
    await admin.delete_topics([f"{connection.prefix}{TOPIC}"])
    await admin.close()


def measure(connection: Connection, reader: str, count: int, *, decode: bool) -> float:
    """Return microseconds of processor time a record."""
    command = [sys.executable, "-m", "benchmarks.transport", connection.bootstrap[0], "--records", str(count)]
    command += ["--reader", reader, "--prefix", connection.prefix, *(["--decode"] if decode else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])) * 1e6


async def read(connection: Connection, reader: str, count: int, *, decode: bool) -> None:
    """Read to the end, and print the cost."""
    meter = Meter(count, Codec(contracts()).decode if decode else None)
    by_name: Mapping[str, Callable[[Connection, Meter], Any]] = {"getmany": getmany, "ours": ours, "stock": stock}
    await by_name[reader](connection, meter)
    print(json.dumps(meter.cost), flush=True)


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="benchmarks.transport")
    parser.add_argument("broker", metavar="HOST:PORT")
    parser.add_argument("--records", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--decode", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--prefix", default=f"bench{os.getpid()}.", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    connection = Connection((asked.broker,), prefix=asked.prefix)
    if asked.reader:
        asyncio.run(read(connection, asked.reader, asked.records, decode=asked.decode))
        return 0
    asyncio.run(fill(connection, asked.records))
    cases = [(name, decode) for decode in (False, True) for name in READERS]
    try:
        rounds = [
            {case: measure(connection, case[0], asked.records, decode=case[1]) for case in cases}
            for _ in range(asked.rounds)
        ]
    finally:
        asyncio.run(forget(connection))
    found = {case: median(one[case] for one in rounds) for case in cases}
    print(
        f"{asked.records:,} records, {PARTITIONS} partitions, µs of processor time a record, median of {asked.rounds}"
    )
    print(f"{'':8}{'alone':>8}{'':>14}{'decoded':>10}")
    for name in READERS:
        parts = (f"{found[name, d]:8.1f} {found[name, d] / found['getmany', d]:6.2f} × getmany" for d in (False, True))
        print(f"{name:8}" + "  ".join(parts))
    print(
        json.dumps({f"{name}{' decoded' if d else ''}": cost for (name, d), cost in found.items()} | {"target": TARGET})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
