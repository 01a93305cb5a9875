"""The same over a cluster, as the user of a gateway: a real broker, a real database, a deliverer beside it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from gateway.edge import cluster_site
from gateway.http.app import create_app
from gateway.http.serve import serving
from gateway.metrics import Metrics
from handlers.channels.content import Contents
from handlers.channels.unsubscribe import link
from schemas import contracts
from streams.codec import Codec
from streams.deliver_process import DeliverProcess
from streams.edge_process import EdgeProcess
from streams.embedded import wall_clock
from streams.kafka.connection import Connection
from streams.kafka.publishing import Publisher
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tests import services
from tests.edge import PUBLIC, SECRET, Edge
from tests.live import cluster
from tests.live.cluster import Cluster
from tests.live.engines import Shelf, failed
from tests.live.test_deliver import filled, until
from tidings import canonical
from tidings.event import DAY
from tidings.log import LogRecord
from tidings.ports import Delete, Insert, Scan

pytestmark = pytest.mark.live

PREFERENCE, FAILED = "customer.preference.changed.v1", "billing.payment.failed.v1"


@pytest.fixture
def place():
    with cluster.database() as found:
        gateway = replace(found, user=f"{found.database}_gateway")
        asyncio.run(services.administer(f"CREATE ROLE {gateway.user} LOGIN IN ROLE tidings_gateway"))
        yield found
        asyncio.run(services.administer(f"DROP ROLE {gateway.user}"))


@dataclass
class Gateway(Edge):
    """A gateway's edge."""

    process: EdgeProcess


@contextlib.asynccontextmanager
async def gateway(place: Place, kafka: Connection) -> AsyncIterator[Gateway]:
    store = await PostgresStore.open(replace(place, user=f"{place.database}_gateway"))
    process = EdgeProcess(store, contracts(), Publisher(kafka, store, "g-1"))
    metrics = Metrics(lambda: process.rules, contracts().by_type, wall_clock)
    site = cluster_site(
        process, Codec(contracts()), "127.0.0.1", None, clock=wall_clock, render=Contents(PUBLIC, SECRET)
    )
    await process.start()
    try:
        async with serving(create_app(process, metrics, site=site), "127.0.0.1", 0) as (_, port):
            yield Gateway(None, Shelf(), site, port, process)  # type: ignore[arg-type]
    finally:
        await process.stop()
        await site.close()
        await store.close()


async def topics(kafka: Connection, *names: str) -> None:
    client = AIOKafkaAdminClient(**kafka.options())
    await client.start()
    try:
        await client.create_topics([NewTopic(kafka.prefix + name, 2, 1) for name in names])
    finally:
        await client.close()


async def read(kafka: Connection, name: str, count: int) -> list[Any]:
    consumer = AIOKafkaConsumer(kafka.prefix + name, auto_offset_reset="earliest", **kafka.options())
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


def letter(offset: int, value: bytes) -> dict[str, Any]:
    return {
        "reader": "detect", "topic": FAILED, "partition": 0, "offset": offset, "reason": "unknown_schema", "detail": "no contract",
        "schema_id": 7, "appended_at": wall_clock(), "key": b"c-1", "value": value, "headers": b"[]", "redriven_at": None, "aside_at": None,
    }  # fmt: skip


def test_a_gateway_takes_a_customers_no_stops_drops_and_redrives(place):
    filled(place, 4)
    kafka = services.kafka()

    async def body():
        await topics(kafka, PREFERENCE, FAILED)
        async with cluster.opened(place) as one, gateway(place, kafka) as edge:
            await one.store.run(_log_elsewhere)
            await _refuses(edge, kafka, one)
            await _drops(edge, place, one)
            await _redrives(edge, kafka, one)

    asyncio.run(body())


def _log_elsewhere():
    """What was decided came from a log in the database; on a cluster there is none."""
    heads = yield Scan("log_heads")
    yield Delete("log_heads", [(row["topic"], row["partition"]) for row in heads])


async def _refuses(edge: Edge, kafka: Connection, one: Cluster) -> None:
    path = link("", SECRET, "default", "c-1", "news", wall_clock() + DAY)
    for _ in range(2):
        answer = await edge.post(path, "List-Unsubscribe=One-Click")
        assert answer.status == 200, answer.body
    (record,) = await read(kafka, PREFERENCE, 1)
    event = Codec(contracts()).decode(
        LogRecord(PREFERENCE, 0, 0, record.timestamp * 1000, record.key, record.value, ())
    )
    assert (event.data["customer_id"], event.data["topic"], event.data["allowed"]) == ("c-1", "news", False)
    (row,) = [row for row in await one.rows("recipients") if row["recipient"] == "customer:c-1"]
    assert canonical.loads(row["profile"])["preferences"]["news"]["v"] == [event.occurred_at, event.ref]


async def _drops(edge: Edge, place: Place, one: Cluster) -> None:
    assert (await edge.submit("/kills", "/kills", kind="", reason="wrong prices")).status == 303
    store = await PostgresStore.open(place)
    process = DeliverProcess(store, contracts(), lambda _: edge.provider, wall_clock, "d")
    try:
        await process.start()

        async def waits() -> bool:
            return (await one.states()) == {"held": 3, "suppressed": 1}

        await until(waits)
        (item,) = (await edge.get("/v1/kills")).json["items"]
        assert (item["scope"], item["by"], item["waiting"]["stopped"]) == ("all", "local", 3)
        dropped = await edge.post(f"/v1/kills/{item['id']}/drop", '{"reason": "never"}', "application/json")
        assert dropped.json == {"id": item["id"], "cancelled": 3, "complete": True}
        assert (await one.states()) == {"cancelled": 3, "suppressed": 1}
        assert not edge.provider.taken
        told = [row for row in await one.rows("outbox") if row["topic"].startswith("notification.message")]
        assert len(told) == 4
    finally:
        await process.stop()
        await store.close()


async def _redrives(edge: Edge, kafka: Connection, one: Cluster) -> None:
    _, value = Codec(contracts()).encode("billing.payment.failed", failed("p-late", who="c-2"))

    def parked():
        yield Insert("dead_letters", [letter(1, value), letter(2, b"\x00\x00\x00\x00\x07?")])

    await one.store.run(parked)
    chosen = {"r-1": f"{FAILED}/0/1", "r-2": f"{FAILED}/0/2"}
    tried = (await edge.submit("/dead-letters", "/dead-letters/try", **chosen)).body.decode()
    assert "1 of 2 can be read now" in tried
    assert "Redrive 1: 1 message leaves" in tried
    for status in (303, 422):
        done = await edge.submit("/dead-letters", "/dead-letters/redrive", **chosen, reason="released")
        assert done.status == status
    (record,) = await read(kafka, FAILED, 1)
    assert (record.key, record.value) == (b"c-1", value)
    marks = {row["offset"]: row["redriven_at"] is not None for row in await one.rows("dead_letters")}
    assert marks == {1: True, 2: False}
