"""What cannot be read, and what our own code fails on, on Kafka: kept with its reason, and nobody ends for it."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from streams.embedded import wall_clock
from tests import services
from tests.live.engines import event, failed
from tests.live.test_poison import CODEC, TOPIC, broken
from tests.proofs import compare
from tests.proofs.figures import tell
from tests.proofs.stand import Stand, standing
from tests.proofs.story import started
from tests.proofs.workload import MONEY, Shop
from tidings.event import SECOND

ORDERS = "sales.order.placed.v1"
FRAGILE = {"worker": "fragile", "deliver": "impatient"}


async def poisoned(stand: Stand, times: int) -> dict[tuple[str, int, int], tuple[str, bytes | None, bytes]]:
    """Write each kind of poison between two records that are in order; return what should be kept, by place."""
    producer: Any = AIOKafkaProducer(**stand.kafka.connection().options(), acks="all", max_request_size=4 * 1024 * 1024)
    await producer.start()
    kept: dict[tuple[str, int, int], tuple[str, bytes | None, bytes]] = {}
    sent = 0

    async def write(topic: str, key: bytes | None, value: bytes, partition: int) -> tuple[str, int, int]:
        nonlocal sent
        sent += 1
        found = await producer.send_and_wait(topic, value, key=key, partition=partition)
        return (topic, partition, found.offset)

    def order(name: str, number: int) -> tuple[bytes, bytes]:
        payload = event("sales.order.placed", f"{name}-{number}", order_id=name, customer_id="c-0", total=MONEY)
        return CODEC.encode("sales.order.placed", payload)

    try:
        for one in Shop(1, 0, wall_clock(), 1.0).customers():
            sent += 1
            await producer.send(one.topic, one.value, key=one.key)
        await producer.flush()
        for number in range(times):
            for name, (key, value, reason) in broken().items():
                partition = (number + len(name)) % stand.partitions
                before, after = (
                    CODEC.encode("billing.payment.failed", failed(f"{when} {name} {number}", who="c-0"))
                    for when in ("before", "after")
                )
                await write(TOPIC, *before, partition)
                kept[await write(TOPIC, key, value, partition)] = (reason, key, value)
                await write(TOPIC, *after, partition)
            partition = number % stand.partitions
            await write(ORDERS, *order("fine", number), partition)
            bomb = order("bomb", number)
            kept[await write(ORDERS, *bomb, partition)] = ("internal_error", *bomb)
            await write(ORDERS, *order("fine too", number), partition)
    finally:
        await producer.stop()
    await stand.settled(sent, 0, 300)
    return kept


def proven(folder: Path, times: int) -> dict[str, object]:
    with standing(folder, lateness=60 * SECOND, partitions=4, altered=FRAGILE) as stand:
        started(stand)
        kept = asyncio.run(poisoned(stand, times))
        ends = sum((one.ends for one in stand.running.values()), Counter[int]())
        assert not ends, f"processes ended for it: {ends}"
        rows = asyncio.run(
            stand.ask(
                "SELECT topic, partition, \"offset\", reason, key, value FROM dead_letters WHERE reader = 'detect'"
            )
        )
        assert {(row[0], row[1], row[2]): (row[3], row[4], row[5]) for row in rows} == kept
        (fired,) = asyncio.run(stand.ask("SELECT count(*) FROM records WHERE kind = 'fired'"))
        neighbours = 2 * times * (len(broken()) + 1)
        assert fired[0] == neighbours
        codes = {name: stand.end(name) for name in list(stand.running)}
        assert set(codes.values()) == {0}, codes
        stand.altered = {}
        stand.run("archive", "archive-again")
        told = compare.verified(stand)
        sent = asyncio.run(compare.deliveries(stand))
        reasons = Counter(reason for reason, _, _ in kept.values())
        return {
            "records that cannot be read": f"{len(kept) - reasons['internal_error']} of {len(broken())} kinds",
            "records on which the code fails": reasons["internal_error"],
            "kept, with their bytes": f"{len(rows)}: "
            + ", ".join(f"{n} {name}" for name, n in sorted(reasons.items())),
            "their neighbours": f"{neighbours}, all decided; {sent.states} messages",
            "processes that ended for it": sum(ends.values()),
            "verify": compare.said(told),
        }


@pytest.mark.live
def test_poison_on_kafka_is_kept_as_on_one_file_and_ends_nobody(tmp_path):
    services.kafka()
    tell("small", "Poison (small)", proven(tmp_path / "stand", 1), write=False)


@pytest.mark.proofs
def test_poison(tmp_path, write):
    tell("poison", "Poison, and code that fails", proven(tmp_path / "stand", 20), write=write)
