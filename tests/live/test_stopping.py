"""An engineer stops what leaves while real processes send, are killed, and start again. The commands are those of docs/stopping.md."""

import asyncio
import contextlib
import io
import json
import subprocess
from collections import Counter
from typing import Any

import pytest

from gateway.cli.main import main
from schemas import contracts
from streams.deliver_process import DeliverProcess
from streams.embedded import wall_clock
from streams.stores.postgres import PostgresStore
from tests.live import cluster, engines
from tests.live.test_deliver import RESENT, deliverer, filled, until
from tests.live.test_kill import python
from tests.live.test_run import ADA, Mail, Running, configure, events, failed, run
from tidings.event import SECOND

pytestmark = pytest.mark.live

MESSAGES = 800
"""More than leave while the command that stops them is started."""


@pytest.fixture
def place():
    with cluster.database() as found:
        yield found


@pytest.fixture
def mail():
    server = Mail()
    yield server
    server.stop()


def said(done: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


async def inside(*words: str) -> subprocess.CompletedProcess[str]:
    """The command, without the time that a process takes to begin."""

    def call() -> subprocess.CompletedProcess[str]:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            code = main(list(words))
        return subprocess.CompletedProcess(words, code, said.getvalue(), "")

    return await asyncio.to_thread(call)


def test_several_deliverers_begin_nothing_after_a_kill_also_when_they_are_killed_and_started_again(place, tmp_path):
    filled(place, MESSAGES, RESENT)
    config = tmp_path / "tidings.toml"
    # No broker is there: a kill needs the database only.
    config.write_text(
        f'[kafka]\nbootstrap = ["127.0.0.1:1"]\n[postgres]\nhost = "{place.host}"\nport = {place.port}\n'
        f'database = "{place.database}"\nuser = "postgres"\ntls = false\n'
    )
    at = ("--config", str(config))
    book = tmp_path / "book.jsonl"

    async def watch(where) -> None:
        async with cluster.opened(place) as one:
            running = [deliverer(where) for _ in range(2)]
            try:

                async def under_way() -> bool:
                    return (await one.states()).get("accepted", 0) > 15

                await until(under_way)
                stopped = await inside("kill", *at, "--reason", "wrong prices", "--json")
                waits = said(stopped)["waits"]
                for process in running:
                    process.kill()
                    process.wait()
                running = [deliverer(where) for _ in range(2)]

                async def at_rest() -> bool:
                    return not set(await one.states()) - {"held", "accepted"}

                await until(at_rest, 120)
                states = await one.states()
                # What was begun when it was stopped may have arrived; nothing else.
                assert 0 < states["held"] <= waits["now"] + waits["killed"] + waits["sending"]
                (kill,) = await one.rows("kills")
                attempts = await one.rows("attempts")
                assert max(row["intent_at"] for row in attempts) < kill["at"]
                bytes_at = [row["first_byte_at"] for row in attempts if row["first_byte_at"] is not None]
                assert max(bytes_at) < kill["at"] + 5 * SECOND
                listed = said(await inside("kills", *at, "--json"))
                assert [(each["scope"], each["reason"], each["waits"]["killed"]) for each in listed] == [
                    ("all", "wrong prices", states["held"])
                ]
                words = await inside("release", *at, "--reason", "right again")
                assert "Nothing was done: add --confirm" in words.stdout
                assert (await one.states()) == states
                done = said(await inside("release", *at, "--reason", "right again", "--confirm", "--json"))
                assert (done["messages"], done["kept"], done["complete"]) == (states["held"], 0, True)

                async def done_with() -> bool:
                    return (await one.states()) == {"accepted": MESSAGES}

                await until(done_with, 120)
                assert [row["verb"] for row in await one.rows("audit")][-3:] == ["kill", "release begun", "release"]
            finally:
                for process in running:
                    process.kill()
                    process.wait()
            unknown.update(
                row["message_id"] for row in await one.rows("attempts") if row["outcome"] in (None, "ambiguous")
            )

    unknown: set[str] = set()
    with python("tests.live.catcher", book, stdout=subprocess.PIPE) as catcher:
        assert catcher.stdout is not None
        where = [place.host, str(place.port), place.database, catcher.stdout.readline().strip()]
        asyncio.run(watch(where))
    taken = Counter(json.loads(line)["message_id"] for line in book.read_text().splitlines())
    assert len(taken) == MESSAGES
    assert {name for name, times in taken.items() if times > 1} <= unknown


def test_what_a_drop_cancels_on_a_cluster_is_told_to_the_topics(place, tmp_path):
    filled(place, 5, engines.RULES)
    config = tmp_path / "tidings.toml"
    config.write_text(
        f'[kafka]\nbootstrap = ["127.0.0.1:1"]\n[postgres]\nhost = "{place.host}"\nport = {place.port}\n'
        f'database = "{place.database}"\nuser = "postgres"\ntls = false\n'
    )
    at = ("--config", str(config))
    assert run("kill", *at, "--rule", "payment-failed", "--reason", "wrong prices").returncode == 0
    wrong = run("kill", *at, "--rule", "payment-faild", "--reason", "wrong prices")
    assert (wrong.returncode, "did you mean 'payment-failed'?" in wrong.stderr) == (1, True)

    async def dispatch_and_drop() -> None:
        async with cluster.opened(place) as one:
            store = await PostgresStore.open(place)
            process = DeliverProcess(store, contracts(), lambda _: engines.Shelf(), wall_clock, "d")
            try:
                await process.start()

                async def held() -> bool:
                    return (await one.states()) == {"held": 5}

                await until(held)
                words = await inside("drop", *at, "--rule", "payment-failed", "--reason", "never")
                assert "5 messages wait. With --confirm they are cancelled for good." in words.stdout
                done = await inside("drop", *at, "--rule", "payment-failed", "--reason", "never", "--confirm", "--json")
                assert said(done)["cancelled"] == 5
                assert (await one.states()) == {"cancelled": 5}
                told = [row for row in await one.rows("outbox") if row["topic"].startswith("notification.message")]
                assert len(told) == 5
            finally:
                await process.stop()
                await store.close()

    asyncio.run(dispatch_and_drop())


def test_one_process_is_stopped_while_it_runs_after_a_crash_and_while_nobody_runs(tmp_path, mail):
    smtp = f'[smtp]\nhost = "127.0.0.1"\nport = {mail.port}\nsender = "Shop <shop@example.org>"\ntls = "none"\n'
    config = configure(tmp_path, f'catch = ["slack", "teams", "ticket", "webhook", "workflow"]\n{smtp}')
    at = ("--config", str(config))

    def take(*bodies: dict[str, Any]) -> None:
        done = run("ingest", "--source", "cloudevents", *at, *events(tmp_path, *bodies))
        assert done.returncode == 0, done.stderr

    def waits() -> list[tuple[str, int]]:
        return [(each["scope"], each["waits"]["killed"]) for each in said(run("kills", *at, "--json"))]

    take(dict(ADA))
    with Running(config) as running:
        running.wait(lambda: running.said("running"))
        take(failed("pay-1"))
        running.wait(lambda: len(mail.taken) == 1)
        told = run("kill", *at, "--channel", "email", "--reason", "wrong prices")
        assert "stopped: channel email. No message of it is begun from now on" in told.stdout, told.stderr
        again = run("kill", *at, "--channel", "email", "--reason", "me too")
        assert "already stopped by" in again.stdout
        take(failed("pay-2"))
        running.wait(lambda: waits() == [("channel:email", 1)])
    # It was killed. While nobody runs, a second kill goes into the file.
    assert run("kill", *at, "--reason", "and all the rest").returncode == 0
    with Running(config) as running:
        running.wait(lambda: [line["what"] for line in running.lines()].count("running") == 2)
        assert run("release", *at, "--channel", "email", "--reason", "mended", "--confirm").returncode == 0
        take(failed("pay-3"))
        running.wait(lambda: waits() == [("all", 2)])
        assert len(mail.taken) == 1
        assert run("release", *at, "--reason", "mended", "--confirm").returncode == 0
        running.wait(lambda: len(mail.taken) == 3)
        assert run("kills", *at).stdout == "nothing is stopped\n"
        nothing = run("release", *at, "--reason", "mended")
        assert (nothing.returncode, "everything is not stopped; nothing is" in nothing.stderr) == (1, True)
        assert running.stop() == 0
