"""`tidings worker` as a process: exit codes, health, a stop with a deadline."""

import asyncio
import json
import logging
import signal
import socket
import subprocess
import sys
import urllib.request
from argparse import Namespace
from pathlib import Path

import pytest

from gateway.cli import worker as verb
from schemas import contracts
from tests import services
from tests.kafka.world import World, until, world
from tests.live import engines
from tests.live.engines import failed

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place():
    with services.database() as found:
        yield found


def configure(folder: Path, there: World) -> Path:
    path = folder / "tidings.toml"
    path.write_text(
        f'[kafka]\nbootstrap = ["{there.connection.bootstrap[0]}"]\nprefix = "{there.connection.prefix}"\n'
        f'[postgres]\nhost = "{there.place.host}"\nport = {there.place.port}\n'
        f'database = "{there.place.database}"\nuser = "postgres"\n'
    )
    return path


def begin(path: Path, *words: str, run: tuple[str, ...] = ("-m", "gateway.cli.main")) -> subprocess.Popen[str]:
    command = [sys.executable, *run, "worker", "--config", str(path), *words]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def ask(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def test_a_worker_decides_says_how_it_is_and_ends_with_0_when_it_is_asked_to(tmp_path, place):
    async def story():
        async with world(place, partitions=1, types=contracts().by_type) as there:
            await there.apply(engines.RULES, dict(engines.TEMPLATES))
            port = free_port()
            process = begin(configure(tmp_path, there), "--name", "w-1", "--http-port", str(port))
            try:
                await there.publish(("billing.payment.failed", failed(f"p-{n}")) for n in range(30))
                await there.taken(60)

                lines = (
                    'tidings_partition_lag_records{partition="0",topic="billing.payment.failed.v1"} 0.0',
                    'tidings_last_event_timestamp_seconds{topic="billing.payment.failed.v1"}',
                    'tidings_topic_watermark_timestamp_seconds{topic="billing.payment.failed.v1"}',
                    "tidings_rebalances_total 1.0",
                    "tidings_unread_partitions 0.0",
                    "tidings_kafka_answers 1.0",
                    "tidings_batch_holes_total 0.0",
                )

                async def all_told() -> bool:
                    text = await asyncio.to_thread(ask, port, "/metrics")
                    return all(line in text for line in lines)

                await until(all_told)
                text = await asyncio.to_thread(ask, port, "/metrics")
                assert "tidings_batch_seconds_count" in text
                alive = json.loads(await asyncio.to_thread(ask, port, "/healthz"))
                assert "intake" in {check["name"] for check in alive["checks"]}
                assert json.loads(await asyncio.to_thread(ask, port, "/readyz"))["ready"]
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 20) == 0
                assert process.stderr is not None
                told = [json.loads(line) for line in process.stderr.read().splitlines()]
                assert [line["what"] for line in told if line["from"] == "tidings.run"][-1] == "stopped"
                assert {line["level"] for line in told} == {"info"}, told
                assert len(await there.rows("records")) == 30
            finally:
                process.kill()
                process.communicate()

    asyncio.run(story())


def test_topics_that_are_missing_end_it_with_1_and_a_sentence(tmp_path, place):
    async def story():
        async with world(place, partitions=1) as there:
            process = begin(configure(tmp_path, there))
            try:
                _, told = await asyncio.to_thread(process.communicate, None, 60)
            finally:
                process.kill()
            assert process.returncode == 1
            assert "run 'tidings topics apply'" in told
            assert "Traceback" not in told

    asyncio.run(story())


HANGS = """
import gateway.cli.worker as worker, time
worker.DEADLINE = 0.3
with worker._deadline(75):
    time.sleep(600)
"""


def test_a_stop_that_hangs_is_ended_from_outside():
    done = subprocess.run([sys.executable, "-c", HANGS], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode == 75


FAULTY = """
import sys
from gateway.cli.main import main
from streams.processors.worker import Worker

async def apply(self, records, starts):
    raise ZeroDivisionError("of ada@example.org")

Worker.apply = apply
sys.exit(main(sys.argv[1:]))
"""


def test_a_fault_of_ours_in_a_batch_ends_it_with_1_at_once_and_nothing_is_committed(tmp_path, place):
    async def story():
        async with world(place, partitions=1, types=contracts().by_type) as there:
            await there.apply(engines.RULES, dict(engines.TEMPLATES))
            process = begin(configure(tmp_path, there), run=("-c", FAULTY))
            try:
                await there.publish([("billing.payment.failed", failed("p-1"))])
                _, told = await asyncio.to_thread(process.communicate, None, 60)
            finally:
                process.kill()
            assert process.returncode == 1, told
            said = [json.loads(line) for line in told.splitlines()]
            assert any("ZeroDivisionError" in line["what"] for line in said), told
            assert "ended where it stood" not in told
            assert "ada@example.org" not in told
            assert await there.rows("records") == []
            assert {row["next_offset"] for row in await there.rows("sources") if row["reader"] == "detect"} == {0}

    asyncio.run(story())


def test_a_fault_of_ours_ends_it_with_1_and_one_line_without_what_was_said(tmp_path, monkeypatch, capfd):
    path = tmp_path / "tidings.toml"
    path.write_text('[kafka]\nbootstrap = ["127.0.0.1:1"]\n[postgres]\nhost = "127.0.0.1"\n')

    async def broken(*_):
        raise ZeroDivisionError("of ada@example.org")

    monkeypatch.setattr(verb, "_worker", broken)
    monkeypatch.setattr(logging.getLogger("tidings"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("tidings"), "propagate", True)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    assert verb.worker(Namespace(config=path, name=None, http_port=None)) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert json.loads(line)["error"] == "ZeroDivisionError"
    assert "ada@example.org" not in line
