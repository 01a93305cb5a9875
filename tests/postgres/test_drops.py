"""A drop whose end meets a pass that has read it."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streams.processors import endings, kills, people
from streams.processors.deliverer import Deliverer
from streams.processors.detect import EPOCH, Batch
from streams.stores.migrate import migrate
from streams.stores.postgres import PostgresStore
from tests.kernel.house import MORNING, Scripted, Still, profile
from tests.kernel.stories import NOW, fired, rules, steps
from tests.services import database
from tidings import canonical
from tidings.delivery import Pace
from tidings.event import HOUR
from tidings.journal import Span
from tidings.ports import Insert, Op, Put, Scan

pytestmark = pytest.mark.live

QUIET = rules(then=steps("email"), quiet_hours=MORNING, expires=6 * HOUR)


def test_what_a_pass_holds_while_the_drop_ends_is_not_held_when_nothing_is_stopped():
    async def body(place: Any) -> None:
        await migrate(place)
        world = Still(NOW)
        async with _opened(place, world) as asker, _opened(place, world) as store:
            provider = Scripted()
            deliverer = Deliverer(
                "d", store, world, lambda _: provider, QUIET, {QUIET.hash: QUIET}.__getitem__,
                lambda *_: {"subject": "s", "text": "t"}, Pace(), concurrency=4,
            )  # fmt: skip
            await _begin(asker)
            await deliverer.dispatch()
            assert await _messages(asker) == [("held", "quiet_hours")]
            await asker.run(kills.kill("all", "ann", "x"))
            one = await asker.run(endings.end(endings.DROP, "all", "ann", "x"))
            while (await asker.read(_rows("endings")))[0]["sweep"] < 3:
                one = await asker.run(endings.page("all", one.at))
            world.now_ += 2 * HOUR
            go, there = asyncio.Event(), asyncio.Event()

            async def before(op: Op) -> None:
                if isinstance(op, Put) and op.table == "messages":
                    there.set()
                    await go.wait()

            store.before = before
            passing = asyncio.create_task(deliverer.dispatch())  # its quiet hours are over, and it reads the drop
            await there.wait()
            while (await asker.read(_rows("endings")))[0]["sweep"] < 4:
                one = await asker.run(endings.page("all", one.at))
            ending = asyncio.create_task(endings.finish(asker, one))
            await asyncio.sleep(0.05)
            go.set()
            await passing
            store.before = None
            assert (await ending).is_over
            for _ in range(3):
                await deliverer.dispatch()
                await deliverer.step()
            assert await _messages(asker) == [("accepted", None)]

    with database() as place:
        asyncio.run(body(place))


@asynccontextmanager
async def _opened(place: Any, world: Still) -> Any:
    store = await PostgresStore.open(place, world.now)
    try:
        yield store
    finally:
        await store.close()


async def _begin(store: Any) -> None:
    """Make a person known, and let a rule fire about them."""
    one = fired(of=QUIET)
    told = canonical.dumps({"rule_set": one.rule_set, "severity": one.severity, "key": one.key, "data": one.data})
    writes = [
        Put("epochs", [{"name": EPOCH, "value": QUIET.hash}]),
        Insert("sources", [{
            "reader": people.READER, "topic": "people", "partition": 0, "next_offset": 0, "max_time": None,
            "caught_up_at": NOW * 2, "connected_at": 0, "history": "live", "base": 0, "log_id": None, "fingerprint": None,
        }]),
        Insert("records", [{
            "episode_at": NOW, "firing_id": one.firing_id, "kind": one.kind, "n": one.n, "tenant": "t", "rule": one.rule,
            "recipient": "customer:c", "seq": one.seq, "logical_at": one.logical_at, "body": told, "unread": 1,
        }]),
    ]  # fmt: skip

    def body():
        for write in writes:  # noqa: UP028 - a list takes no replies
            yield write

    await store.run(body)
    await store.run(people.project(Batch((Span("people", 0, 0, 1),), (profile(),))))


def _rows(table: str):
    def body():
        return (yield Scan(table))

    return body


async def _messages(store: Any) -> list[tuple[str, str | None]]:
    return [(row["state"], row["reason"]) for row in await store.read(_rows("messages"))]
