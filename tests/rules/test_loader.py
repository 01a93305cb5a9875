"""Rule files: everything that is wrong is told at once, with its place and what was meant."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from handlers.rules.keys import LATER
from handlers.rules.load import Loaded, dump_sources, load, load_sources
from schemas import contracts
from tidings.event import DAY, MINUTE

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"
KNOWN = contracts().by_type
TEMPLATES = {"t": "Subject: Hello\n\n{{ name }}\n"}
GOOD = """version: 1
rules:
  - id: overdue
    title: An invoice is overdue
    owner: team-billing
    status: live
    params:
      grace: { type: duration, default: 1d, min: 0s, max: 30d, title: Grace }
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
    policy: { consent: marketing }
    expires: 2d
    on_unknown: resend
    to: customer
    then:
      - send: email
        template: t
        with: { name: invoice_id }
"""


def check(text: str | bytes, templates: dict[str, str] = TEMPLATES) -> Loaded:
    return load({"rules/a.yaml": text.encode() if isinstance(text, str) else text}, templates, KNOWN)


def told(found: Loaded) -> list[tuple[str, int, str | None]]:
    return [(one.code, one.line, one.hint) for one in found.diagnostics]


def changed(old: str, new: str) -> Loaded:
    assert old in GOOD
    return check(GOOD.replace(old, new))


def test_a_good_file_becomes_a_rule_with_everything_that_it_says():
    found = check(GOOD)
    assert found.diagnostics == ()
    assert found.rules is not None
    (rule,) = found.rules.rules
    assert (rule.id, rule.owner, rule.status, rule.consent, rule.on_unknown) == (
        "overdue", "team-billing", "live", "marketing", "resend",
    )  # fmt: skip
    assert (rule.expires, rule.params, rule.file, rule.line) == (2 * DAY, {"grace": DAY}, "rules/a.yaml", 3)
    assert rule.operator.allowed_lateness == 5 * MINUTE
    topics = {KNOWN[f"billing.invoice.{word}"].topic for word in ("issued", "paid", "voided", "rescheduled")}
    assert set(rule.topics) == topics


FIVE = """version: 1
rules:
  - id: overdue
    title: An invoice is overdue
    owner: team-billing
    status: lvie
    when:
      missing:
        after: { event: billing.invoice.isued }
        expect: { event: billing.invoice.paid }
        by: [invoice_id]
        once: true
        deadline: due_date
    to: customer
    then: [{ send: email, template: t, with: { name: invoice_id } }]
  - id: failed
    ownr: team-billing
    owner: team-billing
    status: live
    when:
      event: billing.payment.failed
      if: cod != "fraud"
    to: customer
    then:
      - send: email
        template: tt
        with: { name: code }
"""


def test_five_mistakes_are_five_diagnostics_each_with_place_and_suggestion():
    found = check(FIVE)
    assert found.rules is None
    mistakes = [(one.line, one.column, one.hint) for one in found.errors]
    assert mistakes[:2] == [(6, 13, "live"), (9, 25, "billing.invoice.issued")]
    assert [place for place in mistakes[2:] if place[2]] == [(17, 5, "owner"), (22, 11, "code"), (26, 19, "t")]
    text = "\n".join(map(str, found.errors))
    assert "rules/a.yaml:6:13: " in text
    assert "did you mean 'billing.invoice.issued'?" in text


WHERE = {
    "file": lambda key: GOOD + f"{key}: 1\n",
    "rule": lambda key: GOOD + f"    {key}: 1\n",
    "when": lambda key: GOOD.replace("      missing:\n", f"      {key}:\n"),
    "missing": lambda key: GOOD.replace("        by:", f"        {key}: 1\n        by:"),
    "match": lambda key: GOOD.replace("expect: { event", f"expect: {{ {key}: 1, event"),
    "param": lambda key: GOOD.replace("grace: { type", f"grace: {{ {key}: 1, type"),
    "step": lambda key: GOOD.replace("        template: t\n", f"        template: t\n        {key}: 1\n"),
    "policy": lambda key: GOOD.replace("policy: {", f"policy: {{ {key}: 1,"),
}


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind, keys in LATER.items() for key in keys])
def test_a_key_that_is_not_built_yet_is_refused_by_its_name(kind, key):
    found = check(WHERE[kind](key))
    assert found.rules is None
    assert any(one.code == "R010" and f"'{key}'" in one.text for one in found.errors), told(found)


@pytest.mark.parametrize("kind", [*WHERE])
def test_a_key_that_is_none_is_refused_with_what_was_meant(kind):
    near = {"file": "verison", "rule": "serverity", "when": "mising", "missing": "dedline", "match": "evnt",
            "param": "defualt", "step": "tempalte", "policy": "consnt"}[kind]  # fmt: skip
    found = check(WHERE[kind](near))
    assert any(one.code == "R005" and one.hint for one in found.errors), told(found)


REFUSED: dict[str, tuple[str, str, str]] = {
    # what is wrong: old text, new text, code
    "no version": ("version: 1\n", "", "R007"),
    "another version": ("version: 1", "version: 2", "R007"),
    "no id": ("  - id: overdue\n    title", "  - title", "R007"),
    "an id in capitals": ("id: overdue", "id: Overdue", "R006"),
    "no owner": ("    owner: team-billing\n", "", "R007"),
    "no status": ("    status: live\n", "", "R007"),
    "a status for later": ("status: live", "status: canary", "R010"),
    "no when": ("    when:\n      missing:", "    tags:\n      missing:", "R007"),
    "no steps": ("    then:\n", "    description:\n", "R007"),
    "another channel": ("send: email", "send: sms", "R010"),
    "another recipient": ("to: customer", "to: { team: billing }", "R010"),
    "an unknown event": ("billing.invoice.paid", "billing.invoice.payd", "R005"),
    "a key field that is none": ("by: [invoice_id]", "by: [invoice]", "R105"),
    "a deadline that is a number": ("deadline: due_date + params.grace", "deadline: 7", "R101"),
    "a duration in words": ("expires: 2d", "expires: two days", "R006"),
    "a parameter below its least": ("default: 1d, min: 0s", "default: 1d, min: 2d", "R108"),
    "a flag that is a text": ("once: true", "once: sometimes", "R006"),
    "a template that is not there": ("template: t", "template: tt", "R121"),
    "a value that the template lacks": ("with: { name: invoice_id }", "with: { other: invoice_id }", "R122"),
    "a field that is none": ("name: invoice_id", "name: invoce_id", "R101"),
    "the same key twice": ("    status: live\n", "    status: live\n    status: draft\n", "R004"),
    "an anchor": ("id: overdue", "id: &name overdue", "R003"),
    "a tag": ("id: overdue", "id: !!str overdue", "R003"),
    "a merge key": ("    status: live\n", "    <<: { status: live }\n", "R003"),
    "no YAML": ("version: 1", "version: [1", "R001"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused_and_says_where(name):
    old, new, code = REFUSED[name]
    found = changed(old, new)
    assert found.rules is None
    assert code in {one.code for one in found.errors}, told(found)
    assert all(one.line > 0 and one.column > 0 and one.file == "rules/a.yaml" for one in found.errors)


def test_an_id_is_taken_once_in_all_files():
    found = load({"rules/a.yaml": GOOD.encode(), "rules/b.yaml": GOOD.encode()}, TEMPLATES, KNOWN)
    (one,) = found.errors
    assert (one.code, one.file) == ("R301", "rules/b.yaml")
    assert "rules/a.yaml:3" in one.text


def test_a_parameter_that_nobody_reads_is_a_warning():
    found = changed("deadline: due_date + params.grace", "deadline: due_date")
    assert found.rules is not None
    assert [(one.code, one.severity) for one in found.diagnostics] == [("R208", "warning")]


@pytest.mark.parametrize(("raw", "code"), [
    (b"", "R001"), (b"\xff\xfe", "R001"), (b"version: 1\nrules: \x00", "R001"), (b"[" * 60 + b"]" * 60, "R002"),
    (b"x" * 2_000_000, "R002"), (b"- a\n- b\n", "R006"), (b"version: 1\nrules: 7\n", "R007"), (b"7", "R006"),
], ids=["empty", "not UTF-8", "NUL", "deep", "large", "a list", "no rules", "a number"])  # fmt: skip
def test_what_is_no_rule_file_is_refused_quickly(raw, code):
    found = check(raw)
    assert found.rules is None
    assert found.errors[0].code == code


def shop() -> tuple[dict[str, bytes], dict[str, str]]:
    files = {str(path.relative_to(SHOP)): path.read_bytes() for path in sorted(SHOP.glob("rules/**/*.yaml"))}
    texts = SHOP / "templates"
    return files, {str(path.relative_to(texts).with_suffix("")): path.read_text() for path in texts.rglob("*.txt")}


def test_the_example_shop_is_without_fault_and_survives_the_store():
    files, texts = shop()
    found = load(files, texts, KNOWN)
    assert found.diagnostics == ()
    assert found.rules is not None
    again = load_sources(dump_sources(files, texts), KNOWN)
    assert again.hash == found.rules.hash
    assert [rule.id for rule in again.rules] == [rule.id for rule in found.rules.rules]


def damage(raw: bytes, chance: Random) -> bytes:
    """Break a file as editors, merges and disks do."""
    lines = raw.split(b"\n")
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(lines))
        kind = chance.randrange(8)
        line = lines[at]
        place = chance.randrange(len(line) + 1)
        if kind == 0:
            del lines[at]
        elif kind == 1:
            lines.insert(at, line)
        elif kind == 2:
            lines[at] = b" " * chance.randint(1, 5) + line
        elif kind == 3:
            lines[at] = line.lstrip()
        elif kind == 4:
            lines[at] = line[:place] + line[place + chance.randint(1, 4) :]
        elif kind == 5:
            bad = chance.choice(
                [b"\x00", b"\xff", b":", b"[", b"}", b"&a ", b"*a", b"!", b"'", b'"', b"\t", b"#", b"- "]
            )
            lines[at] = line[:place] + bad + line[place:]
        elif kind == 6:
            other = chance.randrange(len(lines))
            lines[at], lines[other] = lines[other], line
        else:
            lines[at] = line[:place]
        if not lines:
            lines = [b""]
    return b"\n".join(lines)


def test_a_damaged_file_loads_or_is_told_and_never_fails():
    files, texts = shop()
    chance = Random(20)
    refused = 0
    for number in range(600):
        name = sorted(files)[number % len(files)]
        found = load({**files, name: damage(files[name], chance)}, texts, KNOWN)
        assert (found.rules is None) == bool(found.errors)
        for one in found.diagnostics:
            assert str(one).startswith(f"{one.file}:{one.line}:{one.column}: "), one
            assert one.to_json()["line"] >= 1
        refused += found.rules is None
    assert refused > 300


def test_templates_say_what_is_wrong_with_them():
    for text, line in {
        "Hello": 1,
        "Subject: a\nno gap": 2,
        "Subject: a\n\n{% if x %}": 3,
        "Subject: {{ a|b }}\n\n": 1,
    }.items():
        found = check(GOOD, {"t": text})
        places: list[Any] = [(one.file, one.line) for one in found.errors]
        assert ("templates/t", line) in places, places
