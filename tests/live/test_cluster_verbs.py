"""The verbs that one file has, beside a cluster: rules apply, ingest, dead letters, explain. Real Kafka, real PostgreSQL."""

import asyncio
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaProducer

from gateway.cli.folder import example
from gateway.cli.main import main
from streams.archived import near, newest, trace
from streams.embedded import wall_clock
from streams.embedded_log import read_record
from streams.json_events import rfc3339
from streams.kafka.archive import Archive, keep
from streams.kafka.cluster import opened
from streams.processors import detect
from streams.processors.ground import ARCHIVE
from tests import services
from tests.live import cluster
from tidings.errors import Refusal
from tidings.event import MINUTE, SECOND
from tidings.log import LogRecord
from tidings.testing.memory import MemoryStore

TOPIC = "billing.payment.failed.v1"


def payment(name: str, at: int) -> str:
    data: dict[str, object] = {
        "payment_id": name,
        "customer_id": "c-1",
        "amount": {"amount_minor": 4200, "currency": "EUR"},
    }
    data |= {"code": "card_declined", "attempt": 1}
    return json.dumps(
        {
            "specversion": "1.0",
            "id": name,
            "source": "shop",
            "type": "billing.payment.failed",
            "time": rfc3339(at),
            "data": data,
        }
    )


@pytest.mark.live
def test_the_verbs_of_one_file_work_beside_a_cluster(tmp_path, capsys, monkeypatch):
    kafka = services.kafka()
    monkeypatch.chdir(tmp_path)
    shutil.copytree(example(), "shop")

    def tidings(*words: object):
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    async def copied(one: cluster.Cluster, count: int) -> list[LogRecord]:
        archive = Archive(one.store, one.store.place, kafka)
        try:
            async with asyncio.timeout(30):
                while len(found := await one.rows("log")) < count:
                    await archive.step()
        finally:
            await archive.close()
        return [read_record(row) for row in found]

    async def made(place):
        async with opened(kafka) as there, cluster.opened(place) as one:
            assert await there.create(TOPIC, 2, 1, {"message.timestamp.type": "LogAppendTime"})
            for reader in (detect.READER, ARCHIVE):
                places = [(TOPIC, 0), (TOPIC, 1)]
                await one.store.run(detect.connect(places, wall_clock(), grace=0, reader=reader, history="live"))

    async def decided(place, count: int):
        """Copy and decide what is in the topic."""
        async with cluster.opened(place) as one:
            records = await copied(one, count)
            rules = await one.book.active()
            assert rules is not None
            worker = one.worker(rules)
            positions = await one.store.read(detect.read_positions([(TOPIC, 0), (TOPIC, 1)]))
            fresh = [each for each in records if each.offset >= positions[each.topic, each.partition]]
            starts = {(each.topic, each.partition): positions[each.topic, each.partition] for each in fresh}
            worker.positions = dict(starts)
            await worker.apply(fresh, starts)
            return [row["firing_id"] for row in await one.rows("records")]

    async def rubbish():
        producer = AIOKafkaProducer(**kafka.options())
        await producer.start()
        try:
            await producer.send_and_wait(kafka.prefix + TOPIC, b"rubbish", key=b"k", partition=0)
        finally:
            await producer.stop()

    with cluster.database() as place:
        Path("tidings.toml").write_text(
            f"""rules = "shop"
[kafka]
bootstrap = ["{kafka.bootstrap[0]}"]
prefix = "{kafka.prefix}"
[postgres]
host = "{place.host}"
port = {place.port}
database = "{place.database}"
user = "postgres"
"""
        )
        code, _, said = tidings("run")
        assert (code, "'tidings run' is for one file" in said) == (1, True)

        code, out, _ = tidings("rules", "apply", "--dry-run")
        assert (code, "+ payment-failed  added" in out, "nothing was changed" in out) == (3, True, True)
        code, out, _ = tidings("rules", "apply")
        assert (code, "17 rules decide now" in out) == (0, True)
        code, out, _ = tidings("rules", "apply", "shop", "--json")
        told = json.loads(out)
        assert (code, told["switched"], told["same"], told["old"]) == (0, False, 17, told["new"])
        rules = Path("shop/rules/billing.yaml")
        good = rules.read_text()
        rules.write_text(good.replace("billing.payment.failed", "billing.payment.fialed"))
        code, out, _ = tidings("rules", "apply")
        assert (code, "did you mean" in out, "nothing was changed" in out) == (1, True, True)
        rules.write_text(good)

        Path("one.json").write_text(payment("pay-1", wall_clock() - SECOND))
        ingest = ("ingest", "--source", "cloudevents", "--config", "tidings.toml")
        code, _, said = tidings(*ingest, "one.json")
        assert (code, f"there is no topic {kafka.prefix}{TOPIC}: tidings topics apply" in said) == (1, True)
        asyncio.run(made(place))
        code, first, _ = tidings(*ingest, "one.json")
        assert (code, f"published {TOPIC}[" in first) == (0, True)
        Path("ahead.json").write_text(payment("pay-2", wall_clock() + 5 * MINUTE + 3 * SECOND))
        assert tidings(*ingest, "ahead.json")[0] == 0
        asyncio.run(rubbish())
        (firing,) = asyncio.run(decided(place, 3))

        (published,) = [word for word in first.split() if word.startswith(f"{TOPIC}[")]
        for name in ("pay-1", firing, published):
            code, out, _ = tidings("rules", "explain", name, "--rule", "payment-failed")
            assert (code, "payment-failed: FIRES for customer:c-1, high" in out) == (0, True), out
        code, _, said = tidings("rules", "explain", "nothing")
        assert (code, "there is no event 'nothing'" in said) == (1, True)
        code, _, said = tidings("rules", "explain", f"{TOPIC}[0]@12345")
        assert (code, f"{TOPIC}[0] holds " in said, "in the database" in said) == (1, True, True), said

        code, out, _ = tidings("dead-letters", "list", "--json")
        letters = {row["reason"]: row["place"] for row in json.loads(out)}
        assert set(letters) == {Refusal.NOT_AVRO, Refusal.TIME_IN_FUTURE}
        code, _, said = tidings("rules", "explain", letters[Refusal.NOT_AVRO])
        assert (code, f"tidings dead-letters show '{letters[Refusal.NOT_AVRO]}'" in said) == (1, True), said
        code, out, _ = tidings("dead-letters", "show", letters[Refusal.NOT_AVRO])
        assert (code, "rubbish" in out) == (0, True)
        later = wall_clock() + MINUTE
        monkeypatch.setattr("gateway.cli.installation.time", SimpleNamespace(time_ns=lambda: later * 1000))
        code, out, _ = tidings("dead-letters", "redrive")
        assert (code, "can be read: 1 event" in out, "Nothing was sent" in out) == (0, True, True)
        code, out, _ = tidings("dead-letters", "redrive", "--confirm")
        assert (code, "1 redriven" in out, f"published {TOPIC}[" in out) == (0, True, True)
        code, out, _ = tidings("dead-letters", "redrive", "--confirm")
        assert (code, "nothing to redrive" in out) == (1, True)

        async def after():
            async with cluster.opened(place) as one:
                records = await copied(one, 4)
                assert len(records) == 4
                by_value: dict[bytes | None, list[LogRecord]] = {}
                for each in records:
                    by_value.setdefault(each.value, []).append(each)
                (twice,) = [some for some in by_value.values() if len(some) == 2]
                assert len({(each.partition, each.key, each.headers) for each in twice}) == 1, "with the bytes it had"
                return [(row["verb"], bool(row["who"])) for row in await one.rows("audit")]

        assert asyncio.run(after()) == [("rules apply", True), ("dead-letters redrive", True)]


# -- looking for one event in an archive that is too large to be read


def archived(count: int, partitions: int = 2):
    """A store whose archive holds a record a second in each partition; its values are their numbers."""
    store = MemoryStore()
    records = [LogRecord(TOPIC, n % partitions, n // partitions, n * SECOND, b"", b"%d" % n) for n in range(count)]

    async def body():
        await store.run(detect.connect([(TOPIC, p) for p in range(partitions)], 0, grace=0, reader=ARCHIVE))
        await store.run(keep(records, {(TOPIC, p): 0 for p in range(partitions)}))

    asyncio.run(body())
    return store


def numbers_of(records):
    async def all_of_them():
        return [int(record.value or b"") async for record in records]

    return asyncio.run(all_of_them())


def test_a_firing_leads_to_the_records_of_its_batch_and_then_to_those_around_its_time(monkeypatch):
    from streams import archived as module
    from tidings.journal import Entry, Span

    monkeypatch.setattr(module, "PAGE", 7)
    store = archived(3000)
    row = {
        "episode_at": 2000 * SECOND,
        "firing_id": "f",
        "kind": "fired",
        "n": 0,
        "tenant": "t",
        "rule": "r",
        "recipient": "c",
        "seq": 5,
        "logical_at": 0,
        "body": b'{"episode":{"event":"the-ref"}}',
        "unread": None,
    }
    entry = Entry(5, "batch", "set", (Span(TOPIC, 1, 40, 60),))

    def body():
        from tidings.ports import Insert

        yield Insert("records", [row])
        yield Insert("journal", [{"seq": 5, "kind": "batch", "body": entry.to_bytes()}])

    asyncio.run(store.run(body))
    found = asyncio.run(store.read(trace("f")))
    assert (found.ref, found.rule) == ("the-ref", "r")
    numbers = numbers_of(near(store, found, [TOPIC]))
    assert numbers[:20] == [2 * offset + 1 for offset in range(40, 60)]
    # Five minutes before its time, for that far may a producer's clock be ahead; to the end, for it may be late.
    assert sorted(numbers[20:]) == list(range(1700, 3000))
    assert asyncio.run(store.read(trace("nothing"))) is None


def test_without_a_firing_the_newest_records_are_looked_through_and_no_others(monkeypatch):
    from streams import archived as module

    monkeypatch.setattr(module, "PAGE", 10)
    monkeypatch.setattr(module, "NEWEST", 50)
    numbers = numbers_of(newest(archived(1001)))
    assert sorted(numbers) == list(range(901, 1001))
    assert set(numbers[:20]) == set(range(981, 1001)), "the newest pages first"
