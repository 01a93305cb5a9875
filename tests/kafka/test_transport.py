"""The transport by itself: what is committed, what holds up what, and what nobody starts."""

import asyncio
from collections import deque
from contextlib import asynccontextmanager, contextmanager

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from streams.kafka.app import make_app
from streams.kafka.connection import Connection
from streams.kafka.log import KafkaLog
from streams.kafka.transport import RECORDS, Pace, Records, _Book
from tests import services
from tests.kafka.world import until
from tidings.log import LogRecord

NOWHERE = Connection(("127.0.0.1:1",), prefix="x.")


class Start:
    async def assigned(self, places):
        return dict.fromkeys(places, 0)

    def unreadable(self, place, fault):
        raise fault


async def nothing(_):
    return True


@contextmanager
def unstarted(*names: str):
    """An application that never runs; its thread has a loop nevertheless."""
    app = make_app(NOWHERE, names, nothing, Start())
    try:
        yield app
    finally:
        app.intake._thread.thread_loop.close()


def batch(first: int) -> Records:
    record = ConsumerRecord("x.t.v1", 0, first, 0, 1, None, b"", None, 0, 0, ())
    return Records(TP("x.t.v1", 0), first, first + 1, [record], 1)


def message(one: Records) -> ConsumerMessage:
    return ConsumerMessage("x.t.v1", 0, one.start, 0.0, 1, None, None, one, None, 0, 0, one.place)  # type: ignore[arg-type]


def test_only_the_longest_acknowledged_prefix_is_committed():
    async def story():
        with unstarted("t.v1") as app:
            consumer = app.intake
            batches = [batch(n) for n in range(3)]
            book = consumer._books[batches[0].place] = _Book(deque(batches))
            batches[1].applied = 2
            consumer.ack(message(batches[1]))
            before = book.ready
            assert before is None
            batches[0].applied = 1
            consumer.ack(message(batches[0]))
            assert book.ready == 2
            assert [one.start for one in book.open] == [2]

    asyncio.run(story())


def test_a_rebalance_waits_for_the_batch_in_work_and_for_none_that_was_thrown_away():
    async def story():
        with unstarted("t.v1") as app:
            consumer = app.intake
            thrown = message(batch(0))  # somebody still holds it: the collector will not find it
            consumer._unacked_messages.add(thrown)
            with consumer.working():
                waiting = asyncio.create_task(consumer.wait_empty())
                await asyncio.sleep(0.05)
                assert not waiting.done()
            await asyncio.wait_for(waiting, 10)
            await asyncio.wait_for(consumer.wait_empty(), 10)
            assert thrown not in consumer._unacked_messages

    asyncio.run(story())


def test_every_agent_is_named_and_alone_and_nothing_else_is_started():
    async def story():
        with unstarted("t.v1", "u.v1") as app:
            app.finalize()
            assert sorted(app.agents) == ["tidings.t.v1", "tidings.u.v1"]
            assert {agent.concurrency for agent in app.agents.values()} == {1}
            assert app.conf.id == "x.worker"
            assert app.conf.stream_wait_empty
            assert not app.conf.web_enabled
            assert not app.tables
            started = {type(one).__name__ for one in app.on_init_dependencies()}
            assert not started & {"Monitor", "Producer", "Web"}

    asyncio.run(story())


def test_no_setting_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("APP_ID", "somebody-else")
    monkeypatch.setenv("BROKER_URL", "kafka://elsewhere")
    monkeypatch.setenv("STREAM_WAIT_EMPTY", "0")

    async def story():
        with unstarted("t.v1") as app:
            app.finalize()
            assert app.conf.id == "x.worker"
            assert app.conf.stream_wait_empty

    asyncio.run(story())


@asynccontextmanager
async def topics(*names: str, partitions: int = 1):
    connection = services.kafka()
    admin = AIOKafkaAdminClient(**connection.options())
    await admin.start()
    await admin.create_topics([NewTopic(connection.prefix + name, partitions, 1) for name in names])
    producer = AIOKafkaProducer(**connection.options())
    await producer.start()
    try:
        yield connection, producer
    finally:
        await producer.stop()
        await admin.delete_topics([connection.prefix + name for name in names])
        await admin.close()


@pytest.mark.live
def test_a_topic_that_has_enough_waiting_holds_up_no_other_one():
    async def story():
        async with topics("slow.v1", "quick.v1") as (connection, producer):
            go, taken = asyncio.Event(), {"slow.v1": 0, "quick.v1": 0}

            async def take(one: Records) -> bool:
                name = one.place.topic.removeprefix(connection.prefix)
                if name == "slow.v1":
                    await go.wait()
                taken[name] += len(one.records)
                one.applied = one.last
                return True

            async def send(name: str, count: int):
                await asyncio.gather(*[await producer.send(connection.prefix + name, b"x") for _ in range(count)])

            async def all_quick() -> bool:
                return taken["quick.v1"] == 300

            async def everything() -> bool:
                return taken["slow.v1"] == 4 * RECORDS

            app = make_app(connection, ["slow.v1", "quick.v1"], take, Start(), Pace(6.0, 6.0, 6.0))
            await app.start()
            try:
                await send("slow.v1", 4 * RECORDS)
                await send("quick.v1", 300)
                await until(all_quick)
                assert app.intake._waiting[f"{connection.prefix}slow.v1"] < 2 * RECORDS
                go.set()
                await until(everything)
            finally:
                go.set()
                await app.stop()

    asyncio.run(story())


@pytest.mark.live
def test_the_log_for_tools_reads_from_any_position_and_tells_its_end_from_markers():
    async def story():
        async with topics("a.v1", partitions=2) as (connection, producer):
            name = connection.prefix + "a.v1"
            for number in range(5):
                await producer.send_and_wait(name, b"%d" % number, partition=0, key=b"k", headers=[("h", b"1")])
            transactional = AIOKafkaProducer(**connection.options(), transactional_id=name)
            await transactional.start()
            async with transactional.transaction():
                await transactional.send_and_wait(name, b"5", partition=0)
            await transactional.stop()
            log = KafkaLog(connection, {("a.v1", 0): 100})
            try:
                assert sorted(await log.partitions(["a.v1", "none.v1"])) == [("a.v1", 0), ("a.v1", 1)]
                positions = {("a.v1", 0): 103, ("a.v1", 1): 0}
                found: list[LogRecord] = []
                while len(found) < 3:
                    for one in await log.fetch(positions, 2):
                        found += one.records
                        assert len(one.records) <= 2
                        assert not one.records or one.partition == ("a.v1", 0)
                        positions[one.partition] += len(one.records)
                assert [(r.topic, r.offset, r.value) for r in found] == [
                    ("a.v1", 103, b"3"), ("a.v1", 104, b"4"), ("a.v1", 105, b"5")
                ]  # fmt: skip
                assert found[0].headers == (("h", b"1"),)

                async def ended() -> bool:
                    fetched = await log.fetch(positions, 2)
                    assert not any(one.records for one in fetched)
                    return {one.partition for one in fetched if one.caught_up} == set(positions)

                for _ in range(3):
                    await until(ended)
            finally:
                await log.close()

    asyncio.run(story())
