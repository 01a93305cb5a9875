"""`tidings doctor` on a cluster: each finding with how to mend it, dead hosts in bounded time, no password anywhere."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import asyncpg
import pytest

from gateway.access import keys as access
from gateway.cli.doctor_cluster import copies
from gateway.cli.main import main
from streams.kafka.cluster import Broker, Cluster, Topic
from streams.kafka.connection import Connection
from streams.processors import keys, outcomes
from streams.processors.ground import ARCHIVE, Older, hold_dispatch
from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from streams.stores.postgres_transaction import lock_number
from tests import services
from tests.ground.laboratory import TOPIC, laboratory
from tidings.event import SECOND

pytestmark = pytest.mark.live

LONG = 25
"""Seconds in which it must have ended, whatever hangs; the deadlines add up to about ten."""
RULES = "version: 1\nrules: []\n"


class Doctor:
    """Runs it on a configuration."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = folder / "tidings.toml"
        self.capsys = capsys
        (folder / "rules").mkdir()
        (folder / "rules" / "none.yaml").write_text(RULES)
        (folder / "password").write_text("hidden-word")

    def configure(self, connection: Connection, place: Place, **kafka: str) -> None:
        more = "".join(f"{key} = {value}\n" for key, value in kafka.items())
        self.config.write_text(
            f'[kafka]\nbootstrap = {json.dumps(list(connection.bootstrap))}\nprefix = "{connection.prefix}"\n'
            f'partitions = 1\n{more}[postgres]\nhost = "{place.host}"\nport = {place.port}\n'
            f'database = "{place.database}"\nuser = "{place.user}"\npassword = "file:password"\n'
        )

    def run(self, *verb: str) -> int:
        return main([*verb, "--config", str(self.config)])

    def found(self) -> dict[str, tuple[str, str, str]]:
        began = time.monotonic()
        self.run("doctor", "--json")
        assert time.monotonic() - began < LONG
        out, err = self.capsys.readouterr()
        assert "hidden-word" not in out + err
        assert "Traceback" not in out + err
        unmended = [one for one in json.loads(out) if one["state"] == "wrong" and not one["mend"]]
        assert not unmended, "whatever is wrong says what to do"
        return {one["what"]: (one["state"], one["says"], one["mend"]) for one in json.loads(out)}


@pytest.fixture
def doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(tmp_path, capsys)


@contextmanager
def silent() -> Iterator[int]:
    """Give the port of somebody who takes connections and never says a word."""
    held = []
    server = socket.create_server(("127.0.0.1", 0))

    def take() -> None:
        while True:
            try:
                held.append(server.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)
        for one in held:
            one.close()


def test_what_is_not_there_is_told_with_what_to_do(doctor: Doctor) -> None:
    doctor.configure(Connection(("127.0.0.1:1", "broker.invalid:9092")), Place("127.0.0.1", 1, "tidings", "worker"))
    found = doctor.found()
    assert found["broker 127.0.0.1:1"] == ("wrong", "nobody listens there", "start the broker, or correct the port")
    assert found["broker broker.invalid:9092"][:2] == ("wrong", "there is no such host")
    assert found["database"][0] == "wrong"


def test_hosts_that_hang_cost_their_deadline_and_hide_nothing(doctor: Doctor) -> None:
    with silent() as port:
        doctor.configure(Connection((f"127.0.0.1:{port}",)), Place("127.0.0.1", port, "tidings", "worker"))
        found = doctor.found()
    assert found[f"broker 127.0.0.1:{port}"][1] == "no answer within 3 s"
    assert found["database"][0] == "wrong"
    assert found["schema registry"][0] == "note"


def test_one_dead_address_beside_one_that_answers_is_a_note(doctor: Doctor) -> None:
    live = services.kafka()
    doctor.configure(Connection((*live.bootstrap, "127.0.0.1:1"), prefix=live.prefix), Place("127.0.0.1", 1, "t", "u"))
    found = doctor.found()
    assert found["broker 127.0.0.1:1"][0] == "note"
    assert found[f"broker {live.bootstrap[0]}"][0] == "ok"
    assert found["topics"][0] == "wrong"  # looked at although there is no database
    assert "create" in found["topics"][1]
    assert "connect" not in found["topics"][1]


def test_credentials_that_nobody_asks_for_are_told(doctor: Doctor) -> None:
    doctor.configure(
        services.kafka(), Place("127.0.0.1", 1, "t", "u"),
        mechanism='"SCRAM-SHA-512"', username='"worker"', password='"file:password"',
    )  # fmt: skip
    (broker,) = [found for what, found in doctor.found().items() if what.startswith("broker")]
    assert broker[0] == "wrong"
    assert "it asks nobody who they are" in broker[1]


def test_from_an_empty_database_to_one_that_works_and_what_then_moves_under_it(doctor: Doctor) -> None:
    connection = services.kafka()

    async def disturb(place: Place) -> None:
        store = await PostgresStore.open(place)
        try:
            async with laboratory(connection, store) as lab:
                await lab.decide_nothing()
                await lab.produce(3)
                await lab.read()
                await lab.remake(1)
                await lab.produce(5, word=b"another")
                await store.run(hold_dispatch(Older({(TOPIC, 0): (3, 9)})))
                doctor_found.update(await asyncio.to_thread(doctor.found))
        finally:
            await store.close()

    async def have_gateway_and_key(place: Place) -> None:
        store = await PostgresStore.open(replace(place, who="tidings gateway here"))
        try:
            made = access.make(b"pepper", "ada", tenant="default", scopes=frozenset({"admin"}))
            assert not await store.run(keys.add(made.row, "a test"))
            seen.update(await asyncio.to_thread(doctor.found))
        finally:
            await store.close()

    seen: dict[str, tuple[str, str, str]] = {}
    doctor_found: dict[str, tuple[str, str, str]] = {}
    with services.database() as place:
        doctor.configure(connection, place)
        assert "run tidings migrate" in doctor.found()["database"][1]
        asyncio.run(migrate(place))
        found = doctor.found()
        assert found["topics"] == (
            "wrong", "25 to connect, 28 to create", "tidings topics plan shows them; tidings topics apply does it"
        )  # fmt: skip
        assert found["database"][0] == found["rights"][0] == found["clock of the database"][0] == "ok"
        assert found["rules in use"] == ("wrong", "no rule set is active: nothing is decided", "tidings rules apply")
        assert doctor.run("topics", "apply") == 0
        assert doctor.run("rules", "apply") == 0
        doctor.capsys.readouterr()
        found = doctor.found()
        assert {what: says for what, (state, says, _) in found.items() if state == "wrong"} == {}
        assert found["topics"][0] == found["clocks of the brokers"][0] == found["rules in use"][0] == "ok"
        assert found["workers"] == ("note", "none reads", "tidings worker")
        assert found["copies"][0] == "note"
        assert found["gateways"][2] == "tidings gateway"
        assert found["keys"] == ("note", "none: nobody comes in over HTTP", "tidings keys create NAME --role …")
        asyncio.run(have_gateway_and_key(place))
        assert seen["gateways"] == ("ok", "1 gateway: here", "")
        assert seen["keys"][0] == "wrong", "there is a key, and no secret_key"
        asyncio.run(disturb(place))
        state, says, mend = doctor_found[f"source {TOPIC}:0"]
        assert state == "wrong"
        assert "the topic was deleted and made again" in says
        assert mend.startswith(f"'tidings sources accept {TOPIC} --from-start' says what going on would do")
        assert doctor_found["messages"][0] == "wrong"
        assert "the database is older than the topics: 6 records" in doctor_found["messages"][1]


def test_a_user_without_rights_and_one_with_those_of_a_process(doctor: Doctor) -> None:
    live = services.kafka()

    async def user(place: Place, *statements: str) -> None:
        owner = await asyncpg.connect(host=place.host, port=place.port, user=place.user, database=place.database)
        try:
            for statement in statements:
                await owner.execute(statement)
        finally:
            await owner.close()

    with services.database() as place:
        name = f"u_{place.database}"
        asyncio.run(migrate(place))
        asyncio.run(user(place, f"CREATE ROLE {name} LOGIN", f"GRANT tidings_deliverer TO {name}"))
        try:
            theirs = Place(place.host, place.port, place.database, name)
            doctor.configure(Connection(("127.0.0.1:1",), prefix=live.prefix), theirs)
            assert doctor.found()["rights"] == ("ok", f"user {name} may do the work of: deliverer", "")
            asyncio.run(user(place, f"REVOKE tidings_deliverer FROM {name}"))
            assert "has no right to look into the schema tidings" in doctor.found()["database"][1]
            asyncio.run(user(place, f"GRANT USAGE ON SCHEMA tidings TO {name}"))
            assert "permission denied for table schema_version" in doctor.found()["database"][1]
        finally:
            asyncio.run(user(place, f"DROP OWNED BY {name}", f"DROP ROLE {name}"))


MESSAGE = """
INSERT INTO tidings.messages (message_id, tenant, recipient, run_id, firing_id, rule, role, step, channel, state, open,
    due_at, created_at, deadline, seen, rev, owner, attempt, on_unknown, body)
VALUES ('m', 't', 'customer:c', 'r', 'f', 'rule', 'notice', 0, 'email', 'pending', 1, 1, 1, 9, 0, 0, NULL, 0, 'resend', '')
"""
GONE = "UPDATE tidings.messages SET state = 'sending', owner = 'gone-1a2b3c'"


def test_who_delivers_and_who_archives_is_told_from_the_database(doctor: Doctor) -> None:
    live = services.kafka()

    async def story(place: Place) -> None:
        async def seen(what: str) -> tuple[str, str, str]:
            return (await asyncio.to_thread(doctor.found))[what]

        owner = await asyncpg.connect(host=place.host, port=place.port, user=place.user, database=place.database)
        store = await PostgresStore.open(replace(place, who="tidings deliver one"))
        try:
            assert (await seen("deliverers"))[:2] == (
                "note", "1 deliverer: one; none of them has published outcomes yet: it cannot reach Kafka, or does not work"
            )  # fmt: skip
            assert await store.run(outcomes.lead("one-1a2b3c", 60 * SECOND))
            assert await seen("deliverers") == ("ok", "1 deliverer: one; one-1a2b3c publishes outcomes", "")
            assert await store.run(outcomes.lead("one-1a2b3c", -120 * SECOND))
            state, says, _ = await seen("deliverers")
            assert (state, "published outcomes for 2 minutes" in says) == ("wrong", True), says
            await owner.execute(MESSAGE)
            await owner.execute(GONE)
            state, says, _ = await seen("deliverers")
            assert (state, "1 message in the hands of processes whose lease" in says) == ("wrong", True), says
            await store.close()
            state, says, mend = await seen("deliverers")
            assert (state, mend) == ("wrong", "tidings deliver")
            assert says == "none has a connection to the database; 1 message of one that is gone rests"
            assert (await seen("archive"))[0::2] == ("note", "tidings archive")
            await owner.execute(f"SELECT pg_advisory_lock({lock_number(place.schema, ARCHIVE)})")
            assert (await seen("archive"))[0] == "ok"
        finally:
            await store.close()
            await owner.close()

    with services.database() as place:
        asyncio.run(migrate(place))
        doctor.configure(Connection(("127.0.0.1:1",), prefix=live.prefix), place)
        assert doctor.found()["deliverers"] == (
            "note", "none has a connection to the database, and nothing waits for one", "tidings deliver"
        )  # fmt: skip
        asyncio.run(story(place))


class Copied:
    """A cluster of three, whose topics have as many copies as it is told."""

    def __init__(self, replicas: int, lags: tuple[str, ...]) -> None:
        self.replicas, self.lags = replicas, lags

    async def topics(self) -> dict[str, Topic]:
        return {TOPIC: Topic(1, self.replicas), "no.topic.of.ours": Topic(1, 3)}

    async def brokers(self) -> list[Broker]:
        return [Broker(at, "broker", 9092 + at) for at in range(len(self.lags))]

    async def settings_of(self, broker: Broker) -> dict[str, str]:
        return {"replica.lag.time.max.ms": self.lags[broker.id]}


@pytest.mark.parametrize(
    ("replicas", "lags", "named"),
    [(3, ("30000", "2500", "10000"), ["broker:9092", "broker:9094"]), (3, ("2500",) * 3, []), (1, ("30000",) * 3, [])],
)
def test_copies_that_may_hide_records_for_longer_than_half_of_the_grace_are_noted(
    replicas: int, lags: tuple[str, ...], named: list[str]
) -> None:
    found = asyncio.run(copies(cast("Cluster", Copied(replicas, lags))))
    if not named:
        assert found is None
        return
    assert found is not None
    assert (found.state, f"= 30000 on {', '.join(named)}:" in found.says) == ("note", True)
    assert "replica.lag.time.max.ms = 2500" in found.mend
