"""The examples of the language's own page, and what a test of each outcome looks like: `folder/tests`."""

import json

import pytest

from gateway.cli.main import main
from gateway.cli.rule_tests import test_files as files_of
from streams.rule_tests.model import NAMED, VISIBLE
from streams.rule_tests.read import read_tests
from streams.rule_tests.run import run_test
from tests.rule_tests.play import FOLDER, shared

READ = {name: read_tests(name, raw, shared()) for name, raw in files_of(FOLDER).items()}
TESTS = [test for file in READ.values() for test in file.tests]


def test_the_example_files_have_no_mistakes():
    assert {name: file.diagnostics for name, file in READ.items()} == dict.fromkeys(READ, ())


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.name)
def test_an_example_passes(test):
    result = run_test(test)
    assert result.passed, "\n".join(result.lines())


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.name)
def test_an_example_is_played_the_same_way_twice(test):
    assert run_test(test) == run_test(test)


def test_the_examples_show_every_outcome_that_is_built():
    shown = {one.outcome for test in TESTS for entry in test.timeline for one in entry.expected or ()}
    threshold = {"pending", "cleared", "resolved"}
    assert shown == {*VISIBLE, *NAMED} - threshold - {"late"}


def test_the_command_says_what_passed(capsys):
    assert main(["rules", "test", str(FOLDER)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{len(TESTS)} tests in 3 files: all passed"
    assert lines[0] == "passed  card-expired: the payment succeeds in between - everything that is pending ends"


def test_a_part_of_a_name_chooses_tests(capsys):
    assert main(["rules", "test", str(FOLDER), "-k", "SMALL amounts"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 test in 1 file: all passed"


def test_a_name_that_chooses_nothing_is_a_mistake_of_usage(capsys):
    assert main(["rules", "test", str(FOLDER), "-k", "nothing has this name"]) == 2
    assert "none of" in capsys.readouterr().err


def test_a_folder_without_tests_is_a_mistake_of_usage(tmp_path, capsys):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.yaml").write_text("version: 1\nrules: []\n")
    assert main(["rules", "test", str(tmp_path)]) == 2
    assert "has no tests" in capsys.readouterr().err


def _one_rule(folder, expectation):
    (folder / "rules").mkdir()
    for name in ("_shared.yaml", "billing.yaml"):
        (folder / "rules" / name).write_text((FOLDER / "rules" / name).read_text())
    for name in ("teams.yaml", "topics.yaml", "targets.yaml"):
        (folder / name).write_text((FOLDER / name).read_text())
    for path in (FOLDER / "templates").rglob("*.txt"):
        copy = folder / path.relative_to(FOLDER)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    (folder / "rules" / "beside.test.yaml").write_text(f"""version: 1
tests:
  - name: beside the rules
    rule: card-expired
    given: {{ now: 2026-02-10T09:00:00Z, customers: {{ c-1: {{ timezone: Europe/Berlin }} }} }}
    timeline:
      - event: billing.payment.failed
        data: {{ customer_id: c-1, amount: 80.00 EUR, code: expired_card }}
        expect: {expectation}
""")


def test_tests_may_stand_beside_the_rules_and_are_no_rules(tmp_path, capsys):
    _one_rule(tmp_path, "[{ outcome: fired }, { outcome: sent }]")
    assert main(["rules", "test", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "passed  card-expired: beside the rules"


def test_a_failure_is_told_in_words_with_its_place_and_its_time(tmp_path, capsys):
    _one_rule(tmp_path, "[{ outcome: fired }, { outcome: sent, data: { amount: 8.00 EUR } }]")
    assert main(["rules", "test", str(tmp_path)]) == 1
    assert (
        capsys.readouterr().out
        == """\
FAILED  card-expired: beside the rules

  rules/beside.test.yaml:9:38: sent: expected, but did not happen like this
    at 2026-02-10T09:00:00Z (Tue 10 Feb, 10:00 in Europe/Berlin)
    expected: sent, with amount = 8.00 EUR
    happened: sent by email to customer:c-1, template billing/card-expired, severity high, with amount = 80.00 EUR
              not the same: data.amount
    All that happened since the expectation before:
      2026-02-10T09:00:00Z  fired to customer:c-1, severity high
      2026-02-10T09:00:00Z  sent by email to customer:c-1, template billing/card-expired, severity high, with amount = 80.00 EUR

1 test in 1 file: 0 passed, 1 failed
"""
    )


def test_scripts_get_json(tmp_path, capsys):
    _one_rule(tmp_path, "nothing")
    assert main(["rules", "test", str(tmp_path), "--json"]) == 1
    body = json.loads(capsys.readouterr().out)
    assert (body["passed"], body["failed"], body["diagnostics"]) == (0, 1, [])
    (test,) = body["tests"]
    (failure,) = test["failures"]
    assert (test["name"], test["file"], failure["line"]) == ("beside the rules", "rules/beside.test.yaml", 7)
    assert failure["text"] == "nothing was expected, but: fired, sent"
    assert [one["outcome"] for one in failure["happened"]] == ["fired", "sent"]


def test_mistakes_in_a_file_end_with_1_and_the_other_files_are_played(tmp_path, capsys):
    _one_rule(tmp_path, "[{ outcome: fired }, { outcome: sent }]")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.test.yaml").write_text("version: 1\ntests: [{ nam: x }]\n")
    assert main(["rules", "test", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "tests/a.test.yaml:2:11: R005: there is no key 'nam' here" in out
    assert "did you mean 'name'?" in out
    assert out.splitlines()[-1] == "1 test in 1 file: all passed; 5 mistakes in test files, whose tests were not run"
