"""`tidings deliver` and `rules apply` on a real PostgreSQL: killed, paused, cut off, switched."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from random import Random
from typing import Any

import pytest

from schemas import contracts
from streams import rule_switch
from streams.clock_guard import ClockGuard
from streams.deliver_process import DeliverProcess
from streams.embedded import wall_clock
from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tests.live import cluster, engines, run_deliver
from tests.live.cluster import Cluster
from tests.live.engines import Shelf, customer, failed
from tests.live.test_kill import python
from tests.servers.postgres import PrivatePostgres
from tidings.event import SECOND
from tidings.ports import Find, Outcome, Outgoing

pytestmark = pytest.mark.live

MESSAGES, KILLS = 400, 6
RESENT = engines.RULES.replace(b"status: live", b"status: live\n    on_unknown: resend")


@pytest.fixture
def place():
    with cluster.database() as found:
        yield found


def filled(place: Place, count: int, rules: bytes = engines.RULES):
    """Let a worker decide `count` firings that nobody has heard of."""

    async def body():
        async with cluster.opened(place) as one:
            await one.connect()
            await one.apply(rules)
            people = [("customer.profile.changed", customer(f"c-{n}")) for n in range(20)]
            events = [("billing.payment.failed", failed(f"p-{n}", who=f"c-{n % 20}")) for n in range(count)]
            await one.publish(*people, *events)
            await one.decide()

    asyncio.run(body())


def started(place: Place, provider, body, **words):
    """Run `body(process, cluster)` beside a deliverer in this process."""

    async def run():
        async with cluster.opened(place) as one:
            store = await PostgresStore.open(place)
            process = DeliverProcess(store, contracts(), lambda _: provider, wall_clock, "d", **words)
            try:
                await process.start()
                await body(process, one)
            finally:
                await process.stop()
                await store.close()

    asyncio.run(run())


async def until(condition, seconds=30.0):
    async with asyncio.timeout(seconds):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)


def deliverer(where) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.live.run_deliver", *where])


def sending(pid: int):
    def body():
        rows = yield Find("messages", "by_work", ("sending",))
        return sum(row["owner"].startswith(f"d{pid}-") for row in rows)

    return body


def test_deliverers_that_are_killed_lose_nothing_and_repeat_only_what_nobody_knew(place, tmp_path):
    filled(place, MESSAGES, RESENT)
    book = tmp_path / "book.jsonl"
    chance = Random(5)

    async def watch(where) -> int:
        """Kill one of two, again and again, while it has something under way; return how many kills met something."""
        async with cluster.opened(place) as one:
            running = [deliverer(where) for _ in range(2)]
            counted = 0
            try:
                while counted < KILLS and (await one.states()).get("accepted", 0) < MESSAGES * 3 // 4:
                    victim = chance.randrange(2)
                    await until(lambda pid=running[victim].pid: one.store.read(sending(pid)))
                    await asyncio.sleep(chance.random() * 0.1)
                    os.kill(running[victim].pid, signal.SIGKILL)
                    running[victim].wait()
                    counted += bool(await one.store.read(sending(running[victim].pid)))
                    running[victim] = deliverer(where)

                async def done():
                    assert all(process.poll() is None for process in running), "a deliverer ended by itself"
                    return (await one.states()) == {"accepted": MESSAGES}

                await until(done, 60)
            finally:
                for process in running:
                    process.kill()
                    process.wait()
            attempts = await one.rows("attempts")
            unknown.update(row["message_id"] for row in attempts if row["outcome"] in (None, "ambiguous"))
            return counted

    unknown: set[str] = set()
    with python("tests.live.catcher", book, stdout=subprocess.PIPE) as catcher:
        assert catcher.stdout is not None
        where = [place.host, str(place.port), place.database, catcher.stdout.readline().strip()]
        counted = asyncio.run(watch(where))
    taken = Counter(json.loads(line)["message_id"] for line in book.read_text().splitlines())
    assert counted >= 3
    assert len(taken) == MESSAGES
    repeated = {name: times - 1 for name, times in taken.items() if times > 1}
    assert set(repeated) <= unknown
    assert len(unknown) <= run_deliver.CONCURRENCY * KILLS * 2
    print(f"{counted} kills, {len(unknown)} of unknown outcome, {sum(repeated.values())} sent again")


class Held(Shelf):
    """Takes a message, and answers when it is told to."""

    def __init__(self):
        super().__init__()
        self.answer = asyncio.Event()

    async def send(self, outgoing: Outgoing) -> Outcome:
        self.taken.append(outgoing)
        await self.answer.wait()
        return Outcome("accepted", reference="held", first_byte_at=wall_clock())


def test_an_acknowledgement_survives_a_database_that_is_killed_before_it_is_written(tmp_path):
    provider = Held()
    with PrivatePostgres(tmp_path / "pg") as server:
        place = server.place()
        asyncio.run(migrate(place))
        filled(place, 3)

        async def body(process: DeliverProcess, one: Cluster):
            async def all_taken():
                return len(provider.taken) == 3

            await until(all_taken)
            await asyncio.to_thread(server.kill)
            provider.answer.set()
            await asyncio.sleep(1)
            process.check()
            await asyncio.to_thread(server.start)

            async def all_written():
                process.check()
                return (await one.states()) == {"accepted": 3}

            await until(all_written, 60)
            assert len(provider.taken) == 3
            assert {row["outcome"] for row in await one.rows("attempts")} == {"accepted"}

        started(place, provider, body)


def test_a_message_that_its_provider_keeps_holds_up_no_other(place):
    filled(place, 40)

    class OneHangs(Shelf):
        async def send(self, outgoing: Outgoing) -> Outcome:
            if not self.taken:
                self.taken.append(outgoing)
                await asyncio.sleep(600)
            return await super().send(outgoing)

    async def body(process: DeliverProcess, one: Cluster):
        async def others():
            return (await one.states()).get("accepted") == 39

        await until(others)
        assert (await one.states()) == {"accepted": 39, "sending": 1}
        assert process.delivering is not None
        (flights,) = process.delivering.flights.values()
        assert process.progress["deliver shelf"] == pytest.approx(min(flights.asked.values()), abs=0.1), "it shows"
        for task in flights.under_way:
            task.cancel()

    started(place, OneHangs(), body, concurrency=2)


def test_a_process_whose_clock_is_wrong_claims_nothing_and_says_so(place, monkeypatch):
    filled(place, 2)
    shelf = Shelf()

    async def off(_):
        return 3 * SECOND

    monkeypatch.setattr(PostgresStore, "skew", off)

    async def body(process: DeliverProcess, one: Cluster):
        await asyncio.sleep(0.5)
        assert not shelf.taken
        assert (await one.rows("messages")) == []
        assert "3.0 s behind the database's" in process.halted
        monkeypatch.undo()
        await process.guard.measure()
        assert process.halted == ""

        async def told():
            return (await one.states()) == {"accepted": 2}

        await until(told)

    started(place, shelf, body)


def test_rules_that_are_applied_reach_everybody_who_runs_and_nobody_stops(place):
    """Also the first time, while a deliverer waits for them; and a set that a process has never seen."""
    shelf = Shelf()
    other = engines.RULES.replace(b"A payment failed", b"Your payment failed")
    texts = {"failed": "Subject: Once more\n\nIt says {{ code }}.\n"}

    async def run():
        async with cluster.opened(place) as one:
            await one.connect()
            store = await PostgresStore.open(place)
            process = DeliverProcess(store, contracts(), lambda _: shelf, wall_clock, "d")
            starting = asyncio.create_task(process.start())
            await asyncio.sleep(0.2)
            assert not starting.done()
            first = await one.apply()
            assert (first.old, first.switched, first.difference.added) == (None, True, ("payment-failed",))
            await starting
            await one.publish(("customer.profile.changed", customer("c-1")))
            await one.decide()
            stale = one.worker(first.new)
            await stale.assign(one.places[0])
            # Somebody else, with a book of their own, switches.
            async with cluster.opened(place) as operator:
                second = await operator.apply(other, texts)
                assert second.difference.changed == ("payment-failed",)
                assert second.difference.texts == ("failed",)
                assert not (await operator.apply(other, texts)).switched
            await one.publish(("billing.payment.failed", failed("p-1")))
            while await stale.step():
                pass
            assert stale.rules.hash == second.new.hash

            async def told():
                process.check()
                return (await one.states()) == {"accepted": 1}

            await until(told)
            assert shelf.taken[0].content["subject"] == "Once more"
            assert process.rules.hash == second.new.hash
            await process.stop()
            await store.close()

    asyncio.run(run())


def test_an_edit_that_would_change_the_meaning_of_live_state_is_refused_and_nothing_is_switched(place):
    armed = b"""version: 1
rules:
  - id: overdue
    title: An absence
    owner: team-billing
    status: live
    when:
      missing:
        after: { event: billing.invoice.issued }
        expect: { event: billing.invoice.paid }
        by: [invoice_id]
        deadline: due_date
    to: customer
    topic: news
    then: [{ send: email, template: failed, with: { code: invoice_id } }]
"""

    async def run():
        async with cluster.opened(place) as one:
            await one.connect()
            before = await one.apply(armed)
            money = {"amount_minor": 1200, "currency": "EUR"}
            data: dict[str, Any] = {
                "invoice_id": "i-1",
                "customer_id": "c-1",
                "amount_due": money,
                "due_date": "2999-01-01T00:00:00Z",
            }
            await one.publish(("billing.invoice.issued", engines.event("billing.invoice.issued", "e-1", **data)))
            await one.decide()
            edited = cluster.rule_set(armed.replace(b"by: [invoice_id]", b"by: [customer_id]"))
            refused = await rule_switch.apply(one.store, one.book, *edited, grace=0)
            assert "rule 'overdue' has live state, and 'by' would change what it means" in refused.why[0]
            gone = await one.apply(engines.RULES)
            assert (gone.difference.removed, gone.waiting) == (("overdue",), {"overdue": 1})
            # Under the old name, while what it waited for rests, only the same meaning comes back.
            again = await rule_switch.apply(one.store, one.book, *edited, grace=0)
            assert again.why
            assert await one.book.active() == gone.new
            assert (await one.apply(armed)).new.hash == before.new.hash

    asyncio.run(run())


def test_the_verb_delivers_is_healthy_and_ends_in_order(place, tmp_path):
    filled(place, 5)
    (tmp_path / "tidings.toml").write_text(
        f"""[kafka]
bootstrap = ["127.0.0.1:1"]
[postgres]
host = "{place.host}"
port = {place.port}
database = "{place.database}"
user = "postgres"
"""
    )
    command = [sys.executable, "-m", "gateway.cli.main", "deliver", "--config", str(tmp_path / "tidings.toml")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            caught = tmp_path / "data" / "caught.jsonl"
            end = time.monotonic() + 30
            while time.monotonic() < end and (not caught.is_file() or len(caught.read_text().splitlines()) < 5):
                assert process.poll() is None
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=40)
    assert process.returncode == 0, told
    lines = [json.loads(line) for line in told.splitlines()]
    assert "stopped" in {line["what"] for line in lines}
    assert sum(line["what"] == "accepted" for line in lines) == 5
    assert not [line for line in lines if line["level"] == "error"], told


def test_a_clock_is_near_enough_up_to_a_second():
    class Ahead:
        by = 0

        async def skew(self):
            return self.by

    store = Ahead()
    guard = ClockGuard(store)
    verdicts = {}
    for by in (0, SECOND, -SECOND, SECOND + 1, -SECOND - 1):
        store.by = by
        asyncio.run(guard.measure())
        verdicts[by] = guard.halted == ""
    assert verdicts == {0: True, SECOND: True, -SECOND: True, SECOND + 1: False, -SECOND - 1: False}


def test_an_answer_that_was_read_late_is_no_wrong_clock_and_a_wrong_clock_is_so_twice():
    class Late:
        said = iter((9 * SECOND, 1_000, -9 * SECOND, -8 * SECOND))

        async def skew(self):
            return next(self.said)

    guard = ClockGuard(Late())
    asyncio.run(guard.measure())
    assert (guard.halted, guard.skew) == ("", 1_000)
    asyncio.run(guard.measure())
    assert "8.0 s" in guard.halted
