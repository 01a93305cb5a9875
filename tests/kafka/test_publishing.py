"""Publishing for others: in Kafka, or kept until Kafka takes it; in order, and never answered before it is durable."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streams.embedded_log import Append
from streams.kafka.cluster import opened
from streams.kafka.connection import Connection
from streams.kafka.log import KafkaLog
from streams.kafka.publishing import Publisher, claim, keep
from streams.stores.migrate import migrate
from streams.stores.postgres import PostgresStore
from tests.servers import PrivateKafka
from tests.services import corner, database
from tidings.ports import Scan, StoreUnavailable

pytestmark = pytest.mark.live

TOPIC = "orders.v1"


def records(*numbers: int) -> list[Append]:
    return [Append(TOPIC, b"key", str(number).encode(), (("ce_id", b"x"),)) for number in numbers]


async def made(connection: Connection) -> None:
    async with opened(connection) as cluster:
        await cluster.create(TOPIC, 1, 1, {})


async def read(connection: Connection) -> list[int]:
    """The numbers in the topic, each where it came first."""
    log = KafkaLog(connection)
    try:
        found: list[int] = []
        at = 0
        while True:
            (fetched,) = await log.fetch({(TOPIC, 0): at}, 500)
            if not fetched.records:
                return list(dict.fromkeys(found))
            assert all(one.key == b"key" and one.headers == (("ce_id", b"x"),) for one in fetched.records)
            found += [int(one.value or b"") for one in fetched.records]
            at = fetched.records[-1].offset + 1
    finally:
        await log.close()


async def kept(store: PostgresStore) -> list[int]:
    return [int(row["value"]) for row in await store.read(lambda: (yield Scan("intake")))]


async def until(holds: Callable[[], Awaitable[bool]], publisher: Publisher, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():
            await publisher.step()
            await asyncio.sleep(0.1)


@asynccontextmanager
async def publishing(connection: Connection, store: PostgresStore, name: str = "one") -> Any:
    publisher = Publisher(connection, store, name)
    await publisher.step()
    try:
        yield publisher
    finally:
        await publisher.stop()


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with PrivateKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka


@pytest.fixture
def play(broker):
    """Play a story with a topic and a database of its own."""
    with database() as place:

        async def body(story: Callable[[PrivateKafka, Connection, PostgresStore], Awaitable[None]]) -> None:
            await migrate(place)
            store = await PostgresStore.open(place)
            connection = broker.connection(corner())
            try:
                async with asyncio.timeout(180):
                    await made(connection)
                    await story(broker, connection, store)
            finally:
                await store.close()

        yield lambda story: asyncio.run(body(story))


def test_what_kafka_does_not_take_is_kept_and_published_in_its_order_once_it_does(play):
    async def story(kafka: PrivateKafka, connection: Connection, store: PostgresStore) -> None:
        async with publishing(connection, store) as publisher:
            assert await publisher.publish(records(1, 2)) == [(TOPIC, 0, 0), (TOPIC, 0, 1)]
            kafka.pause()
            assert await publisher.publish(records(3, 4)) == [None, None]
            # Nothing waits two seconds any more, and nothing overtakes what is kept.
            async with asyncio.timeout(1.5):
                assert await publisher.publish(records(5)) == [None]
            assert await kept(store) == [3, 4, 5]
            count, oldest = await store.kept(within=10)
            assert count == 3
            assert oldest is not None
            kafka.resume()
            assert await publisher.publish(records(6)) == [None]

            async def empty() -> bool:
                return not publisher.behind and not await kept(store)

            await until(empty, publisher)
            assert await store.kept(within=10) == (0, None)
            assert (await publisher.publish(records(7)))[0] is not None
            assert await read(connection) == [1, 2, 3, 4, 5, 6, 7]

            # Killed, the client's own connection is gone as well.
            kafka.kill()
            assert await publisher.publish(records(8)) == [None]
            kafka.start()
            await until(empty, publisher)
            assert await read(connection) == [1, 2, 3, 4, 5, 6, 7, 8]

    play(story)


def test_a_gateway_that_starts_while_kafka_is_away_keeps_what_comes_and_another_one_may_publish_it(play):
    async def story(kafka: PrivateKafka, connection: Connection, store: PostgresStore) -> None:
        kafka.kill()
        async with publishing(connection, store, "one") as one:
            assert await one.publish(records(1, 2)) == [None, None]
        kafka.start()
        async with publishing(connection, store, "two") as two:

            async def empty() -> bool:
                return not await kept(store)

            await until(empty, two)
            assert await read(connection) == [1, 2]

    play(story)


def test_where_neither_keeps_it_nobody_is_told_that_it_was_taken(play):
    async def story(kafka: PrivateKafka, connection: Connection, store: PostgresStore) -> None:
        async with publishing(connection, store) as publisher:
            with pytest.raises(StoreUnavailable, match="topics apply"):
                await publisher.publish([Append("nowhere.v1", b"k", b"1")])
            assert not await kept(store), "what has no topic would wait for ever"
            kafka.pause()
            whole = store.run

            async def away(*_: Any, **__: Any) -> Any:
                raise StoreUnavailable("the server is away")

            store.run = away  # type: ignore[method-assign]
            with pytest.raises(StoreUnavailable):
                await publisher.publish(records(1))
            store.run = whole  # type: ignore[method-assign]
            kafka.resume()

    play(story)


def test_no_more_is_kept_than_there_is_room_for_and_one_process_publishes_it():
    with database() as place:

        async def body() -> None:
            await migrate(place)
            store = await PostgresStore.open(place)
            try:
                assert await store.run(keep(records(1, 2), most=2))
                assert not await store.run(keep(records(3), most=2))
                assert await kept(store) == [1, 2]
                assert await store.run(claim("one"))
                assert await store.run(claim("one"))
                assert not await store.run(claim("two"))
            finally:
                await store.close()

        asyncio.run(body())
