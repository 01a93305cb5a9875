"""A database that was restored from an older copy: what the lost one has sent is known from the topics, and not sent again."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from schemas import contracts
from streams.codec import Codec
from streams.deliver_process import DeliverProcess
from streams.embedded import wall_clock
from streams.kafka.connection import Connection
from streams.kafka.ground import Ground
from streams.kafka.outcome_log import numbers
from streams.kafka.rebuild import look
from streams.kafka.relay import Relay
from streams.processors.outcomes import Telling
from streams.processors.worker import Worker
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tests import services
from tests.ground.test_older import copied
from tests.live import cluster, engines
from tests.live.cluster import Cluster
from tests.live.engines import Shelf, customer, failed
from tests.live.test_archive import configured
from tests.outcomes.world import drop, events, make, read, without_gap_or_repeat
from tidings.delivery import Pace
from tidings.event import SECOND
from tidings.outcomes import MESSAGES

pytestmark = pytest.mark.live

RULES = engines.RULES.replace(b"status: live", b"status: live\n    on_unknown: resend")
PACE = Pace(settle=SECOND // 2)
BEFORE, BETWEEN, AFTER, LAST = 12, 6, 8, 4


class Town(Cluster):
    """A cluster whose workers tell."""

    def worker(self, rules: Any) -> Worker:
        worker = super().worker(rules)
        worker.store = Telling(self.store)
        return worker


@dataclass
class Story:
    """What goes on through several databases."""

    kafka: Connection
    taken: dict[str, Shelf] = field(default_factory=dict)
    """By act: what the provider took."""
    made: list[dict[str, Any]] = field(default_factory=list)

    def payments(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        new = [failed(f"p-{len(self.made) + n}", who=f"c-{n % 5}") for n in range(count)]
        self.made += new
        return [("billing.payment.failed", one) for one in new]

    async def act(
        self, name: str, place: Place, body: Callable[["Play"], Awaitable[None]], *, relayed: bool = True
    ) -> None:
        store = await PostgresStore.open(place)
        shelf = self.taken.setdefault(name, Shelf())
        process = DeliverProcess(
            store, contracts(), lambda _: shelf, wall_clock, "d", pace=PACE,
            ground=Ground(self.kafka, store, (), numbers=numbers(self.kafka, store)),
            relay=Relay(store, self.kafka, Codec(contracts()), name, lease=SECOND) if relayed else None,
        )  # fmt: skip
        try:
            await body(Play(self, Town(store), process))
        finally:
            await process.stop()
            await store.close()


@dataclass
class Play:
    story: Story
    town: Town
    process: DeliverProcess

    async def begin(self) -> None:
        await self.town.connect()
        applied = await self.town.apply(RULES)
        assert not applied.why
        await self.publish([("customer.profile.changed", customer(f"c-{n}")) for n in range(5)])

    async def publish(self, some: list[tuple[str, dict[str, Any]]]) -> None:
        await self.town.connect()
        await self.town.publish(*some)
        await self.town.decide()

    async def rest(self, *, outbox: bool = True) -> None:
        async with asyncio.timeout(60):
            while True:
                self.process.check()
                unread = any(row["unread"] for row in await self.town.rows("records"))
                still = any(row["open"] for row in await self.town.rows("messages"))
                # Last, because what ends is told in the same transaction.
                waits = await self.town.rows("outbox") if outbox else []
                if not waits and not unread and not still:
                    return
                await asyncio.sleep(0.1)


async def first(play: Play) -> None:
    """Some are told; of some more only the decisions are in the copy that is made now."""
    await play.begin()
    await play.publish(play.story.payments(BEFORE))
    await play.process.start()
    await play.rest()
    await play.process.stop()
    await play.publish(play.story.payments(BETWEEN))


async def second(play: Play) -> None:
    """The others are told, and more."""
    await play.publish(play.story.payments(AFTER))
    await play.process.start()
    await play.rest()


async def third(play: Play) -> None:
    """The last ones are told, and nobody publishes that any more."""
    await play.publish(play.story.payments(LAST))
    await play.process.start()
    await play.rest(outbox=False)


async def verb(story: Story, place: Place, *words: str) -> Any:
    """Run `tidings ground rebuild`."""
    with TemporaryDirectory() as folder:
        path = configured(Path(folder), place, story.kafka)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.cli.main", "ground", "rebuild", "--config", str(path), *words,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(said) if "--json" in words else said.decode()


async def restored(play: Play) -> None:
    """The older copy: everything is held, then rebuilt, then goes on."""
    story, town, process = play.story, play.town, play.process
    await process.start()
    lost = [("billing.payment.failed", one) for one in story.made[BEFORE + BETWEEN :]]
    await play.publish(lost)
    async with asyncio.timeout(20):
        while any(row["unread"] for row in await town.rows("records")):  # noqa: ASYNC110 - a database has no event for it
            await asyncio.sleep(0.1)
    await asyncio.sleep(0.3)
    assert not story.taken["restored"].taken
    assert [row["scope"] for row in await town.rows("kills")] == ["ground"]
    picture = await look(story.kafka, town.store, Codec(contracts()))
    assert picture.is_needed
    assert Counter(row["state"] for row in picture.gathered.ends.values()) == {"accepted": BETWEEN + AFTER}
    assert picture.open.known == BETWEEN + AFTER
    assert len(picture.open.waiting) == LAST
    assert not picture.open.unread
    assert not picture.gathered.gaps
    said = await verb(story, town.store.place, "--json")
    assert (said["known"], said["open"]["unknown"]) == ({"accepted": BETWEEN + AFTER}, list(picture.open.waiting))
    await play.publish(story.payments(3))  # what happens since the hold began is no suspect
    assert (await verb(story, town.store.place, "--confirm", "--json"))["confirmed"]
    await play.rest()
    assert "nothing to do" in await verb(story, town.store.place)
    sent = Counter(one.message_id for shelf in story.taken.values() for one in shelf.taken)
    assert {name for name, times in sent.items() if times > 1} == set(picture.open.waiting)
    assert len(sent) == len(story.made)
    states = {row["message_id"]: row["state"] for row in await town.rows("messages")}
    assert set(states.values()) == {"accepted"}
    # The topics: each end once, whichever database it came from.
    found = await read(story.kafka)
    assert without_gap_or_repeat(found)
    ends = [one.data["message_id"] for one in events(found) if one.type == MESSAGES]
    assert sorted(ends) == sorted(states)
    said = [(one.data["firing_id"], one.data["kind"]) for one in events(found) if one.type != MESSAGES]
    assert len(said) == len(set(said)) == len(story.made)


def test_what_was_sent_is_not_sent_again_but_for_what_is_shown_as_unknown() -> None:
    story = Story(services.kafka())

    with cluster.database() as place, copied(place) as copy:
        asyncio.run(make(story.kafka))
        try:
            asyncio.run(story.act("first", place, first))
            older = copy()
            asyncio.run(story.act("second", place, second))
            asyncio.run(story.act("third", place, third, relayed=False))
            asyncio.run(story.act("restored", older, restored))
        finally:
            asyncio.run(drop(story.kafka))
