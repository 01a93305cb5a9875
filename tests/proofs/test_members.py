"""Workers come and go; a topic stands still. Nobody is accused, nothing is missed, and nothing stands for long."""

import asyncio
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from streams.embedded import wall_clock
from streams.kafka.cluster import opened
from tests import services
from tests.live.engines import event
from tests.proofs import outcomes
from tests.proofs.chaos import Feed
from tests.proofs.figures import tell
from tests.proofs.stand import Stand, standing
from tests.proofs.story import WORKERS, judged, lived, started
from tests.proofs.workload import MONEY, Shop
from tidings.event import HOUR, MINUTE, SECOND
from tidings.log import fingerprint

LATENESS = 60 * SECOND


async def come_and_go(stand: Stand, times: int) -> None:
    """Let a fourth worker join and leave, again and again."""
    for number in range(times):
        name = f"guest-{number}"
        stand.run("worker", name)
        await stand.said(name, "reading")
        await asyncio.sleep(2.0)
        code = await asyncio.to_thread(stand.end, name)
        assert code == 0, f"{name} ended with {code}"


def proven(folder: Path, rate: float, times: int) -> dict[str, object]:
    begun = time.monotonic()
    with standing(folder, lateness=LATENESS, partitions=12) as stand:
        started(stand)
        feed, longest = asyncio.run(lived(stand, rate, 0, come_and_go(stand, times), 600))
        took = time.monotonic() - begun
        return {
            **judged(stand, feed).figures(feed, stand),
            "members that joined and left": f"{times}, beside {len(WORKERS)} that stayed",
            **longest.figures(),
            "duration": f"{took / 60:.1f} min",
        }


@pytest.mark.proofs
def test_members_that_come_and_go(tmp_path, write):
    tell("members", "Members joining and leaving", proven(tmp_path / "stand", 150, 50), write=write)


PAID = "billing.invoice.paid.v1"
WRONG = "1:not-the-record"


async def stood_still(stand: Stand, shop: Shop, watched: float) -> tuple[Feed, dict[str, int]]:
    """Let the log hold hours of a shop, and the topic of payments be held by every worker; then let it go."""
    feed = Feed(stand, shop)
    producer = AIOKafkaProducer(**stand.kafka.connection().options())
    await producer.start()
    key, value = shop.codec.encode(
        "billing.invoice.paid", event("billing.invoice.paid", "first", shop.start, invoice_id="none", customer_id="c-0", amount=MONEY)
    )  # fmt: skip
    try:
        for partition in range(stand.partitions):
            await producer.send_and_wait(PAID, value, key=key, partition=partition)
    finally:
        await producer.stop()
    await feed.run()
    # As if a first record had been read, and it were another one: what workers find after a topic was made again.
    change = "UPDATE sources SET fingerprint = $2, next_offset = 1 WHERE reader = 'detect' AND topic = $1"
    await stand.ask(change, PAID, WRONG)
    started(stand)
    end = time.monotonic() + 300
    while await unread(stand, "<>"):
        assert time.monotonic() < end, "workers do not read the other topics"
        await asyncio.sleep(0.5)
    # Everything else is read to its end, and has been idle for a while.
    await asyncio.sleep(watched)
    found = {
        "held": len(await stand.ask("SELECT 1 FROM holds WHERE topic = $1", PAID)),
        "fired": len(await stand.ask("SELECT 1 FROM records WHERE rule = 'invoice-overdue'")),
        "armed": len(await stand.ask("SELECT 1 FROM state WHERE class = 'rule:invoice-overdue'")),
        "unread": await unread(stand, "="),
    }
    async with opened(stand.kafka.connection()) as cluster:
        for (_, partition), record in (await cluster.records({(PAID, p): 0 for p in range(stand.partitions)})).items():
            change = "UPDATE sources SET fingerprint = $3 WHERE reader = 'detect' AND topic = $1 AND partition = $2"
            await stand.ask(change, PAID, partition, fingerprint(record))
    await stand.settled(len(feed.written) + feed.again + stand.partitions, shop.last, 300)
    await outcomes.published(stand)
    return feed, found


async def unread(stand: Stand, which: str) -> int:
    """Return how many records detection has not read, of the topic of payments or of all others."""
    rows = await stand.ask(
        f"SELECT topic, partition, next_offset FROM sources WHERE reader = 'detect' AND topic {which} $1", PAID
    )
    async with opened(stand.kafka.connection()) as cluster:
        ends = await cluster.ends([(row[0], row[1]) for row in rows])
    return sum(ends[row[0], row[1]][1] - row[2] for row in rows)


def stalled(folder: Path, events: int, watched: float) -> dict[str, object]:
    with standing(folder, lateness=LATENESS, partitions=4, altered={"deliver": "impatient"}) as stand:
        shop = Shop(5, events, wall_clock() - HOUR - 10 * MINUTE, events / 3600)
        feed, found = asyncio.run(stood_still(stand, shop, watched))
        assert found["held"] == stand.partitions
        assert found["fired"] == 0, f"{found['fired']} absences while nobody knew"
        assert found["unread"] > events / 5
        verdict = judged(stand, feed, on_time=False)
        absences = sum(
            b'"rule":"invoice-overdue"' in body and kind == "fired" for (_, kind, _), body in verdict.records.items()
        )
        assert absences > 0
        return {
            **verdict.figures(feed, stand),
            "latest event": "an hour before its record: it lay in the log, in order but for 4 s",
            "event time in which payments stood still": "1 h",
            "payments that nobody had read": f"{found['unread']:,}",
            "absences that were told meanwhile": f"{found['fired']}, of {found['armed']:,} that waited",
            "absences once they were read": f"{absences:,}; {verdict.different} records other than undisturbed",
        }


@pytest.mark.live
def test_a_topic_that_stands_still_accuses_nobody(tmp_path):
    services.kafka()
    tell("small", "A topic that stands still (small)", stalled(tmp_path / "stand", 1_500, 4.0), write=False)


@pytest.mark.proofs
def test_a_topic_that_stands_still_for_an_hour(tmp_path, write):
    tell("stalled", "A topic that stands still for an hour", stalled(tmp_path / "stand", 30_000, 30.0), write=write)
