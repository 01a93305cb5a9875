"""`tidings run` as a process: real mail, rules that change under it, and what `doctor` says."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest
from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import Envelope

from schemas import contracts
from streams import control
from streams.codec import Codec
from streams.embedded_log import Append
from streams.json_events import from_json

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "gateway.cli.main"]
SHOP = ROOT / "examples" / "shop"


class Mail:
    """An SMTP server in a thread of its own."""

    def __init__(self) -> None:
        self.taken: list[Envelope] = []
        self.port = 0
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self._serve, args=(ready,))
        self.thread.start()
        ready.wait(10)

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        self.taken.append(envelope)
        return "250 OK"

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self.loop)
        controller = UnthreadedController(self, hostname="127.0.0.1", port=0, loop=self.loop)
        server = self.loop.run_until_complete(self.loop.create_server(controller._factory_invoker, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()
        server.close()
        self.loop.run_until_complete(asyncio.sleep(0.05))
        self.loop.close()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def texts(self) -> list[str]:
        return [(one.content if isinstance(one.content, bytes) else b"").decode() for one in self.taken]


@pytest.fixture
def mail() -> Iterator[Mail]:
    server = Mail()
    yield server
    server.stop()


def configure(folder: Path, text: str) -> Path:
    shutil.copytree(SHOP, folder / "shop", dirs_exist_ok=True)
    file = folder / "tidings.toml"
    file.write_text(f'rules = "shop"\nhistory = "live"\n{text}')
    return file


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


class Running:
    """`tidings run`, with its log."""

    def __init__(self, config: Path) -> None:
        self.log = (config.parent / "run.log").open("ab")
        self.path = Path(self.log.name)
        self.process = subprocess.Popen([*COMMAND, "run", "--config", str(config)], cwd=ROOT, stderr=self.log)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines() if line.startswith("{")]

    def wait(self, what: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, self.path.read_text()
            if what():
                return
            time.sleep(0.05)
        raise AssertionError(self.path.read_text())

    def said(self, what: str) -> bool:
        return any(line["what"] == what for line in self.lines())

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self.log.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


def events(folder: Path, *bodies: dict[str, Any]) -> list[Path]:
    files = []
    for number, (kind, name, data) in enumerate((body.pop("type"), body.pop("id"), body) for body in bodies):
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        event = {"specversion": "1.0", "id": name, "type": kind, "source": "test", "time": now, "data": data}
        file = folder / f"event-{number}-{name}.json"
        file.write_text(json.dumps(event))
        files.append(file)
    return files


def zone_at_noon() -> str:
    """A zone in which it is about noon now: nobody's quiet hours decide about these tests."""
    ahead = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-ahead:+d}" if ahead else "Etc/UTC"


ADA = {
    "type": "customer.profile.changed", "id": "p-1", "customer_id": "c-1", "email": "ada@example.org", "name": "Ada",
    "timezone": zone_at_noon(),
}  # fmt: skip


def failed(name: str) -> dict[str, Any]:
    amount = {"amount_minor": 4200, "currency": "EUR"}
    return {
        "type": "billing.payment.failed",
        "id": name,
        "payment_id": name,
        "customer_id": "c-1",
        "amount": amount,
        "code": "declined",
    }


def test_a_payment_that_fails_is_told_by_real_mail_and_rules_change_under_it(tmp_path, mail):
    smtp = f'[smtp]\nhost = "127.0.0.1"\nport = {mail.port}\nsender = "Shop <shop@example.org>"\ntls = "none"\n'
    # What the shop says to its own people and systems is caught: it has no secrets here.
    config = configure(tmp_path, f'catch = ["slack", "teams", "ticket", "webhook", "workflow"]\n{smtp}')
    handed = run("ingest", "--source", "cloudevents", "--config", config, *events(tmp_path, dict(ADA)))
    assert (handed.returncode, "decides on them when it runs" in handed.stdout) == (0, True), handed.stderr
    template = tmp_path / "shop" / "templates" / "billing" / "payment-failed.txt"
    rules = tmp_path / "shop" / "rules" / "billing.yaml"
    with Running(config) as running:
        running.wait(lambda: running.said("running"))
        handed = run("ingest", "--source", "cloudevents", "--config", config, *events(tmp_path, failed("pay-1")))
        assert "handed to the running engine" in handed.stdout, handed.stderr
        running.wait(lambda: len(mail.taken) == 1)
        assert mail.taken[0].rcpt_tos == ["ada@example.org"]
        assert "=82=AC42.00" in mail.texts()[0]
        # Another text: the next message has it.
        template.write_text("Subject: Changed\n\nCode {{ code }}, amount {{ amount }}.\n")
        running.wait(lambda: running.said("rules"))
        run("ingest", "--source", "cloudevents", "--config", config, *events(tmp_path, failed("pay-2")))
        running.wait(lambda: len(mail.taken) == 2)
        assert "Subject: Changed" in mail.texts()[1]
        # A mistake: the last good rules stay, and doctor says so.
        good = rules.read_text()
        rules.write_text(good.replace("status: live", "status: lvie", 1))
        running.wait((tmp_path / "data" / "rules-refused.json").is_file)
        told = run("doctor", "--config", config)
        assert (told.returncode, "did you mean 'live'" in told.stdout) == (1, True), told.stdout
        run("ingest", "--source", "cloudevents", "--config", config, *events(tmp_path, failed("pay-3")))
        running.wait(lambda: len(mail.taken) == 3)
        rules.write_text(good)
        running.wait(lambda: not (tmp_path / "data" / "rules-refused.json").is_file())
        told = run("doctor", "--config", config)
        assert (told.returncode, "mail: 127.0.0.1" in told.stdout, "engine: running" in told.stdout) == (
            0,
            True,
            True,
        ), told.stdout
        assert running.stop() == 0
    log = running.path.read_text()
    assert "ada@example.org" not in log
    assert "declined" not in log
    assert '"what": "accepted"' in log


def test_an_edit_that_would_change_the_meaning_of_live_state_is_refused(tmp_path):
    config = configure(tmp_path, "")
    rules = tmp_path / "shop" / "rules" / "billing.yaml"
    amount = {"amount_minor": 4200, "currency": "EUR"}
    issued = {"type": "billing.invoice.issued", "id": "i-1", "invoice_id": "i-1", "customer_id": "c-1", "amount_due": amount,
              "due_date": "2099-01-01T00:00:00Z"}  # fmt: skip
    with Running(config) as running:
        running.wait(lambda: running.said("running"))
        run("ingest", "--source", "cloudevents", "--config", config, *events(tmp_path, dict(ADA), issued))
        time.sleep(2.5)  # until W has reached it and it waits for its deadline
        good = rules.read_text()
        rules.write_text(good.replace("cancel_on: [billing.invoice.voided]", "cancel_on: []"))
        refused = tmp_path / "data" / "rules-refused.json"
        running.wait(refused.is_file)
        assert "'cancel_on' would change what it means" in refused.read_text()
        # What only tunes is taken.
        rules.write_text(good.replace("default: 1d", "default: 3d"))
        running.wait(lambda: running.said("rules"))
        assert not refused.is_file()
        assert running.stop() == 0
    # Neither does it start with such an edit.
    rules.write_text(good.replace("by: [invoice_id]", "by: [customer_id]"))
    done = run("run", "--config", config)
    assert (done.returncode, "'by' would change what it means" in done.stderr) == (1, True), done.stderr


def test_a_rule_that_leaves_while_something_waits_is_warned_of_and_rules_in_order_again_are_told(tmp_path):
    config = configure(tmp_path, "")
    rules = tmp_path / "shop" / "rules" / "billing.yaml"
    good = rules.read_text()
    amount = {"amount_minor": 4200, "currency": "EUR"}
    issued = {"type": "billing.invoice.issued", "id": "i-1", "invoice_id": "i-1", "customer_id": "c-1", "amount_due": amount,
              "due_date": "2099-01-01T00:00:00Z"}  # fmt: skip
    with Running(config) as running:
        # Rooms and targets have no secrets here.
        running.wait(lambda: running.said("secrets are missing; messages that need them wait"))
        run("ingest", "--source", "cloudevents", "--config", config, *events(tmp_path, issued))
        rules.write_text(good + "  - {\n")
        running.wait(lambda: running.said("rules refused; the last good ones stay"))
        rules.write_text(good)
        running.wait(lambda: running.said("rules in order again"))
        rules.write_text(without(good, "invoice-overdue"))
        running.wait(lambda: running.said("a rule left; what it waited for rests"))
        told = run("doctor", "--config", config)
        assert "rule invoice-overdue: it left; 1 key rests" in told.stdout
        assert running.stop() == 0
    left = [line for line in running.lines() if line["what"].startswith("a rule left")]
    assert [(line["level"], line["rule"], line["waiting"]) for line in left] == [("warning", "invoice-overdue", 1)]


def without(rules: str, name: str) -> str:
    """Return a file of rules without one of them."""
    before, _, after = rules.partition(f"  - id: {name}\n")
    return before + after[after.index("  - id: ") :]


def test_the_payloads_of_the_documentation_make_a_customer_known(tmp_path):
    config = configure(tmp_path, "")
    blocks = (ROOT / "docs" / "running.md").read_text().split("```json\n")[1:]
    files = []
    for number, block in enumerate(blocks):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(block.partition("```")[0])
    with Running(config) as running:
        running.wait(lambda: running.said("running"))
        assert "customers: 0 known" in run("doctor", "--config", config).stdout
        handed = run("ingest", "--source", "cloudevents", "--config", config, *files)
        assert "3 events handed to the running engine" in handed.stdout, handed.stdout
        running.wait(lambda: "customers: 1 known" in run("doctor", "--config", config).stdout)
        assert running.stop() == 0


def test_a_demonstration_file_is_refused_and_told(tmp_path):
    config = configure(tmp_path, 'data = "demo"\n')
    assert run("demo", "--for", "2s", "--data", tmp_path / "demo").returncode == 0
    done = run("run", "--config", config)
    assert (done.returncode, "the demonstration's file" in done.stderr) == (1, True), done.stderr
    assert run("doctor", "--config", config).returncode == 1
    (payload,) = events(tmp_path, failed("pay-1"))
    done = run("ingest", "--source", "cloudevents", "--config", config, payload)
    assert (done.returncode, "the demonstration's file" in done.stderr) == (1, True), done.stdout + done.stderr


@pytest.mark.parametrize("data", ["tidings.toml", "tidings.toml/below"])
def test_a_folder_that_cannot_be_made_is_told(tmp_path, data):
    config = configure(tmp_path, f'data = "{data}"\n')
    done = run("doctor", "--config", config)
    assert (done.returncode, "cannot be made" in done.stdout) == (1, True), done.stdout
    done = run("run", "--config", config)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr


def test_in_test_mode_every_message_goes_to_one_address(tmp_path):
    config = configure(tmp_path, '[test]\nredirect_to = "me@example.org"\n')
    with Running(config) as running:
        running.wait(lambda: running.said("running"))
        run("ingest", "--source", "cloudevents", "--config", config, *events(tmp_path, dict(ADA)))
        time.sleep(0.5)
        run("ingest", "--source", "cloudevents", "--config", config, *events(tmp_path, failed("pay-1")))
        caught = tmp_path / "data" / "caught.jsonl"
        running.wait(caught.is_file)
        assert running.stop() == 0
    (letter,) = [json.loads(line) for line in caught.read_text().splitlines()]
    assert letter["to"] == "me@example.org"
    assert letter["subject"].startswith("[for ada@example.org] ")


WRONG = {
    "[smpt]\nhost = 'x'\n": ("smpt: there is no such key", "did you mean 'smtp'"),
    "[smtp]\nhost = 'x'\nsender = 's'\nprot = 25\n": ("smtp.prot: there is no such key", "did you mean 'port'"),
    "[smtp]\nhost = 'x'\nsender = 's'\npassword = 'hunter2'\n": ("smtp.password", "by reference only"),
    "[smtp]\nhost = 'x'\nsender = 's'\nport = 99999\n": ("tidings.toml:6: smtp.port", "65535"),
    "[smtp]\nhost = 'x'\n": ("smtp.sender", "it is missing"),
    "[smtp\n": ("no TOML", ""),
    'data = "a\\u0000b"\n': ("tidings.toml:3: data", "NUL"),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_configuration_with_a_mistake_says_where(tmp_path, text):
    config = configure(tmp_path, text)
    for verb in ("run", "doctor"):
        done = run(verb, "--config", config)
        told = done.stdout + done.stderr
        assert done.returncode == 1
        assert all(part in told for part in WRONG[text]), told
        assert "hunter2" not in told


def test_a_secret_that_is_not_there_is_named_and_never_shown(tmp_path):
    config = configure(
        tmp_path, '[smtp]\nhost = "127.0.0.1"\nsender = "s@x.org"\nusername = "u"\npassword = "env:TIDINGS_NOT_SET"\n'
    )
    assert "TIDINGS_NOT_SET" not in os.environ
    done = run("doctor", "--config", config)
    assert (done.returncode, "TIDINGS_NOT_SET is not set" in done.stdout) == (1, True), done.stdout
    done = run("run", "--config", config)
    assert (done.returncode, "TIDINGS_NOT_SET is not set" in done.stderr) == (1, True), done.stderr


def test_a_mail_server_that_is_not_there_is_told_by_doctor(tmp_path):
    config = configure(tmp_path, '[smtp]\nhost = "127.0.0.1"\nport = 1\nsender = "s@x.org"\ntls = "none"\n')
    done = run("doctor", "--config", config)
    assert (done.returncode, "mail: 127.0.0.1:1: nobody listens there\n" in done.stdout) == (1, True), done.stdout


def test_without_a_configuration_it_is_said_where_an_example_stands(tmp_path):
    done = run("run", "--config", tmp_path / "none.toml")
    assert (done.returncode, "docs/running.md" in done.stderr) == (1, True)


def test_a_dead_letter_is_redriven_through_the_running_engine_and_only_once(tmp_path):
    """An event of the future is refused; when its time has come it can be tried again, while everything runs."""
    config = configure(tmp_path, "")
    with Running(config) as running:
        running.wait(lambda: running.said("running"))
        ahead = datetime.now(UTC) + timedelta(minutes=5, seconds=12)
        data = {name: value for name, value in failed("pay-9").items() if name not in ("type", "id")}
        ahead_event = {"id": "pay-9", "source": "test", "time": ahead.isoformat(), "data": data}
        contract = contracts().by_type["billing.payment.failed"]
        key, value = Codec(contracts()).encode(contract.type, from_json(contract, ahead_event))
        control.append_by(tmp_path / "data", [Append(contract.topic, key, value)])
        running.wait(lambda: running.said("dead letter"))
        where = ("--data", tmp_path / "data")
        early = run("dead-letters", "redrive", *where, "--confirm")
        assert (early.returncode, "time_in_future" in early.stdout) == (1, True), early.stdout
        confirmed = run("dead-letters", "redrive", *where, "--confirm")
        end = time.monotonic() + 60
        while confirmed.returncode and time.monotonic() < end:
            confirmed = run("dead-letters", "redrive", *where, "--confirm")
        assert "1 redriven; the running engine decides on them" in confirmed.stdout, confirmed.stdout + confirmed.stderr
        running.wait(lambda: running.said("fired"))
        assert "nothing to redrive" in run("dead-letters", "redrive", *where, "--confirm").stdout
        assert running.stop() == 0
