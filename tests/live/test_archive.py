"""`tidings archive` on a real Kafka and a real PostgreSQL: what is in the topics is in the table, once."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from streams.embedded import wall_clock
from streams.embedded_log import read_record
from streams.kafka.archive import BATCH, BATCH_BYTES, batches, keep
from streams.kafka.cluster import opened
from streams.kafka.connection import Connection
from streams.processors import detect
from streams.processors.detect import Skipped
from streams.processors.ground import ARCHIVE
from tests import services
from tests.live import cluster
from tidings.log import LogRecord, fingerprint

TOPIC = "billing.payment.failed.v1"
PARTITIONS, RECORDS = 3, 9_000


def configured(folder: Path, place, kafka: Connection) -> Path:
    path = folder / "tidings.toml"
    path.write_text(
        f"""[kafka]
bootstrap = ["{kafka.bootstrap[0]}"]
prefix = "{kafka.prefix}"
[postgres]
host = "{place.host}"
port = {place.port}
database = "{place.database}"
user = "postgres"
"""
    )
    return path


class Archiver:
    """The verb, in a process of its own."""

    def __init__(self, config: Path, log: Path):
        self.log = log
        command = [sys.executable, "-m", "gateway.cli.main", "archive", "--config", str(config)]
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, stderr=file)

    def has_said(self, what: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return any(json.loads(line)["what"] == what for line in self.log.read_text().splitlines())


@pytest.mark.live
def test_whatever_dies_where_the_archive_has_every_record_once_and_byte_for_byte(tmp_path):
    kafka = services.kafka()
    numbers = itertools.count()

    async def made():
        async with opened(kafka) as there:
            await there.create(TOPIC, PARTITIONS, 1, {"message.timestamp.type": "LogAppendTime"})

    async def connected(one):
        places = [(TOPIC, partition) for partition in range(PARTITIONS)]
        await one.store.run(detect.connect(places, wall_clock(), grace=0, reader=ARCHIVE))

    async def produced(first: int, count: int) -> dict[tuple[int, int], bytes]:
        producer = AIOKafkaProducer(**kafka.options(), enable_idempotence=True)
        await producer.start()
        try:
            jobs = {}
            for n in range(first, first + count):
                value = b"%d" % n * (1 + n % 50)
                jobs[n] = (
                    value,
                    await producer.send(
                        kafka.prefix + TOPIC, value, key=b"k", partition=n % PARTITIONS, headers=[("h", b"\xff")]
                    ),
                )
            return {((done := await sent).partition, done.offset): value for value, sent in jobs.values()}
        finally:
            await producer.stop()

    async def play(place):
        await made()
        config = configured(tmp_path, place, kafka)
        async with cluster.opened(place) as one:
            await connected(one)
            running = [Archiver(config, tmp_path / str(next(numbers))) for _ in range(2)]
            try:
                expected: dict[tuple[int, int], bytes] = {}
                for turn in range(3):
                    expected |= await produced(turn * RECORDS // 3, RECORDS // 3)
                    if turn == 2:
                        break
                    # The one that copies is killed in the middle; the other takes over.
                    await until(lambda turn=turn: copied(one, 1 + turn * RECORDS // 3))
                    (victim,) = [each for each in running if each.has_said(COPIES)]
                    os.kill(victim.process.pid, signal.SIGKILL)
                    victim.process.wait()
                    running.remove(victim)
                    running.append(Archiver(config, tmp_path / str(next(numbers))))
                await until(lambda: copied(one, RECORDS))
                # Which of the two has taken over is a race: the other one stands by.
                await until(lambda: at_work(running))
                for each in running:
                    each.process.send_signal(signal.SIGTERM)
                assert [each.process.wait(20) for each in running] == [0, 0]
            finally:
                for each in running:
                    each.process.kill()
                    each.process.wait()
            found = [read_record(row) for row in await one.rows("log")]
            assert {(record.partition, record.offset): record.value for record in found} == expected
            assert {(record.key, record.headers) for record in found} == {(b"k", (("h", b"\xff"),))}
            ends = {row["partition"]: row for row in await one.rows("sources")}
            assert {p: row["next_offset"] for p, row in ends.items()} == dict.fromkeys(
                range(PARTITIONS), RECORDS // PARTITIONS
            )
            last = {record.partition: record for record in found}
            assert {p: row["fingerprint"] for p, row in ends.items()} == {
                p: fingerprint(one) for p, one in last.items()
            }

    with cluster.database() as place:
        asyncio.run(play(place))


COPIES, STANDS_BY = "this process copies the records now", "another process copies the records; this one stands by"


async def copied(one: cluster.Cluster, count: int) -> bool:
    done: int = sum(row["next_offset"] for row in await one.rows("sources"))
    return done >= count


async def at_work(running: list[Archiver]) -> bool:
    return all(one.has_said(COPIES) or one.has_said(STANDS_BY) for one in running)


async def until(condition) -> None:
    async with asyncio.timeout(60):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.01)


def record(offset: int, value: bytes = b"", partition: int = 0) -> LogRecord:
    return LogRecord(TOPIC, partition, offset, 1, b"", value)


def test_a_batch_is_bounded_by_number_and_by_bytes_and_loses_no_record():
    small = [record(n) for n in range(2 * BATCH + 1)]
    assert [len(part) for part in batches(small)] == [BATCH, BATCH, 1]
    large = [record(n, b"x" * (BATCH_BYTES // 2 + 1)) for n in range(3)]
    assert [len(part) for part in batches([*large, record(3)])] == [1, 1, 2]
    assert [len(part) for part in batches([record(0, b"x" * (BATCH_BYTES + 1)), record(1)])] == [1, 1]
    assert list(batches([])) == []


def test_of_two_that_copy_the_same_records_one_is_told_where_the_other_came_to():
    from tidings.testing.memory import MemoryStore

    async def body():
        store = MemoryStore()
        await store.run(detect.connect([(TOPIC, 0), (TOPIC, 1)], 0, grace=0, reader=ARCHIVE))
        both = [record(0), record(0, partition=1), record(1)]
        starts = {(TOPIC, 0): 0, (TOPIC, 1): 0}
        assert await store.run(keep(both, starts)) == 3
        assert await store.run(keep(both, starts)) == Skipped({(TOPIC, 0): 2, (TOPIC, 1): 1})
        assert len(store.rows("log")) == 3
        assert await store.run(keep([record(2)], {(TOPIC, 0): 2})) == 1
        assert await store.run(keep([record(0, partition=7)], {(TOPIC, 7): 0})) == Skipped({(TOPIC, 7): -1})

    asyncio.run(body())
