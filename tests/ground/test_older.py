"""A database that is older than the topics: noticed by what workers committed to Kafka, and nothing is sent until a person decides."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import pytest

from streams.kafka.connection import Connection
from streams.kafka.ground import Ground
from streams.processors import endings, ground
from streams.processors.ground import DISPATCH, Older
from streams.processors.kills import kill
from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tests import services
from tests.contract.test_store import everything
from tests.ground.laboratory import TOPIC, Laboratory, laboratory
from tidings.ports import StoreReplaced

pytestmark = pytest.mark.live

HERE = (TOPIC, 0)


@contextmanager
def copied(place: Place) -> Iterator[Callable[[], Place]]:
    """Give what makes a copy of a database that nobody uses at the moment, as a dump would be."""
    copy = replace(place, database=f"{place.database}_older")

    def make() -> Place:
        asyncio.run(services.administer(f"CREATE DATABASE {copy.database} TEMPLATE {place.database}"))
        return copy

    try:
        yield make
    finally:
        asyncio.run(services.administer(f"DROP DATABASE IF EXISTS {copy.database} WITH (FORCE)"))


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore.open(place)
    try:
        yield store
    finally:
        await store.close()


def play(*acts: Callable[[Laboratory], Awaitable[None]]) -> None:
    """Play acts on one database; the last one on the copy that was made after the first."""
    connection = services.kafka()

    async def one(place: Place, act: Callable[[Laboratory], Awaitable[None]], *, last: bool = False) -> None:
        async with opened(place) as store, laboratory(connection, store, last=last) as lab:
            await act(lab)

    with services.database() as place, copied(place) as copy:
        asyncio.run(migrate(place))
        asyncio.run(one(place, acts[0]))
        older = copy()
        for act in acts[1:-1]:
            asyncio.run(one(place, act))
        asyncio.run(one(older, acts[-1], last=True))


async def begin(lab: Laboratory) -> None:
    await lab.make()
    await lab.connect()
    await lab.produce(5)
    await lab.read()
    await lab.commit({0: 5, 1: 0})
    assert await lab.ground.database() is None


async def go_on(lab: Laboratory) -> None:
    await lab.produce(4)
    await lab.read()
    await lab.commit({0: 9, 1: 0})
    assert await lab.ground.database() is None


def test_a_database_restored_from_an_older_copy_is_noticed_and_nothing_is_sent_while_detection_goes_on() -> None:
    async def restored(lab: Laboratory) -> None:
        found = await lab.ground.database()
        assert found == Older({HERE: (5, 9)})
        assert found.unknown == 4
        assert [row["scope"] for row in await lab.rows("kills")] == ["ground"]
        (hold,) = await lab.rows("holds")
        assert ground.read_older(hold) == found
        # Detection reads again what the lost database had read, and commits: the evidence is gone, the hold stays.
        assert await lab.read() == 4
        await lab.commit({0: 9, 1: 0})
        assert await lab.ground.database() is None
        assert [row["scope"] for row in await lab.rows("kills")] == ["ground"]

    play(begin, go_on, restored)


def test_when_a_person_has_decided_the_same_evidence_holds_nothing_again_and_an_operators_stop_stays() -> None:
    async def restored(lab: Laboratory) -> None:
        await lab.store.run(kill("all", "an operator"))
        assert await lab.ground.database()
        ended = await lab.store.run(ground.release_dispatch("somebody"))
        assert ended is not None
        assert (await endings.finish(lab.store, ended)).is_over
        assert await lab.store.run(ground.release_dispatch("somebody")) is None
        assert [row["scope"] for row in await lab.rows("kills")] == ["all"]
        assert [row["verb"] for row in await lab.rows("audit")] == ["kill", "ground release"]
        assert await lab.ground.database() is None  # a worker that has not committed yet
        await lab.produce(6)
        await lab.commit({0: 12})
        assert (await lab.ground.database()) == Older({HERE: (5, 12)})  # yet another one has been lost

    play(begin, go_on, restored)


def test_a_process_never_goes_on_upon_another_database_than_that_it_began_with() -> None:
    async def whole(place: Place, older: Place) -> None:
        async with opened(place) as store:
            assert await store.read(everything("holds")) == []
            for statement in (
                f"ALTER DATABASE {place.database} RENAME TO {place.database}_lost",
                f"ALTER DATABASE {older.database} RENAME TO {place.database}",
            ):
                await services.administer(
                    f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{place.database}'"
                )
                await services.administer(statement)
            for _ in range(2):
                with pytest.raises(StoreReplaced, match="start again"):
                    await store.read(everything("holds"))
                with pytest.raises(StoreReplaced):
                    await store.run(kill("all", "nobody"))
        async with opened(place) as store:
            assert await store.read(everything("kills")) == []

    with services.database() as place, copied(place) as copy:
        asyncio.run(migrate(place))
        asyncio.run(whole(place, copy()))
        asyncio.run(services.administer(f"ALTER DATABASE {place.database} RENAME TO {place.database}_older"))
        asyncio.run(services.administer(f"ALTER DATABASE {place.database}_lost RENAME TO {place.database}"))


def test_another_database_waits_for_the_topics_and_one_that_was_compared_does_not() -> None:
    nowhere = Connection(("127.0.0.1:1",))

    async def whole(place: Place) -> None:
        async with opened(place) as store:
            reached, unreached = (
                Ground(one, store, (), run=store.run_of_server) for one in (services.kafka(), nowhere)
            )
            await unreached.begin()  # never compared: nothing speaks against it
            await reached.begin()
            await unreached.begin()
            await store.run(ground.write_compared("1/1/1"))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(unreached.begin(), 1)
            await reached.begin()
            assert await store.read(ground.read_compared) == store.run_of_server()

    with services.database() as place:
        asyncio.run(migrate(place))
        asyncio.run(whole(place))


def test_outcomes_that_only_the_topics_know_hold_everything_as_well() -> None:
    async def alone(lab: Laboratory) -> None:
        async def numbers():
            return {("decision.firing.recorded.v1", 0): (7, 9), ("decision.firing.recorded.v1", 1): (3, 3)}

        lab.ground.numbers = numbers
        found = await lab.ground.database()
        assert found == Older({}, {("decision.firing.recorded.v1", 0): (7, 9)})
        assert "2 outcomes are in the topics only" in str(found)
        assert [(row["reader"], row["topic"], row["partition"]) for row in await lab.rows("holds")] == [DISPATCH]

    play(begin, alone)
