"""What every contestant begins with: the topics, full, and a database of its own, with the images of all customers.

Topics and database are made by the commands of a cluster (`migrate`, `rules apply`, `topics apply`); each contestant gets
a copy of that database. At the end all are brought to one watermark and compared, table by table.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.by_hand import row_key, to_json
from benchmarks.workload import START, TEMPLATES, Generator, first_profile, read_workload, rule_files, rule_set
from schemas import contracts
from streams.codec import Codec
from streams.kafka.connection import Connection
from streams.processors import detect
from streams.processors.detect import Idle
from streams.processors.outcomes import Telling
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tidings.errors import Misconfigured
from tidings.ports import Scan

ROOT = Path(__file__).parents[2]
KAFKA, POSTGRES = "TIDINGS_TEST_KAFKA", "TIDINGS_TEST_POSTGRES"
RULES = 10
CHUNK = 20_000
IMAGE = "image:crm.customer"
TOLD = "convert_from(body, 'UTF8')::jsonb #- '{meta,recorded_at}'"
COMPARED = {
    "state": "k, class, tenant, key, value, due",
    "buffer": "k, time, rank, source, ref, value",
    "records": "episode_at, firing_id, kind, n, tenant, rule, recipient, logical_at, body, unread",
    "sources": "reader, topic, partition, next_offset, max_time, connected_at, history, base, fingerprint",
    "floors": "rule, w",
    "dead_letters": 'reader, topic, partition, "offset"',
    "outbox": f"id, topic, key, about, unpublished, partition, number, {TOLD}",
}
"""Expressions that do not depend on how the records were cut into batches, by table; of the journal it is asked apart."""


class Differs(Exception):
    """Two contestants did not write the same."""


@dataclass(frozen=True)
class Ground:
    """Where it runs."""

    kafka: str
    postgres: Place
    """Of the copied database."""
    prefix: str
    partitions: int
    folder: Path

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "tidings.toml"

    def dsn(self, database: str) -> str:
        """Return how a contestant reaches its database."""
        return f"postgresql://{self.postgres.user}@{self.postgres.host}:{self.postgres.port}/{database}"


def given(folder: Path, partitions: int) -> Ground:
    """Return the services that are running.

    Raises:
        Misconfigured: they are not named.
    """
    where = [os.environ.get(name) for name in (KAFKA, POSTGRES)]
    if not all(where):
        raise Misconfigured(f"{KAFKA} and {POSTGRES} name no services: 'make services' starts them")
    host, _, port = str(where[1]).rpartition(":")
    name = f"bench_{os.getpid()}"
    return Ground(str(where[0]), Place(host, int(port), name, "postgres"), f"{name}.", partitions, folder)


async def administer(ground: Ground, *statements: str) -> None:
    """Run statements as the server's superuser, in no database of ours."""
    db = await asyncpg.connect(ground.dsn("postgres"))
    try:
        for statement in statements:
            await db.execute(statement)
    finally:
        await db.close()


@contextmanager
def made(ground: Ground, events: int, keys: int) -> Iterator[int]:
    """Make topics and database; give how many records there are. Everything is gone afterwards."""
    asyncio.run(administer(ground, f"CREATE DATABASE {ground.postgres.database}"))
    try:
        configure(ground, ground.postgres.database)
        files = {**rule_files(RULES), **{f"templates/{name}.txt": text.encode() for name, text in TEMPLATES.items()}}
        for name, raw in files.items():
            path = ground.folder / "shop" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
        for words in (["migrate"], ["rules", "apply"], ["topics", "apply"]):
            command(ground, *words)
        asyncio.run(fill(ground, events, keys))
        yield events
    finally:
        asyncio.run(clear(ground))


def configure(ground: Ground, database: str) -> Path:
    """Write the configuration of an installation on one of the databases."""
    path = ground.folder / f"{database}.toml"
    place = ground.postgres
    path.write_text(
        f'data = "data"\nrules = "shop"\nhistory = "live"\n[kafka]\nbootstrap = ["{ground.kafka}"]\n'
        f'prefix = "{ground.prefix}"\npartitions = {ground.partitions}\n[postgres]\nhost = "{place.host}"\n'
        f'port = {place.port}\ndatabase = "{database}"\nuser = "{place.user}"\n'
    )
    return path


def command(ground: Ground, *words: str, config: Path | None = None) -> None:
    """Run a verb: on the database that is copied later, unless a configuration is given."""
    file = config or configure(ground, ground.postgres.database)
    line = [sys.executable, "-m", "gateway.cli.main", *words, "--config", str(file)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Misconfigured(f"tidings {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


# -- contents


async def fill(ground: Ground, events: int, keys: int) -> None:
    """Write the workload into the topics, and an image of every customer into the database."""
    db = await asyncpg.connect(ground.dsn(ground.postgres.database), server_settings={"search_path": "tidings"})
    try:
        numbers = iter(range(keys))
        while rows := [image(number) for number in islice(numbers, CHUNK)]:
            await db.copy_records_to_table("state", records=rows, schema_name="tidings")
        await db.execute("VACUUM (ANALYZE)")
        await db.execute("CHECKPOINT")
    finally:
        await db.close()
    await produce(ground, events, keys)


def image(number: int) -> tuple[Any, ...]:
    """Return the row of a customer's image, as detection would have written it at the start."""
    customer = f"c-{number}"
    value = to_json({"v": START - 1, "d": first_profile(customer)}).encode()
    return row_key("default", IMAGE, customer), IMAGE, "default", f'["{customer}"]', value, None


async def produce(ground: Ground, events: int, keys: int) -> None:
    """Write the events."""
    codec, known = Codec(contracts()), contracts().by_type
    drawn = islice(Generator(replace(read_workload(), keys=keys), known=True), events)
    producer = AIOKafkaProducer(bootstrap_servers=ground.kafka, linger_ms=20, max_batch_size=256 * 1024)
    await producer.start()
    try:
        while part := [(known[kind].topic, *codec.encode(kind, payload)) for kind, payload in islice(drawn, CHUNK)]:
            sent = [await producer.send(ground.prefix + topic, value, key) for topic, key, value in part]
            await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def clear(ground: Ground) -> None:
    """Drop the databases, and delete the topics."""
    db = await asyncpg.connect(ground.dsn("postgres"))
    try:
        name = ground.postgres.database
        for (one,) in await db.fetch(
            "SELECT datname FROM pg_database WHERE datname = $1 OR datname LIKE $2", name, f"{name}_%"
        ):
            await db.execute(f'DROP DATABASE "{one}" WITH (FORCE)')
    finally:
        await db.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=Connection((ground.kafka,)).options()["bootstrap_servers"])
    await admin.start()
    try:
        ours = [topic for topic in await admin.list_topics() if topic.startswith(ground.prefix)]
        await admin.delete_topics(ours)
    finally:
        await admin.close()


async def copied(ground: Ground, contestant: str) -> str:
    """Return the name of a fresh copy of the database, of which nothing is waiting to be written to the disk."""
    base = ground.postgres.database
    name = f"{base}_{contestant}"
    await administer(
        ground, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)',
        f'CREATE DATABASE "{name}" TEMPLATE "{base}" STRATEGY file_copy', "CHECKPOINT",
    )  # fmt: skip
    return name


# -- comparison


async def settle(ground: Ground, database: str, now: int) -> None:
    """Bring a database to the watermark `now`, as an idle cluster would."""
    rules, _ = rule_set(RULES)
    store = await PostgresStore.open(replace(ground.postgres, database=database), lambda: now)
    try:
        rows = await store.read(_sources)
        idle = [Idle((row["topic"], row["partition"]), row["next_offset"], now) for row in rows]
        await store.run(detect.mark_idle(idle))
        for rule in rules.stateful:
            while await Telling(store).run(detect.tick(rules, rule, grace=0)) is not None:
                pass
    finally:
        await store.close()


def _sources() -> Any:
    return [row for row in (yield Scan("sources")) if row["reader"] == detect.READER]


async def compare(ground: Ground, first: str, other: str) -> None:
    """Compare two databases.

    Raises:
        Differs: with the table, and the first row that only one of them has.
    """
    dbs = [
        await asyncpg.connect(ground.dsn(name), server_settings={"search_path": "tidings"}) for name in (first, other)
    ]
    try:
        for table, columns in COMPARED.items():
            text = f'SELECT ({columns})::text AS row FROM "{table}"'
            query = f"SELECT count(*), coalesce(sum(hashtextextended(row, 0)::numeric), 0) FROM ({text}) AS q"
            sums = [(await db.fetch(query))[0] for db in dbs]
            if tuple(sums[0]) != tuple(sums[1]):
                raise Differs(f"table {table}: {await _first(dbs, text, sums)}")
        for db, name in zip(dbs, (first, other), strict=True):
            await _journaled(db, name)
    finally:
        for db in dbs:
            await db.close()


async def _first(dbs: Iterable[asyncpg.Connection], text: str, sums: Iterable[Any]) -> str:
    rows = [{row for (row,) in await db.fetch(text)} for db in dbs]
    only = [sorted(rows[0] - rows[1])[:1], sorted(rows[1] - rows[0])[:1]]
    return f"{' and '.join(str(one[0]) for one in sums)} rows\n  {str(only[0])[:600]}\n  {str(only[1])[:600]}"


async def _journaled(db: asyncpg.Connection, name: str) -> None:
    """See that the journal names every offset once, and what was recorded its numbers."""
    ends: dict[tuple[str, int], int] = {}
    for (body,) in await db.fetch("SELECT body FROM journal WHERE kind = 'batch' ORDER BY seq"):
        for topic, partition, start, end, left_out in json.loads(body)["spans"]:
            if (end_before := ends.get((topic, partition), 0)) != start or left_out:
                raise Differs(f"{name}: the journal leaves out {topic}[{partition}]@{end_before}")
            ends[topic, partition] = end
    rows = await db.fetch(
        "SELECT topic, partition, next_offset FROM sources WHERE reader = 'detect' AND next_offset > 0"
    )
    if ends != {(topic, partition): at for topic, partition, at in rows}:
        raise Differs(f"{name}: the journal ends elsewhere than the positions")
    lost = await db.fetchval("SELECT count(*) FROM records WHERE seq NOT IN (SELECT seq FROM journal)")
    if lost:
        raise Differs(f"{name}: {lost} records are of no transaction in the journal")
