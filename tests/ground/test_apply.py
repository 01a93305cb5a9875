"""Topics on a real broker: rows before partitions, repeated without harm, refusals as sentences; and the brokers' clocks."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from gateway.cli.main import main
from schemas import contracts
from streams.embedded import wall_clock
from streams.kafka import topics
from streams.kafka.cluster import Cluster, Refused, opened
from streams.kafka.connection import Connection
from streams.kafka.reach import Away
from streams.kafka.skew import Sample, Skew, sampled
from streams.kafka.topics import CLOCK, Kind, Line, Wanted
from streams.processors.detect import READER
from streams.stores.migrate import migrate
from streams.stores.sqlite import SqliteStore
from tests import services
from tests.contract.test_store import everything
from tidings.errors import Misconfigured
from tidings.event import SECOND
from tidings.ports import Store
from tidings.watermark import GRACE

pytestmark = pytest.mark.live

PROFILE, PAID = "customer.profile.changed.v1", "billing.invoice.paid.v1"


def some(partitions: int = 2) -> list[Wanted]:
    every = topics.wanted(contracts(), partitions=partitions, replicas=1, brokers=1)
    return [one for one in every if one.name in (PROFILE, PAID, CLOCK)]


async def apply(cluster: Cluster, store: Store, aims: list[Wanted], done: list[Line] | None = None) -> list[Line]:
    told = (done if done is not None else []).append
    return await topics.apply(cluster, store, aims, now=wall_clock(), grace=GRACE, history="past", told=told)


def play(tmp_path: Path, story: Callable[[Cluster, Store], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = await SqliteStore.open(tmp_path / "store.db")
        try:
            async with opened(services.kafka()) as cluster:
                await story(cluster, store)
        finally:
            await store.close()

    asyncio.run(whole())


async def read_rows(store: Store) -> set[tuple[str, str, int]]:
    return {(row["reader"], row["topic"], row["partition"]) for row in await store.read(everything("sources"))}


def test_every_reader_has_its_row_before_a_partition_exists(tmp_path: Path) -> None:
    async def story(cluster: Cluster, store: Store) -> None:
        create, grow = cluster.create_all, cluster.grow

        async def watched_create(new):
            assert all([await rows_of(one.name, one.partitions) for one in new])
            return await create(new)

        async def watched_grow(name, partitions):
            assert await rows_of(name, partitions)
            await grow(name, partitions)

        async def rows_of(name, partitions):
            rows = await read_rows(store)
            readers = next(one.readers for one in some() if one.name == name)
            return all((reader, name, p) in rows for reader in readers for p in range(partitions))

        cluster.create_all, cluster.grow = watched_create, watched_grow  # type: ignore[method-assign]
        assert await apply(cluster, store, some(2)) == []
        assert await apply(cluster, store, some(5)) == []
        assert {name: one.partitions for name, one in (await cluster.topics()).items()} == {
            PROFILE: 5,
            PAID: 5,
            CLOCK: 1,
        }

    play(tmp_path, story)


def test_it_may_be_repeated_and_killed_anywhere(tmp_path: Path) -> None:
    async def story(cluster: Cluster, store: Store) -> None:
        create = cluster.create_all
        for makes in range(3):

            async def dies(new, makes=makes):
                await create(new[:makes])
                raise KeyboardInterrupt

            cluster.create_all = dies  # type: ignore[method-assign]
            with pytest.raises(KeyboardInterrupt):
                await apply(cluster, store, some())
        cluster.create_all = create  # type: ignore[method-assign]
        assert await apply(cluster, store, some()) == []
        before = await store.read(everything("sources"))
        done: list[Line] = []
        assert await apply(cluster, store, some(), done) == []
        assert done == []
        assert await store.read(everything("sources")) == before

    play(tmp_path, story)


def test_a_changed_setting_leaves_those_of_others_alone(tmp_path: Path) -> None:
    async def story(cluster: Cluster, store: Store) -> None:
        (paid,) = [one for one in some() if one.name == PAID]
        theirs = {"segment.ms": "60000", "retention.ms": "1000"}
        await cluster.create(PAID, 2, 1, {**paid.settings, **theirs})
        done: list[Line] = []
        assert await apply(cluster, store, [paid], done) == []
        assert [(line.kind, line.says) for line in done if line.kind is Kind.SET] == [(Kind.SET, "retention.ms")]
        found = (await cluster.described([PAID]))[PAID]
        assert found.own["segment.ms"] == "60000"
        assert found.own["retention.ms"] == paid.settings["retention.ms"]
        assert found.own["message.timestamp.type"] == "LogAppendTime"

    play(tmp_path, story)


def test_a_topic_whose_oldest_records_have_expired_is_read_from_its_first_one_on(tmp_path: Path) -> None:
    async def story(cluster: Cluster, store: Store) -> None:
        (paid,) = [one for one in some() if one.name == PAID]
        await cluster.create(PAID, 1, 1, paid.settings)
        options, name = cluster.connection.options(), cluster.connection.prefix + PAID
        producer, admin = AIOKafkaProducer(**options), AIOKafkaAdminClient(**options)
        await producer.start()
        await admin.start()
        for _ in range(4):
            await producer.send_and_wait(name, b"x", partition=0)
        await admin.delete_records({TopicPartition(name, 0): RecordsToDelete(3)})
        await producer.stop()
        await admin.close()
        assert await apply(cluster, store, [replace(paid, partitions=2)]) == []
        positions = {
            (row["reader"], row["partition"]): row["next_offset"] for row in await store.read(everything("sources"))
        }
        assert positions[READER, 0] == 3
        assert positions[READER, 1] == 0

    play(tmp_path, story)


def test_what_the_cluster_refuses_is_a_sentence(tmp_path: Path) -> None:
    async def story(cluster: Cluster, store: Store) -> None:
        with pytest.raises(Refused, match="more copies than there are brokers; lower"):
            await cluster.create(PAID, 1, 5, {})
        with pytest.raises(Refused, match="Invalid value"):
            await cluster.create(PAID, 1, 1, {"retention.ms": "soon"})

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("words", "fault", "says"),
    [
        ({"bootstrap": ("127.0.0.1:1",)}, Away, "nobody listens there"),
        ({"bootstrap": ("broker.invalid:9092",)}, Away, "there is no such host"),
        ({"tls": True}, Away, "may be of another kind than SSL"),
        ({"mechanism": "PLAIN", "username": "u", "password": "hidden"}, Misconfigured, "it asks nobody who they are"),
    ],
    ids=str,
)
def test_a_broker_that_is_not_reached_is_told_with_what_to_do_and_without_the_password(words, fault, says) -> None:
    async def reach() -> None:
        async with opened(replace(services.kafka(), **words), within=3):
            raise AssertionError("it was reached")

    with pytest.raises(fault, match=says) as told:
        asyncio.run(reach())
    assert "hidden" not in str(told.value)


def test_a_broker_that_takes_connections_and_says_nothing_costs_its_deadline_only() -> None:
    async def reach() -> None:
        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            async with opened(Connection((f"127.0.0.1:{port}",)), within=0.5):
                raise AssertionError("it was reached")
        finally:
            server.close()

    with pytest.raises(Away, match=r"no answer within 0.5 s"):
        asyncio.run(reach())


def test_plan_and_apply_as_an_operator_runs_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    connection = services.kafka()
    with services.database() as place:
        config = tmp_path / "tidings.toml"
        config.write_text(
            f'[kafka]\nbootstrap = ["{connection.bootstrap[0]}"]\nprefix = "{connection.prefix}"\npartitions = 1\n'
            f'[postgres]\nhost = "{place.host}"\nport = {place.port}\ndatabase = "{place.database}"\nuser = "{place.user}"\n'
        )
        verb = ["--config", str(config)]
        assert main(["topics", "plan", *verb]) == 1
        assert "run tidings migrate" in capsys.readouterr().err
        asyncio.run(migrate(place))
        assert main(["topics", "plan", *verb, "--json"]) == 3
        plan = json.loads(capsys.readouterr().out)
        assert {line["kind"] for line in plan["lines"]} == {"create", "connect"}
        assert main(["topics", "apply", *verb]) == 0
        assert "created    billing.invoice.paid.v1: 1 partition\n" in capsys.readouterr().out
        assert main(["topics", "plan", *verb]) == 0
        assert main(["topics", "apply", *verb]) == 0
        assert main(["sources", "list", *verb]) == 0
        assert "billing.invoice.paid.v1" in capsys.readouterr().out
        assert main(["sources", "accept", "billing.invoice.paid.v1:0", "--from-start", *verb]) == 1
        assert "nothing of it is held" in capsys.readouterr().err


def test_the_brokers_clock_is_measured_and_ours_set_meanwhile_is_noticed_at_once(tmp_path: Path) -> None:
    async def story(cluster: Cluster, store: Store) -> None:
        await apply(cluster, store, some())
        ahead = 0
        skew = Skew(cluster.connection, wall=lambda: wall_clock() + ahead)
        assert not skew.ok(GRACE)  # nothing is known yet
        producer = AIOKafkaProducer(**cluster.connection.options())
        await producer.start()
        try:
            await skew.measure(producer)
            await skew.measure(producer)
            assert skew.ok(GRACE)
            assert list(skew.best()) == [0]
            ahead = 4 * SECOND
            assert not skew.ok(GRACE)
            await skew.measure(producer)
            assert not skew.ok(GRACE)
            assert -4 * SECOND - skew.best()[0].error <= skew.best()[0].skew <= -3 * SECOND
        finally:
            await producer.stop()

    play(tmp_path, story)


def test_a_slow_answer_is_no_proof_of_equal_clocks_and_an_old_one_says_nothing() -> None:
    steady = 100 * SECOND
    skew = Skew(Connection(("nowhere:1",)), wall=lambda: 1_000 * SECOND + steady, steady=lambda: steady)
    skew.take(0, sampled(1_094 * SECOND, 1_097_000, 1_100 * SECOND, steady))
    assert not skew.ok(GRACE)
    skew.take(0, sampled(1_099 * SECOND, 1_099_500, 1_100 * SECOND, steady))
    assert skew.ok(GRACE)
    skew.take(1, Sample(3 * SECOND, 0, steady, 1_000 * SECOND))
    assert not skew.ok(GRACE)  # one broker is enough
    steady += 71 * SECOND
    assert skew.worst() is None


def test_measuring_goes_on_when_the_brokers_are_away() -> None:
    async def whole() -> None:
        skew = Skew(Connection(("127.0.0.1:1",)), every=0.01)
        task = asyncio.create_task(skew.measuring())
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            assert not task.done()
            await asyncio.sleep(0.05)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert not skew.ok(GRACE)

    asyncio.run(whole())
