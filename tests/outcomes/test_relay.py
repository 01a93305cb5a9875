"""The relay on a real Kafka: what was committed is in the topics, numbered without gap or repeat, whoever dies where."""

import asyncio
import itertools
from pathlib import Path

import pytest

from schemas import contracts
from streams.codec import Codec
from streams.kafka import outcome_log
from streams.kafka.relay import Relay
from streams.processors import outcomes
from streams.processors.outcomes import Published, TookOver
from streams.processors.setbacks import InternalError
from streams.stores.sqlite import SqliteStore
from tests import services
from tests.outcomes.world import (
    ENDED,
    ended,
    events,
    numbers,
    read,
    rows,
    topics,
    until,
    without_gap_or_repeat,
    write,
)
from tidings.event import SECOND
from tidings.outcomes import TOPICS

pytestmark = pytest.mark.live


def relay(store, kafka, name="one", **more) -> Relay:
    return Relay(store, kafka, Codec(contracts()), name, **more)


def test_every_outcome_is_in_its_partition_once_with_its_number_and_its_order(tmp_path: Path):
    kafka = services.kafka()

    async def play():
        store = await SqliteStore.open(tmp_path / "store")
        seen: list[object] = []
        async with topics(kafka):
            one = relay(store, kafka, observe=seen.append, limit=7)
            for turn in range(5):
                await store.run(write([ended(f"{turn}-{n}", f"customer:{n % 4}") for n in range(20)]))
            await until(one)
            found = await read(kafka)
            assert without_gap_or_repeat(found)
            assert len(found) > 1
            said = events(found)
            assert len(said) == 100
            for who in range(4):
                mine = [one.data["message_id"] for one in said if one.data["recipient"] == f"customer:{who}"]
                assert mine == [f"{turn}-{n}" for turn in range(5) for n in range(who, 20, 4)]
            assert await rows(store, "outbox") == []
            assert sum(one.count for one in seen if isinstance(one, Published)) == 100
            first = next(records[0] for records in found.values())
            read_headers = dict(first.headers)
            assert read_headers["ce_type"] == b"notification.message.ended"
            assert read_headers["ce_id"] == events({("", 0): [first]})[0].id.encode()
            await one.stop()
        await store.close()

    asyncio.run(play())


def test_an_outcome_that_fits_no_contract_is_kept_back_without_a_gap_and_holds_up_nobody(tmp_path: Path, caplog):
    kafka = services.kafka()

    async def play():
        store = await SqliteStore.open(tmp_path / "store")
        seen: list[object] = []
        async with topics(kafka):
            one = relay(store, kafka, observe=seen.append)
            await store.run(write([ended(f"{n}", "customer:1", rule=7 if n == 3 else "late") for n in range(6)]))
            await until(one)
            found = await read(kafka)
            assert without_gap_or_repeat(found)
            assert [said.data["message_id"] for said in events(found)] == ["0", "1", "2", "4", "5"]
            (kept,) = await rows(store, "outbox")
            assert (kept["about"], kept["number"]) == ("3", None)
            assert seen.count(InternalError("outcomes")) == 1
            assert kept["id"] in caplog.text
            await one.stop()
        await store.close()

    asyncio.run(play())


def test_who_dies_anywhere_leaves_neither_gap_nor_repeat_to_the_next(tmp_path: Path):
    """Death before and after each of the three commits: of the numbers, of Kafka's transaction, of what was published."""
    kafka = services.kafka()

    class Death(BaseException):
        """Nothing is tidied up."""

    async def play():
        store = await SqliteStore.open(tmp_path / "store")
        counter = itertools.count()
        async with topics(kafka):
            for where in ("number", "send", "kafka", "published", "nowhere"):
                await store.run(write([ended(f"{next(counter)}", f"customer:{n}") for n in range(10)]))
                one = relay(store, kafka, where, lease=0)
                await one.step()
                while not one.leads:
                    await one.step()
                await store.run(write([ended(f"{next(counter)}", f"customer:{n}") for n in range(10)]))
                dying(one, where)
                try:
                    await until(one)
                except Death:
                    assert where != "nowhere"
                else:
                    assert where == "nowhere"
                    await one.stop()
                if (corpse := vars(one).get("corpse")) is not None:
                    await bury(corpse)
            found = await read(kafka)
            assert without_gap_or_repeat(found)
            assert sorted(int(one.data["message_id"]) for one in events(found)) == list(range(next(counter)))
        await store.close()

    async def bury(corpse) -> None:
        await corpse.client.close()
        corpse._sender.sender_task.cancel()
        corpse._closed = True

    def dying(one: Relay, where: str) -> None:
        async def keep() -> None:
            vars(one)["corpse"], one._producer = one._producer, None

        async def die(*_, **__):
            raise Death

        async def then_die(*args, **more):
            await before(*args, **more)
            raise Death

        if where == "nowhere":
            return
        setattr(one, "_let_go", keep)  # noqa: B010
        if where == "number":
            setattr(one, "_publish", die)  # noqa: B010
        elif where == "send":
            one._producer.commit_transaction = die
        elif where == "kafka":
            before = one._producer.commit_transaction
            one._producer.commit_transaction = then_die
        elif where == "published":
            before = one._publish
            setattr(one, "_publish", then_die)  # noqa: B010

    asyncio.run(play())


def test_one_of_many_publishes_and_who_was_thought_dead_cannot_any_more(tmp_path: Path):
    kafka = services.kafka()

    async def play():
        store = await SqliteStore.open(tmp_path / "store")
        seen: list[object] = []
        async with topics(kafka):
            first, second = relay(store, kafka, "first"), relay(store, kafka, "second", observe=seen.append)
            await store.run(write([ended(f"a{n}") for n in range(5)]))
            await until(first)
            assert not await second.step()
            assert not second.leads
            # The first numbers a batch, and sleeps beyond its lease with a transaction begun.
            await store.run(write([ended(f"b{n}") for n in range(5)]))
            batch = await store.run(outcomes.number("first", SECOND, first._partition_of, 100))
            assert batch is not None
            await asyncio.sleep(1.1)
            second.lease, second._next = SECOND, 0
            await until(second)
            assert [one for one in seen if isinstance(one, TookOver)] == [TookOver(0)]
            # It wakes up: what it has begun cannot be committed, and its turn is over.
            with pytest.raises(Exception, match=r"[Ff]enced|epoch"):
                await first._publish(batch)
            await store.run(write([ended(f"c{n}") for n in range(5)]))
            assert not await first.step()
            assert not first.leads
            await until(second)
            found = await read(kafka)
            assert without_gap_or_repeat(found)
            assert [one.data["message_id"] for one in events(found)] == [f"{a}{n}" for a in "abc" for n in range(5)]
            await second.stop()
            await first.stop()
            # Who leaves in order leaves its turn as well.
            third = relay(store, kafka, "third")
            assert not await third.step()
            assert third.leads
            await third.stop()
        await store.close()

    asyncio.run(play())


def test_a_database_that_knows_less_than_the_topics_publishes_nothing(tmp_path: Path):
    kafka = services.kafka()

    async def play():
        async with topics(kafka):
            store = await SqliteStore.open(tmp_path / "lost")
            one = relay(store, kafka)
            await store.run(write([ended(f"a{n}") for n in range(5)]))
            await until(one)
            await one.stop()
            await store.close()
            older = await SqliteStore.open(tmp_path / "older")
            await older.run(write([ended("z")]))
            two = relay(older, kafka, "two")
            assert not await two.step()
            assert not two.leads
            (place,) = two.behind
            assert two.behind[place] == (0, 5)
            found = await outcome_log.numbers(kafka, older)()
            assert found[place] == (0, 5)
            assert numbers(await read(kafka)) == {place: [1, 2, 3, 4, 5]}
            await two.stop()
            await older.close()

    asyncio.run(play())


def test_the_last_number_is_found_behind_any_number_of_records_that_were_taken_back(tmp_path: Path):
    kafka = services.kafka()

    async def play():
        store = await SqliteStore.open(tmp_path / "store")
        async with topics(kafka, 1):
            one = relay(store, kafka)
            await store.run(write([ended(f"a{n}") for n in range(3)]))
            await until(one)
            for _ in range(4):
                await one._producer.begin_transaction()
                jobs = [
                    await one._producer.send(
                        kafka.prefix + ENDED, b"x", b"k", partition=0, headers=[("tidings-number", b"99")]
                    )
                    for _ in range(40)
                ]
                await asyncio.gather(*jobs)
                await one._producer.abort_transaction()
            places = [(topic, 0) for topic in TOPICS]
            assert (await outcome_log.last_numbers(kafka, places))[ENDED, 0] == 3
            after = await outcome_log.read_after(kafka, {(ENDED, 0): 1})
            assert list(after[ENDED, 0]) == [2, 3]
            await one.stop()
        await store.close()

    asyncio.run(play())
