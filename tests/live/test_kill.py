"""SIGKILL of the real process: nothing is lost, and only what nobody could know is sent twice."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from streams.embedded import count, wall_clock
from streams.embedded_log import Append
from tests.live import engines, kill_rules, run_engine
from tests.live.engines import Shelf, customer
from tidings import ids
from tidings.event import MINUTE, SECOND

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]
NIGHT_LEFT = 6 * SECOND
"""So much of the quiet night is left when the first process starts."""
KILLS = 10
EVENTS = 1500


@contextmanager
def python(module: str, *arguments: object, **words) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, text=True, **words)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def ask(file: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as connection:
        return connection.execute(query).fetchall()


def offsets(file: Path):
    return ask(file, "select sum(next_offset) from sources where reader = 'detect'")[0][0]


def sending(file: Path, pid: int):
    """How many messages this very process has under way; those of the dead wait for their lease."""
    return ask(file, f"select count(*) from messages where state = 'sending' and owner like 'engine-{pid}-%'")[0][0]


RECORDS = """select firing_id, kind, n, episode_at, tenant, rule, recipient, logical_at, body
    from records order by firing_id, kind, n"""

RECALL = "billing.payment.succeeded"
TOLD = "select 1 from messages where rule = 'payment-failed' and state = 'accepted'"
CLEARS = "select message_id, json_extract(cast(body as text), '$.original'), state, reason from messages where role = 'all_clear'"

STOPPED = """select message_id from messages join records using (firing_id) where kind = 'stopped'"""


async def fill(file: Path, opening: int, log: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Write records while nobody reads."""
    async with engines.engine(file, Shelf(), kill_rules.rules(opening), kill_rules.TEMPLATES) as filling:
        records = []
        for kind, payload in log:
            records.append(Append(filling.contracts.by_type[kind].topic, *filling.codec.encode(kind, payload)))
        for start in range(0, len(records), 500):
            await filling.log.append(records[start : start + 500])


async def undisturbed(file: Path, opening: int) -> dict[str, Any]:
    """By day: nothing is held."""
    ahead = opening + MINUTE - wall_clock()
    words = (kill_rules.rules(opening), kill_rules.TEMPLATES, lambda: wall_clock() + ahead)
    async with engines.engine(file, Shelf(), *words) as running:
        await running.start()
        async with asyncio.timeout(120):
            while not await run_engine.finished(running):
                running.check()
                await asyncio.sleep(0.05)
        return await count(running.store)


def test_a_process_that_is_killed_loses_nothing_and_repeats_only_what_nobody_knew(tmp_path):
    file, book = tmp_path / "killed.db", tmp_path / "book.jsonl"
    opening = (wall_clock() // MINUTE + 10) * MINUTE
    log = list(kill_rules.workload(wall_clock(), EVENTS))
    people = [("customer.profile.changed", customer(f"c-{number}")) for number in range(kill_rules.CUSTOMERS)]
    # What takes payments back comes when some have been told: the other topics go on for hours before.
    first, recalls = ([one for one in log if (one[0] == RECALL) is recalls] for recalls in (False, True))
    asyncio.run(fill(tmp_path / "calm.db", opening, [*people, *log]))
    asyncio.run(fill(file, opening, [*people, *first]))
    calm = asyncio.run(undisturbed(tmp_path / "calm.db", opening))
    expected = ask(tmp_path / "calm.db", RECORDS)
    assert len(expected) > EVENTS / 3

    chance = Random(11)
    counted = tried = 0
    with python("tests.live.catcher", book, stdout=subprocess.PIPE) as catcher:
        assert catcher.stdout is not None
        where = (file, int(catcher.stdout.readline()), opening, opening - NIGHT_LEFT - wall_clock())
        while counted < KILLS or recalls:
            if recalls and len(ask(file, TOLD)) >= 20:
                asyncio.run(fill(file, opening, recalls))
                recalls = []
            tried += 1
            assert tried < 20 * KILLS, f"only {counted} kills counted"
            counted += kill_one(where, chance)
        with python("tests.live.run_engine", *where) as last:
            assert last.wait(timeout=240) == 0

    assert ask(file, RECORDS) == expected
    messages = {row[0]: row[1:] for row in ask(file, "select message_id, state, on_unknown, rule from messages")}
    notices = {row[0] for row in ask(file, "select message_id from messages where role = 'notice'")}
    assert len(notices) == calm["steps_due"]
    unknown = {
        row[0] for row in ask(file, "select message_id from attempts where outcome is null or outcome = 'ambiguous'")
    }
    taken = Counter(json.loads(line)["message_id"] for line in book.read_text().splitlines())
    assert unknown, "no kill met a message whose outcome nobody knew"
    # Nothing is lost: everything was taken, was not to be said any more, or is shown to a person as unknown.
    states = Counter(state for state, _, _ in messages.values())
    named = {state: {name for name, row in messages.items() if row[0] == state} for state in states}
    assert set(states) <= {"accepted", "cancelled", "unresolved"}, states
    assert all(taken[name] >= 1 for name in named["accepted"])
    assert named.get("unresolved", set()) <= unknown
    stopped = {row[0] for row in ask(file, STOPPED)}
    assert named["cancelled"] <= stopped
    assert {name for name in named["cancelled"] if taken[name]} <= unknown
    assert set(taken) <= set(messages)
    # Nothing that respects the night has left in it.
    night = "select count(*) from messages join attempts using (message_id) where rule = 'payment-failed' and intent_at"
    ((early,),), ((left,),) = ask(file, f"{night} < {opening}"), ask(file, f"{night} >= {opening}")
    assert early == 0
    assert left > 0
    # Whoever was told of what did not last has one all-clear, and nobody else has one that went out.
    clears = {row[0]: row[1:] for row in ask(file, CLEARS)}
    recalled = {name for name in notices & stopped if messages[name][2] == "payment-failed"}
    told = {name for name in recalled if messages[name][0] in ("accepted", "unresolved")}
    assert told == {original for original, state, _ in clears.values() if state != "cancelled"}
    assert {original for original, _, _ in clears.values()} <= recalled
    assert all(reason == "nothing_to_correct" for _, state, reason in clears.values() if state == "cancelled")
    assert set(clears) == {ids.correction_id(original, "all_clear", 0) for original, _, _ in clears.values()}
    assert told, "nobody was told of what was taken back"
    # Sent again was only what was unknown, by a rule that wants it so; at most what was under way at each kill.
    repeated = {name: times - 1 for name, times in taken.items() if times > 1}
    assert set(repeated) <= {name for name in unknown if messages[name][1] == "resend"}
    assert sum(repeated.values()) <= run_engine.CONCURRENCY * tried
    print(
        f"{counted} kills of {tried} counted, {len(unknown)} unknown, {sum(repeated.values())} sent again, {states}, {len(clears)} all-clears"
    )


def kill_one(where: tuple[Path, int, int, int], chance: Random):
    """Start the engine, kill it in the middle of its work; return whether the kill counts."""
    file = where[0]
    before = offsets(file)
    with python("tests.live.run_engine", *where, "slow") as process:
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            assert process.poll() is None, "the engine ended by itself: the log is too short for so many kills"
            if offsets(file) > before and sending(file, process.pid) > 0:
                break
            time.sleep(0.002)
        time.sleep(chance.random() * 0.03)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    return offsets(file) > before and sending(file, process.pid) > 0
