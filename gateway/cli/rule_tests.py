"""`tidings rules test`: the tests beside a folder's rules, on a virtual clock."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from gateway.cli.folder import MAX_FILE, example, read_rules
from gateway.cli.told import Told
from handlers.rules.diagnostics import Diagnostic
from handlers.rules.load import TESTS
from schemas import contracts
from streams.rule_tests.model import Test
from streams.rule_tests.read import RuleFiles, read_tests
from streams.rule_tests.run import Result, run_test

MANY = 50
"""Tests from which on a terminal shows how far it is."""


def test(arguments: Namespace) -> int:
    """Run the verb: 0 all passed, 1 a test failed or a file is wrong, 2 there is nothing to test."""
    folder: Path = arguments.folder or example()
    rules, texts = read_rules(folder)
    found = test_files(folder)
    if not found:
        text = f"tidings: {folder} has no tests: write them as rules/*{TESTS} or tests/*{TESTS}"
        print(text, file=sys.stderr)
        return 2
    # What the engine logs of a test is told by the test itself.
    logging.getLogger("tidings").addHandler(logging.NullHandler())
    files = RuleFiles(rules, texts, contracts(), shlex.quote(str(folder)))
    diagnostics: list[Diagnostic] = []
    tests: list[Test] = []
    for name, raw in found.items():
        read = read_tests(name, raw, files)
        diagnostics += read.diagnostics
        tests += read.tests
    chosen = [one for one in tests if arguments.name is None or chooses(arguments.name, one)]
    if arguments.name is not None and not chosen and not diagnostics:
        print(f"tidings: none of {len(tests)} tests has {arguments.name!r} in its name, rule or file", file=sys.stderr)
        return 2
    if not arguments.json:
        for one in diagnostics:
            print(one)
    results = [_played(one, number, len(chosen), arguments) for number, one in enumerate(chosen, 1)]
    wrong = [one for one in diagnostics if one.severity == "error"]
    failed = [one for one in results if not one.passed]
    if arguments.json:
        print(json.dumps(_json(results, diagnostics)))
    else:
        print(summary(len(results), len(failed), len(wrong), len({one.test.file for one in results})))
    return 1 if failed or wrong else 0


def test_files(folder: Path) -> Mapping[str, bytes]:
    """Return the test files of a folder, by their name in it."""
    found = {}
    for part in ("rules", "tests"):
        for path in sorted((folder / part).rglob(f"*{TESTS}")):
            if not path.is_file():
                continue
            if path.stat().st_size > MAX_FILE:
                raise Told(f"{path} is larger than {MAX_FILE} bytes")
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def chooses(word: str, one: Test) -> bool:
    """Return whether `-k` names a test: a part of its name, its rule or its file."""
    return any(word.lower() in text.lower() for text in (one.name, one.rule, one.file))


def _played(one: Test, number: int, count: int, arguments: Namespace) -> Result:
    watched = count >= MANY and sys.stderr.isatty()
    if watched:
        print(f"\r{number}/{count} tests", end="", file=sys.stderr, flush=True)
    result = run_test(one)
    if watched and (number == count or not result.passed):
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)
    if not arguments.json and (arguments.name is not None or not result.passed or count < MANY):
        print("\n".join(result.lines()))
    return result


def summary(count: int, failed: int, wrong: int, files: int) -> str:
    """Return the closing line."""
    words = f"{count} test{'s' * (count != 1)} in {files} file{'s' * (files != 1)}: "
    words += "all passed" if count and not failed else f"{count - failed} passed, {failed} failed"
    if wrong:
        words += f"; {wrong} mistake{'s' * (wrong != 1)} in test files, whose tests were not run"
    return words


def _json(results: list[Result], diagnostics: list[Diagnostic]) -> dict[str, object]:
    failed = sum(not one.passed for one in results)
    return {
        "passed": len(results) - failed, "failed": failed, "tests": [one.to_json() for one in results],
        "diagnostics": [one.to_json() for one in diagnostics],
    }  # fmt: skip
