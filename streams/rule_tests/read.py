"""Reads a file of rule tests: every mistake at once, each with file, line, column and a suggestion; or its tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from handlers.rules.diagnostics import Diagnostic
from handlers.rules.load import TESTS, Loaded, load
from handlers.rules.yaml import Broken, Node, Reader
from schemas import Contracts
from streams.codec import Codec
from streams.rule_tests import beginning
from streams.rule_tests.data import EventReader
from streams.rule_tests.model import Entry, Test
from streams.rule_tests.sheet import MAX_MISTAKES, Sheet, place_of
from streams.rule_tests.timeline import Timeline
from tidings.rule import Rule, RuleSet

MAX_TESTS = 1_000
"""Of one file."""

FILE = ("version", "rules", "tests")
TEST = ("name", "rule", "given", "timeline")


@dataclass
class RuleFiles:
    """The files of a folder and what they load to; loaded once for every choice of files."""

    files: Mapping[str, bytes]
    templates: Mapping[str, str]
    contracts: Contracts
    folder: str = "FOLDER"
    """Where they lie, as `tidings rules check` takes it."""
    codec: Codec = field(init=False)
    loaded: dict[frozenset[str], Loaded] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.codec = Codec(self.contracts)
        self.files = {name: raw for name, raw in self.files.items() if not name.endswith(TESTS)}

    @property
    def names(self) -> list[str]:
        """Names of the rule files, as tests write them: without the folder `rules/`."""
        return [name.removeprefix("rules/") for name in self.files if self._has_rules(name)]

    def load(self, chosen: frozenset[str]) -> Loaded:
        """Load some of the files (all, where none are chosen), with everything that stands beside the rules."""
        if chosen not in self.loaded:
            files = {
                name: raw
                for name, raw in self.files.items()
                if not chosen or not self._has_rules(name) or name.removeprefix("rules/") in chosen
            }
            self.loaded[chosen] = load(files, self.templates, self.contracts.by_type)
        return self.loaded[chosen]

    @staticmethod
    def _has_rules(name: str) -> bool:
        return name.startswith("rules/") and not name.rpartition("/")[2].startswith("_")


@dataclass(frozen=True)
class ReadFile:
    """What a file holds. `tests` is empty where anything is wrong with it."""

    tests: tuple[Test, ...]
    diagnostics: tuple[Diagnostic, ...]


def read_tests(file: str, raw: bytes, rules: RuleFiles) -> ReadFile:
    """Read one file of tests against the rules of its folder."""
    reader = Reader(file, raw, anchors=True)
    try:
        root = reader.read()
    except Broken as broken:
        return ReadFile((), (broken.diagnostic,))
    tests = _File(Sheet(reader), rules).read(root)
    found = sorted(reader.diagnostics, key=lambda one: (one.line, one.column, one.code))
    if len(found) > MAX_MISTAKES:
        more = f"and {len(found) - MAX_MISTAKES} more like these; mend the first ones"
        found = [*found[:MAX_MISTAKES], Diagnostic("R002", more, file, 1, 1)]
    return ReadFile(() if found else tuple(tests), tuple(found))


@dataclass
class _File:
    """One file while it is read."""

    sheet: Sheet
    files: RuleFiles

    def read(self, root: Node) -> list[Test]:
        sheet = self.sheet
        if not sheet.keys(root, FILE):
            return []
        version = root.get("version")
        if version is None or version.value != 1 or isinstance(version.value, bool):
            sheet.wrong(version or root, "R007", "'version: 1' is needed at the top of the file")
        rules = self.rules(root)
        listed = root.get("tests")
        nodes = sheet.items(listed, "'tests'")
        if not nodes and (listed is None or listed.kind == "list"):
            sheet.wrong(listed or root, "R007", "'tests:' with a list of tests is needed")
        if len(nodes) > MAX_TESTS:
            sheet.wrong(nodes[MAX_TESTS], "R002", f"{len(nodes)} tests; at most {MAX_TESTS} in one file")
        names: dict[str, int] = {}
        found = [self.test(node, rules, names) for node in nodes[:MAX_TESTS]]
        return [test for test in found if test is not None]

    def rules(self, root: Node) -> RuleSet | None:
        """Return the rules of the files that the test file names (else of all), or None where they do not load."""
        sheet, node = self.sheet, root.get("rules")
        chosen = set()
        before = sheet.mistakes
        if node is not None and node.kind == "list" and not node.items:
            sheet.wrong(node, "R006", "'rules' is empty: name a file, or leave it out for all of them")
        for one in sheet.items(node, "'rules'"):
            name = one.text.removeprefix("rules/")
            if one.kind == "scalar" and name in self.files.names:
                chosen.add(name)
            else:
                sheet.unknown(one, f"there is no rule file '{name}' in the folder 'rules'", self.files.names)
        if sheet.mistakes > before:
            return None
        loaded = self.files.load(frozenset(chosen))
        if loaded.rules is None:
            first, count = loaded.errors[0], len(loaded.errors)
            where = f"{first.file}:{first.line}:{first.column}: {first.code}: {first.text}"
            command = f"tidings rules check {self.files.folder}"
            text = f"the rules have {count} error{'s' * (count != 1)} (to see them: {command}); first {where}"
            sheet.wrong(node or root, "T100", text)
        return loaded.rules

    def test(self, node: Node, rules: RuleSet | None, names: dict[str, int]) -> Test | None:
        sheet = self.sheet
        if not sheet.keys(node, TEST):
            return None
        name = sheet.text(node.get("name"), "name", node) or ""
        if name in names and name:
            sheet.wrong(node.get("name") or node, "R301", f"the name '{name}' is taken already, in line {names[name]}")
        names.setdefault(name, node.line)
        rule = self.rule(node, rules)
        given_node = node.get("given")
        if given_node is None:
            sheet.wrong(node, "R007", "'given' is missing, with 'now': the time at which the test begins")
        given = beginning.read(sheet, given_node, rule, self.files.files, rules)
        line = node.get("timeline")
        nodes = sheet.items(line, "'timeline'")
        if not nodes and (line is None or line.kind == "list"):
            sheet.wrong(line or node, "R007", "'timeline' is missing: a list of what happens and what is expected")
        events = EventReader(self.files.contracts, self.files.codec)
        # Without a time to begin at, it is still read for its other mistakes.
        timeline = Timeline(sheet, events, self.files.templates, 1 if given is None else given.now)
        entries = [entry for one in nodes if (entry := timeline.entry(one)) is not None]
        if given is None or rules is None or rule is None:
            return None
        return _test(sheet.file, node, name, rules, rule, given, entries)

    def rule(self, node: Node, rules: RuleSet | None) -> Rule | None:
        name = self.sheet.text(node.get("rule"), "rule", node)
        if name is None or rules is None:
            return None
        rule = rules.by_id.get(name)
        if rule is None:
            self.sheet.unknown(node.get("rule") or node, f"there is no rule '{name}' in these files", rules.by_id)
        return rule


def _test(
    file: str, node: Node, name: str, rules: RuleSet, rule: Rule, given: beginning.Beginning, entries: list[Entry]
) -> Test:
    # A draft, and a rule on trial, are tested as the live ones that they are to become.
    tested = replace(rule, status="live", params={**rule.params, **given.params})
    teams = {**rules.teams, **given.teams}
    types = frozenset(entry.event.event.type for entry in entries if entry.event is not None)
    return Test(
        file, place_of(node), name, rule.id, replace(rules, rules=(tested,), teams=teams), given.now, given.people,
        given.zones, tuple(entries), types,
    )  # fmt: skip
