"""What only a durable store on a file promises."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from streams.stores.sqlite import SqliteStore
from tests.contract.test_store import everything, run, sqlite
from tidings.errors import Misconfigured
from tidings.ports import Body, Put, Row, Store, Transaction

pytestmark = pytest.mark.live


async def _nothing(_: Store) -> None:
    """Only open and close."""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from streams.stores.sqlite import SqliteStore
        from tidings.ports import Put
        async def main():
            store = await SqliteStore.open(Path(sys.argv[1]))
            for number in range(100000):
                def body(number=number):
                    yield Put("journal", [{"seq": number, "kind": "k", "body": b""}])
                await store.run(body)
                print(number, flush=True)
        asyncio.run(main())
        """
    )
    path = tmp_path / "store.db"
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = -1
    for line in process.stdout:
        last = int(line)
        if last >= 200:
            process.send_signal(signal.SIGKILL)
            break
    rest = process.stdout.read().split()
    last = int(rest[-1]) if rest else last
    process.wait()
    process.stdout.close()

    async def test(store: Store) -> None:
        assert {row["seq"] for row in await store.read(everything("journal"))} >= set(range(last + 1))

    run(sqlite, tmp_path, test)


def test_a_second_process_is_told_who_has_the_file(tmp_path: Path) -> None:
    async def test(_: Store) -> None:
        with pytest.raises(Misconfigured, match=f"in use by process {os.getpid()}"):
            await SqliteStore.open(tmp_path / "store.db")

    run(sqlite, tmp_path, test)


def test_files_of_others_and_of_newer_versions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database at all, just a text that is long enough " * 20)
    foreign = sqlite3.connect(tmp_path / "foreign.db")
    foreign.execute("CREATE TABLE x (y)")
    foreign.close()
    run(sqlite, tmp_path, _nothing)
    newer = sqlite3.connect(tmp_path / "store.db")
    newer.execute("PRAGMA user_version=99")
    newer.close()
    for name, text in (("text.db", "no SQLite file"), ("foreign.db", "something else"), ("store.db", "newer version")):
        with pytest.raises(Misconfigured, match=text):
            asyncio.run(SqliteStore.open(tmp_path / name))


def test_a_file_of_the_format_before_is_brought_up_with_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    older = sqlite3.connect(path)
    older.executescript((Path(__file__).parent / "format-4.sql").read_text())
    older.execute("INSERT INTO kills VALUES ('all', 'killed', 7, 'ops')")
    for name, at in (("r1", 5), ("r2", 6)):
        run_values = (name, "default", "customer:c", "f", 0, "rule", "done", None, "set", at, 1, None, b"{}")
        older.execute(f"INSERT INTO runs VALUES ({', '.join('?' * 13)})", run_values)
    message = (
        "m1", "default", "customer:c", "r1", "f", "rule", "notice", 0, "sms", "accepted", None, None, None, 42, 99,
        None, 0, 0, None, 1, "unresolved", None, b'{"reference":"SM1"}',
    )  # fmt: skip
    older.execute(f"INSERT INTO messages VALUES ({', '.join('?' * 23)})", message)
    older.commit()
    older.close()

    async def test(store: Store) -> None:
        runs = await store.read(everything("runs"))
        assert [(row["run_id"], row["decided_at"]) for row in runs] == [("r1", 42), ("r2", 6)]
        (told,) = await store.read(everything("messages"))
        assert told["reference"] == "SM1"
        (kill,) = await store.read(everything("kills"))
        assert kill["reason"] == ""
        await store.run(writes_again(told))

    def writes_again(row: Row) -> Body[None]:
        def body() -> Transaction[None]:
            yield Put("messages", [row])

        return body

    run(sqlite, tmp_path, test)
    new = tmp_path / "new"
    new.mkdir()
    run(sqlite, new, _nothing)
    assert _layout(path) == _layout(new / "store.db")


def _layout(path: Path) -> dict[str, object]:
    """Return tables with their columns, and indexes, of a file."""
    with contextlib.closing(sqlite3.connect(path)) as file:
        names = [row[0] for row in file.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        found: dict[str, object] = {
            name: [row[1:4] for row in file.execute(f"PRAGMA table_info({name})")] for name in names
        }
        found["indexes"] = file.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'index' ORDER BY 1"
        ).fetchall()
    return found
