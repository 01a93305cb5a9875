"""Bodies that run at once: hot keys, deadlocks, rows that only a lock has made, who waits for whom."""

import asyncio
import threading
from collections import Counter
from random import Random
from typing import Any

import pytest

from streams.stores.postgres import PostgresStore
from tests.postgres.bodies import adding, everything, floor, opened, state
from tidings.ports import (
    Body,
    Exclude,
    Find,
    Insert,
    Lock,
    NextSeq,
    Put,
    Read,
    Scan,
    Transaction,
)

pytestmark = pytest.mark.live


@pytest.mark.parametrize("ordered", [True, False], ids=["in order", "as they come"])
def test_hot_keys_that_come_and_go_lose_no_update_and_show_no_deadlock(place, ordered):
    """Three stores, as three processes would have them, over forty keys, in whatever order the bodies name them."""

    async def body():
        chance = Random(3)
        jobs = [[chance.randrange(40) for _ in range(20)] for _ in range(150)]
        jobs = [list(dict.fromkeys(job)) for job in jobs]
        if ordered:
            jobs = [sorted(job) for job in jobs]
        wanted = Counter(key for job in jobs for key in job)
        async with opened(place) as first, opened(place) as second, opened(place) as third:
            stores = (first, second, third)
            await asyncio.gather(*(stores[at % 3].run(adding(job)) for at, job in enumerate(jobs)))
            floors = {row["rule"]: row["w"] for row in await first.read(everything("floors"))}
            left = {row["k"]: int(row["value"]) for row in await first.read(everything("state"))}
            assert floors == {str(key): count for key, count in wanted.items()}
            assert left == {key.to_bytes(16, "big"): count % 7 for key, count in wanted.items() if count % 7}
            assert sum(store.repeats["deadlock"] for store in stores) == 0

    asyncio.run(body())


def test_a_deadlock_repeats_a_body_from_its_start_and_is_counted(place):
    """Two bodies write the same rows without a lock, in two orders: one is repeated, nobody is told."""
    began: list[str] = []

    def writing(first: str, second: str) -> Body[None]:
        def body() -> Transaction[None]:
            began.append(first)
            for rule in (first, second):
                yield Insert("floors", [floor(rule, 0)])  # answered, so it goes at once
                row = (yield Read("floors", [(rule,)]))[rule,]
                yield Put("floors", [{**row, "w": row["w"] + 1}])
                yield Read("floors", [])  # sends what waits
                yield NextSeq("journal")

        return body

    async def body():
        async with opened(place) as store:
            await store.run(writing("a", "b"))
            began.clear()
            first = 0
            both = asyncio.Event()

            async def before(op: object) -> None:
                nonlocal first
                if isinstance(op, NextSeq) and first < 2:
                    first += 1
                    if first == 2:
                        both.set()
                    await both.wait()

            store.before = before
            await asyncio.gather(store.run(writing("a", "b")), store.run(writing("b", "a")))
            assert [row["w"] for row in await store.read(everything("floors"))] == [3, 3]
            assert store.repeats == {"deadlock": 1}
            assert len(began) == 3

    asyncio.run(body())


def test_a_row_that_only_a_lock_has_made_is_seen_by_nobody(place):
    """Neither while the lock is held, nor afterwards, nor by the body itself; and whoever waits gets the next turn."""

    async def body():
        async with opened(place) as store, opened(place) as other:
            inside, leave = asyncio.Event(), asyncio.Event()

            async def before(op: object) -> None:
                if op is None:
                    inside.set()
                    await leave.wait()

            def locking() -> Transaction[Any]:
                held = yield Lock("state", [(b"k" * 16,)])
                again = yield Lock("state", [(b"k" * 16,)])
                read = yield Read("state", [(b"k" * 16,)])
                found = yield Find("state", "by_due", ("",), limit=5)
                scan = yield Scan("state", limit=1)
                yield Put("floors", [floor("a", 1)])
                return held, again, read, found, scan

            store.before = before
            running = asyncio.create_task(store.run(locking))
            await inside.wait()
            assert await other.read(everything("state")) == []
            waiting = asyncio.create_task(other.run(adding([int.from_bytes(b"k" * 16, "big")])))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            leave.set()
            nothing = {(b"k" * 16,): None}
            assert await running == (nothing, nothing, {}, [], [])
            await waiting
            assert [row["value"] for row in await other.read(everything("state"))] == [b"1"]

    asyncio.run(body())


def test_what_a_body_does_to_a_row_that_it_was_given_is_written_when_it_is_put(place):
    def body() -> Transaction[None]:
        (row,) = (yield Lock("state", [(state(1, 1)["k"],)])).values()
        row["value"] = b"2"
        yield Put("state", [row])

    def setting() -> Transaction[None]:
        yield Put("state", [state(1, 1)])

    async def test():
        async with opened(place) as store:
            await store.run(setting)
            await store.run(body)
            assert [row["value"] for row in await store.read(everything("state"))] == [b"2"]

    asyncio.run(test())


def test_a_reader_of_one_question_needs_no_transaction_and_one_of_several_sees_one_instant(place):
    """Also the first of them, which the store takes for one of a single question."""

    def add(rule: str) -> None:
        def puts() -> Transaction[None]:
            yield Put("floors", [{"rule": rule, "w": 1}])

        async def adding() -> None:
            other = await PostgresStore.open(place)
            await other.run(puts)
            await other.close()

        # A body is no coroutine: what happens between two of its questions happens in another thread's loop.
        thread = threading.Thread(target=lambda: asyncio.run(adding()))
        thread.start()
        thread.join()

    def one() -> Transaction[Any]:
        return (yield Scan("floors"))

    def several(rule: str) -> Body[Any]:
        def body() -> Transaction[Any]:
            before = yield Scan("floors")
            add(rule)
            return before, (yield Scan("floors"))

        return body

    async def test():
        async with opened(place) as store:
            assert await store.read(one) == []
            for rule in ("a", "b"):
                before, after = await store.read(several(rule))
                assert before == after
            assert [row["rule"] for row in await store.read(one)] == ["a", "b"]

    asyncio.run(test())


def test_deliveries_do_not_wait_for_decisions_and_readers_for_neither(place):
    async def body():
        async with opened(place, writers=1) as store:
            leave = asyncio.Event()

            async def before(op: object) -> None:
                if isinstance(op, Exclude):
                    await leave.wait()

            def slow() -> Transaction[None]:
                yield Exclude("slow")

            def quick() -> Transaction[int]:
                return (yield NextSeq("journal"))  # type: ignore[no-any-return]

            store.before = before
            held = [asyncio.create_task(store.run(slow)) for _ in range(3)]
            await asyncio.sleep(0)
            assert await store.run(quick, urgent=True) > 0
            assert await store.read(everything("floors")) == []
            leave.set()
            await asyncio.gather(*held)

    asyncio.run(body())


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", 2**63], ids=["NUL", "lone surrogate", "beyond 64 bits"])
def test_a_value_that_has_no_place_is_told_without_being_shown_and_hurts_nobody(place, bad):
    def body() -> Transaction[None]:
        row = floor("r", bad) if isinstance(bad, int) else floor(f"secret {bad}", 1)
        yield Put("floors", [row])

    def good() -> Transaction[None]:
        yield Put("floors", [floor("good", 1)])

    async def test():
        async with opened(place, writers=1) as store:
            for _ in range(3):
                with pytest.raises(ValueError, match="has no place in PostgreSQL") as told:
                    await store.run(body)
                assert "secret" not in str(told.value)
                await store.run(good)

    asyncio.run(test())


def test_more_bodies_than_connections_wait_for_their_turn(place):
    async def body():
        async with opened(place, writers=2, urgent=1, readers=1) as store:
            await asyncio.gather(
                *(store.run(adding([key % 5])) for key in range(40)),
                *(store.run(adding([7]), urgent=True) for _ in range(20)),
                *(store.read(everything("floors")) for _ in range(20)),
            )
            rows = await store.read(everything("floors"))
            assert sum(row["w"] for row in rows) == 60

    asyncio.run(body())
