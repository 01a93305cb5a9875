"""`make bench`: it runs, and compares two loops that write the same. Nothing here depends on how fast they are."""

import ast
import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from benchmarks import run
from benchmarks.kafka.ground import Differs, Ground, compare
from streams.stores.migrate import migrate
from streams.stores.place import Place
from tests import services

ROOT = Path(__file__).parents[2]
OURS = {"tidings", "handlers", "streams", "gateway", "schemas", "tests", "benchmarks"}

pytestmark = pytest.mark.live


def bench(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
    command = [sys.executable, "-m", "benchmarks.run", "--quick", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


BY_HAND = ("by_hand.py", "handwritten.py", "kafka/transaction.py", "kafka/contestants.py")


@pytest.mark.parametrize("name", BY_HAND)
def test_what_is_by_hand_imports_nothing_of_ours(name):
    tree = ast.parse((ROOT / "benchmarks" / name).read_text("utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    by_hand = {f"benchmarks.{one.removesuffix('.py').replace('/', '.')}" for one in BY_HAND}
    assert not {one.partition(".")[0] for one in names - by_hand} & OURS


def test_both_loops_write_the_same_rows_and_the_last_line_is_for_machines():
    done = bench("--only", "detection")
    assert done.returncode == 0, done.stderr
    assert "equal, table by table" in done.stdout
    # It measures how processes start: no verdict, whichever way it went.
    assert "its figures prove nothing" in done.stdout
    assert "not reached" not in done.stdout
    assert "at least" not in done.stdout
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["detection"]
    assert set(found) >= {"10", "100", "1000", "hand", "speed_wall", "speed_cpu", "cost_wall", "cost_cpu"}


def test_memory_and_delivery_are_measured_too():
    done = bench("--only", "memory", "--only", "delivery", "--events", "4000")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["memory"]["events"] > 0
    assert {channel: one["messages"] for channel, one in found["delivery"].items()} == {"email": 40, "sms": 40}


@pytest.mark.parametrize(("change", "where"), [
    ("UPDATE records SET body = x'7b7d' WHERE seq = (SELECT min(seq) FROM records)", "table records"),
    ("DELETE FROM state WHERE k = (SELECT min(k) FROM state)", "table state"),
    ("UPDATE sources SET next_offset = next_offset + 1", "table sources"),
    ("CREATE TABLE more (a INTEGER)", "tables ['more']"),
])  # fmt: skip
def test_files_that_differ_are_told_apart_with_the_place(tmp_path, change, where):
    """A comparison that saw no difference would make every ratio worth nothing."""
    first, second = tmp_path / "one.db", tmp_path / "other.db"
    for path in (first, second):
        with closing(sqlite3.connect(path)) as db:
            db.executescript(
                "CREATE TABLE records (seq INTEGER, body BLOB); CREATE TABLE state (k BLOB); "
                "CREATE TABLE sources (next_offset INTEGER);"
                "INSERT INTO records VALUES (1, x'00'), (2, x'01'); INSERT INTO state VALUES (x'00'), (x'01');"
                "INSERT INTO sources VALUES (7);"
            )
    run.compare(first, second)
    with closing(sqlite3.connect(second)) as db:
        db.execute(change)
        db.commit()
    with pytest.raises(run.Differs, match="table") as told:
        run.compare(first, second)
    assert where in str(told.value)


def test_the_workload_reaches_what_it_is_measured_for(tmp_path):
    """Every rule fires, an absence waits in the buffer, images complete events, repeats are refused."""
    path, now = run.built(tmp_path, 10, 3_000)
    run.measured("10", path, now)
    with closing(sqlite3.connect(path)) as db:
        fired = {rule for (rule,) in db.execute("SELECT DISTINCT rule FROM records")}
        images = db.execute("SELECT count(*) FROM state WHERE class = 'image:crm.customer'").fetchone()[0]
        ticks = db.execute("SELECT count(*) FROM journal WHERE kind = 'tick'").fetchone()[0]
        values = [value for (value,) in db.execute("SELECT value FROM log")]
    assert len(fired) == 10
    assert images > 100
    assert ticks > 0
    assert len(set(values)) < len(values)


def test_on_a_cluster_everybody_writes_the_same_rows():
    # All but Faust one by one, which takes all day.
    given = {
        services.KAFKA: services.kafka().bootstrap[0],
        services.POSTGRES: "{}:{}".format(*services.postgres_address()),
    }
    names = ("hand", "tidings", "faststream", "faust_take")
    words = [word for name in names for word in ("--contestant", name)]
    done = bench("--on", "kafka", "--only", "throughput", "--events", "1000", "--keys", "200", *words, env=given)
    assert done.returncode == 0, done.stderr
    assert "The rows of hand, tidings, faststream, faust_take are equal" in done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["contestants"]) == set(names)
    assert all(one["rate"] > 0 for one in found["contestants"].values())


def test_on_a_cluster_the_way_of_a_message_and_two_workers_are_measured():
    given = {
        services.KAFKA: services.kafka().bootstrap[0],
        services.POSTGRES: "{}:{}".format(*services.postgres_address()),
    }
    words = ("--only", "members", "--only", "way", "--events", "1000", "--keys", "200")
    done = bench("--on", "kafka", *words, env=given)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["members"].keys() == {"1", "2"}
    assert found["way"]["twice"] == 0
    assert all(one["messages"] > 0 for one in found["way"]["loads"].values())


SPANS = "INSERT INTO journal VALUES (1, 'batch', '{\"spans\": [[\"t\", 0, %d, 9, []]]}')"
CHANGES = (
    ("UPDATE sources SET next_offset = 7", "UPDATE sources SET next_offset = 0", "table sources"),
    (
        "INSERT INTO records VALUES (1, 'f', 'fired', 0, 't', 'r', 'x', 1, 1, 'b', 1)",
        "DELETE FROM records",
        "table records: 0 and 1 rows",
    ),
    (SPANS % 5, "DELETE FROM journal", r"the journal leaves out t\[0\]@0"),
    (SPANS % 0, "DELETE FROM journal", "the journal ends elsewhere"),
)


def test_databases_that_differ_are_told_apart():
    async def run(one: Place, other: Place) -> None:
        for place in (one, other):
            await migrate(place)
            await execute(place, "INSERT INTO sources VALUES ('detect', 't', 0, 0, NULL, NULL, 0, 'live', 0, NULL)")
        ground = Ground("", one, "", 1, ROOT)
        for change, undo, where in CHANGES:
            await compare(ground, one.database, other.database)
            await execute(other, change)
            with pytest.raises(Differs, match=where):
                await compare(ground, one.database, other.database)
            await execute(other, undo)

    with services.database() as one, services.database() as other:
        asyncio.run(run(one, other))


async def execute(place: Place, statement: str) -> None:
    db = await asyncpg.connect(
        host=place.host, port=place.port, user=place.user, database=place.database,
        server_settings={"search_path": place.schema},
    )  # fmt: skip
    await db.execute(statement)
    await db.close()
