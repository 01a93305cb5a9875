"""The servers that the tests stand on: started once, ended surely, found again, and told where they are missing."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from tests import services
from tests.servers import NotInstalled, NotStarted, PrivateKafka, PrivatePostgres
from tests.servers.java import ROOT
from tests.servers.process import command_of

pytestmark = pytest.mark.live


async def asked(postgres: PrivatePostgres, statement: str):
    place = postgres.place()
    connection = await asyncpg.connect(host=place.host, port=place.port, user=place.user, database=place.database)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def test_a_database_server_is_started_once_and_survives_kills_and_foreign_pids(tmp_path):
    services.postgres_address()
    with PrivatePostgres(tmp_path / "pg") as server:
        first, port = server.pid(), server.port
        assert first is not None
        found_again = PrivatePostgres(tmp_path / "pg")
        found_again.start()
        assert (found_again.pid(), found_again.port) == (first, port)
        asyncio.run(asked(server, "CREATE TABLE kept AS SELECT 7 AS what"))
        server.pause()
        server.kill()
        assert server.pid() is None
        assert not command_of(first)
        # Both pid files name a program that is another's.
        (server.folder / "pid").write_text(str(os.getpid()))
        (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n")
        server.start()
        assert (server.port, asyncio.run(asked(server, "SELECT what FROM kept"))) == (port, 7)
        with pytest.raises(NotStarted, match=f"another program listens at 127.0.0.1:{port}"):
            PrivatePostgres(tmp_path / "other", port=port).start()
        server.stop()
        assert "Traceback" not in server.last_lines()
        data = server.data
    assert not data.exists()


def test_a_broker_that_does_not_start_says_why(tmp_path):
    services.kafka()
    with pytest.raises(NotStarted, match=r"(?s)Kafka's storage could not be laid out:.*Invalid value none"):
        PrivateKafka(tmp_path / "kafka", {"node.id": "none"}).start()


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key not in (services.KAFKA, "JAVA_HOME")}
    command = [sys.executable, "-m", "tests.servers", *words]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120, env=kept | environment
    )


def test_what_is_missing_is_said_in_one_line_and_the_command_runs_all_the_same(tmp_path):
    told = (sys.executable, "-c", f"import os; print(os.environ.get('{services.KAFKA}')); raise SystemExit(3)")
    done = run(
        "with",
        *told,
        PATH=str(tmp_path),
        TIDINGS_SERVICES=str(tmp_path),
        **{services.POSTGRES: "127.0.0.1:1", services.REQUIRED: ""},
    )
    first, *rest = done.stdout.splitlines()
    assert first.startswith("no Kafka, its tests are skipped: Kafka needs Java 17")
    assert "apt install default-jre-headless maven" in first
    assert f"PostgreSQL as {services.POSTGRES} says" in first
    assert (rest, done.returncode, done.stderr) == (["None"], 3, "")
    done = run(
        "with",
        *told,
        PATH=str(tmp_path),
        TIDINGS_SERVICES=str(tmp_path),
        **{services.POSTGRES: "127.0.0.1:1", services.REQUIRED: "1"},
    )
    assert done.returncode == 1
    assert "nothing is skipped" in done.stderr
    assert "None" not in done.stdout


def test_where_services_are_required_a_test_without_them_fails(monkeypatch):
    monkeypatch.delenv(services.KAFKA, raising=False)
    monkeypatch.setattr(services, "STARTED", Path("nowhere"))
    monkeypatch.setenv(services.REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="make test"):
        services.kafka()
    monkeypatch.delenv(services.REQUIRED)
    with pytest.raises(pytest.skip.Exception, match="make test"):
        services.kafka()


def test_an_old_java_is_told_apart_from_none(tmp_path, monkeypatch):
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(NotInstalled, match=r"Java 17 or newer, .*java is 11"):
        PrivateKafka(tmp_path / "kafka").start()
