"""The command as a person types it: answers, exit codes, and never a traceback."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "gateway.cli.main"]
PAYLOAD: dict[str, Any] = {
    "object": "event", "id": "evt_1", "type": "invoice.payment_failed", "created": 1_772_704_800,
    "data": {"object": {"id": "in_1", "customer": "cus_00000000000000", "currency": "eur", "amount_due": 1999, "charge": "ch_1"}},
}  # fmt: skip
SOON = "2026-03-05T10:01:00Z"


def run(*words: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return done


@pytest.mark.parametrize("words", [
    ["--help"], ["--version"], ["demo", "--help"], ["ingest", "--help"], ["rules", "--help"], ["rules", "check", "--help"],
    ["contracts", "--help"], ["contracts", "show", "--help"],
], ids=" ".join)  # fmt: skip
def test_help_helps(words):
    done = run(*words)
    assert done.returncode == 0
    assert done.stdout


@pytest.mark.parametrize("words", [[], ["demoo"], ["demo", "--for", "soon"], ["ingest"], ["contracts"]], ids=" ".join)
def test_a_command_that_is_not_understood_ends_with_2(words):
    assert run(*words).returncode == 2


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def payload(folder: Path, body: object = PAYLOAD, name: str = "payload.json") -> Path:
    file = folder / name
    file.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
    return file


def test_a_payload_becomes_an_event_a_decision_and_a_message(tmp_path):
    done = run("ingest", "--source", "stripe", payload(tmp_path), "--now", SOON, "--json")
    assert done.returncode == 0, done.stderr
    told = lines(done)
    words = [one["what"] for one in told]
    assert [word for word in words if word != "silent"] == ["taken", "event", "fired", "told", "summary"]
    assert told[-1]["messages"]["accepted"] == 1
    person = run("ingest", "--source", "stripe", payload(tmp_path), "--now", SOON)
    assert "Subject: Your payment of €19.99 did not go through" in person.stdout


def test_an_old_payload_without_a_time_of_reference_is_old_news(tmp_path):
    old = {**PAYLOAD, "created": 1_326_853_478}
    done = run("ingest", "--source", "stripe", payload(tmp_path, old))
    assert "suppressed(stale)" in done.stdout


@pytest.mark.parametrize(("body", "reason"), [
    (b"", "bad_value"), (b"\xff\x00rubbish", "bad_value"), (b"[" * 5000, "bad_value"), ({**PAYLOAD, "type": "x"}, "unmapped"),
    ({**PAYLOAD, "data": {"object": {"id": "in_1"}}}, "bad_value"),
], ids=["empty", "rubbish", "brackets", "another type", "fields missing"])  # fmt: skip
def test_a_payload_that_is_none_goes_to_the_dead_letters_and_the_others_go_on(tmp_path, body, reason):
    done = run(
        "ingest", "--source", "stripe", payload(tmp_path, body, "bad.json"), payload(tmp_path), "--now", SOON, "--json"
    )
    assert done.returncode == 1
    told = lines(done)
    assert [one["reason"] for one in told if one["what"] == "refused"] == [reason]
    assert told[-1]["messages"]["accepted"] == 1


@pytest.mark.parametrize(("words", "text"), [
    (["--source", "stripe", "missing.json"], "No such file"), (["--source", "stripe", "."], "directory"),
    (["--source", "strype", "x.json"], "did you mean 'stripe'"), (["--source", "stripe", "x.json", "--now", "noon"], "--now"),
    (["--source", "stripe", "x.json", "--now", "2026-02-30T10:00:00Z"], "--now"),
], ids=lambda one: one if isinstance(one, str) else " ".join(one))  # fmt: skip
def test_what_cannot_be_used_is_told_in_one_sentence(tmp_path, words, text):
    done = run("ingest", *words)
    assert done.returncode == 1
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_cannot_be_written_is_told_in_one_sentence(tmp_path):
    done = run("templates", "preview", "billing/invoice-overdue", "--html", tmp_path / "none" / "mail.html")
    assert done.returncode == 1
    assert "none/mail.html: No such file" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_contracts_are_listed_shown_and_checked():
    listed = run("contracts", "list")
    assert "billing.invoice.issued" in listed.stdout
    assert all({"type", "topic"} <= set(row) for row in json.loads(run("contracts", "list", "--json").stdout))
    assert "due_date" in run("contracts", "show", "billing.invoice.issued").stdout
    wrong = run("contracts", "show", "billing.invoice.isued")
    assert (wrong.returncode, "did you mean 'billing.invoice.issued'" in wrong.stderr) == (1, True)
    checked = run("contracts", "check")
    assert checked.returncode == 0, checked.stdout
    assert "NOT CHECKED" not in checked.stdout


def test_rules_are_checked(tmp_path):
    good = run("rules", "check", "examples/shop")
    assert good.returncode == 0, good.stdout
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.yaml").write_text("version: 1\nrules:\n  - id: a\n    ownr: b\n")
    bad = run("rules", "check", tmp_path)
    assert bad.returncode == 1
    assert "rules/a.yaml:4:5: R005" in bad.stdout
    assert "did you mean 'owner'?" in bad.stdout
    assert any(one["line"] == 4 for one in json.loads(run("rules", "check", tmp_path, "--json").stdout))
    assert run("rules", "check", tmp_path / "nowhere").returncode == 1
