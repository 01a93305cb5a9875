"""Relays on PostgreSQL and Kafka, killed and put to sleep at any moment, while outcomes are written all the time."""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from streams.kafka.connection import Connection
from streams.processors.outcomes import Telling
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tests import services
from tests.live import cluster
from tests.outcomes.world import ended, events, read, rows, topics, without_gap_or_repeat
from tidings.event import SECOND
from tidings.ports import Insert, Lock, Put

pytestmark = pytest.mark.live

PEOPLE = 6
KILLS, SLEEPS = 10, 2
LEASE = SECOND // 2


class RolledBack(Exception):
    """What was written is not."""


def write(who: str, *, roll_back: bool):
    """End the next message of somebody, under their lock."""

    def body():
        row = (yield Lock("recipients", [("default", who)]))["default", who]
        number = 0 if row is None else row["rev"]
        yield Insert("messages", [ended(f"{who}-{number}", who)])
        known = {"tenant": "default", "recipient": who, "linked_to": None, "profile": b"{}", "next_at": None}
        yield Put("recipients", [{**known, "rev": number + 1}])
        if roll_back:
            raise RolledBack
        return number

    return body


class Running:
    """One relay."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.leading = asyncio.create_task(self._until_it_leads())

    async def _until_it_leads(self) -> bool:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if line == b"leads\n":
                return True
        return False

    def send(self, what: signal.Signals) -> None:
        self.process.send_signal(what)

    def leads_again(self) -> None:
        """Wait for its next turn from now on."""
        self.leading = asyncio.create_task(self._until_it_leads())

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        await self.leading


async def run(place: Place, kafka: Connection) -> Running:
    words = [place.host, str(place.port), place.database, kafka.bootstrap[0], kafka.prefix, str(LEASE)]
    return Running(
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.outcomes.run_relay", *words, stdout=asyncio.subprocess.PIPE
        )
    )


async def leader(relays: list[Running]) -> Running:
    """Return the relay that publishes, as soon as one does."""
    await asyncio.wait([one.leading for one in relays], return_when=asyncio.FIRST_COMPLETED)
    found = [one for one in relays if one.leading.done()]
    assert all([await one.leading for one in found]), "a relay has ended by itself"
    return found[0]


@asynccontextmanager
async def writing(store: PostgresStore) -> AsyncIterator[None]:
    """Write all the time, for everybody at once, now and then in vain."""
    telling, chance, going = Telling(store), random.Random(4), True

    async def forever(who: str) -> None:
        while going:
            try:
                await telling.run(write(who, roll_back=chance.random() < 0.1))
            except RolledBack:
                continue
            await asyncio.sleep(chance.random() * 0.02)

    jobs = [asyncio.create_task(forever(f"customer:{n}")) for n in range(PEOPLE)]
    try:
        yield
    finally:
        going = False
        await asyncio.gather(*jobs)


async def is_told(store: PostgresStore, kafka: Connection) -> None:
    """Wait until nothing is left, then compare the topics with the database."""
    while await rows(store, "outbox"):  # noqa: ASYNC110 - a database has no event for it
        await asyncio.sleep(0.1)
    found = await read(kafka)
    assert without_gap_or_repeat(found)
    said = [(event.data["recipient"], event.data["message_id"]) for event in events(found)]
    committed = {row["message_id"]: row["recipient"] for row in await rows(store, "messages")}
    assert sorted(said) == sorted((who, name) for name, who in committed.items())
    for who in sorted(set(committed.values())):
        mine = [int(name.rpartition("-")[2]) for whose, name in said if whose == who]
        assert mine == list(range(len(mine)))
    assert len(said) > 500


def play(attack: Callable[[Callable[[], Awaitable[Running]], list[Running]], Awaitable[None]]) -> None:
    async def begin(place: Place, kafka: Connection) -> None:
        store = await PostgresStore.open(place)
        relays: list[Running] = []
        try:
            async with topics(kafka):
                async with writing(store):
                    await attack(lambda: run(place, kafka), relays)
                await is_told(store, kafka)
        finally:
            for one in relays:
                await one.end()
            await store.close()

    with cluster.database() as place:
        asyncio.run(begin(place, services.kafka()))


def test_killed_at_any_moment_nothing_is_missing_or_there_twice() -> None:
    chance = random.Random(7)

    async def attack(more: Callable[[], Awaitable[Running]], relays: list[Running]) -> None:
        relays += [await more() for _ in range(3)]
        for turn in range(KILLS):
            victim = await leader(relays)
            await asyncio.sleep(chance.random() * 0.4)
            await victim.end()
            relays.remove(victim)
            if turn < KILLS - 2:
                relays.append(await more())

    play(attack)


def test_who_sleeps_beyond_its_turn_and_wakes_up_publishes_nothing_more() -> None:
    chance = random.Random(11)

    async def attack(more: Callable[[], Awaitable[Running]], relays: list[Running]) -> None:
        relays += [await more(), await more()]
        for _ in range(SLEEPS):
            asleep = await leader(relays)
            await asyncio.sleep(chance.random() * 0.5)
            asleep.send(signal.SIGSTOP)
            asleep.leads_again()
            await leader(relays)  # its lease is over, and the other one publishes
            await asyncio.sleep(chance.random() * 0.5)
            asleep.send(signal.SIGCONT)

    play(attack)
