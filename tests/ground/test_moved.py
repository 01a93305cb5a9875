"""A log that is not the one that was read: noticed, held, told; a person decides, and reading goes on. On a real broker."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from streams.kafka.cluster import opened
from streams.kafka.ground import decide
from streams.processors import ground
from streams.processors.detect import READER
from streams.processors.ground import Older
from streams.stores.sqlite import SqliteStore
from tests import services
from tests.ground.laboratory import TOPIC, Laboratory, laboratory
from tidings.ground import Finding, Moved, NoChoice
from tidings.ports import Put, Row, Transaction

pytestmark = pytest.mark.live

HERE, THERE = (TOPIC, 0), (TOPIC, 1)


def play(tmp_path: Path, story: Callable[[Laboratory], Awaitable[None]]) -> None:
    connection = services.kafka()

    async def whole() -> None:
        store = await SqliteStore.open(tmp_path / "store.db")
        try:
            async with laboratory(connection, store) as lab:
                await lab.make()
                await lab.connect()
                await story(lab)
        finally:
            await store.close()

    asyncio.run(whole())


async def accept(lab: Laboratory, where: int | str) -> bool:
    """Decide as `tidings sources accept --confirm` does."""
    rows = {source: row for source, row in (await lab.sources()).items() if source[2] == 0}
    async with opened(lab.connection) as cluster:
        (decision,) = await decide(cluster, lab.store, rows, where)
    return await lab.store.run(ground.accept(decision, "somebody"))


def test_a_topic_made_again_with_more_records_than_before_is_held_and_others_go_on(tmp_path: Path) -> None:
    async def story(lab: Laboratory) -> None:
        await lab.produce(5)
        assert await lab.read() == 5
        await lab.remake()
        await lab.produce(9, word=b"another")
        await lab.produce(3, partition=1)
        assert await lab.ground.check([HERE, THERE]) == {HERE: Finding(Moved.REMADE, 5, 0, 9)}
        before = (await lab.sources())[READER, *HERE]
        assert await lab.read() == 3
        after = await lab.sources()
        assert after[READER, *HERE] == before
        assert after[READER, *THERE]["next_offset"] == 3
        assert [row["reason"] for row in await lab.rows("holds")] == ["remade"]

    play(tmp_path, story)


def test_after_a_decision_every_record_of_the_new_log_is_decided_once_and_none_is_taken_for_an_old_one(
    tmp_path: Path,
) -> None:
    async def story(lab: Laboratory) -> None:
        await lab.produce(5)
        await lab.read()
        await lab.remake()
        await lab.produce(9, word=b"another")
        assert await accept(lab, "start")
        assert not await lab.rows("holds")
        (said,) = await lab.rows("audit")
        assert said["verb"] == "sources accept"
        assert said["who"] == "somebody"
        assert await lab.read() == 9
        await lab.produce(1, word=b"later")
        assert await lab.read() == 1
        # None of them can be read as an event: each one is a dead letter under an offset of its own.
        letters = {row["offset"]: row["value"] for row in await lab.rows("dead_letters")}
        assert len(letters) == 15
        assert [letters[offset] for offset in range(5)] == [b"record %d" % n for n in range(5)]
        assert [letters[offset] for offset in range(6, 15)] == [b"another %d" % n for n in range(9)]

    play(tmp_path, story)


def test_what_a_worker_committed_to_the_new_topic_before_it_noticed_is_no_sign_of_an_older_database(
    tmp_path: Path,
) -> None:
    async def story(lab: Laboratory) -> None:
        await lab.produce(5)
        await lab.read()
        await lab.remake()
        await lab.produce(9, word=b"another")
        await lab.commit({0: 5})
        assert await accept(lab, "start")
        assert await lab.ground.database() is None
        await lab.read(most=1)
        await lab.commit({0: 8})
        assert await lab.ground.database() == Older({HERE: (7, 14)})

    play(tmp_path, story)


def test_a_topic_made_again_is_noticed_also_when_a_batch_of_it_was_read_before_anybody_looked(tmp_path: Path) -> None:
    async def story(lab: Laboratory) -> None:
        await lab.produce(5)
        await lab.read()
        await lab.remake()
        await lab.produce(9, word=b"another")
        assert await lab.read(look=False) == 4  # the record before the position is one of the new log now
        assert await lab.ground.check([HERE]) == {HERE: Finding(Moved.REMADE, 9, 0, 9)}
        assert await accept(lab, "start")
        assert await lab.read() == 9

    play(tmp_path, story)


def test_a_topic_made_again_of_which_nothing_was_read_is_simply_read(tmp_path: Path) -> None:
    async def story(lab: Laboratory) -> None:
        assert await lab.read() == 0
        await lab.remake()
        await lab.produce(3)
        assert await lab.read() == 3

    play(tmp_path, story)


def test_a_log_that_lost_its_last_records_is_held_while_it_is_shorter_and_when_it_has_grown_again(
    tmp_path: Path,
) -> None:
    async def story(lab: Laboratory) -> None:
        await lab.produce(5)
        await lab.read()
        # What the row says of a log that had two records more, which an unclean election took.
        row = (await lab.sources())[READER, *HERE]
        await lab.store.run(lambda: put({**row, "next_offset": 7, "fingerprint": "another"}))
        assert await lab.ground.check([HERE]) == {HERE: Finding(Moved.SHORTER, 7, 0, 5)}
        await lab.produce(4, word=b"later")
        assert await lab.ground.check([HERE]) == {HERE: Finding(Moved.DIFFERS, 7, 0, 9)}
        assert [hold["reason"] for hold in await lab.rows("holds")] == ["differs"]
        assert await accept(lab, 5)
        assert await lab.read() == 4

    def put(row: Row) -> Transaction[None]:
        yield Put("sources", [row])

    play(tmp_path, story)


def test_a_partition_that_is_gone_is_held_and_one_that_is_not_made_yet_is_not(tmp_path: Path) -> None:
    async def story(lab: Laboratory) -> None:
        await lab.produce(1)
        await lab.read()
        await lab.delete()
        assert await lab.ground.check([HERE, THERE]) == {HERE: Finding(Moved.GONE, 1)}
        async with opened(lab.connection) as cluster:
            assert TOPIC not in await cluster.topics()  # asking did not make it
        await lab.make()

    play(tmp_path, story)


def test_records_that_expired_unread_are_counted_and_reading_goes_on_behind_them(tmp_path: Path) -> None:
    async def story(lab: Laboratory) -> None:
        await lab.produce(9)
        await lab.read(most=3)
        await lab.expire(3)
        assert await lab.ground.check([HERE]) == {}  # exactly what was read
        await lab.expire(5)
        held = (await lab.ground.check([HERE]))[HERE]
        assert held == Finding(Moved.EXPIRED, 3, 5, 9)
        assert held.expired == 2
        assert "2 records expired unread" in str(held)
        assert await accept(lab, "start")
        assert await lab.read() == 4
        row = (await lab.sources())[READER, *HERE]
        assert (row["next_offset"], row["base"]) == (9, 0)

    play(tmp_path, story)


def test_a_hold_ends_by_itself_only_where_the_record_that_was_read_is_seen(tmp_path: Path) -> None:
    async def story(lab: Laboratory) -> None:
        await lab.produce(5)
        await lab.read()
        finding = Finding(Moved.SHORTER, 5, 0, 2)
        rows = await lab.sources()
        await lab.store.run(ground.note({(READER, *HERE): finding, (READER, *THERE): finding}, (), rows))
        # A broker came back without its last records, and then with them. Of the other nothing was ever read.
        assert await lab.ground.check([HERE, THERE]) == {THERE: finding}
        assert [row["partition"] for row in await lab.rows("holds")] == [1]

    play(tmp_path, story)


def test_a_decision_upon_facts_that_have_changed_changes_nothing(tmp_path: Path) -> None:
    async def story(lab: Laboratory) -> None:
        await lab.produce(5)
        await lab.read()
        await lab.remake()
        await lab.produce(9, word=b"another")
        rows = {source: row for source, row in (await lab.sources()).items() if source[2] == 0}
        async with opened(lab.connection) as cluster:
            (first,) = await decide(cluster, lab.store, rows, "start")
            (second,) = await decide(cluster, lab.store, rows, "end")
        assert await lab.store.run(ground.accept(first, "somebody"))
        assert not await lab.store.run(ground.accept(second, "somebody else"))
        assert [row["who"] for row in await lab.rows("audit")] == ["somebody"]
        assert await lab.read() == 9

    play(tmp_path, story)


def test_a_look_that_began_before_a_decision_holds_nothing_after_it(tmp_path: Path) -> None:
    async def story(lab: Laboratory) -> None:
        await lab.produce(5)
        await lab.read()
        await lab.remake()
        await lab.produce(9, word=b"another")
        before = await lab.sources()
        finding = (await lab.ground.check([HERE]))[HERE]
        assert await accept(lab, "start")
        assert await lab.store.run(ground.note({(READER, *HERE): finding}, (), before)) == ([], [])
        assert await lab.read() == 9

    play(tmp_path, story)


def test_nobody_moves_back_under_live_state(tmp_path: Path) -> None:
    async def story(lab: Laboratory) -> None:
        await lab.produce(5)
        await lab.read()
        with pytest.raises(NoChoice, match="moving back under live state is refused"):
            await accept(lab, 2)

    play(tmp_path, story)
