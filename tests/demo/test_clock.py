"""The clock of a demonstration: it runs fast, is frozen while stopped, and never goes back."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from streams.clock import FastClock, anchored, keep, resumed
from streams.embedded_log import Append, EmbeddedLog, create
from streams.stores.sqlite import SqliteStore
from tidings.errors import Misconfigured
from tidings.event import DAY, HOUR

START = 20_000 * DAY


def test_it_stands_still_until_it_is_let_go_and_after_it_was_frozen():
    clock = FastClock(START, 7200)
    assert clock() == clock() == START
    clock.go()
    times = [clock() for _ in range(1000)]
    assert times == sorted(times)
    clock.freeze()
    stood = clock()
    assert stood >= times[-1] >= START
    assert clock() == stood
    clock.go()
    assert clock() >= stood


def test_a_new_file_begins_at_the_start_and_an_old_one_where_it_stood(tmp_path):
    file = tmp_path / "tidings.db"

    async def play() -> int:
        clock = await resumed(file, 7200, START)
        assert clock() == START
        store = await SqliteStore.open(file, clock)
        clock.go()
        await store.run(keep)
        clock.freeze()
        await store.run(keep)
        await store.close()
        return clock()

    stood = asyncio.run(play())
    assert asyncio.run(resumed(file, 3600, START))() == stood


def test_what_was_appended_after_the_time_was_kept_is_not_forgotten(tmp_path):
    file = tmp_path / "tidings.db"

    async def play() -> None:
        now = START
        store = await SqliteStore.open(file, lambda: now)
        await store.run(keep)
        now = START + HOUR
        await store.run(create([("t", 0)]))
        await EmbeddedLog(store).append([Append("t", b"k", b"v")])
        await store.close()

    asyncio.run(play())
    assert asyncio.run(resumed(file, 7200, START))() == START + HOUR


def test_a_file_that_is_none_is_refused(tmp_path: Path):
    file = tmp_path / "tidings.db"
    file.write_bytes(b"no database at all, but long enough to look like something" * 20)
    with pytest.raises(Misconfigured):
        asyncio.run(resumed(file, 7200, START))


def test_another_process_reads_the_same_time():
    clock = FastClock(START, 7200)
    assert anchored(clock.anchor)() == START
    clock.go()
    read = subprocess.run(
        [sys.executable, "-c", "import sys; from streams.clock import anchored; print(anchored(sys.argv[1])())", clock.anchor],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert START < int(read.stdout) <= clock()
