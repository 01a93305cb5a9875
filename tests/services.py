"""The real Kafka and PostgreSQL that tests use: where they are, and a corner of their own for each test."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from streams.kafka.connection import Connection
from streams.registry.endpoint import Endpoint
from streams.stores.place import Place
from tidings.tables import SEQUENCES, TABLES

KAFKA = "TIDINGS_TEST_KAFKA"
"""`host:port` of a broker."""
POSTGRES = "TIDINGS_TEST_POSTGRES"
"""`host:port` of a server whose superuser `postgres` needs no password."""
REGISTRY = "TIDINGS_TEST_REGISTRY"
"""URL of a schema registry, up to before /subjects."""
REQUIRED = "TIDINGS_TEST_SERVICES_REQUIRED"
"""Set where a test may not be skipped for want of a server."""
STARTED = Path(__file__).resolve().parents[1] / ".services" / "env"
"""Where `make services` says what it has started."""

_numbers = itertools.count(1)


def _given(name: str) -> str:
    found = os.environ.get(name) or _started(name)
    if found:
        return found
    text = f"{name} is not set: `make test` starts the services where it can"
    if os.environ.get(REQUIRED):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def _started(name: str) -> str | None:
    try:
        lines = STARTED.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((place for key, _, place in (line.partition("=") for line in lines) if key == name), None)


def _corner() -> str:
    return f"t{os.getpid()}-{next(_numbers)}"


def kafka() -> Connection:
    """Return a connection whose topics and groups no other test has."""
    return Connection(bootstrap=(_given(KAFKA),), prefix=f"{_corner()}.")


def registry() -> Endpoint:
    """Return a registry in which no other test has subjects of that prefix."""
    return Endpoint(_given(REGISTRY), prefix=f"{_corner()}.")


def _server() -> tuple[str, int]:
    host, _, port = _given(POSTGRES).rpartition(":")
    return host, int(port)


async def administer(statement: str) -> None:
    """Run one statement as the server's superuser."""
    host, port = _server()
    connection = await asyncpg.connect(host=host, port=port, user="postgres", database="postgres")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def database() -> Iterator[Place]:
    """Give a fresh, empty database, and drop it afterwards."""
    host, port = _server()
    name = _corner().replace("-", "_")
    asyncio.run(administer(f"CREATE DATABASE {name}"))
    try:
        yield Place(host, port, name, "postgres")
    finally:
        asyncio.run(administer(f"DROP DATABASE {name} WITH (FORCE)"))


async def empty(place: Place) -> None:
    """Take every row out of a database, and begin its sequences anew."""
    connection = await asyncpg.connect(host=place.host, port=place.port, user="postgres", database=place.database)
    try:
        # Deleted, not truncated: on tables with a few rows it takes a hundredth of the time.
        for table in TABLES:
            await connection.execute(f'DELETE FROM "{place.schema}"."{table}"')
        for name in SEQUENCES:
            await connection.execute(f'ALTER SEQUENCE "{place.schema}"."seq_{name}" RESTART')
    finally:
        await connection.close()


def postgres_binaries() -> Path:
    """Return the folder of `initdb` and `postgres`, for tests that kill a server of their own."""
    _given(POSTGRES)
    found = shutil.which("postgres")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places:
        pytest.skip("this machine has no program `postgres` to start a server of our own with")
    return places[-1]
