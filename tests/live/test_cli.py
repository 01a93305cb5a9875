"""The command as a person types it: answers, exit codes, and never a traceback."""

import json
import shutil
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


@pytest.mark.parametrize(("words", "text"), [
    (["demoo"], "did you mean 'tidings demo'?"), (["contracts", "chekc"], "did you mean 'tidings contracts check'?"),
    (["check"], "'tidings rules check' or 'tidings contracts check'"), (["xyzzy"], "there are demo, run, doctor"),
], ids=str)  # fmt: skip
def test_a_verb_that_does_not_exist_is_told_with_the_one_that_was_meant(words, text):
    assert text in run(*words).stderr


@pytest.mark.parametrize("words", [[], ["demoo"], ["demo", "--for", "soon"], ["ingest"], ["rules"]], ids=" ".join)
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
    assert [word for word in words if word != "silent"] == ["uses", "taken", "event", "fired", "told", "summary"]
    assert told[-1]["messages"]["accepted"] == 1
    person = run("ingest", "--source", "stripe", payload(tmp_path), "--now", SOON)
    assert "Subject: Your payment of €19.99 did not go through" in person.stdout


def test_an_old_payload_without_a_time_of_reference_is_old_news(tmp_path):
    old = {**PAYLOAD, "created": 1_326_853_478}
    done = run("ingest", "--source", "stripe", payload(tmp_path, old))
    assert "suppressed(stale)" in done.stdout
    assert "It happened 2012-01-18 02:24 UTC" in done.stdout
    assert "try --now event, or --now 2012-01-18T12:00:00Z" in done.stdout


def test_with_the_time_of_the_events_payloads_of_different_years_are_all_news(tmp_path):
    night = {**PAYLOAD, "id": "evt_0", "created": 1_326_853_478}
    files = payload(tmp_path), payload(tmp_path, night, "night.json")
    done = run("ingest", "--source", "stripe", *files, "--now", "event", "--json")
    assert done.returncode == 0, done.stderr
    told = [(one["what"], one["at"][:13]) for one in lines(done) if one["what"] in ("held", "told")]
    assert told == [("held", "2012-01-18T02"), ("told", "2012-01-18T08"), ("told", "2026-03-05T10")]


def test_a_message_that_is_held_says_until_when_there_and_what_it_will_say(tmp_path):
    night = {**PAYLOAD, "created": 1_326_853_478}
    done = run("ingest", "--source", "stripe", payload(tmp_path, night), "--now", "2012-01-18T02:25:00Z")
    assert "until 2012-01-18 08:00 in London" in done.stdout
    assert "Subject: Your payment of €19.99 did not go through" in done.stdout


def test_an_event_that_comes_again_is_told_to_count_once(tmp_path):
    file = payload(tmp_path)
    done = run("ingest", "--source", "stripe", file, file, "--now", SOON, "--json")
    words = [one["what"] for one in lines(done)]
    assert [words.count(word) for word in ("event", "again", "fired", "told")] == [1, 1, 1, 1]
    kept = ("ingest", "--source", "stripe", file, "--now", SOON, "--data", tmp_path / "kept", "--json")
    assert "again" not in [one["what"] for one in lines(run(*kept))]
    assert "again" in [one["what"] for one in lines(run(*kept))]


def issued(folder: Path) -> Path:
    data = {"invoice_id": "i-1", "customer_id": "c-ada", "amount_due": {"amount_minor": 100, "currency": "EUR"},
            "due_date": "2026-03-10T00:00:00Z"}  # fmt: skip
    body = {"specversion": "1.0", "type": "billing.invoice.issued", "id": "e-1", "source": "erp",
            "time": "2026-03-05T10:00:00Z", "data": data}  # fmt: skip
    return payload(folder, body, "issued.json")


def test_what_arms_a_rule_says_until_when_it_waits(tmp_path):
    done = run("ingest", "--source", "cloudevents", issued(tmp_path), "--now", SOON)
    assert "armed      invoice-overdue  i-1  waits for billing.invoice.paid until 2026-03-" in done.stdout
    assert "No message was due" in done.stdout
    assert "1 event waits for others that may come late" in done.stdout


def test_own_rules_are_used_and_named_and_need_no_mapping_for_events_of_ours(tmp_path):
    shutil.copytree(ROOT / "examples" / "shop", tmp_path / "own")
    (tmp_path / "own" / "sources.yaml").unlink()
    words = ("ingest", "--rules", tmp_path / "own", "--now", SOON, "--source")
    done = run(*words, "cloudevents", issued(tmp_path))
    assert (done.returncode, f"rules of {tmp_path / 'own'}" in done.stdout) == (0, True), done.stderr
    assert "unmapped" in run(*words, "stripe", payload(tmp_path)).stdout
    broken = tmp_path / "own" / "rules" / "billing.yaml"
    broken.write_text("version: 1\nrules: 3\n")
    done = run(*words, "cloudevents", issued(tmp_path))
    assert (done.returncode, f"tidings rules check {tmp_path / 'own'}" in done.stderr) == (1, True)


def test_a_demonstrations_file_is_not_used_for_trials(tmp_path):
    assert run("demo", "--for", "1s", "--data", tmp_path / "demo", "--json").returncode == 0
    done = run("ingest", "--source", "stripe", payload(tmp_path), "--now", SOON, "--data", tmp_path / "demo")
    assert (done.returncode, "the demonstration's file" in done.stderr) == (1, True)


@pytest.mark.parametrize("words", [["--now", SOON], ["--json"], ["--data", "x"], ["--rules", "x"]], ids=" ".join)
def test_what_does_not_go_with_a_configuration_is_refused(tmp_path, words):
    done = run("ingest", "--source", "stripe", payload(tmp_path), "--config", tmp_path / "tidings.toml", *words)
    assert (done.returncode, f"{words[0]} does not go with --config" in done.stderr) == (1, True)


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
    assert "delinquent" in run("contracts", "show", "crm.customer.changed").stdout
    assert 'money(120, "EUR")' in run("contracts", "show", "money").stdout
    wrong = run("contracts", "show", "billing.invoice.isued")
    assert (wrong.returncode, "did you mean 'billing.invoice.issued'" in wrong.stderr) == (1, True)
    checked = run("contracts", "check")
    assert checked.returncode == 0, checked.stdout
    assert "NOT CHECKED" not in checked.stdout


@pytest.mark.parametrize("name", ["customer.profile.changed", "crm.customer.changed"])
def test_the_example_of_a_contract_is_an_event_to_copy(tmp_path, name):
    shown = json.loads(run("contracts", "show", name, "--json").stdout)
    assert json.dumps(shown["example"], indent=1) in run("contracts", "show", name).stdout
    file = payload(tmp_path, {"specversion": "1.0", **shown["example"]})
    done = run("ingest", "--source", "cloudevents", file, "--now", SOON, "--json")
    assert (done.returncode, [one["what"] for one in lines(done)][:2]) == (0, ["uses", "taken"]), done.stdout


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
