"""Mistakes in test files: all at once, each at its place, with what was meant; and nothing ever raises."""

from random import Random

import pytest

from gateway.cli.folder import read_rules
from gateway.cli.rule_tests import test_files as files_of
from schemas import contracts
from streams.rule_tests import world
from streams.rule_tests.read import RuleFiles, read_tests
from streams.rule_tests.run import run_test
from tests.rule_tests.play import BERLIN, EXPIRED, FOLDER, read, written
from tests.rules.test_mutations import damaged, rebuilt


def told(text, files=None):
    found = read(text, files)
    assert not found.tests
    return [str(one).partition("\n")[0].removeprefix("tests/a.test.yaml:") for one in found.diagnostics]


def meant(text):
    return [one.hint for one in read(text).diagnostics]


def test_five_different_mistakes_are_five_diagnostics_with_places_and_suggestions():
    text = """\
version: 1
rules: [biling.yaml]
tests:
  - name: one
    rule: card-expird
    given: { now: 2026-02-30T10:00:00Z, customers: { c-1: { timezone: Europe/Berln } } }
    timeline:
      - event: billing.payment.faild
      - expect: [{ outcome: send }]
"""
    assert (
        "\n".join(map(str, read(text).diagnostics))
        == """\
tests/a.test.yaml:2:9: R005: there is no rule file 'biling.yaml' in the folder 'rules'
    rules: [biling.yaml]
            ^ did you mean 'billing.yaml'?
tests/a.test.yaml:6:19: R006: a time is needed here, as 2026-03-05T10:00:00Z, or +3d after the time before
        given: { now: 2026-02-30T10:00:00Z, customers: { c-1: { timezone: Europe/Berln } } }
                      ^
tests/a.test.yaml:6:71: R005: 'Europe/Berln' is no time zone, as in Europe/Berlin; unknown is written null
        given: { now: 2026-02-30T10:00:00Z, customers: { c-1: { timezone: Europe/Berln } } }
                                                                          ^ did you mean 'Europe/Berlin'?
tests/a.test.yaml:8:16: R005: no event contract 'billing.payment.faild'
          - event: billing.payment.faild
                   ^ did you mean 'billing.payment.failed'?
tests/a.test.yaml:9:29: R006: 'send' is no outcome: fired, sent, ticket, webhook, workflow, stopped, duplicate, armed, \
held, suppressed, disarmed, rescheduled, pending, cleared, resolved, receipt, cancelled, expired, late
          - expect: [{ outcome: send }]
                                ^ did you mean 'sent'?"""
    )


def test_an_unknown_rule_gets_a_suggestion():
    text = written("card-expird", "- { at: +1h }", given=BERLIN)
    assert told(text) == ["4:11: R005: there is no rule 'card-expird' in these files"]
    assert meant(text) == ["card-expired"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("{ amont: 1.00 EUR }", ["10:17: T101: billing.payment.failed: 'amont' is no field of it"]),
        ("{ amount: 80.0 }", ["10:25: T101: an amount is needed here, as 120.00 EUR or {amount_minor: 12000, currency: EUR}"]),
        ("{ amount: 80.001 EUR }", ["10:25: T101: an amount is needed here, as 120.00 EUR or {amount_minor: 12000, currency: EUR}"]),
        ("{ amount: { amount_minor: 1.5, currency: EUR } }", ["10:41: T101: billing.payment.failed: 'amount.amount_minor' is a number with decimals; a whole number is needed"]),
        ("{ attempt: many }", ["10:26: T101: billing.payment.failed: 'attempt' is a text; a whole number is needed"]),
        ("{ code: 12 }", ['10:23: T101: a text is needed here: write "12"']),
        ("{ code: null }", ["10:23: T101: billing.payment.failed: 'code' must not be null"]),
        ("{ code: [1] }", ["10:23: T101: billing.payment.failed: 'code' is a list; a text is needed"]),
        ("[]", ["10:15: R006: 'data' is a mapping of the event's fields"]),
    ],
)  # fmt: skip
def test_data_that_do_not_fit_the_contract(data, expected):
    text = written("card-expired", f"- event: billing.payment.failed\n  data: {data}", given="params: {}")
    assert told(text) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("- { at: -1h }", "9:15: T102: the clock cannot go back"),
        ("- { at: +9000w }", "9:15: R006: a time is needed here"),
        ("- { at: 2300-01-01T00:00:00Z }", "9:15: T102: a test goes from 1970 to 2200"),
        ("- { event: billing.payment.failed, at: -1h }", "9:46: T102: this is before the clock of the test"),
        (
            "- { event: billing.payment.failed, at: +1h, arrives: -1m }",
            "9:60: T102: the event would arrive before it happened",
        ),
        (
            "- { event: billing.payment.failed, at: -1h, arrives: +1m }",
            "9:60: T102: the event would arrive before the clock",
        ),
        ("- { data: {} }", "9:11: R006: 'data' belongs to an entry with 'event'"),
        ("- { receipt: acknowledged, to: 'customer:c-1' }", "9:20: R006: 'acknowledged' is no receipt"),
        ("- { receipt: opened }", "9:9: R007: 'to' is missing"),
        ("- { expect: some }", "9:19: R006: 'nothing' or a list of outcomes is needed here"),
        ("- { expect: [{ severity: high }] }", "9:20: R007: 'outcome' is missing"),
        (
            "- { expect: [{ outcome: fired, subject: x }] }",
            "9:47: R006: 'subject' belongs to the outcomes sent and ticket",
        ),
        (
            "- { expect: [{ outcome: sent, body: x }] }",
            "9:37: R005: there is no key 'body' here; there are outcome, severity,",
        ),
        ("- { expect: [{ outcome: failed }] }", "9:31: R006: 'failed' is no outcome"),
        ("- {}", "9:9: R007: an entry has 'event', 'receipt', 'expect' or at least 'at'"),
    ],
)
def test_entries_that_make_no_sense(line, expected):
    (only,) = told(written("card-expired", line, given=BERLIN))
    assert only.startswith(expected)


def test_an_id_stands_for_one_time():
    line = f"""
    - {{ event: billing.payment.failed, id: p-1, data: {EXPIRED} }}
    - {{ at: +1h, event: billing.payment.failed, id: p-1, data: {EXPIRED} }}
    """
    (only,) = told(written("card-expired", line, given=BERLIN))
    assert only.startswith("10:55: T103: the id 'p-1' stands for an event of another time")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("params: { grace: 31d }", "7:24: R108: this lies outside min and max of the parameter 'grace'"),
        ("params: { grace: 12 }", "7:24: R006: this is no duration, which the parameter 'grace' is"),
        ("params: { grase: 3d }", "7:17: R005: the rule 'invoice-overdue' has no parameter 'grase'"),
        ("customers: { c-1: { emial: x } }", "7:27: R005: there is no key 'emial' here"),
        (
            "customers: { c-1: { consent: [marketin] } }",
            "7:37: R006: 'marketin' is no consent: transactional, marketing",
        ),
        (
            "customers: { c-1: { preferences: { biling: true } } }",
            "7:42: R005: there is no topic 'biling' in topics.yaml",
        ),
        ("teams: { x: { fax: 1 } }", "7:21: R005: there is no key 'fax' here"),
        ("custom: {}", "7:7: R005: there is no key 'custom' here"),
    ],
)
def test_beginnings_that_make_no_sense(given, expected):
    (only,) = told(written("invoice-overdue", "- { at: +1h }", given=given))
    assert only.startswith(expected)


def test_rules_that_do_not_load_are_said_with_the_first_of_their_mistakes():
    rules, texts = read_rules(FOLDER)
    broken = rules["rules/orders.yaml"].replace(b"owner: team-growth", b"ownr: team-growth")
    files = RuleFiles({**rules, "rules/orders.yaml": broken}, texts, contracts())
    text = written("card-expired", "- { at: +1h }", given=BERLIN)
    (only,) = told(text, files)
    assert only.startswith(
        "1:1: T100: the rules have 2 errors (to see them: tidings rules check FOLDER); first rules/orders.yaml:"
    )
    # A file that does not need them goes on without them.
    assert read(text.replace("tests:", "rules: [billing.yaml]\ntests:"), files).diagnostics == ()


def test_a_name_for_a_node_is_a_remark_and_referring_to_it_is_refused():
    line = f"- &low\n  event: billing.payment.failed\n  data: {EXPIRED}\n"
    assert read(written("card-expired", line, given=BERLIN)).diagnostics == ()
    (only,) = told(written("card-expired", f"{line}- *low\n", given=BERLIN))
    assert only.startswith("12:9: R003: aliases are refused")


def test_two_tests_of_one_name_are_told():
    text = written("card-expired", "- { at: +1h }", given=BERLIN)
    (only,) = told(text + text.partition("tests:\n")[2])
    assert only.startswith("10:11: R301: the name 'one' is taken already, in line 3")


CHUNKS = 10


def recounted(raw, chance):
    """Other days, hours, amounts: what mostly can still be played, and fails or not."""
    body = bytearray(raw)
    for _ in range(chance.randint(1, 4)):
        at = chance.choice([at for at, letter in enumerate(body) if chr(letter).isdigit()])
        body[at] = ord(chance.choice("0123456789"))
    return bytes(body)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_damaged_test_files_are_told_or_played(chunk):
    """400 files: bytes flipped and lines repeated, parts of the tree exchanged, or a few digits others."""
    files = RuleFiles(*read_rules(FOLDER), contracts())
    sources = list(files_of(FOLDER).values())
    played = 0
    for number in range(40):
        chance = Random(f"rule tests {chunk} {number}")
        raw = (damaged, rebuilt, recounted)[number % 3](chance.choice(sources), chance)
        found = read_tests("a.test.yaml", raw, files)
        for one in found.diagnostics:
            assert one.file == "a.test.yaml"
            assert one.line >= 1
            assert one.column >= 1
            assert one.text
            str(one)
        assert found.tests or found.diagnostics
        for test in found.tests:
            run_test(test).lines()
            played += 1
    assert played


def test_a_test_that_never_ends_is_told(monkeypatch):
    monkeypatch.setattr(world, "MAX_STOPS", 0)
    line = f"- {{ event: billing.payment.failed, data: {EXPIRED} }}\n- {{ at: +2d, expect: nothing }}"
    result = run_test(read(written("card-expired", line, given=BERLIN, now="2026-03-05T23:00:00Z")).tests[0])
    assert result.failures[0].text == "the test cannot be played: more than 0 things happen in it"
