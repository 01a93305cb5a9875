"""What a process says of what has gone: a topic, its servers; and how it ends when they stay away."""

import asyncio
import logging

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from gateway.long_running import until_stopped
from streams.archive_process import ArchiveProcess
from streams.deliver_process import DeliverProcess
from streams.embedded import wall_clock
from streams.kafka.topic_ids import Absence
from streams.loops import Loop, Loops
from streams.stores.postgres import PostgresStore
from tests import services
from tests.kafka.world import known, until, world
from tests.live import cluster, engines
from tidings.ports import StoreUnavailable
from tidings.testing.provider import FakeProvider


def test_a_topic_that_lacks_or_is_another_is_said_once_and_when_it_is_back(caplog):
    absence, both, one = Absence(), {"a": "1", "b": "2"}, {"a": "1"}
    for answer in (both, one, both, one):
        absence.look(both, answer)
    assert not caplog.records
    for answer in (one, one, one):
        absence.look(both, answer)
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == ["the topic b is not there any more"]
    absence.look(both, {})
    absence.look(both, {})
    assert [record.getMessage()[:11] for record in caplog.records][1:] == ["the topic a"]
    for answer in (both, both, {"a": "1", "b": "3"}, {"a": "1", "b": "3"}):
        absence.look(both, answer)
    assert [record.getMessage()[10:11] for record in caplog.records][2:] == ["a", "b", "b"]
    assert "was deleted and made again" in caplog.text


def test_brokers_that_give_no_ids_miss_no_topic(caplog):
    absence = Absence()
    for _ in range(5):
        absence.look({"a"}, {})
    assert not caplog.records


@pytest.mark.live
def test_a_worker_says_that_a_topic_was_deleted_although_it_reads_the_others(caplog):
    """Kafka takes its partitions from the group at once, so they are not missed by what is left."""

    async def story(place):
        async with world(place, partitions=1, types=["billing.payment.failed", "sales.order.placed"]) as there:
            await there.apply(engines.RULES, dict(engines.TEMPLATES))
            async with there.worker("w") as process:
                await until(holds(lambda: len(process.partitions) == 2))
                admin = AIOKafkaAdminClient(**there.connection.options())
                await admin.start()
                try:
                    await admin.delete_topics([f"{there.connection.prefix}sales.order.placed.v1"])
                finally:
                    await admin.close()
                # A broker that makes what is asked for has made it again before anybody could miss it.
                said = (
                    "sales.order.placed.v1 is not there any more",
                    "sales.order.placed.v1 was deleted and made again",
                )
                await until(holds(lambda: any(words in caplog.text for words in said)))

    with cluster.database() as place, caplog.at_level(logging.WARNING):
        asyncio.run(story(place))


def holds(condition):
    async def asked() -> bool:
        return bool(condition())

    return asked


class Gone(PostgresStore):
    """A store whose server goes away when it is told to."""

    gone = False

    async def run(self, body, *, urgent=False):
        return await super().run(self._there(body), urgent=urgent)

    async def read(self, body):
        return await super().read(self._there(body))

    def _there(self, body):
        if self.gone:
            text = "the server has gone"
            raise StoreUnavailable(text)
        return body


@pytest.fixture
def place():
    with cluster.database() as found:
        yield found


@pytest.mark.live
def test_a_deliverer_ends_when_the_database_stays_away_but_not_with_an_answer_in_its_hands(place):
    asked, answer = asyncio.Event(), asyncio.Event()

    class Slow(FakeProvider):
        async def send(self, outgoing):
            asked.set()
            await answer.wait()
            return await super().send(outgoing)

    async def body():
        async with cluster.opened(place) as one:
            await one.connect()
            await one.apply()
            await one.publish(
                ("customer.profile.changed", engines.customer("c-1")),
                ("billing.payment.failed", engines.failed("p-1", who="c-1")),
            )
            await one.decide()
            store = await Gone.open(place)
            provider = Slow(wall_clock)
            process = DeliverProcess(store, known(), lambda _: provider, wall_clock, "d", away_limit=0.5)
            try:
                await process.start()
                await asked.wait()
                store.gone = True
                await until(holds(lambda: process.loops.away_since is not None))
                await asyncio.sleep(1)
                process.check()
                answer.set()
                await asyncio.sleep(1)
                process.check()  # it has answered, and nobody has written it down
                store.gone = False
                await until(holds(lambda: process.delivering is not None and not process.delivering.flying))
                assert await one.states() == {"accepted": 1}
                store.gone = True
                with pytest.raises(StoreUnavailable, match="the database has been away for"):
                    await until_stopped(process, asyncio.Event())
            finally:
                store.gone = False
                await process.stop()
                await store.close()

    asyncio.run(body())


@pytest.mark.live
def test_an_archive_whose_servers_are_both_away_says_so_and_ends(place, caplog):
    async def body():
        store = await Gone.open(place)
        store.gone = True
        process = ArchiveProcess(store, services.kafka(), away_limit=0.5)
        process.archive.place = process.archive.place.__class__(host="127.0.0.1", port=1, database="d", user="u")
        try:
            process.start()
            with pytest.raises(StoreUnavailable, match="the database has been away for"):
                await until_stopped(process, asyncio.Event())
        finally:
            await process.stop()
            await store.close()

    asyncio.run(body())
    assert "archive: the store is away" in caplog.text


def test_what_stays_away_is_said_again_and_again_with_since_when(caplog, monkeypatch):
    monkeypatch.setattr("streams.loops.AGAIN", 0.0)
    monkeypatch.setattr("streams.loops.AWAY", 0.001)

    async def away() -> bool:
        text = "no route"
        raise StoreUnavailable(text)

    async def body():
        loops = Loops(lambda _: None)
        loops.start({"x": Loop(away)})
        await until(holds(lambda: len(caplog.records) > 2))
        await loops.stop(1)

    asyncio.run(body())
    assert caplog.records[0].getMessage() == "x: the store is away, tried again until it is back: no route"
    assert caplog.records[1].getMessage().startswith("x: the store is away since 0 s")
