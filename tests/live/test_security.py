"""The ground behind TLS and passwords: Kafka with SASL SCRAM, PostgreSQL with scram-sha-256; whoever is wrong is told so."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway.cli.main import main
from streams.kafka.connection import Connection
from streams.stores.migrate import migrate
from streams.stores.place import Place
from tests import services
from tests.kafka.world import until, world
from tests.live.engines import RULES, TEMPLATES, customer, failed
from tests.servers import Certificates, PrivateKafka, PrivatePostgres

pytestmark = pytest.mark.live

PASSWORD, OTHER = "Xyleborus7", "Phloeosinus9"
WORKER = "w1"
LONG = 25
"""Seconds within which everything must be told, whatever is wrong."""


@dataclass
class Ground:
    kafka: PrivateKafka
    postgres: PrivatePostgres
    stranger: Certificates
    """Of an authority that signed nothing here."""

    @property
    def place(self) -> Place:
        """As a user that may do a worker's work and no more."""
        return self.postgres.place(user=WORKER, password=PASSWORD)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    services.kafka()
    services.postgres_address()
    folder = tmp_path_factory.mktemp("secured")
    certificates = Certificates.make(folder / "certificates")
    stranger = Certificates.make(folder / "stranger")
    with (
        PrivateKafka(folder / "kafka", tls=certificates, users={"tidings": PASSWORD}) as kafka,
        PrivatePostgres(folder / "postgres", tls=certificates, password=OTHER) as postgres,
    ):
        asyncio.run(migrate(postgres.place()))
        asyncio.run(administer(postgres, f"CREATE ROLE {WORKER} LOGIN PASSWORD '{PASSWORD}' IN ROLE tidings_worker"))
        yield Ground(kafka, postgres, stranger)


async def administer(postgres: PrivatePostgres, statement: str) -> None:
    place = postgres.place()
    connection = await asyncpg.connect(
        host=place.host, port=place.port, user=place.user, password=place.password, database=place.database,
        ssl=place.context() or False,
    )  # fmt: skip
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def test_over_tls_and_by_password_events_are_decided_also_after_the_broker_was_killed(ground):
    async def story():
        async with world(ground.postgres.place(), connection=ground.kafka.connection("secured.")) as there:
            await there.apply(RULES, TEMPLATES)
            there.place = ground.place
            async with there.worker() as worker:
                await there.publish([("customer.profile.changed", customer("c-1")), *payments("before")])
                await there.taken(60, worker)
                await asyncio.to_thread(ground.kafka.kill)
                await asyncio.to_thread(ground.kafka.start)
                await there.publish(payments("after"))
                await until(lambda: fired(there, 2), 90)
                worker.check()

    async def fired(there: Any, count: int) -> bool:
        return len(await there.rows("records")) == count

    def payments(name: str) -> list[tuple[str, dict[str, Any]]]:
        return [("billing.payment.failed", failed(name))]

    asyncio.run(story())


# What is wrong, and what doctor says of it.
MISTAKES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "broker: password": ({"password": OTHER}, {}, "it does not take user tidings with this password"),
    "broker: authority": ({"ca": "stranger"}, {}, "its certificate is not trusted"),
    "broker: in the clear": ({"tls": False}, {}, "it hung up"),
    "broker: nobody": ({"mechanism": None, "username": None, "password": None}, {}, "it hung up"),
    "database: password": ({}, {"password": OTHER}, "password authentication failed"),
    "database: authority": ({}, {"ca": "stranger"}, "certificate is not trusted"),
    "database: in the clear": ({}, {"tls": False, "ca": None}, "no encryption"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_a_sentence_and_in_time(ground, name, tmp_path, capsys):
    kafka, postgres, says = MISTAKES[name]
    configured(tmp_path, ground, kafka, postgres)
    began = time.monotonic()
    assert main(["doctor", "--config", str(tmp_path / "tidings.toml"), "--json"]) == 1
    assert time.monotonic() - began < LONG
    out, err = capsys.readouterr()
    assert PASSWORD not in out + err
    assert OTHER not in out + err
    assert "Traceback" not in out + err
    mine = "broker" if kafka else "database"
    told = [one for one in json.loads(out) if says in one["says"]]
    assert [one["what"].partition(" ")[0] for one in told] == [mine], out
    assert (told[0]["state"], bool(told[0]["mend"])) == ("wrong", True)


@pytest.mark.parametrize("name", ["broker: password", "database: authority"])
def test_a_worker_that_nobody_lets_in_ends_as_wrongly_configured(ground, name, tmp_path):
    """75 would have it started again for ever."""
    kafka, postgres, says = MISTAKES[name]
    configured(tmp_path, ground, kafka, postgres)
    command = [sys.executable, "-m", "gateway.cli.main", "worker", "--config", str(tmp_path / "tidings.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert says in done.stderr
    assert PASSWORD not in done.stderr
    assert OTHER not in done.stderr


def configured(folder: Path, ground: Ground, kafka: dict[str, Any], postgres: dict[str, Any]) -> None:
    def meant(changes: dict[str, Any]) -> dict[str, Any]:
        return changes | ({"ca": ground.stranger.authority} if changes.get("ca") else {})

    connection: Connection = replace(ground.kafka.connection("doctored."), **meant(kafka))
    place: Place = replace(ground.place, **meant(postgres))
    (folder / "rules").mkdir()
    (folder / "rules" / "none.yaml").write_text("version: 1\nrules: []\n")
    lines = ["[kafka]", f"bootstrap = {json.dumps(connection.bootstrap)}", f'prefix = "{connection.prefix}"']
    lines += said(folder, "kafka", connection, ("ca", "mechanism", "username"))
    lines += ["[postgres]", f'host = "{place.host}"', f"port = {place.port}"]
    lines += said(folder, "postgres", place, ("ca", "database", "user"))
    (folder / "tidings.toml").write_text("\n".join(lines) + "\n")


def said(folder: Path, name: str, found: Any, keys: tuple[str, ...]) -> list[str]:
    lines = [f"tls = {json.dumps(found.tls)}"]
    lines += [f'{key} = "{getattr(found, key)}"' for key in keys if getattr(found, key) and (found.tls or key != "ca")]
    if found.password:
        (folder / name).write_text(found.password)
        lines.append(f'password = "file:{name}"')
    return lines
