"""The loader of rule files: every mistake at once, at its place, with what was meant; and never an exception."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.folder import read_rules
from handlers.operators.missing import MissingOperator
from handlers.rules.load import Loaded, dump_sources, load, load_sources
from handlers.rules.yaml import plain
from schemas import contracts
from tidings.event import DAY, HOUR, MINUTE

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"
KNOWN = contracts().by_type
FILE = "rules/a.yaml"
TEXTS = {"note": "Subject: {{ who }}\n\n{{ what }}\n", "plain": "Subject: Hello\n\nHello\n"}
GOOD = """\
version: 1
rules:
  - id: overdue
    title: An invoice is overdue
    owner: team-billing
    severity: high
    status: live
    policy: { consent: marketing }
    params:
      grace: { type: duration, default: 2d, min: 0s, max: 30d, title: Grace }
    when:
      missing:
        after: { event: billing.invoice.issued, if: 'amount_due > money(0, "EUR")' }
        expect: { event: billing.invoice.paid }
        by: [invoice_id]
        once: true
        deadline: due_date + params.grace
        cancel_on: [billing.invoice.voided]
        reschedule_on: [billing.invoice.rescheduled]
        allowed_lateness: 5m
    to: customer
    then:
      - send: email
        template: note
        with: { who: customer_id, what: amount_due }
    topic: billing
  - id: failed
    owner: team-billing
    status: shadow
    expires: 1h
    when:
      event: billing.payment.failed
      if: code != "fraud_suspected"
    to: customer
    then:
      - send: email
        template: plain
    policy: { consent: transactional }
    topic: billing
"""
TOPICS = b"topics: { billing: { sentence: Invoices } }\n"


def check(text: str | bytes, texts: Mapping[str, str] = TEXTS) -> Loaded:
    return load({FILE: text.encode() if isinstance(text, str) else text, "topics.yaml": TOPICS}, texts, KNOWN)


def changed(*pairs: tuple[str, str]) -> Loaded:
    text = GOOD
    for old, new in pairs:
        assert text.count(old) == 1, f"{old!r} has to stand once in the file"
        text = text.replace(old, new)
    return check(text)


Place = tuple[str, int, int, str | None]
"""(code, line, column, suggestion)"""


def told(found: Loaded) -> list[Place]:
    assert all(one.file == FILE for one in found.diagnostics)
    return [(one.code, one.line, one.column, one.hint) for one in found.diagnostics]


def test_a_good_file_loads_as_it_says() -> None:
    found = check(GOOD)
    assert found.diagnostics == ()
    assert found.rules is not None
    overdue, failed = found.rules.rules
    assert (overdue.id, overdue.owner, overdue.severity, overdue.status) == ("overdue", "team-billing", "high", "live")
    assert (overdue.consent, overdue.params, overdue.line, overdue.file) == ("marketing", {"grace": 2 * DAY}, 3, FILE)
    assert isinstance(overdue.operator, MissingOperator)
    assert (overdue.operator.by, overdue.operator.once, overdue.operator.allowed_lateness) == (
        ("invoice_id",), True, 5 * MINUTE,
    )  # fmt: skip
    assert overdue.operator.keep == {"due_date", "customer_id", "amount_due"}, "of an event it keeps what it reads"
    assert overdue.types == {f"billing.invoice.{word}" for word in ("issued", "paid", "voided", "rescheduled")}
    assert (failed.severity, failed.consent, failed.expires) == ("medium", "transactional", HOUR)
    assert (failed.operator.kind, failed.on_unknown) == ("event", "unresolved")


def test_five_mistakes_are_five_diagnostics_with_place_and_suggestion() -> None:
    found = changed(
        ("severity: high", "severity: hihg"),
        ("    status: shadow", "    statsu: shadow\n    status: shadow"),
        ("event: billing.invoice.paid", "event: billing.invoice.payed"),
        ("params.grace", "params.grac"),
        ("code != ", "cod != "),
    )
    assert found.rules is None
    assert [one.severity for one in found.diagnostics] == ["error"] * 5
    assert told(found) == [
        ("R006", 6, 15, "high"),
        ("R005", 14, 26, "billing.invoice.paid"),
        ("R101", 17, 30, "params.grace"),
        ("R005", 29, 5, "status"),
        ("R101", 34, 11, "code"),
    ]
    assert str(found.errors[1]).splitlines() == [
        "rules/a.yaml:14:26: R005: no event contract 'billing.invoice.payed'",
        "            expect: { event: billing.invoice.payed }",
        "                             ^ did you mean 'billing.invoice.paid'?",
    ]
    assert found.errors[1].to_json() == {
        "code": "R005", "severity": "error", "text": "no event contract 'billing.invoice.payed'", "file": FILE,
        "line": 14, "column": 26, "did_you_mean": "billing.invoice.paid",
    }  # fmt: skip


# -- values

REFUSED: dict[str, tuple[str, str, Place]] = {
    # what is wrong: old text, new text, diagnostic
    "the version is missing": ("version: 1\n", "", ("R007", 1, 1, None)),
    "another version": ("version: 1\n", "version: 2\n", ("R007", 1, 10, None)),
    "a version as text": ("version: 1\n", 'version: "1"\n', ("R007", 1, 10, None)),
    "no rules": ("rules:\n", "rulez:\n", ("R007", 1, 1, None)),
    "no id": ("  - id: failed\n    owner", "  - owner", ("R007", 27, 5, None)),
    "an id in capitals": ("id: failed", "id: Failed", ("R006", 27, 9, None)),
    "an id that is too long": ("id: failed", f"id: {'x' * 101}", ("R006", 27, 9, None)),
    "an id that is a number": ("id: failed", "id: 7", ("R006", 27, 9, None)),
    "no status": ("    status: shadow\n", "", ("R007", 27, 5, None)),
    "a status that is none": ("status: shadow", "status: shaddow", ("R006", 29, 13, "shadow")),
    "a status for later": ("status: shadow", "status: canary", ("R010", 29, 13, None)),
    "a status that YAML 1.1 reads as false": ("status: shadow", "status: off", ("R006", 29, 13, None)),
    "a title that is a list": ("title: An invoice is overdue", "title: [a]", ("R006", 4, 12, None)),
    "a policy by a name that is none": ("policy: { consent: marketing }", "policy: service", ("R005", 8, 13, None)),
    "a consent that is none": ("consent: marketing", "consent: marketting", ("R006", 8, 24, "marketing")),
    "another recipient": ("to: customer\n    then:\n      - send: email\n        template: note", "to: team\n    then:\n      - send: email\n        template: note", ("R006", 21, 9, None)),
    "a duration in words": ("expires: 1h", "expires: an hour", ("R006", 30, 14, None)),
    "a duration without unit": ("expires: 1h", "expires: 60", ("R006", 30, 14, None)),
    "a duration that YAML 1.1 reads as a number": ("expires: 1h", "expires: 22:30", ("R006", 30, 14, None)),
    # params
    "a parameter that is no mapping": ("grace: { type: duration, default: 2d, min: 0s, max: 30d, title: Grace }", "grace: 2d", ("R006", 10, 14, None)),
    "a parameter type that is none": ("type: duration", "type: duraton", ("R006", 10, 22, "duration")),
    "a parameter without default": ("default: 2d, ", "", ("R007", 10, 14, None)),
    "a default of another type": ("default: 2d", "default: true", ("R006", 10, 41, None)),
    "a default below the least": ("min: 0s", "min: 3d", ("R108", 10, 41, None)),
    "a default above the most": ("max: 30d", "max: 1d", ("R108", 10, 41, None)),
    # when
    "no operator": ("      event: billing.payment.failed\n      if", "      if", ("R007", 32, 7, None)),
    "when as text": ('when:\n      event: billing.payment.failed\n      if: code != "fraud_suspected"', "when: failed", ("R006", 31, 11, None)),
    "an event that is none": ("billing.payment.failed", "billing.payment.faild", ("R005", 32, 14, "billing.payment.failed")),
    "a field that is none": ("code != ", "cdoe != ", ("R101", 33, 11, "code")),
    "a field that is none, inside quotes": ("amount_due > money", "amuont_due > money", ("R101", 13, 54, "amount_due")),
    "a condition that is none": ("code != ", "amount + ", ("R101", 33, 11, None)),
    "a condition that is a list": ('if: code != "fraud_suspected"', "if: [code]", ("R006", 33, 11, None)),
    "changed in what has no before": ('if: code != "fraud_suspected"', "changed: [code]", ("R104", 33, 16, None)),
    "no deadline": ("        deadline: due_date + params.grace\n", "", ("R007", 13, 9, None)),
    "a deadline that is no time": ("deadline: due_date + params.grace", "deadline: params.grace", ("R101", 17, 19, None)),
    "a key that is none": ("by: [invoice_id]", "by: [invoice]", ("R105", 15, 14, "invoice_id")),
    "a key that is no key": ("by: [invoice_id]", "by: [invoice_id, amount_due]", ("R105", 15, 26, None)),
    "a flag that is a text": ("allowed_lateness: 5m", "allowed_lateness: true", ("R006", 20, 27, None)),
    "a repeat that is none": ("allowed_lateness: 5m", "on_repeat: kepe", ("R006", 20, 20, "keep")),
    "a reschedule that brings no date": ("reschedule_on: [billing.invoice.rescheduled]", "reschedule_on: [billing.invoice.voided]", ("R109", 19, 25, None)),
    # then
    "no steps": ("    then:\n      - send: email\n        template: plain\n", "    then: []\n", ("R007", 35, 11, None)),
    "a step that is a text": ("      - send: email\n        template: plain\n", "      - email\n", ("R006", 36, 9, None)),
    "another channel": ("email\n        template: plain", "fax\n        template: plain", ("R006", 36, 15, None)),
    "no template": ("        template: plain\n", "", ("R007", 36, 9, None)),
    "a template that is none": ("template: plain", "template: plian", ("R121", 37, 19, "plain")),
    "a value that is not given": ("what: amount_due", "whta: amount_due", ("R122", 24, 19, "whta")),
    "a value that is none": ("what: amount_due", "what: amuont_due", ("R101", 25, 41, "amount_due")),
    # YAML
    "an anchor": ("by: [invoice_id]", "by: &key [invoice_id]", ("R003", 15, 13, None)),
    "an alias": ("id: failed", "id: *key", ("R003", 27, 9, None)),
    "a tag": ("id: failed", "id: !!str failed", ("R003", 27, 9, None)),
    "a merge key": ("    expires: 1h\n", "    <<: { expires: 1h }\n", ("R003", 30, 5, None)),
    "a key twice": ("    expires: 1h\n", "    expires: 1h\n    expires: 2h\n", ("R004", 31, 5, None)),
    "a key that is a list": ("    expires: 1h\n", "    ? [expires]\n    : 1h\n", ("R004", 30, 7, None)),
    "a bracket that is left open": ("by: [invoice_id]", "by: [invoice_id", ("R001", 16, 13, None)),
    "a tab": ("    expires: 1h\n", "\texpires: 1h\n", ("R001", 30, 1, None)),
    "a control character": ("An invoice", "An\x07 invoice", ("R001", 4, 14, None)),
    "two documents": ("  - id: failed\n", "---\n  - id: failed\n", ("R001", 27, 1, None)),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused_at_its_mistake(name: str) -> None:
    old, new, place = REFUSED[name]
    found = changed((old, new))
    assert found.rules is None
    assert place in told(found)
    for one in found.errors:
        assert str(one).startswith(f"{FILE}:{one.line}:{one.column}: {one.code}: ")
        assert one.snippet in ("", GOOD.replace(old, new).split("\n")[one.line - 1])


WARNED: dict[str, tuple[str, str, Place, str]] = {
    "a parameter that nobody reads": ("due_date + params.grace", "due_date", ("R208", 10, 14, None), "warning"),
    "a value that the template does not use": (
        "what: amount_due", "what: amount_due, more: due_date", ("R209", 25, 53, None), "warning"),
    "a key that lives once": ("        once: true\n", "", ("R210", 15, 13, None), "info"),
    "an order that can meet null": (
        'code != "fraud_suspected"', 'invoice_id == "i"', ("R203", 33, 11, "has(invoice_id) && …"), "warning"),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNED)
def test_a_smell_is_told_and_stands_in_nobodys_way(name: str) -> None:
    old, new, place, severity = WARNED[name]
    found = changed((old, new))
    assert told(found) == [place]
    assert [one.severity for one in found.diagnostics] == [severity]
    assert found.rules is not None
    assert str(found.diagnostics[0]).startswith(f"{FILE}:{place[1]}:{place[2]}: {place[0]}: {severity}: ")


def test_a_mistake_inside_a_block_is_told_at_its_very_place() -> None:
    found = changed(('if: code != "fraud_suspected"', 'if: |\n        code != "x"\n          && cdoe != "y"'))
    assert told(found) == [("R101", 35, 14, "code")]


def test_an_id_is_taken_once_in_all_files() -> None:
    found = load({"rules/b.yaml": GOOD.encode(), "rules/a.yaml": GOOD.encode(), "topics.yaml": TOPICS}, TEXTS, KNOWN)
    assert [(one.code, one.file, one.line) for one in found.errors] == [
        ("R301", "rules/b.yaml", 3), ("R301", "rules/b.yaml", 27),
    ]  # fmt: skip
    assert "rules/a.yaml:3" in found.errors[0].text


def test_a_broken_file_does_not_hide_the_mistakes_of_another() -> None:
    wrong = GOOD.replace("status: live", "status: lvie").encode()
    found = load({"rules/a.yaml": b"[", "rules/b.yaml": wrong, "topics.yaml": TOPICS}, TEXTS, KNOWN)
    assert found.rules is None
    assert [(one.code, one.file) for one in found.errors] == [("R001", "rules/a.yaml"), ("R006", "rules/b.yaml")]


def test_a_template_with_a_mistake_is_told_in_its_file() -> None:
    found = check(GOOD, {**TEXTS, "plain": "Subject: Hello\n\n{% if x %}"})
    assert [(one.code, one.file, one.line) for one in found.errors] == [("R120", "templates/plain.txt", 3)]


RAW: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "R001"), "a comment": (b"# nothing\n", "R001"), "a text": (b"rules", "R006"), "a list": (b"- a\n", "R006"),
    "not UTF-8": (b"version: 1\n\xff", "R001"), "UTF-16": (GOOD.encode("utf-16"), "R001"), "NUL": (b"version: 1\n\x00", "R001"),
    "rules that are a text": (b"version: 1\nrules: a\n", "R007"), "a rule that is a text": (b"version: 1\nrules: [a]\n", "R006"),
    "deep lists": (b"[" * 60 + b"]" * 60, "R002"), "many brackets": (b"[" * 5000, "R001"), "deep mappings": (b"{a: " * 60 + b"}" * 60, "R002"),
    "many parts": (b"[" + b"a," * 60_000 + b"]", "R002"), "many bytes": (b"#" * 300_000, "R002"),
    "a bomb of aliases": (b"a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "R003"), "a directive": (b"%YAML 9.9\n---\na: 1\n", "R001"),
    "Python": (b"!!python/object/apply:os.system [exit]\n", "R003"),
}  # fmt: skip


@pytest.mark.parametrize("name", RAW)
def test_what_is_no_rule_file_is_refused(name: str) -> None:
    raw, code = RAW[name]
    found = check(raw)
    assert found.rules is None
    assert found.errors[0].code == code
    assert len(found.errors) <= 2
    for one in found.errors:
        assert one.line >= 1
        assert len(one.text) < 500
        assert len(one.snippet) <= 200


@pytest.mark.parametrize("raw", [
    GOOD.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + GOOD.encode(), GOOD.encode() + b"...\n",
    GOOD.replace("An invoice", "Zoë 🙂").encode(), GOOD.replace("\n", "  # so\n").encode(),
], ids=["Windows", "BOM", "an end", "other letters", "comments"])  # fmt: skip
def test_a_file_may_be_written_as_editors_write_it(raw: bytes) -> None:
    found = check(raw)
    assert found.diagnostics == ()
    assert found.rules is not None


@pytest.mark.parametrize(("text", "value"), [
    ("on", "on"), ("NO", "NO"), ("y", "y"), ("22:30", "22:30"), ("2026-03-05", "2026-03-05"), ("0o17", "0o17"), ("1_000", "1_000"),
    ("true", True), ("False", False), ("~", None), ("", None), ("null", None), ("7", 7), ("-7", -7), ("010", 10),
])  # fmt: skip
def test_a_plain_word_means_what_yaml_1_2_says(text: str, value: Any) -> None:
    assert plain(text) == value
    assert type(plain(text)) is type(value)


# -- the example shop


def shop() -> tuple[dict[str, bytes], dict[str, str]]:
    return read_rules(SHOP)


def test_the_example_shop_loads_without_a_word_and_survives_the_store() -> None:
    files, texts = shop()
    found = load(files, texts, KNOWN)
    assert found.diagnostics == ()
    assert found.rules is not None
    again = load_sources(dump_sources(files, texts), KNOWN)
    assert again.hash == found.rules.hash
    assert [rule.id for rule in again.rules] == [rule.id for rule in found.rules.rules]
    assert again.templates == found.rules.templates


def test_the_hash_is_of_every_text_and_of_nothing_else() -> None:
    files, texts = shop()

    def hash_of(files: dict[str, bytes], texts: dict[str, str]) -> str:
        rules = load(files, texts, KNOWN).rules
        assert rules is not None
        return rules.hash

    first = hash_of(files, texts)
    assert first == hash_of(dict(reversed(files.items())), dict(reversed(texts.items())))
    name, text = next(iter(files)), next(iter(texts))
    others = {
        hash_of({**files, name: files[name] + b"# so\n"}, texts), hash_of(files, {**texts, text: texts[text] + "so\n"}),
        hash_of(files, {**texts, "more": "Subject: a\n\n"}),
    }  # fmt: skip
    assert len(others | {first}) == 4


def test_sources_that_do_not_load_any_more_are_told() -> None:
    files, texts = shop()
    with pytest.raises(ValueError, match="R005: no event contract"):
        load_sources(dump_sources(files, texts), {})
