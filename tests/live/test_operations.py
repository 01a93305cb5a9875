"""What an operations team does: look at what could not be read, try it again, ask why."""

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.beside import FileReader
from gateway.cli.folder import example
from gateway.cli.main import main
from schemas import contracts
from schemas.examples import described
from tidings.ports import Scan

pytestmark = pytest.mark.live

UPDATED: dict[str, Any] = {
    "object": "event", "id": "evt_9", "type": "charge.dispute.created", "created": 1_772_704_800,
    "data": {"object": {"id": "dp_1", "customer": "cus_00000000000000", "currency": "eur", "amount": 4200}},
}  # fmt: skip
FAILED = "billing.payment.failed.v1"
MAPPING = """version: 1
stripe:
  charge.dispute.created:
    - event: billing.payment.failed
      set:
        payment_id: id
        customer_id: "stripe:{customer}"
        amount: { minor: amount, currency: currency }
        code: { const: disputed }
"""


@pytest.fixture
def shop(tmp_path, capsys):
    """A file with one payment, and one payload that corresponded to nothing when it came."""
    (tmp_path / "dispute.json").write_text(json.dumps(UPDATED))
    failed = {**UPDATED, "id": "evt_8", "type": "invoice.payment_failed"}
    failed["data"] = {"object": {"id": "in_1", "customer": "cus_00000000000000", "currency": "eur", "amount_due": 1999}}
    (tmp_path / "failed.json").write_text(json.dumps(failed))
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    words = ["--source", "stripe", "--now", "2026-03-05T10:00:10Z", "--data", str(tmp_path)]
    assert main(["ingest", str(tmp_path / "dispute.json"), str(tmp_path / "failed.json"), *words]) == 1
    capsys.readouterr()
    return tmp_path


def run(capsys, *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def letters(capsys, folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(capsys, "dead-letters", "list", "--data", folder, "--json")[1])
    return found


def test_dead_letters_are_listed_and_shown_with_their_bytes(shop, capsys):
    code, out, _ = run(capsys, "dead-letters", "list", "--data", shop)
    assert code == 0
    assert "1 dead letter: 1 unmapped" in out
    (letter,) = letters(capsys, shop)
    code, out, _ = run(capsys, "dead-letters", "show", letter["place"], "--data", shop)
    assert code == 0
    assert "charge.dispute.created" in out
    assert "file      dispute.json" in out
    assert "schema" not in out
    assert bytes.fromhex(letter["value_hex"]) == (shop / "dispute.json").read_bytes()


def test_a_reason_that_no_dead_letter_has_is_not_told_as_all_being_well(shop, capsys):
    code, out, _ = run(capsys, "dead-letters", "list", "--data", shop, "--reason", "unmaped")
    assert (code, out.strip()) == (0, "none of 1 dead letter has the reason 'unmaped'; did you mean 'unmapped'?")
    assert "the reasons are unmapped" in run(capsys, "dead-letters", "list", "--data", shop, "--reason", "xyz")[1]


def test_a_dead_letter_that_was_set_aside_is_tried_again_only_by_its_name(shop, capsys):
    (letter,) = letters(capsys, shop)
    aside = ("dead-letters", "set-aside", letter["place"], "--data", shop, "--reason")
    assert run(capsys, *aside, " ")[0] == 1
    assert run(capsys, "dead-letters", "set-aside", "nowhere[0]@1", "--data", shop, "--reason", "x")[0] == 1
    assert run(capsys, *aside, "a test of theirs")[1].startswith("1 dead letter set aside")
    assert run(capsys, *aside, "a test of theirs")[1].startswith("0 dead letters set aside")
    assert letters(capsys, shop)[0]["aside_at"] is not None
    assert "(set aside)" in run(capsys, "dead-letters", "list", "--data", shop)[1]
    assert run(capsys, "dead-letters", "redrive", "--data", shop)[1] == "nothing to redrive\n"
    mapping = ("--mapping", shop / "mapping.yaml")
    assert (
        "can be read: 1 event" in run(capsys, "dead-letters", "redrive", letter["place"], "--data", shop, *mapping)[1]
    )


def test_the_file_of_a_configuration_is_read_where_there_is_one_and_said(shop, capsys, monkeypatch, tmp_path):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    code, _, err = run(capsys, "dead-letters", "list")
    assert (code, "reading demo/tidings.db (no tidings.toml here)" in err) == (1, True)
    Path("tidings.toml").write_text(f'data = "{shop}"\n')
    code, out, err = run(capsys, "dead-letters", "list")
    assert (code, "1 dead letter" in out) == (0, True)
    assert f"reading {shop / 'tidings.db'} (as tidings.toml says)" in err
    code, out, _ = run(capsys, "rules", "explain", "evt_8")
    assert (code, "payment-failed: FIRES" in out) == (0, True)
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "rules", "explain", "evt_8", "--config", tmp_path / "here" / "tidings.toml")[0] == 0


def firings():
    return [row["firing_id"] for row in (yield Scan("records"))]


def test_a_firing_and_a_message_lead_to_their_event_and_it_to_what_was_told(shop, capsys):
    code, out, _ = run(capsys, "rules", "explain", "evt_8", "--data", shop, "--json")
    (message,) = [one for rule in json.loads(out)["rules"] for one in rule["messages"]]
    assert (message["to"], message["state"]) == ("customer:c-ada", "accepted")
    assert message["details"][0] == '"Your payment of €19.99 did not go through"'
    assert "2026-03-05 10:00 in London" in message["details"][1]
    assert "consent 'transactional' not withdrawn" in message["details"][2]
    with closing(FileReader(shop)) as reader:
        (firing,) = reader.read(firings)
    for name in (message["message"], firing):
        code, out, _ = run(capsys, "rules", "explain", name, "--data", shop)
        assert (code, out.split()[1]) == (0, "evt_8")


def test_a_redrive_proposes_and_sends_only_when_it_is_confirmed(shop, capsys):
    before = (shop / "caught.jsonl").read_text()
    code, out, _ = run(capsys, "dead-letters", "redrive", "--data", shop)
    assert (code, "still cannot be read: unmapped" in out) == (1, True)
    words = ["--data", shop, "--mapping", shop / "mapping.yaml"]
    code, out, _ = run(capsys, "dead-letters", "redrive", *words)
    assert code == 0
    assert "billing.payment.failed" in out
    assert "Nothing was sent" in out
    assert (shop / "caught.jsonl").read_text() == before
    assert letters(capsys, shop)[0]["redriven_at"] is None
    code, out, _ = run(capsys, "dead-letters", "redrive", *words, "--confirm")
    assert (code, "1 redriven" in out) == (0, True)
    assert letters(capsys, shop)[0]["redriven_at"] is not None
    # Once more finds nothing; naming it again appends nothing either.
    assert "nothing to redrive" in run(capsys, "dead-letters", "redrive", *words, "--confirm")[1]
    place = letters(capsys, shop)[0]["place"]
    code, out, _ = run(capsys, "dead-letters", "redrive", place, *words, "--confirm")
    assert (code, f"{place}  already redriven at " in out, "can be read" in out) == (0, True, False)
    code, out, _ = run(capsys, "rules", "explain", "evt_9", "--data", shop)
    assert (code, "payment-failed: FIRES" in out) == (0, True)


def test_a_place_that_is_none_and_a_folder_that_is_none_are_told(shop, capsys):
    code, _, err = run(capsys, "dead-letters", "show", "nowhere[0]@1", "--data", shop)
    assert (code, "there is no dead letter" in err) == (1, True)
    code, _, err = run(capsys, "dead-letters", "list", "--data", shop / "nowhere")
    assert (code, "there is no file" in err) == (1, True)
    (shop / "other").mkdir()
    (shop / "other" / "tidings.db").write_bytes(b"something else entirely, and long enough to look at " * 40)
    code, _, err = run(capsys, "dead-letters", "list", "--data", shop / "other")
    assert (code, "no SQLite file" in err) == (1, True)


def test_a_place_of_the_log_leads_to_its_event_and_one_that_is_not_there_is_told_with_what_is(shop, capsys):
    def first():
        return [(row["topic"], row["offset"]) for row in (yield Scan("log"))]

    with closing(FileReader(shop)) as reader:
        offset = next(offset for topic, offset in reader.read(first) if topic == FAILED)
    code, out, _ = run(capsys, "rules", "explain", f"{FAILED}[0]@{offset}", "--data", shop)
    assert (code, out.split()[1], "payment-failed: FIRES" in out) == (0, "evt_8", True)
    for place, says in (
        (f"{FAILED}[0]@7", f"holds the offsets 0 to {offset} in "), (f"{FAILED}[3]@0", "has the partitions 0 to 0"),
        ("billing.payment.fialed.v1[0]@0", f"did you mean {FAILED}?"), (f"{FAILED}[0]@0-4", "is a range"),
    ):  # fmt: skip
        code, _, err = run(capsys, "rules", "explain", place, "--data", shop)
        assert (code, says in err) == (1, True), err


def test_the_payload_that_ingest_took_is_explained_as_it_is_mapped(shop, capsys):
    code, _, err = run(capsys, "rules", "explain", shop / "failed.json")
    assert (code, "--source stripe" in err) == (1, True)
    words = ["rules", "explain", shop / "failed.json", "--source", "stripe"]
    code, out, _ = run(capsys, *words)
    assert (code, out.split()[:2]) == (0, ["billing.payment.failed", "evt_8"])
    assert "payment-failed: FIRES" in out
    (told,) = json.loads(run(capsys, *words, "--json")[1])
    assert (told["event"], told["rules"][0]["outcome"]) == ("evt_8", "fired")
    code, _, err = run(capsys, "rules", "explain", shop / "dispute.json", "--source", "stripe")
    assert (code, "unmapped" in err) == (1, True)
    named = ["--source", "stripe", "--mapping", shop / "mapping.yaml"]
    assert run(capsys, "rules", "explain", shop / "dispute.json", *named)[0] == 0
    assert "did you mean 'stripe'" in run(capsys, "rules", "explain", shop / "dispute.json", "--source", "strip")[2]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (f"{FAILED}[0]@99", "[0] holds the offsets 0 to 0"), (f"{FAILED}[0]@0-99", "[0] holds the offsets 0 to 0"),
        (f"{FAILED}[9]@0", "has the partitions 0 to 0"), (f"{FAILED}[0]@3-1", f"as {FAILED}[0]@1-3"),
        ("billing.invoice.paid.v1[0]@0", "holds no record yet"), ("nothing.v1[0]@0", "knows no topic nothing.v1"),
    ],
)  # fmt: skip
def test_a_place_that_cannot_be_is_not_repaired_and_what_there_is_is_said(shop, capsys, place, says):
    code, out, err = run(capsys, "repair", place, "--data", shop)
    assert (code, out, says in err) == (1, "", True), err


def test_verify_says_what_it_has_read(shop, capsys):
    code, out, _ = run(capsys, "verify", "--data", shop)
    assert (code, out.splitlines()[0]) == (0, f"read      {shop / 'tidings.db'}")
    out = run(capsys, "verify", "--data", shop, "--json")[1]
    assert (len(out.splitlines()), json.loads(out)["read"]) == (1, str(shop / "tidings.db"))


def test_an_event_is_explained_term_by_term_by_its_id(shop, capsys):
    code, out, _ = run(capsys, "rules", "explain", "evt_8", "--data", shop)
    assert code == 0
    assert "payment-failed: FIRES for customer:" in out
    assert "code  is 'not_given'" in out
    code, out, _ = run(capsys, "rules", "explain", "evt_8", "--data", shop, "--rule", "payment-failed", "--json")
    (rule,) = json.loads(out)["rules"]
    assert (rule["outcome"], rule["terms"][0]["value"]) == ("fired", "true")
    code, _, err = run(capsys, "rules", "explain", "evt_0", "--data", shop)
    assert (code, "there is no event 'evt_0'" in err) == (1, True)


EXPLAINED: dict[str, tuple[dict[str, Any], str, str]] = {
    "billing.invoice.issued": ({}, "invoice-overdue", "arms it until"),
    "billing.invoice.paid": ({}, "invoice-overdue", "disarms it"),
    "billing.invoice.voided": ({}, "invoice-overdue", "cancels it"),
    "billing.invoice.rescheduled": ({}, "invoice-overdue", "brings another deadline until"),
    "billing.payment.failed": ({"code": "fraud_suspected"}, "payment-failed", "does not fire"),
    "billing.payment.succeeded": ({}, "payment-large", "the rule is shadow: nobody is told"),
    "crm.customer.changed": (
        {"before": None, "before_coverage": "KEY_ONLY"},
        "email-changed",
        "changed email  is unknown",
    ),
}


@pytest.mark.parametrize("kind", EXPLAINED)
def test_an_event_of_a_file_is_explained(kind, tmp_path, capsys):
    change, rule, says = EXPLAINED[kind]
    event = described(contracts().by_type[kind])
    event["data"] |= change
    file = tmp_path / "event.json"
    file.write_text(json.dumps(event))
    code, out, _ = run(capsys, "rules", "explain", file, "--rule", rule)
    assert code == 0
    assert says in out


def test_an_event_of_a_file_that_breaks_its_contract_is_told(tmp_path, capsys):
    file = tmp_path / "event.json"
    for body, text in (
        ({"type": "x"}, "no event contract"),
        ({"type": "billing.invoice.paid", "id": "1"}, "/data"),
        ([], "no event contract"),
    ):
        file.write_text(json.dumps(body))
        code, _, err = run(capsys, "rules", "explain", file)
        assert (code, text in err) == (1, True), err


def test_every_template_of_the_example_can_be_looked_at(capsys):
    folder = Path(__file__).resolve().parents[2] / "examples" / "shop" / "templates"
    for file in folder.rglob("*.txt"):
        name = file.relative_to(folder).with_suffix("").as_posix()
        code, out, _ = run(capsys, "templates", "preview", name)
        assert (code, "\n  | " in out) == (0, True), name
    code, _, err = run(capsys, "templates", "preview", "billing/overdue")
    assert (code, "did you mean 'billing/invoice-overdue'" in err) == (1, True)


def test_a_template_is_looked_at_as_somebody_elsewhere_would_read_it(tmp_path, capsys):
    page = tmp_path / "mail.html"
    code, out, _ = run(
        capsys, "templates", "preview", "billing/invoice-overdue", "--locale", "de-DE", "--zone", "Europe/Berlin", "--html", page,
    )  # fmt: skip
    assert code == 0, out
    assert "for " in out
    assert page.read_text().lstrip().lower().startswith("<!doctype html>")
    code, _, err = run(capsys, "templates", "preview", "billing/invoice-overdue", "--zone", "Mars/Base")
    assert (code, "is no IANA zone" in err) == (1, True)


def test_a_preview_shows_all_that_a_mailbox_shows(capsys):
    _, out, _ = run(capsys, "templates", "preview", "billing/invoice-overdue.de")
    assert "  | Preheader: " in out


@pytest.mark.parametrize(("words", "said"), [
    (["billing/invoice-overdue", "--locale", "ja-JP"], "billing/invoice-overdue for ja-JP (no Japanese variant, so the plain one)"),
    (["billing/invoice-overdue", "--locale", "xx-YY"], "--locale 'xx-YY' is no locale; write one as de-DE"),
    (["billing/invoice-overdue", "--locale", "de-DE; x"], "is no locale"),
    (["billing/invoice-overdue.de", "--locale", "en-GB"], "who reads en-GB gets 'billing/invoice-overdue', not"),
    (["internal/stock-low", "--html", "x.html"], "--html is for e-mail; 'internal/stock-low' is used by slack only"),
])  # fmt: skip
def test_what_a_preview_cannot_follow_is_said(capsys, words, said):
    _, out, err = run(capsys, "templates", "preview", *words)
    assert said in out + err


def test_a_mistake_elsewhere_leaves_a_text_to_be_looked_at(tmp_path, capsys):
    folder = tmp_path / "my shop"
    shutil.copytree(example(), folder)
    rules = folder / "rules" / "care.yaml"
    rules.write_text(rules.read_text().replace("severity: high", "severity: hihg"))
    code, out, err = run(capsys, "templates", "preview", "billing/invoice-overdue", "--rules", folder)
    assert (code, "  | Subject: " in out) == (1, True)
    assert f"to see them: tidings rules check '{folder}'" in err
    code, out, err = run(capsys, "templates", "preview", "internal/complaint", "--rules", folder)
    assert (code, out) == (1, "")
    assert "to see them" in err
