"""What is kept, by topic: one that is missing waits alone, and nothing overtakes what is only being kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.intake.taking import Grouped
from streams.embedded_log import Append, NoTopic
from streams.kafka import publishing
from streams.kafka.connection import Connection
from streams.kafka.publishing import Publisher, keep
from tidings.ports import Body, StoreUnavailable
from tidings.testing.memory import MemoryStore


class Brokers:
    """Topics, and what was published, in its order; some topics take nothing."""

    def __init__(self, *topics: str) -> None:
        self.topics = set(topics)
        self.deaf: set[str] = set()
        self.taken: list[str] = []

    async def send(self, topic: str, value: bytes, _key: bytes | None, **_: Any) -> asyncio.Future[Any]:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if topic in self.deaf:
            done.set_exception(OSError("refused"))
        else:
            assert topic in self.topics, "the broker would make it, with none of its settings"
            self.taken.append(value.decode())
            done.set_result(SimpleNamespace(partition=0, offset=len(self.taken) - 1))
        return done

    async def stop(self) -> None:
        pass


@pytest.fixture
def brokers(monkeypatch) -> Brokers:
    known = Brokers("a", "b")

    @asynccontextmanager
    async def opened(*_: Any, **__: Any) -> AsyncIterator[Any]:
        async def topics() -> set[str]:
            return set(known.topics)

        yield SimpleNamespace(topics=topics)

    monkeypatch.setattr(publishing, "opened", opened)
    monkeypatch.setattr(publishing, "LOOK_AGAIN", 0.0)
    return known


def publisher(brokers: Brokers, store: Any) -> Publisher:
    made = Publisher(Connection(("nowhere:1",)), store, "one")
    made._producer, made._topics = brokers, frozenset(brokers.topics)  # as after connecting
    return made


def records(*texts: str) -> list[Append]:
    """`a1` is a record of the topic `a`."""
    return [Append(text[0], b"k", text.encode()) for text in texts]


def kept(store: MemoryStore) -> list[str]:
    return [row["value"].decode() for row in store.rows("intake")]


@pytest.mark.parametrize("part", [1, 2, 500])
def test_what_is_kept_for_a_missing_topic_holds_up_no_other_and_goes_once_it_is_there(
    brokers, monkeypatch, caplog, part
):
    monkeypatch.setattr(publishing, "PART", part)

    async def body() -> None:
        store = MemoryStore()
        await store.run(keep(records("x1", "x2", "a1", "x3", "a2", "b1")))
        one = publisher(brokers, store)
        for _ in range(8):
            await one.step()
        assert (brokers.taken, kept(store), one.behind) == (["a1", "a2", "b1"], ["x1", "x2", "x3"], False)
        assert [each.message for each in caplog.records if "there is no topic x" in each.message] != []
        assert (await one.publish(records("a3")))[0] is not None
        with pytest.raises(NoTopic, match="no topic x: tidings topics apply"):
            await one.publish(records("x4"))
        brokers.topics.add("x")
        assert await one.publish(records("x4")) == [None], "behind what is kept of its topic"
        for _ in range(8):
            await one.step()
        assert (brokers.taken[3:], kept(store), one.behind) == (["a3", "x1", "x2", "x3", "x4"], [], False)
        assert (await one.publish(records("x5")))[0] is not None

    asyncio.run(body())


def test_a_topic_that_takes_nothing_lets_the_others_go_once_each_and_keeps_its_order(brokers):
    async def body() -> None:
        store = MemoryStore()
        await store.run(keep(records("b1", "a1", "b2", "a2")))
        one = publisher(brokers, store)
        brokers.deaf = {"b"}
        await one.step()
        await one.step()
        assert (brokers.taken, kept(store)) == (["a1", "a2"], ["b1", "b2"])
        brokers.deaf = set()
        await one.step()
        assert (brokers.taken, kept(store)) == (["a1", "a2", "b1", "b2"], [])

    asyncio.run(body())


class Slow(MemoryStore):
    """Commits only when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()

    async def run(self, body: Body[Any], *, urgent: bool = False) -> Any:
        await self.may.wait()
        return await super().run(body, urgent=urgent)


def test_nothing_overtakes_what_is_only_being_kept(brokers):
    async def body() -> None:
        store = Slow()
        one = publisher(brokers, store)
        one.behind = True
        first = asyncio.create_task(one.publish(records("a1")))
        await asyncio.sleep(0)
        await one.step()
        second = asyncio.create_task(one.publish(records("a2")))
        await asyncio.sleep(0)
        store.may.set()
        assert [*await first, *await second] == [None, None]
        while one.behind:
            await one.step()
        assert brokers.taken == ["a1", "a2"]

    asyncio.run(body())


def test_a_request_for_a_missing_topic_is_refused_and_those_who_share_its_commit_are_not(brokers):
    async def body() -> None:
        calls = []
        one = publisher(brokers, MemoryStore())

        async def publish(appends):
            calls.append(len(appends))
            return await one.publish(appends)

        asked = Grouped(publish)
        done = await asyncio.gather(
            *(asked(records(*texts)) for texts in (["a1"], ["x1"], ["a2", "b1"], ["a3", "y1"])), return_exceptions=True
        )
        assert [type(each) for each in done] == [list, NoTopic, list, NoTopic]
        assert (brokers.taken, calls) == (["a1", "a2", "b1"], [6, 3])

    asyncio.run(body())


def test_where_nothing_can_be_kept_the_whole_group_hears_of_it_at_once():
    async def body() -> None:
        calls = []

        async def publish(appends):
            calls.append(len(appends))
            raise StoreUnavailable

        asked = Grouped(publish)
        done = await asyncio.gather(asked(records("a1")), asked(records("a2")), return_exceptions=True)
        assert [type(each) for each in done] == [StoreUnavailable] * 2
        assert calls == [2]

    asyncio.run(body())
