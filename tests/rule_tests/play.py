"""The folder of the acceptance examples, and tests written in a few lines."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from gateway.cli.folder import read_rules
from schemas import contracts
from streams.rule_tests.read import ReadFile, RuleFiles, read_tests
from streams.rule_tests.run import Result, run_test

FOLDER = Path(__file__).parent / "folder"
NOW = "2026-03-05T10:00:00Z"


@cache
def shared() -> RuleFiles:
    return RuleFiles(*read_rules(FOLDER), contracts())


def edited(file: str, *pairs: tuple[str, str], texts: Mapping[str, str] | None = None) -> RuleFiles:
    """The folder with some texts of one rule file replaced."""
    rules, templates = read_rules(FOLDER)
    body = rules[file].decode()
    for old, new in pairs:
        assert body.count(old) == 1, f"{old!r} has to stand once in {file}"
        body = body.replace(old, new)
    return RuleFiles({**rules, file: body.encode()}, {**templates, **(texts or {})}, contracts())


def read(text: str, files: RuleFiles | None = None) -> ReadFile:
    return read_tests("tests/a.test.yaml", text.encode(), files or shared())


def written(rule: str, timeline: str, *, given: str = "", now: str = NOW) -> str:
    """A file with one test; `timeline` is a list in YAML."""
    return f"""version: 1
tests:
  - name: one
    rule: {rule}
    given:
      now: {now}
{indented(given, 6)}
    timeline:
{indented(timeline, 6)}
"""


def indented(text: str, by: int) -> str:
    lines = text.strip("\n").splitlines()
    least = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(" " * by + line[least:] for line in lines)


def play(rule: str, timeline: str, *, given: str = "", now: str = NOW, files: RuleFiles | None = None) -> Result:
    """Play one test; a mistake in it is a mistake of ours."""
    found = read(written(rule, timeline, given=given, now=now), files)
    assert not found.diagnostics, "\n".join(map(str, found.diagnostics))
    return run_test(found.tests[0])


def passes(rule: str, timeline: str, **more) -> None:
    result = play(rule, timeline, **more)
    assert result.passed, "\n".join(result.lines())


def fails(rule: str, timeline: str, **more) -> str:
    result = play(rule, timeline, **more)
    assert not result.passed, "it passed"
    return "\n".join(result.lines())


BERLIN = "customers: { c-1: { timezone: Europe/Berlin } }"
EXPIRED = "{ customer_id: c-1, amount: 80.00 EUR, code: expired_card }"
INVOICE = "{ invoice_id: i-1, customer_id: c-1, amount_due: 10.00 EUR, due_date: 2026-03-08T10:00:00Z }"
PAID = "{ invoice_id: i-1, customer_id: c-1, amount: 10.00 EUR }"
