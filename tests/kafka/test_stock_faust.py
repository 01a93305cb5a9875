"""What Faust does as it comes, and what it does here: an upgrade that changes either of them is noticed.

Every story is one topic with six records and two runs of a process. What was committed and never done is lost.
"""

import asyncio
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.kafka.app import App
from streams.kafka.connection import Connection
from tests import services

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]
STORIES = ("exception", "kill", "sigterm", "seek")
THERE = ("crash", "take", "send")
"""What else goes wrong there; here it is the same as an exception, or there is no such thing."""
EVERY = {str(number) for number in range(6)}


@dataclass
class Told:
    lines: list[str]
    committed: int | None

    @property
    def done(self) -> set[str]:
        return {line for line in self.lines if line.isdigit()}

    @property
    def lost(self) -> set[str]:
        """What nobody did, although Kafka was told that it is behind us."""
        return {one for one in EVERY - self.done if self.committed is not None and int(one) < self.committed}


def begin(*words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.kafka.stories", *map(str, words)], cwd=ROOT, stderr=subprocess.DEVNULL
    )


def tell(kind: str, story: str, topic: str, book: Path) -> None:
    for turn in (1, 2):
        process = begin(kind, story, topic, book, turn)
        if turn == 1 and story in ("kill", "sigterm"):
            end = time.monotonic() + 60
            while not (book.exists() and "begun" in book.read_text()):
                assert time.monotonic() < end, f"{kind} {story} does not begin"
                time.sleep(0.05)
            time.sleep(1.5)  # positions are committed five times meanwhile
            process.send_signal(signal.SIGKILL if story == "kill" else signal.SIGTERM)
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"run {turn} of {kind} {story} does not end") from None
        if story in ("seek", "send"):
            break


async def prepare(connection: Connection, topics: list[str]) -> None:
    admin = AIOKafkaAdminClient(**connection.options())
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1) for topic in topics])
    await admin.close()
    producer = AIOKafkaProducer(**connection.options())
    await producer.start()
    for topic in topics:
        for number in range(6):
            await producer.send(topic, str(number).encode(), partition=0)
    await producer.stop()
    for topic in topics:
        if ".seek." in topic:
            consumer = AIOKafkaConsumer(**connection.options(), group_id=group_of(topic), enable_auto_commit=False)
            await consumer.start()
            consumer.assign([TopicPartition(topic, 0)])
            await consumer.commit({TopicPartition(topic, 0): 1})
            await consumer.stop()


def group_of(topic: str) -> str:
    return f"{topic}.group" if ".stock." in topic else topic.removesuffix("v1") + "worker"


async def committed(connection: Connection, topics: list[str]) -> dict[str, int | None]:
    """Ask, and clean up."""
    admin = AIOKafkaAdminClient(**connection.options())
    await admin.start()
    found: dict[str, int | None] = {}
    for topic in topics:
        answer = await admin.list_consumer_group_offsets(group_of(topic))
        found[topic] = next((meta.offset for at, meta in answer.items() if at.topic == topic), None)
    await admin.delete_topics(topics)
    await admin.close()
    return found


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """All stories, side by side: each waits most of its time."""
    connection = services.kafka()
    folder = tmp_path_factory.mktemp("books")
    cases = [(kind, story) for kind in ("stock", "ours") for story in STORIES]
    cases += [("stock", story) for story in THERE]
    topics = {case: f"{connection.prefix}{'.'.join(case)}.v1" for case in cases}
    books = {case: folder / ".".join(case) for case in cases}
    asyncio.run(prepare(connection, list(topics.values())))
    with ThreadPoolExecutor(len(cases)) as pool:
        list(pool.map(lambda case: tell(case[0], case[1], topics[case], books[case]), cases))
    offsets = asyncio.run(committed(connection, list(topics.values())))
    return {case: Told(books[case].read_text().split("\n"), offsets[topics[case]]) for case in cases}


def test_an_exception_in_an_agent_acknowledges_the_event_there_and_never_here(told):
    assert told["stock", "exception"].lost == {"2"}
    assert told["ours", "exception"].done == EVERY


def test_an_exception_that_ends_the_program_acknowledges_the_event_there_too(told):
    """It is lost where Kafka is told in time."""
    assert "acknowledged True" in told["stock", "crash"].lines
    assert told["stock", "crash"].lost <= {"2"}


def test_take_loses_the_rest_of_its_batch_there_and_nothing_here(told):
    assert told["stock", "take"].lost == {"2"}
    assert told["ours", "exception"].done == EVERY


def test_a_kill_beside_a_second_agent_loses_what_is_in_flight_there_and_nothing_here(told):
    assert told["stock", "kill"].lost == {"0"}
    assert told["ours", "kill"].done == EVERY


def test_a_stop_that_waits_for_nobody_loses_what_is_in_flight_there_and_here_it_is_finished(told):
    assert told["stock", "sigterm"].lost == {"0"}
    ours = told["ours", "sigterm"]
    assert ours.lines.count("begun") == 1
    assert ours.done == EVERY
    assert ours.committed == 6


def test_a_seek_at_assignment_has_no_effect_there_and_here_positions_are_where_reading_begins(told):
    assert told["stock", "seek"].done == EVERY - {"0"}, "it begins where Kafka was told, at 1"
    assert told["ours", "seek"].done == {"3", "4", "5"}


def test_a_send_does_not_wait_for_the_broker_there_and_here_nothing_publishes(told):
    assert told["stock", "send"].lines[0] == "answered False"
    assert App.BootStrategy.enable_kafka_producer is False
