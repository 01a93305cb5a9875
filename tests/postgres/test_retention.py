"""What a cluster lets go of: what is old and over, and nothing that anybody may still need."""

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest

from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from streams.stores.retention import Behind, retain
from tests.postgres.test_migrate import NOW, ask, doing, logged, record
from tests.services import database
from tidings.event import DAY
from tidings.message import Message, Run, message_row, run_row
from tidings.ports import Insert, Put, Row, Scan
from tidings.reasons import MessageState

pytestmark = pytest.mark.live


@pytest.fixture
def place() -> Iterator[Place]:
    with database() as found:
        asyncio.run(migrate(found))
        yield found


def run_of(name: str, state: str, days: int, **more: object) -> Row:
    return run_row(Run(name, "t", "customer:c", f"f-{name}", 0, "r", state, "h", NOW - days * DAY, 1, body=dict(more)))


def message_of(run: str, state: MessageState, days: int) -> Row:
    at = NOW - days * DAY
    return message_row(
        Message(
            f"m-{run}", "t", "customer:c", run, f"f-{run}", "r", "notice", 0, "sms", state, at, at + DAY, "resend", {}
        )
    )


def attempt_of(run: str) -> Row:
    return {
        "message_id": f"m-{run}", "no": 1, "provider": "p", "owner": "o", "intent_at": 1, "start_by": 2, "seen": 0,
        "asked": b"{}", "outcome": "accepted", "ended_at": 2, "first_byte_at": 1, "detail": "",
    }  # fmt: skip


def receipt_of(run: str) -> Row:
    return {
        "message_id": f"m-{run}", "provider_id": "x", "receipt": "delivered", "at": 1, "received_at": 1, "detail": "",
    }  # fmt: skip


ACCEPTED = MessageState.ACCEPTED
GOES = {
    "stopped": (run_of("stopped", "stopped", 40), message_of("stopped", MessageState.CANCELLED, 40)),
    "closed": (run_of("closed", "closed", 40), message_of("closed", ACCEPTED, 40)),
    "forgotten": (run_of("forgotten", "done", 100), message_of("forgotten", MessageState.FAILED, 100)),
    # Its recipient had no pass since, so nobody has closed it.
    "never closed": (run_of("never closed", "done", 100, recall=True), message_of("never closed", ACCEPTED, 100)),
}
STAYS = {
    "new": (run_of("new", "closed", 20), message_of("new", ACCEPTED, 20)),
    "taken back later": (run_of("taken back later", "done", 80), message_of("taken back later", ACCEPTED, 80)),
    "owes an all-clear": (
        run_of("owes an all-clear", "stopped", 80, recall=True), message_of("owes an all-clear", ACCEPTED, 80),
    ),
    "nobody knows": (run_of("nobody knows", "closed", 200), message_of("nobody knows", MessageState.UNRESOLVED, 200)),
    "unknown": (run_of("unknown", "closed", 200), message_of("unknown", MessageState.UNKNOWN, 200)),
    "running": (run_of("running", "running", 200), message_of("running", MessageState.HELD, 200)),
    "deadline": (run_of("deadline", "closed", 40), message_of("deadline", ACCEPTED, 20)),
    "unread": (run_of("unread", "closed", 200), message_of("unread", ACCEPTED, 200)),
}  # fmt: skip


def test_runs_that_are_over_go_with_all_that_is_theirs_and_what_may_still_matter_stays(place):
    async def body() -> None:
        store = await PostgresStore.open(place, lambda: NOW)
        every = {**GOES, **STAYS}
        await store.run(doing(
            Put("runs", [run for run, _ in every.values()]), Put("messages", [said for _, said in every.values()]),
            Put("attempts", [attempt_of(name) for name in every]), Put("receipts", [receipt_of(name) for name in every]),
            Put("records", [{**record(NOW - 200 * DAY, "f-unread", 1), "kind": "stopped"}]),
        ))  # fmt: skip
        planned = await retain(place, NOW - 30 * DAY, Behind(1), now=NOW, plan=True)
        assert (planned.ended, len(await store.read(doing(Scan("runs"))))) == ({}, len(every))
        done = await retain(place, NOW - 30 * DAY, Behind(1), now=NOW)
        assert done.ended == dict.fromkeys(("runs", "messages", "attempts", "receipts"), len(GOES))
        assert {row["run_id"] for row in await store.read(doing(Scan("runs")))} == set(STAYS)
        for table in ("messages", "attempts", "receipts"):
            assert {row["message_id"] for row in await store.read(doing(Scan(table)))} == {f"m-{n}" for n in STAYS}
        await store.close()

    asyncio.run(body())


def firing_of(name: str, state: str) -> Row:
    return {**run_of(name, state, 400), "firing_id": name}


def test_what_is_old_goes_and_what_is_unread_or_open_stays(place):
    async def body():
        for now in (NOW - 400 * DAY, NOW - 300 * DAY, NOW - 200 * DAY, NOW):
            store = await PostgresStore.open(place, partial(int, now))
            await store.maintain()
            await store.close()
        old, unread, running, lost = (NOW - days * DAY for days in (400, 300, 200, 900))
        store = await PostgresStore.open(place, lambda: NOW)
        rows = [
            record(old, "old", None), record(unread, "unread", 1), record(running, "open", None),
            record(lost, "lost", None), record(lost + 1, "lost open", None), record(NOW, "new", None),
        ]  # fmt: skip
        await store.run(doing(Put("records", rows), Insert("log", [logged(old, 1), logged(lost, 2), logged(NOW, 3)])))
        await store.run(
            doing(
                Put(
                    "runs",
                    [firing_of("open", "running"), firing_of("lost open", "running"), firing_of("old", "closed")],
                )
            )
        )
        planned = await retain(place, NOW - 100 * DAY, Behind(1), now=NOW, plan=True)
        assert len(await store.read(doing(Scan("records")))) == 6
        done = await retain(place, NOW - 100 * DAY, Behind(1), now=NOW)
        assert list(done.dropped) == list(planned.dropped)
        assert len(done.kept) == 2
        assert done.deleted == 2
        left = [row["firing_id"] for row in await store.read(doing(Scan("records")))]
        assert left == ["lost open", "unread", "open", "new"]
        assert [row["offset"] for row in await store.read(doing(Scan("log")))] == [3]
        await store.close()

    asyncio.run(body())


def test_what_a_replay_from_the_snapshot_would_need_stays_however_old(place):
    async def body() -> None:
        store = await PostgresStore.open(place, lambda: NOW)
        source = {
            "reader": "detect", "topic": "x", "partition": 0, "next_offset": 9, "max_time": None, "caught_up_at": None,
            "connected_at": 0, "history": "live", "base": 0, "log_id": None, "fingerprint": None,
        }  # fmt: skip
        old = NOW - 400 * DAY
        records = [{**record(old, "before", None), "seq": 7}, {**record(old, "after", None), "seq": 8}]
        rows = [{"seq": seq, "kind": "tick", "body": b"{}"} for seq in (999_999, 1_000_000)]
        await store.run(doing(
            Put("sources", [source]), Put("records", records), Insert("log", [logged(old, n) for n in (3, 4, 5)]),
            Insert("journal", rows),
        ))  # fmt: skip
        await retain(place, NOW - 30 * DAY, Behind(7, {("x", 0): 4}), now=NOW)
        assert [row["offset"] for row in await store.read(doing(Scan("log")))] == [4, 5]
        assert [row["firing_id"] for row in await store.read(doing(Scan("records")))] == ["after"]
        assert len(await store.read(doing(Scan("journal")))) == 2
        done = await retain(place, NOW - 30 * DAY, Behind(999_999, {("x", 0): 5}), now=NOW)
        assert [name for name in done.dropped if name.startswith("journal")] == ["journal_000000000"]
        assert [row["seq"] for row in await store.read(doing(Scan("journal")))] == [1_000_000]
        assert [row["offset"] for row in await store.read(doing(Scan("log")))] == [5]
        await store.close()
        assert len(await ask(place, "SELECT FROM records")) == 0

    asyncio.run(body())
