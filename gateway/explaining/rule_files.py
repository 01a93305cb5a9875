"""The files of the rules, where this process has them: their mistakes, and how their tests end; looked at in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.cli.folder import read_rules
from gateway.cli.rule_tests import test_files
from gateway.cli.told import Told
from handlers.rules.diagnostics import Diagnostic
from handlers.rules.load import load
from schemas import contracts
from streams.rule_tests.model import Test
from streams.rule_tests.read import RuleFiles, read_tests
from streams.rule_tests.run import Result, run_test

LOOK = 2.0
"""Seconds between two looks at the folder."""
PATIENCE = 0.03
"""Seconds that a page waits for either."""
MOST_TESTS = 300
"""Tests that are played for a page; beyond, their names are shown."""


@dataclass(frozen=True)
class Files:
    """What a folder holds."""

    digest: str | None
    """Hash of the set that its files make; None: they have mistakes."""
    fault: str
    """Why it cannot be read at all."""
    mistakes: Sequence[Diagnostic]
    """Errors first."""
    files: int
    tests: Sequence[Test]

    @property
    def errors(self) -> list[Diagnostic]:
        """Those that keep the files from becoming the rules."""
        return [one for one in self.mistakes if one.severity == "error"]


@dataclass
class RuleFolder:
    """One folder, looked at again when somebody asks and its files have changed."""

    path: Path
    _seen: Files | None = None
    _looked_at: float = 0.0
    _stamp: object = None
    _played: dict[tuple[str, str], Result | None] = field(default_factory=dict)
    """By the digest of the files and `file:line` of the test."""
    _looking: asyncio.Task[None] | None = None
    _playing: asyncio.Task[None] | None = None

    async def look(self) -> Files | None:
        """Return what the folder holds, as it was found last; None: it is being read for the first time."""
        old = time.monotonic() - self._looked_at > LOOK
        if old and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(asyncio.to_thread(self._refresh))
        if self._seen is None and self._looking is not None:
            await asyncio.wait([self._looking], timeout=PATIENCE)
        return self._seen

    def _refresh(self) -> None:
        stamp = self._stamped()
        if self._seen is None or stamp != self._stamp:
            self._seen = self._look()
            self._stamp = stamp
        self._looked_at = time.monotonic()

    def _stamped(self) -> object:
        """Return what changes when a file does."""
        try:
            found = (path for pattern in ("**/*.yaml", "**/*.txt") for path in sorted(self.path.glob(pattern)))
            return [(path.as_posix(), one.st_mtime_ns, one.st_size) for path in found if (one := path.stat())]
        except OSError as fault:
            return str(fault)

    def _look(self) -> Files:
        try:
            rules, texts = read_rules(self.path)
            tested = test_files(self.path)
        except (Told, OSError) as fault:
            return Files(None, str(fault), (), 0, ())
        loaded = load(rules, texts, contracts().by_type)
        found = list(loaded.diagnostics)
        tests: list[Test] = []
        if loaded.rules is not None:
            files = RuleFiles(rules, texts, contracts(), str(self.path))
            for name, raw in tested.items():
                read = read_tests(name, raw, files)
                found += read.diagnostics
                tests += read.tests
        found.sort(key=lambda one: one.severity != "error")
        return Files(None if loaded.rules is None else loaded.rules.hash, "", found, len(rules), tests)

    async def play(self, files: Files, rule_id: str) -> list[tuple[Test, Result | None]]:
        """Return the tests of a rule with how they ended; None: not played yet, which goes on in a thread."""
        mine = [one for one in files.tests if one.rule == rule_id]
        digest = files.digest or ""
        missing = [one for one in mine[:MOST_TESTS] if (digest, _name(one)) not in self._played]
        if missing:
            if len(self._played) > 10 * MOST_TESTS:
                self._played.clear()
            for one in missing:
                self._played[digest, _name(one)] = None
            playing = asyncio.create_task(asyncio.to_thread(self._play, digest, missing))
            self._playing = playing  # kept, or it may be collected while it runs
            await asyncio.wait([playing], timeout=PATIENCE)
        return [(one, self._played.get((digest, _name(one)))) for one in mine]

    def _play(self, digest: str, tests: Sequence[Test]) -> None:
        for one in tests:
            self._played[digest, _name(one)] = run_test(one)


def _name(test: Test) -> str:
    return f"{test.file}:{test.place.line}"
