"""Loads rule files: every mistake at once, each with file, line, column and a suggestion; or a rule set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from handlers import templates as texts
from handlers.rules.build import rules_of, shared
from handlers.rules.diagnostics import Diagnostic
from handlers.rules.directory import TARGETS, TEAMS, TOPICS, directory_of
from handlers.rules.draft import Known
from handlers.rules.names import is_shared, sights
from handlers.rules.texts import file_of
from handlers.rules.unsaid import unsaid
from handlers.rules.yaml import Broken, Node, Reader
from tidings import canonical
from tidings.contract import Contract
from tidings.rule import Rule, RuleSet

MAX_FILES = 1_000
TESTS = ".test.yaml"
"""How the names of files end that hold tests of rules: they may stand beside the rules, and are none."""
BESIDE = frozenset({TEAMS, TARGETS, TOPICS})
MAX_DIAGNOSTICS = 200
"""Told of one file at most."""


@dataclass(frozen=True)
class Loaded:
    """What loading found. `rules` is None where anything is an error."""

    rules: RuleSet | None
    diagnostics: tuple[Diagnostic, ...]
    rule_count: int = 0
    """Rules that stand in the files, those with mistakes as well."""
    team_count: int = 0
    sound: tuple[Rule, ...] = ()
    """Rules of the files without an error: they can be looked at while others are mended."""

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """Diagnostics that stand in the way."""
        return tuple(one for one in self.diagnostics if one.severity == "error")


def load(files: Mapping[str, bytes], templates: Mapping[str, str], contracts: Mapping[str, Contract]) -> Loaded:
    """Load rule files (name → bytes) with their templates (name → text) against the contracts (by event type).

    `teams.yaml`, `targets.yaml` and `topics.yaml` among the files are what stands beside the rules; files whose name
    begins with `_` are shared.
    """
    found: list[Diagnostic] = []
    parsed = _parse(templates, found)
    readers = _read(files, found)
    unread = frozenset(files) - frozenset(readers)
    directory = directory_of(readers, unread)
    sheets = {name: pair for name, pair in readers.items() if name not in BESIDE}
    sight = sights(sheets, unread, contracts)
    known = Known(
        contracts=contracts,
        entities={one.entity: one for one in contracts.values() if one.entity is not None and one.is_change},
        directory=directory, templates=parsed, template_names=frozenset(templates), variants=_variants(templates),
        sources=templates,
    )  # fmt: skip
    rules: list[Rule] = []
    for name, (reader, root) in sheets.items():
        if is_shared(name):
            shared(reader, root)
        else:
            rules += rules_of(reader, root, known, sight[name])
    if TOPICS in readers:
        unsaid(readers[TOPICS][0], directory, known.variants, rules)
    for name, (reader, _) in readers.items():
        # Errors first: warnings, however many, neither hide one nor become one.
        listed = sorted(reader.diagnostics, key=lambda one: one.severity != "error")
        found += listed[:MAX_DIAGNOSTICS]
        if more := listed[MAX_DIAGNOSTICS:]:
            text = f"and {len(more)} more like these; mend the first ones"
            found.append(Diagnostic("R002", text, name, 1, 1, severity=more[0].severity))
    found += _twice(rules)
    found.sort(key=lambda one: (one.file, one.line, one.column, one.code))
    count = sum(len(node.items) for _, root in sheets.values() if (node := root.get("rules")) is not None)
    teams = len(directory.teams)
    if any(one.severity == "error" for one in found):
        broken = {one.file for one in found if one.severity == "error"}
        return Loaded(None, tuple(found), count, teams, tuple(rule for rule in rules if rule.file not in broken))
    rule_set = RuleSet(
        digest(files, templates, contracts), tuple(rules), contracts, dict(templates), directory.teams,
        directory.targets, directory.topics,
    )  # fmt: skip
    return Loaded(rule_set, tuple(found), count, teams, rule_set.rules)


def _parse(templates: Mapping[str, str], found: list[Diagnostic]) -> dict[str, texts.Template]:
    parsed = {}
    for name, text in sorted(templates.items()):
        try:
            parsed[name] = texts.parse(text)
        except texts.BadTemplate as fault:
            lines = text.splitlines()
            snippet = lines[fault.line - 1][:200] if 0 < fault.line <= len(lines) else ""
            found.append(Diagnostic("R120", fault.text, file_of(name), fault.line, fault.column, snippet=snippet))
    return parsed


def _read(files: Mapping[str, bytes], found: list[Diagnostic]) -> dict[str, tuple[Reader, Node]]:
    """Return the tree of each file that can be read."""
    readers = {}
    names = sorted(files)
    if len(names) > MAX_FILES:
        found.append(Diagnostic("R002", f"{len(names)} files; at most {MAX_FILES}", names[MAX_FILES], 1, 1))
    for name in names[:MAX_FILES]:
        reader = Reader(name, files[name])
        try:
            readers[name] = (reader, reader.read())
        except Broken as broken:
            found.append(broken.diagnostic)
    return readers


def _variants(templates: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return, for each template, its own name and those of its languages: `billing/overdue.de`."""
    found: dict[str, list[str]] = {name: [name] for name in templates}
    for name in sorted(templates):
        folder, _, last = name.rpartition("/")
        base = "/".join(part for part in (folder, last.partition(".")[0]) if part)
        if base != name and base in found:
            found[base].append(name)
    return {name: tuple(names) for name, names in found.items()}


def digest(files: Mapping[str, bytes], templates: Mapping[str, str], contracts: Mapping[str, Contract]) -> str:
    """Return the hash of a rule set: every text that can change what it decides or says."""
    body = {
        "files": {name: raw.decode("utf-8") for name, raw in files.items()},
        "templates": dict(templates),
        "contracts": {kind: contract.schema_id for kind, contract in contracts.items()},
    }
    return sha256(canonical.dumps(body)).hexdigest()


def dump_sources(files: Mapping[str, bytes], templates: Mapping[str, str]) -> bytes:
    """Return the sources of a rule set as one value, so that another process can build it again."""
    return canonical.dumps(
        {"files": {name: raw.decode("utf-8") for name, raw in files.items()}, "templates": dict(templates)}
    )


def load_sources(raw: bytes, contracts: Mapping[str, Contract]) -> RuleSet:
    """Build a rule set from what `dump_sources` wrote.

    Raises:
        ValueError: it does not load with these contracts any more.
    """
    body = canonical.loads(raw)
    loaded = load({name: text.encode() for name, text in body["files"].items()}, body["templates"], contracts)
    if loaded.rules is None:
        text = "\n".join(str(one) for one in loaded.errors)
        raise ValueError(text)
    return loaded.rules


def _twice(rules: Sequence[Rule]) -> list[Diagnostic]:
    first: dict[str, Rule] = {}
    found = []
    for rule in rules:
        other = first.setdefault(rule.id, rule)
        if other is not rule:
            text = f"the id '{rule.id}' is taken already, in {other.file}:{other.line}"
            found.append(Diagnostic("R301", text, rule.file, rule.line, 1))
    return found
