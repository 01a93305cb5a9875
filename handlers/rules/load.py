"""Loads rule files: every mistake at once, each with file, line, column and a suggestion; or a rule set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from handlers import templates as texts
from handlers.rules.build import rules_of
from handlers.rules.diagnostics import Diagnostic
from handlers.rules.yaml import Broken, Reader
from tidings import canonical
from tidings.contract import Contract
from tidings.rule import Rule, RuleSet

MAX_FILES = 1_000
MAX_DIAGNOSTICS = 200
"""Told of one file at most."""


@dataclass(frozen=True)
class Loaded:
    """What loading found. `rules` is None where anything is an error."""

    rules: RuleSet | None
    diagnostics: tuple[Diagnostic, ...]

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """Diagnostics that stand in the way."""
        return tuple(one for one in self.diagnostics if one.severity == "error")


def load(files: Mapping[str, bytes], templates: Mapping[str, str], contracts: Mapping[str, Contract]) -> Loaded:
    """Load rule files (name → bytes) with their templates (name → text) against the contracts (by event type)."""
    found: list[Diagnostic] = []
    parsed: dict[str, texts.Template] = {}
    for name, text in sorted(templates.items()):
        try:
            parsed[name] = texts.parse(text)
        except texts.BadTemplate as fault:
            found.append(Diagnostic("R120", fault.text, f"templates/{name}", fault.line, 1))
    rules: list[Rule] = []
    if len(files) > MAX_FILES:
        text = f"{len(files)} rule files; at most {MAX_FILES}"
        found.append(Diagnostic("R002", text, sorted(files)[MAX_FILES], 1, 1))
    for name, raw in sorted(files.items())[:MAX_FILES]:
        reader = Reader(name, raw)
        try:
            root = reader.read()
        except Broken as broken:
            found.append(broken.diagnostic)
            continue
        rules += rules_of(reader, root, contracts, parsed, frozenset(templates))
        found += reader.diagnostics[:MAX_DIAGNOSTICS]
        if (more := len(reader.diagnostics) - MAX_DIAGNOSTICS) > 0:
            found.append(Diagnostic("R002", f"and {more} more like these; mend the first ones", name, 1, 1))
    found += _twice(rules)
    found.sort(key=lambda one: (one.file, one.line, one.column, one.code))
    if any(one.severity == "error" for one in found):
        return Loaded(None, tuple(found))
    return Loaded(RuleSet(digest(files, templates, contracts), tuple(rules), contracts, dict(templates)), tuple(found))


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
