"""Relays on PostgreSQL and Kafka, killed and put to sleep at any moment, while outcomes are written all the time."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager

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
KILLS, SLEEPS = 12, 3
LEASE = SECOND


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

    def __init__(self, place: Place, kafka: Connection) -> None:
        words = [place.host, str(place.port), place.database, kafka.bootstrap[0], kafka.prefix, str(LEASE)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.outcomes.run_relay", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout
        self.leads = False

    async def until_it_leads(self) -> None:
        while (line := await asyncio.to_thread(self.said.readline)) != b"leads\n":
            assert line, "a relay has ended by itself"

    def end(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def playing():
    with cluster.database() as place:
        yield place, services.kafka()


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


async def is_told(store: PostgresStore, kafka: Connection, relays: list[Running]) -> None:
    """Wait until nothing is left, then compare the topics with the database."""
    while await rows(store, "outbox"):
        await asyncio.sleep(0.1)
    for one in relays:
        one.end()
    found = await read(kafka)
    assert without_gap_or_repeat(found)
    said = [(event.data["recipient"], event.data["message_id"]) for event in events(found)]
    committed = {row["message_id"]: row["recipient"] for row in await rows(store, "messages")}
    assert sorted(said) == sorted((who, name) for name, who in committed.items())
    for who in sorted(set(committed.values())):
        mine = [int(name.rpartition("-")[2]) for whose, name in said if whose == who]
        assert mine == list(range(len(mine)))
    assert len(said) > 500


def test_killed_at_any_moment_nothing_is_missing_or_there_twice():
    async def play(place: Place, kafka: Connection) -> None:
        store = await PostgresStore.open(place)
        chance = random.Random(7)
        relays: list[Running] = []
        try:
            async with topics(kafka):
                async with writing(store):
                    relay = Running(place, kafka)
                    relays.append(relay)
                    for _ in range(KILLS):
                        await relay.until_it_leads()
                        await asyncio.sleep(chance.random() * 0.4)
                        relay.end()
                        relay = Running(place, kafka)
                        relays.append(relay)
                    await relay.until_it_leads()
                await is_told(store, kafka, relays)
        finally:
            for one in relays:
                one.end()
            await store.close()

    with playing() as (place, kafka):
        asyncio.run(play(place, kafka))


def test_who_sleeps_beyond_its_turn_and_wakes_up_publishes_nothing_more():
    async def play(place: Place, kafka: Connection) -> None:
        store = await PostgresStore.open(place)
        chance = random.Random(11)
        relays = [Running(place, kafka), Running(place, kafka)]
        try:
            async with topics(kafka):
                async with writing(store):
                    waiting = [asyncio.create_task(one.until_it_leads()) for one in relays]
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    leader = 0 if waiting[0].done() else 1
                    for _ in range(SLEEPS):
                        await asyncio.sleep(chance.random() * 0.5)
                        asleep, other = relays[leader].process, 1 - leader
                        asleep.send_signal(signal.SIGSTOP)
                        await waiting[other]  # its lease is over, and the other one publishes
                        await asyncio.sleep(chance.random() * 0.5)
                        asleep.send_signal(signal.SIGCONT)
                        waiting[leader] = asyncio.create_task(relays[leader].until_it_leads())
                        leader = other
                await is_told(store, kafka, relays)
        finally:
            for one in relays:
                one.end()
            await asyncio.gather(*waiting, return_exceptions=True)
            await store.close()

    with playing() as (place, kafka):
        asyncio.run(play(place, kafka))
