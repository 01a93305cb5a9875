"""What other processes do meanwhile: words about people that wait in Kafka, rule sets that somebody else made active."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from streams.processors import people
from streams.processors.detect import Idle, mark_idle
from streams.rule_book import UnknownRules
from tests.kernel.house import ONE, House, Scripted, house, profile
from tests.kernel.stories import fired
from tidings.event import SECOND
from tidings.ports import Insert, StoreUnavailable
from tidings.watermark import GRACE


def mark(h: House, since: int, position: int = 0) -> None:
    """The reader of people has found its partition empty."""
    asyncio.run(h.store.run(mark_idle([Idle(("people", 0), position, since)], reader=people.READER)))


def test_on_a_cluster_a_stranger_is_one_only_when_all_words_about_people_up_to_the_firing_are_read():
    h = House()
    record = fired(of=ONE)
    h.say(record)
    h.run()
    assert h.messages() == [], "the reader of people has said nothing yet"
    mark(h, record.logical_at + GRACE - 1)
    h.run(SECOND)
    assert h.messages() == [], "it has come almost as far"
    mark(h, record.logical_at + GRACE)
    h.run(SECOND)
    assert h.messages() == [("suppressed", "unknown_customer")]


def test_on_a_cluster_whoever_is_made_known_meanwhile_is_told():
    h = House()
    h.say(fired(of=ONE))
    h.run()
    h.hear_of(profile())
    h.run(SECOND)
    assert h.messages() == [("accepted", None)]


def test_on_one_file_the_heads_of_the_log_decide_and_nobody_waits_for_a_mark():
    h = House()
    h.write(Insert("log_heads", [{"topic": "people", "partition": 0, "next_offset": 1}]))
    h.say(fired(of=ONE))
    h.run()
    assert h.messages() == [], "a record about people waits"
    h.hear_of(profile(who="somebody-else"))
    h.run(SECOND)
    assert h.messages() == [("suppressed", "unknown_customer")]


def test_many_strangers_at_the_head_of_the_queue_hold_up_nobody():
    h = house()
    for n in range(250):
        h.say(replace(fired(of=ONE), firing_id=f"f-{n}", seq=n), f"customer:stranger-{n}")
    h.say(replace(fired(of=ONE), firing_id="known", seq=999))
    h.run()
    assert h.messages() == [("accepted", None)]


class Elsewhere:
    """A rule book of a process that knows one set only, and learns the others."""

    def __init__(self, h: House):
        self.known = {ONE.hash: ONE}
        self.sets = h.sets
        self.learned: list[str] = []

    def get(self, digest: str):
        if digest not in self.known:
            raise UnknownRules(digest)
        return self.known[digest]

    async def learn(self, digest: str):
        self.learned.append(digest)
        self.known[digest] = self.sets[digest]
        return self.known[digest]


def test_a_set_that_another_process_made_active_or_decided_with_is_learned_and_the_pass_repeated():
    newer, older = replace(ONE, hash="newer"), replace(ONE, hash="older")
    h = House(ONE, newer, older)
    h.hear_of(profile())
    book = Elsewhere(h)
    h.deliverer.load_rules, h.deliverer.learn = book.get, book.learn
    h.use(newer)
    h.say(replace(fired(of=ONE), rule_set="older"))
    h.run()
    assert h.messages() == [("accepted", None)]
    assert sorted(book.learned) == ["newer", "older"]
    assert h.deliverer.rules.hash == "newer"


class Asleep:
    """Time passes while somebody sleeps; the store comes back with it."""

    def __init__(self, h: House, store: Any):
        self.h, self.store = h, store

    def now(self) -> int:
        return self.h.now

    async def sleep(self, micros: int) -> None:
        self.h.now += micros
        self.store.slept += 1

    async def gather(self, jobs: Sequence[Awaitable[Any]]) -> list[Any]:
        return [await job for job in jobs]


class Leaving:
    """A store that goes away as soon as the provider has taken something, and does not come back for so many rests."""

    def __init__(self, h: House, rests: int):
        self.h, self.inner, self.rests, self.slept = h, h.store, rests, 0

    @property
    def away(self) -> bool:
        return bool(self.h.provider.taken) and self.slept < self.rests

    async def run(self, body: Any, *, urgent: bool = False) -> Any:
        if self.away:
            raise StoreUnavailable("gone")
        return await self.inner.run(body, urgent=urgent)

    async def read(self, body: Any) -> Any:
        return await self.inner.read(body)


@pytest.mark.parametrize("rests", [0, 1, 100])
def test_an_acknowledgement_is_written_however_long_the_store_is_away(rests):
    h = house()
    away = Leaving(h, rests)
    h.deliverer.store, h.deliverer.runtime = away, Asleep(h, away)
    h.say(fired(of=ONE))
    h.run()
    assert away.slept == rests
    assert len(h.provider.taken) == 1
    assert h.messages() == [("accepted", None)], "also where its lease was over, and somebody had called it unknown"


def test_the_same_when_somebody_called_it_unknown_meanwhile():
    h = house()
    away = Leaving(h, 200)
    second = Scripted()

    class Recovered(Asleep):
        async def sleep(self, micros: int) -> None:
            await super().sleep(micros)
            if self.store.slept == 150:
                # Another process takes back what the lease has given up.
                other = replace(h.deliverer, store=h.store, runtime=self, provider_of=lambda _: second)
                assert await other.recover()

    h.deliverer.store, h.deliverer.runtime = away, Recovered(h, away)
    h.say(fired(of=ONE))
    h.run()
    assert (h.messages(), len(h.provider.taken), len(second.taken)) == ([("accepted", None)], 1, 0)
