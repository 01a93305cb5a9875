"""The intake by itself: what is applied, cut, refused and marked, whatever Kafka and other workers do meanwhile."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from faust.types import TP

from schemas import contracts
from streams.codec import Codec
from streams.kafka.connection import Connection
from streams.kafka.intake import Intake
from streams.kafka.transport import Records
from streams.loops import RealRuntime
from streams.processors import detect, people
from streams.processors.worker import PeopleReader, Worker
from tests.live.engines import customer
from tests.live.test_poison import good
from tidings.event import SECOND
from tidings.log import LogRecord
from tidings.ports import StoreUnavailable
from tidings.rule import RuleSet
from tidings.testing.memory import MemoryStore

TOPIC, PEOPLE = "billing.payment.failed.v1", "customer.profile.changed.v1"
PLACE = TP(f"x.{TOPIC}", 0)
HOUR_MS = 3_600_000
EMPTY = RuleSet("empty", (), {})
CODEC = Codec(contracts())


class Flaky(MemoryStore):
    """A store that is away for some transactions."""

    away = 0

    async def run(self, body, *, urgent=False):
        if self.away:
            self.away -= 1
            raise StoreUnavailable("the server is away")
        return await super().run(body, urgent=urgent)


@dataclass
class Bench:
    """An intake over a store in memory, and what it asked the application for."""

    base: int = 0
    topic: str = TOPIC
    flows: bool = True
    sought: list[dict[TP, int]] = field(default_factory=list)
    decoded: list[int] = field(default_factory=list)
    ground: Any = None

    async def __aenter__(self):
        self.store = Flaky()
        readers = [detect.READER, *([people.READER] if self.topic == PEOPLE else [])]
        for reader in readers:
            await self.store.run(detect.connect([(self.topic, 0)], 0, grace=0, history="live", reader=reader))
        await self.store.run(detect.switch(None, EMPTY, b"", grace=0))
        if self.base:
            await self.move(self.base, base=self.base)
        worker = Worker(self.store, None, RealRuntime(lambda: 0), self.decode, EMPTY, lambda _: EMPTY, 0)  # type: ignore[arg-type]
        persons = PeopleReader(self.store, None, self.decode)  # type: ignore[arg-type]
        self.intake = Intake(
            self.store, Connection(("-:0",), prefix="x."), worker, persons, self.go_on, lambda: self.flows, self.ground
        )
        self.sought.append(dict(await self.intake.assigned(frozenset([self.place]))))
        return self

    async def __aexit__(self, *_):
        """Leave nothing behind."""

    @property
    def place(self) -> TP:
        return TP(f"x.{self.topic}", 0)

    def decode(self, record: LogRecord):
        self.decoded.append(record.offset)
        return CODEC.decode(record)

    async def go_on(self, positions):
        self.sought.append(dict(positions))

    async def move(self, to: int, *, base: int | None = None, reader: str = detect.READER):
        """Do what another worker does."""

        def body():
            from tidings.ports import Lock, Put

            held = yield Lock("sources", [(reader, self.topic, 0)])
            row = held[reader, self.topic, 0]
            yield Put("sources", [{**row, "next_offset": to, "base": row["base"] if base is None else base}])

        await self.store.run(body)

    def at(self, reader: str = detect.READER) -> int:
        return next(int(row["next_offset"]) for row in self.store.rows("sources") if row["reader"] == reader)

    def caught_up(self, reader: str = detect.READER) -> Any:
        return next(row["caught_up_at"] for row in self.store.rows("sources") if row["reader"] == reader)

    def batch(self, first: int, last: int, *, start: int | None = None, end: int | None = None) -> Records:
        key, value = good("p") if self.topic == TOPIC else CODEC.encode("customer.profile.changed", customer("c-1"))
        records = [
            ConsumerRecord(
                self.place.topic, 0, n, 4_000_000 * HOUR_MS // 1000, 1, key, value, None, len(key), len(value), ()
            )
            for n in range(first, last)
        ]
        return Records(self.place, first if start is None else start, last if end is None else end, records, 1)


def play(story, **words):
    async def run():
        async with Bench(**words) as bench:
            await asyncio.wait_for(story(bench), 20)

    asyncio.run(run())


def test_reading_begins_where_the_database_stands_and_offsets_are_those_of_the_store():
    async def story(bench):
        assert bench.sought == [{bench.place: 0}]
        assert await bench.intake.take(bench.batch(0, 3))
        assert bench.at() == 1003
        assert bench.decoded == [1000, 1001, 1002]

    play(story, base=1000)


def test_what_is_acknowledged_is_what_the_database_has_without_markers_behind_it():
    async def story(bench):
        batch = bench.batch(0, 3, end=5)
        assert await bench.intake.take(batch)
        assert (batch.applied, bench.at()) == (3, 3)

    play(story)


def test_a_gap_in_the_offsets_is_none_in_the_log():
    async def story(bench):
        assert await bench.intake.take(bench.batch(2, 4, start=0))
        assert bench.at() == 4

    play(story)


def test_a_batch_that_was_lost_on_the_way_is_noticed_and_fetched_again():
    async def story(bench):
        assert not await bench.intake.take(bench.batch(5, 8))
        assert bench.at() == 0
        assert bench.sought[-1] == {bench.place: 0}
        assert bench.intake.counts.holes == 1
        assert await bench.intake.take(bench.batch(0, 5))
        assert await bench.intake.take(bench.batch(5, 8))
        assert bench.at() == 8

    play(story)


@pytest.mark.parametrize("moved", [2, 3, 7])
def test_what_another_worker_has_applied_meanwhile_is_left_out(moved):
    async def story(bench):
        await bench.move(moved)
        assert await bench.intake.take(bench.batch(0, 3))
        assert bench.at() == max(3, moved)
        assert bench.intake.worker.positions[TOPIC, 0] == max(3, moved)
        assert bench.intake.counts.skipped > 0

    play(story)


def test_a_batch_below_the_position_is_decoded_by_nobody():
    async def story(bench):
        assert await bench.intake.take(bench.batch(0, 4))
        bench.decoded.clear()
        assert await bench.intake.take(bench.batch(1, 4))
        assert await bench.intake.take(bench.batch(2, 6))
        assert bench.decoded == [4, 5]

    play(story)


def test_a_customers_topic_goes_on_where_the_reader_that_is_behind_stands():
    async def story(bench):
        await bench.move(3)
        await bench.intake.assigned(frozenset([bench.place]))
        assert await bench.intake.take(bench.batch(0, 5))
        assert bench.at() == bench.at(people.READER) == 5
        assert bench.decoded == [0, 1, 2, 3, 4, 3, 4]

    play(story, topic=PEOPLE)


def test_a_store_that_is_away_is_waited_for_and_nothing_is_acknowledged_meanwhile():
    async def story(bench):
        bench.store.away = 4
        taking = asyncio.create_task(bench.intake.take(bench.batch(0, 3)))
        await asyncio.sleep(0.02)
        assert not taking.done()
        assert bench.intake.away_since is not None
        assert await taking
        assert bench.intake.away_since is None
        assert bench.at() == 3

    play(story)


def test_a_batch_is_given_up_when_its_partition_is_taken_away_while_the_store_is():
    async def story(bench):
        bench.store.away = 10**9
        taking = asyncio.create_task(bench.intake.take(bench.batch(0, 3)))
        await asyncio.sleep(0.02)
        bench.flows = False
        assert not await taking

    play(story)


def test_a_fault_that_nobody_expects_ends_the_worker_and_is_never_acknowledged():
    async def story(bench):
        async def broken(*_, **__):
            raise ZeroDivisionError

        sound, bench.intake.worker.apply = bench.intake.worker.apply, broken
        assert not await bench.intake.take(bench.batch(0, 3))
        assert isinstance(bench.intake.fault, ZeroDivisionError)
        bench.intake.worker.apply = sound
        # Others are not behind it: what comes next is left alone as well, until the process has ended.
        assert not await bench.intake.take(bench.batch(0, 3))
        assert bench.intake.away_since is None

    play(story)


def test_a_partition_is_idle_when_all_is_applied_and_since_before_its_end_was_asked():
    """History 1: the empty poll at 4, the arming event appended at 5, the row written at 30."""

    async def story(bench):
        assert await bench.intake.take(bench.batch(0, 3))
        ends, standing = {bench.place: 3}, {bench.place: (3, 3)}
        assert await bench.intake.mark_idle(ends, standing, 4 * SECOND) == 1
        assert bench.caught_up() == 4 * SECOND

    play(story)


def test_what_was_fetched_and_is_not_applied_makes_nothing_idle():
    """History 10: polls in flight, the position ahead of the database, an empty fetch, and then the batch is lost."""

    async def story(bench):
        ends, standing = {bench.place: 3}, {bench.place: (3, 3)}
        assert await bench.intake.mark_idle(ends, standing, 4 * SECOND) == 0
        assert not await bench.intake.take(bench.batch(3, 6))
        assert await bench.intake.mark_idle(ends, standing, 5 * SECOND) == 0
        assert bench.caught_up() is None

    play(story)


def test_a_partition_that_another_worker_has_moved_is_not_marked_at_our_position():
    async def story(bench):
        assert await bench.intake.take(bench.batch(0, 3))
        await bench.move(2)
        ends, standing = {bench.place: 3}, {bench.place: (3, 3)}
        assert await bench.intake.mark_idle(ends, standing, 4 * SECOND) == 0

    play(story)


def test_markers_of_transactions_keep_no_partition_from_being_idle():
    async def story(bench):
        assert await bench.intake.take(bench.batch(0, 3))
        assert await bench.intake.mark_idle({bench.place: 5}, {bench.place: (3, 3)}, SECOND) == 0
        assert await bench.intake.mark_idle({bench.place: 5}, {bench.place: (5, 3)}, 2 * SECOND) == 1
        assert bench.caught_up() == 2 * SECOND
        assert bench.at() == 3

    play(story)


def test_both_readers_of_a_customers_topic_say_how_far_they_are():
    async def story(bench):
        assert await bench.intake.take(bench.batch(0, 3))
        assert await bench.intake.mark_idle({bench.place: 3}, {bench.place: (3, 3)}, SECOND) == 2
        assert bench.caught_up() == bench.caught_up(people.READER) == SECOND

    play(story, topic=PEOPLE)


class Held:
    """A ground that moved, until somebody decides."""

    found: dict[Any, str]

    def __init__(self):
        self.found = {(TOPIC, 0): "the topic was made again"}

    async def ids(self, topics):
        return {}

    async def check(self, places):
        return {place: self.found[place] for place in places if place in self.found}


def test_a_held_partition_is_not_read_and_does_not_move_w_until_somebody_decides(caplog):
    async def story(bench):
        assert bench.sought == [{}]
        assert not await bench.intake.take(bench.batch(0, 3))
        assert await bench.intake.mark_idle({bench.place: 0}, {bench.place: (0, 0)}, SECOND) == 0
        for _ in range(3):
            await bench.intake.look_again()
        assert bench.sought == [{}] * 4
        assert caplog.text.count("held") == 1
        bench.ground.found.clear()
        await bench.intake.look_again()
        assert bench.sought[-1] == {bench.place: 0}
        assert await bench.intake.take(bench.batch(0, 3))

    play(story, ground=Held())


def test_a_partition_without_a_row_is_not_read_and_says_what_to_do(caplog):
    async def story(bench):
        assert await bench.intake.assigned(frozenset([TP("x.shop.waitlist.left.v1", 1)])) == {}
        assert "shop.waitlist.left.v1:1 is not read" in caplog.text
        assert "tidings topics apply" in caplog.text

    play(story)


class Looking:
    """Says that every log is the one that was read, once it is let."""

    def __init__(self):
        self.asked: list[list[tuple[str, int]]] = []
        self.let = asyncio.Event()
        self.let.set()
        self.named: dict[str, str] = {}

    async def ids(self, topics):
        return self.named

    async def check(self, places):
        self.asked.append(sorted(places))
        await self.let.wait()
        return {}


def test_what_stays_with_us_over_a_rebalance_goes_on_before_anything_new_has_been_looked_at():
    async def story(bench):
        other = TP(bench.place.topic, 1)
        await bench.store.run(detect.connect([(TOPIC, 1)], 0, grace=0, history="live"))
        assert await bench.intake.take(bench.batch(0, 3))
        bench.ground.let.clear()
        assert await bench.intake.assigned(frozenset([bench.place, other])) == {bench.place: 3}
        assert await bench.intake.take(bench.batch(3, 5))
        bench.ground.let.set()
        async with asyncio.timeout(10):
            while bench.sought[-1] != {other: 0}:  # noqa: ASYNC110 - what is waited for is a task of the intake
                await asyncio.sleep(0.01)
        assert bench.ground.asked == [[(TOPIC, 0)], [(TOPIC, 1)]]
        assert not bench.intake.unread

    play(story, ground=Looking())


def test_what_somebody_else_has_moved_over_a_rebalance_is_looked_at_as_if_it_were_new():
    async def story(bench):
        assert await bench.intake.take(bench.batch(0, 3))
        await bench.move(7)
        assert await bench.intake.assigned(frozenset([bench.place])) == {bench.place: 7}
        assert bench.ground.asked == [[(TOPIC, 0)]] * 2

    play(story, ground=Looking())


def test_a_topic_that_was_made_again_under_us_is_looked_at_as_if_it_were_new():
    async def story(bench):
        assert await bench.intake.take(bench.batch(0, 3))
        bench.ground.named = {TOPIC: "another one by now"}
        await bench.intake.assigned(frozenset([bench.place]))
        assert bench.ground.asked == [[(TOPIC, 0)]] * 2

    play(story, ground=Looking())


def test_what_was_to_be_looked_at_is_given_up_at_the_next_rebalance():
    async def story(bench):
        other = TP(bench.place.topic, 1)
        await bench.store.run(detect.connect([(TOPIC, 1)], 0, grace=0, history="live"))
        assert await bench.intake.take(bench.batch(0, 3))
        bench.ground.let.clear()
        await bench.intake.assigned(frozenset([bench.place, other]))
        await asyncio.sleep(0)
        assert await bench.intake.assigned(frozenset([bench.place])) == {bench.place: 3}
        bench.ground.let.set()
        await asyncio.sleep(0.05)
        assert {other: 0} not in bench.sought
        assert set(bench.intake.parts) == {(TOPIC, 0)}
        assert bench.intake.fault is None

    play(story, ground=Looking())
