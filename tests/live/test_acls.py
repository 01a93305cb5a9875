"""Each kind of process with the ACLs that docs/deploy.md lists for its user, on a broker that allows nothing else."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import CreateAclsRequest

from gateway.cli.main import main
from schemas import contracts
from streams.archive_process import ArchiveProcess
from streams.codec import Codec
from streams.deliver_process import DeliverProcess
from streams.embedded import wall_clock
from streams.kafka.connection import Connection
from streams.kafka.ground import Ground
from streams.kafka.outcome_log import numbers
from streams.kafka.relay import Relay
from streams.kafka.skew import Skew
from streams.kafka.worker_process import WorkerProcess
from streams.stores.postgres import PostgresStore
from tests.kafka.world import QUICK, World, until, world
from tests.live import cluster
from tests.live.engines import RULES, TEMPLATES, customer, failed
from tests.servers import PrivateKafka
from tidings.testing.provider import FakeProvider

pytestmark = pytest.mark.live

PREFIX = "acl."
PAGE = Path(__file__).resolve().parents[2] / "docs" / "deploy.md"
ROW = re.compile(
    r"\| (worker|deliverer|archive|operator) \| (topic|group|transactional id|cluster) \| `([^`]+)` \| ([a-z, ]+) \|"
)
RESOURCES = {"topic": 2, "group": 3, "cluster": 4, "transactional id": 5}
OPERATIONS = {
    "read": 3, "write": 4, "create": 5, "delete": 6, "alter": 7, "describe": 8, "describe configs": 10, "alter configs": 11,
}  # fmt: skip
LITERAL, PREFIXED, ALLOW = 3, 4, 3
USERS = {name: f"{name}Word7" for name in ("root", "worker", "deliverer", "archive", "operator")}
STRICT = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:broker;User:root;User:ANONYMOUS",
}


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateKafka]:
    with PrivateKafka(tmp_path_factory.mktemp("acls"), STRICT, users=USERS) as server:
        asyncio.run(granted(server.connection(PREFIX, "root")))
        yield server


def listed() -> list[tuple[str, str, str, str]]:
    """The rows of the page: user, resource, name, operation."""
    found = []
    for user, resource, name, operations in ROW.findall(PAGE.read_text()):
        found += [(user, resource, name.replace("PREFIX", PREFIX), one.strip()) for one in operations.split(",")]
    return found


async def granted(connection: Connection) -> None:
    client = AIOKafkaClient(**connection.options())
    await client.bootstrap()
    try:
        rows = listed()
        assert len(rows) > 20
        for user, resource, name, operation in rows:
            kind = PREFIXED if name.endswith("*") else LITERAL
            request = CreateAclsRequest(
                RESOURCES[resource], name.removesuffix("*"), kind, f"User:{user}", "*", OPERATIONS[operation], ALLOW
            )  # fmt: skip
            answer = await client.send(client.get_random_node(), request)
            assert [code for code, _ in answer.creation_responses] == [0], (user, resource, name, operation, answer)
    finally:
        await client.close()


def configured(folder: Path, kafka: PrivateKafka, place) -> Path:
    (folder / "rules").mkdir()
    (folder / "rules" / "none.yaml").write_text("version: 1\nrules: []\n")
    (folder / "word").write_text(USERS["operator"])
    file = folder / "tidings.toml"
    file.write_text(
        f'[kafka]\nbootstrap = ["{kafka.bootstrap}"]\nprefix = "{PREFIX}"\npartitions = 1\nmechanism = "SCRAM-SHA-512"\n'
        f'username = "operator"\npassword = "file:word"\n[postgres]\nhost = "{place.host}"\nport = {place.port}\n'
        f'database = "{place.database}"\nuser = "{place.user}"\n'
    )
    return file


def test_each_process_does_its_work_with_what_the_page_gives_its_user(kafka, tmp_path, capsys):
    with cluster.database() as place:
        config = configured(tmp_path, kafka, place)
        assert main(["topics", "apply", "--config", str(config)]) == 0, capsys.readouterr()
        assert main(["topics", "plan", "--config", str(config)]) == 0, capsys.readouterr()
        capsys.readouterr()
        asyncio.run(worked(kafka, place))
        main(["doctor", "--config", str(config)])
        told = capsys.readouterr().out
        assert not [line for line in told.splitlines() if "may not" in line or "uthoriz" in line], told


async def worked(kafka: PrivateKafka, place) -> None:
    def of(user: str) -> Connection:
        return kafka.connection(PREFIX, user)

    stores = [await PostgresStore.open(place) for _ in range(3)]
    try:
        async with world(place, connection=of("root"), types=contracts().by_type, partitions=1) as there:
            await there.apply(RULES, dict(TEMPLATES))
            mine = of("worker")
            worker = WorkerProcess(
                stores[0], mine, contracts(), wall_clock, "w", Ground(mine, stores[0], ("detect", "people")), Skew(mine),
                pace=QUICK,
            )  # fmt: skip
            theirs = of("deliverer")
            provider = FakeProvider(wall_clock)
            deliverer = DeliverProcess(
                stores[1], contracts(), lambda _: provider, wall_clock, "d",
                ground=Ground(theirs, stores[1], (), numbers=numbers(theirs, stores[1])),
                relay=Relay(stores[1], theirs, Codec(contracts()), "d"),
            )  # fmt: skip
            archive = ArchiveProcess(stores[2], of("archive"))
            archive.start()
            try:
                await worker.start()
                await deliverer.start()
                await there.publish(
                    [("customer.profile.changed", customer("c-1")), ("billing.payment.failed", failed("p-1"))]
                )
                await until(lambda: done(there), 90)
                assert worker.skew is not None
                await until(lambda: measured(worker), 60)
                for process in (worker, deliverer, archive):
                    process.check()
            finally:
                await deliverer.stop()
                await worker.stop()
                await archive.stop()
    finally:
        for store in stores:
            await store.close()


async def measured(worker: WorkerProcess) -> bool:
    return worker.skew is not None and worker.skew.worst() is not None


async def done(there: World) -> bool:
    """Whether the message was taken, its outcomes are published, and both events are in the archive."""
    accepted = [row for row in await there.rows("messages") if row["state"] == "accepted"]
    waits = await there.rows("outbox")
    heads = await there.rows("outbox_heads")
    return bool(accepted and len(heads) == 2 and not waits and len(await there.rows("log")) >= 2)


def test_what_the_page_does_not_give_is_refused(kafka):
    """Or the broker would let everybody do everything, and the other test would show nothing."""

    async def body() -> None:
        admin = AIOKafkaAdminClient(**kafka.connection(PREFIX, "worker").options())
        await admin.start()
        try:
            found = await admin.delete_topics([f"{PREFIX}tidings.clock"])
            assert next(code for _, code in found.topic_error_codes) != 0
        finally:
            await admin.close()

    asyncio.run(body())
