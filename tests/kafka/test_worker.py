"""Workers on a real broker and a real database: where they go on, what transactions of producers mean, kills and sleeps."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas import contracts
from streams.embedded import wall_clock
from streams.kafka.app import GROUP
from streams.kafka.cluster import opened
from streams.kafka.reach import Away
from streams.kafka.transport import Records
from streams.stores.postgres import PostgresStore
from tests import services
from tests.conformance import runners
from tests.conformance.runners import raw, said
from tests.kafka.world import World, until, world
from tests.live import engines, kill_rules
from tests.live.engines import customer, failed
from tests.live.test_poison import good
from tidings.errors import Misconfigured
from tidings.event import MINUTE
from tidings.ports import StoreUnavailable

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]
TOPIC = "billing.payment.failed.v1"
ALL_DAY = kill_rules.rules(10 * MINUTE)
KILLS = 3


@pytest.fixture
def place():
    with services.database() as found:
        yield found


def on(place, story, **words):
    async def run():
        async with world(place, **words) as there:
            await there.apply(engines.RULES, dict(engines.TEMPLATES))
            await story(there)

    asyncio.run(run())


def payments(*names: str):
    return [("billing.payment.failed", failed(name)) for name in names]


def test_what_kafka_has_committed_is_told_to_it_and_never_asked(place):
    async def story(there: World):
        await there.publish(payments(*(f"p-{n}" for n in range(20))))
        async with there.worker() as one:
            await there.taken(30, one)
        assert len(await there.rows("records")) == 20
        rows = {(r["topic"], r["partition"]): r["next_offset"] for r in await there.rows("sources") if r["next_offset"]}
        async with opened(there.connection) as cluster:
            assert {place: at for place, at in (await cluster.committed(GROUP)).items() if at} == rows
        # Somebody commits nonsense: far ahead on one partition, back to the start on the other.
        consumer = AIOKafkaConsumer(
            **there.connection.options(), group_id=there.connection.prefix + GROUP, enable_auto_commit=False
        )
        await consumer.start()
        at = [TopicPartition(there.connection.prefix + TOPIC, n) for n in range(2)]
        consumer.assign(at)
        await consumer.commit({at[0]: 10**6, at[1]: 0})
        await consumer.stop()
        await there.publish(payments(*(f"q-{n}" for n in range(20))))
        async with there.worker() as one:
            await there.taken(30, one)
            assert one.intake is not None
            assert one.intake.counts.skipped == one.intake.counts.holes == 0
        assert len(await there.rows("records")) == 40

    on(place, story)


def test_a_record_of_a_transaction_counts_when_it_is_committed_and_holds_w_while_that_is_open(place):
    async def story(there: World):
        producer = AIOKafkaProducer(**there.connection.options(), transactional_id=f"{there.connection.prefix}t")
        await producer.start()
        topic = there.connection.prefix + TOPIC
        key, value = good("of-a-transaction")

        async def known() -> Any:
            rows = await there.rows("sources")
            row = next(r for r in rows if (r["reader"], r["topic"], r["partition"]) == ("detect", TOPIC, 0))
            return row["caught_up_at"]

        async def decided(count: int) -> bool:
            return bool(len(await there.rows("records")) == count)

        async with there.worker() as one:
            await until(lambda: _is_set(known))
            async with producer.transaction():
                await producer.send_and_wait(topic, value, key=key, partition=0)
                await there.publish([])
                await asyncio.sleep(1.5)
                before = await known()
                await asyncio.sleep(2.5)
                # Its record was appended; nobody may say that nothing was.
                assert await known() == before
                assert await decided(0)
            await until(lambda: decided(1))
            # Its marker is no record, and the partition is empty behind it.
            await until(lambda: _moved(known, before))
            await producer.begin_transaction()
            await producer.send_and_wait(topic, good("taken-back")[1], key=key, partition=0)
            await producer.abort_transaction()
            key, value = good("afterwards")
            await there.send(TOPIC, key, value, 0)
            await until(lambda: decided(2))
            one.check()
        await producer.stop()

    on(place, story)


async def _is_set(known) -> bool:
    return await known() is not None


async def _moved(known, before) -> bool:
    return bool(await known() > before)


def test_a_batch_that_is_lost_between_broker_and_agent_is_fetched_again(place):
    async def story(there: World):
        async with there.worker() as one:
            assert one.app is not None
            assert one.intake is not None
            app = one.app
            handed = app.intake._hand_out
            lost: list[Records] = []

            async def lossy(batch):
                if not lost:
                    lost.append(batch)
                    app.intake._waiting[batch.place.topic] -= len(batch.records)
                else:
                    await handed(batch)

            app.intake._hand_out = lossy  # type: ignore[method-assign]
            await there.publish(payments("lost"))
            await until(lambda: _true(lost))
            key, _ = good("lost")
            await there.send(TOPIC, key, good("next")[1], lost[0].place.partition)
            await until(lambda: _count(there, 2))
            assert one.intake.counts.holes == 1

    on(place, story)


async def _true(value) -> bool:
    return bool(value)


async def _count(there, count) -> bool:
    return bool(len(await there.rows("records")) == count)


class Away1(PostgresStore):
    away = False

    async def run(self, body, *, urgent=False):
        if self.away:
            raise StoreUnavailable("switched off")
        return await super().run(body, urgent=urgent)

    async def read(self, body):
        if self.away:
            raise StoreUnavailable("switched off")
        return await super().read(body)


def test_while_the_store_is_away_the_worker_stays_in_its_group_and_ends_when_that_lasts(place):
    async def story(there: World):
        store = await Away1.open(place)
        async with there.worker(store=store, away_limit=9.0) as one:
            await until(lambda: _true(one.partitions))
            store.away = True
            await there.publish(payments(*(f"p-{n}" for n in range(20))))
            await asyncio.sleep(7.0)  # longer than the session
            one.check()
            assert one.rebalances == 1
            assert one.halted == ""
            store.away = False
            await there.taken(30, one)
            assert one.rebalances == 1
            store.away = True
            with pytest.raises(StoreUnavailable, match="away for"):
                await until(lambda: _checked(one), 30)
            store.away = False

    on(place, story)


async def _checked(one) -> bool:
    one.check()
    return False


def test_a_worker_without_any_broker_ends_when_that_lasts(place):
    async def story(there: World):
        async with there.worker(away_limit=1.0) as one:

            async def nobody(_):
                raise Away("no broker answers")

            one.ends.ask = nobody  # type: ignore[method-assign]
            with pytest.raises(Away, match="no broker has answered"):
                await until(lambda: _checked(one), 20)

    on(place, story)


def test_topics_that_are_missing_are_named_with_what_to_do(place):
    async def story(there: World):
        with pytest.raises(Misconfigured, match="tidings topics apply"):
            async with there.worker(contracts=contracts()):
                pass

    on(place, story)


def test_a_rule_set_is_waited_for(place, caplog):
    async def run():
        async with world(place) as there:
            task = asyncio.create_task(_until_started(there))
            await asyncio.sleep(2.5)
            assert not task.done()
            assert "tidings rules apply" in caplog.text
            await there.apply(engines.RULES, dict(engines.TEMPLATES))
            await asyncio.wait_for(task, 30)

    asyncio.run(run())


async def _until_started(there: World):
    async with there.worker():
        pass


def test_workers_that_are_killed_and_that_sleep_beyond_their_session_decide_everything_once(place, tmp_path):
    log = raw(kill_rules.workload(wall_clock(), 3000))
    people = raw(("customer.profile.changed", customer(f"c-{n}")) for n in range(kill_rules.CUSTOMERS))

    async def calm():
        async with runners.embedded(tmp_path / "calm.db", ALL_DAY, kill_rules.TEMPLATES) as one:
            await one.append([*people, *log])
            await one.start()
            await one.rest()
            return await one.rows("records"), await one.rows("recipients")

    async def disturbed():
        chance = Random(7)
        async with world(place, partitions=4) as there:
            await there.apply(ALL_DAY, dict(kill_rules.TEMPLATES))
            await asyncio.gather(*[await there.send(*one) for one in [*people, *log]])
            words = (
                there.connection.bootstrap[0],
                there.connection.prefix,
                place.host,
                str(place.port),
                place.database,
            )

            def begin() -> subprocess.Popen[bytes]:
                return subprocess.Popen([sys.executable, "-m", "tests.kafka.run_worker", *words], cwd=ROOT)

            running = [begin(), begin()]
            counted = 0
            try:
                before = await progress(there)
                while counted < KILLS and await there.lag():
                    await until(partial(_beyond, there, before), 60)
                    victim = chance.randrange(2)
                    if counted == KILLS - 1:
                        running[victim].send_signal(signal.SIGSTOP)
                        await asyncio.sleep(8.0)
                        running[victim].send_signal(signal.SIGCONT)
                    else:
                        os.kill(running[victim].pid, signal.SIGKILL)
                        running[victim].wait()
                        running[victim] = begin()
                    counted += 1
                    before = await progress(there)
                await there.taken(90)
                await runners.settled(runners.OnCluster(there, None))
                assert all(one.poll() is None for one in running)
                return await there.rows("records"), await there.rows("recipients"), counted
            finally:
                for one in running:
                    one.kill()
                    one.wait()

    records, recipients = asyncio.run(calm())
    found, known, counted = asyncio.run(disturbed())
    assert counted == KILLS, "the log is too short for so many kills"
    assert Counter(row["kind"] for row in found) == Counter(row["kind"] for row in records)
    assert said(found) == said(records)
    assert len(known) == len(recipients)
    print(f"{counted} disturbances, {len(found)} records")


async def progress(there: World) -> int:
    return sum(row["next_offset"] for row in await there.rows("sources"))


async def _beyond(there: World, before: int) -> bool:
    return await progress(there) > before
