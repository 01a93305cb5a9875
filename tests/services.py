"""The real Kafka and PostgreSQL that tests use: where they are, and a corner of their own for each test."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.kafka.connection import Connection
from streams.stores.place import Place
from tidings.tables import SEQUENCES, TABLES

if TYPE_CHECKING:
    from tests.servers import PrivatePostgres

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

SWEEPS = 20.0
"""Seconds for what is done when the tests have ended."""

_numbers = itertools.count(1)
_connections: list[Connection] = []


def _given(name: str) -> str:
    found = os.environ.get(name) or _started(name)
    if not found:
        _missing(f"{name} is not set: `make test` starts the services where it can")
    return found


def _missing(text: str) -> NoReturn:
    if os.environ.get(REQUIRED):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def promtool() -> str:
    """Return Prometheus' own checker (Debian: in the package prometheus)."""
    found = shutil.which("promtool")
    if found is not None:
        return found
    text = "promtool is not installed (Debian: apt install prometheus)"
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
    """Return a connection whose topics and groups no other test has; they are deleted when the tests end."""
    found = Connection(bootstrap=(_given(KAFKA),), prefix=f"{_corner()}.")
    if not _connections:
        atexit.register(_sweep)
    _connections.append(found)
    return found


def _sweep() -> None:
    """Take our topics from a broker that goes on: it has files and memory for each."""
    mine = tuple(one.prefix for one in _connections)

    async def sweep() -> None:
        client = AIOKafkaAdminClient(**_connections[0].options())
        await client.start()
        try:
            await client.delete_topics([name for name in await client.list_topics() if name.startswith(mine)])
        finally:
            await client.close()

    # It may be gone already: then there is nothing to take away.
    with contextlib.suppress(KafkaError, OSError, TimeoutError):
        asyncio.run(asyncio.wait_for(sweep(), SWEEPS))


def registry(folder: Path) -> Iterator[str]:
    """Give the URL of a registry: the one that is named, or one of our own in `folder`, as few tests need it."""
    if named := os.environ.get(REGISTRY):
        yield named
        return
    from tests.servers import NotInstalled, PrivateRegistry

    own = PrivateRegistry(folder)
    try:
        own.start()
    except NotInstalled as fault:
        _missing(str(fault))
    try:
        yield own.url
    finally:
        own.discard()


def corner() -> str:
    """Return a prefix that no other test has."""
    return f"{_corner()}."


def postgres() -> str:
    """Return `host:port` of the server."""
    return _given(POSTGRES)


def postgres_address() -> tuple[str, int]:
    """Return host and port of the server."""
    host, _, port = postgres().rpartition(":")
    return host, int(port)


async def administer(statement: str) -> None:
    """Run one statement as the server's superuser."""
    host, port = postgres_address()
    connection = await asyncpg.connect(host=host, port=port, user="postgres", database="postgres")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def database() -> Iterator[Place]:
    """Give a fresh, empty database, and drop it afterwards."""
    host, port = postgres_address()
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


@contextmanager
def own_postgres(folder: Path, settings: Mapping[str, str]) -> Iterator[PrivatePostgres]:
    """Give a PostgreSQL that a test may kill, and take it away afterwards."""
    postgres()
    from tests.servers import NotInstalled, PrivatePostgres

    own = PrivatePostgres(folder, settings)
    try:
        own.start()
    except NotInstalled as fault:
        _missing(str(fault))
    try:
        yield own
    finally:
        own.discard()
