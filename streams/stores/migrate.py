"""Bring a database up to this version of the code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from streams.stores.migrations import MIGRATIONS, VERSION, Migration, rights, version_of
from streams.stores.place import Place
from streams.stores.postgres_connections import connect
from streams.stores.postgres_transaction import lock_number
from tidings.errors import Misconfigured
from tidings.tables import TABLES

SETTINGS = {"application_name": "tidings migrate", "lock_timeout": "60s"}


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done, or with `plan` what would be."""

    before: int
    steps: Sequence[Migration]


async def migrate(place: Place, *, plan: bool = False) -> Migrated:
    """Run the steps that are missing, each in its own transaction; several at once wait for each other.

    Raises:
        Misconfigured: the database is newer than this code, or from before its first version, or we have no right to
            make tables.
        StoreUnavailable: the server cannot be reached.
    """
    connection = await connect(place, SETTINGS)
    try:
        await connection.execute(f"SELECT pg_advisory_lock({lock_number(place.schema, 'migrate')})")
        before = await version_of(connection)
        if before > VERSION:
            text = f"{place} has version {before}, this release knows {VERSION}: migrate with a newer one"
            raise Misconfigured(text)
        steps = [step for step in MIGRATIONS if step.number > before]
        if not plan:
            for step in steps:
                await _apply(connection, place, step)
            await _check_columns(connection, place)
            async with connection.transaction():
                for statement in rights.statements(place.schema):
                    await connection.execute(statement)
            await connection.execute("SELECT make_partitions((extract(epoch FROM now()) * 1000000)::bigint)")
        return Migrated(before, steps)
    except asyncpg.InsufficientPrivilegeError as fault:
        text = f"{place}: {fault}; migrations run as the owner of the database, who may make roles"
        raise Misconfigured(text) from fault
    finally:
        await connection.close()


async def _check_columns(connection: asyncpg.Connection, place: Place) -> None:
    """See that everything is there: before the first version was fixed, databases had its number and less in them."""
    rows = await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = $1", place.schema
    )
    there = {tuple(row) for row in rows}
    for table in TABLES.values():
        for column in table.columns:
            if (table.name, column.name) not in there:
                text = (
                    f"{place} was made by a version from before the first one that is brought up (it has no "
                    f"{table.name}.{column.name}): begin anew in an empty database"
                )
                raise Misconfigured(text)


async def _apply(connection: asyncpg.Connection, place: Place, step: Migration) -> None:
    async with connection.transaction():
        if step.number == 1:
            await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{place.schema}"')
            await connection.execute(
                "CREATE TABLE schema_version "
                "(number integer PRIMARY KEY, title text NOT NULL, at timestamptz NOT NULL DEFAULT now())"
            )
        for statement in step.statements(place.schema):
            await connection.execute(statement)
        await connection.execute("INSERT INTO schema_version (number, title) VALUES ($1, $2)", step.number, step.title)
