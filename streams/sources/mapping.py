"""The declared mapping of foreign records to contracts: `sources.yaml`, checked against the contracts at load.

One record may become several events; each has an id of its own, derived from the record's. A change event gets `before`
and `after` by the same expressions, with how much of each the source has shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from handlers.rules.diagnostics import Diagnostic
from handlers.rules.yaml import Broken, Node, Reader
from streams.json_events import Mistake, NotAnEvent, rfc3339
from streams.sources.expressions import Expression, Path, Wrong, compiled, value_at
from streams.sources.foreign import Foreign, refuse
from tidings.contract import NO_DEFAULT, Contract, Field
from tidings.errors import Refusal

SOURCES = ("cloudevents", "debezium", "shopify", "stripe")
OPS = ("create", "read", "update", "delete", "fact")
MADE = ("before", "after", "before_coverage", "after_coverage", "changed_fields")
"""Fields of a change event that the mapping fills by itself."""


@dataclass(frozen=True)
class Origin:
    """Where a field comes from, and which line says so."""

    paths: frozenset[Path]
    line: int


@dataclass(frozen=True)
class Target:
    """One event that a record becomes."""

    contract: Contract
    fields: Mapping[str, Expression]
    row: Mapping[str, tuple[Expression, frozenset[Path]]] = field(default_factory=dict)
    on: frozenset[str] = frozenset(OPS)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """Of `fields`."""


@dataclass(frozen=True)
class SourceMap:
    """By source and name: what a record becomes."""

    targets: Mapping[str, Mapping[str, tuple[Target, ...]]]
    contracts: Mapping[str, Contract]
    file: str = "sources.yaml"
    """How the file is called where something is wrong."""

    def explained(self, source: str, record: Foreign, kind: str, fault: NotAnEvent) -> str:
        """Return the mistakes of an event that a record became, with the lines of the mapping that they come from."""
        found = next((t for t in self._of(source, record) or () if t.contract.type == kind), None)
        origins = {} if found is None else found.origins
        return "; ".join(self._with_origin(mistake, origins, record) for mistake in fault.mistakes)

    def _with_origin(self, mistake: Mistake, origins: Mapping[str, Origin], record: Foreign) -> str:
        name = "".join(mistake.pointer.split("/")[2:3]) if mistake.pointer.startswith("/data/") else ""
        origin = origins.get(name)
        if origin is None or not origin.paths:
            return str(mistake)
        lacking = {path for path in origin.paths if value_at(record.row, path) is None}
        paths = " and ".join(f"'{'.'.join(path)}'" for path in sorted(lacking or origin.paths))
        lacks = ", which the payload lacks" if lacking else ""
        return f"{mistake} ({self.file}:{origin.line} takes it from {paths}{lacks})"

    def _of(self, source: str, record: Foreign) -> tuple[Target, ...] | None:
        known = self.targets.get(source, {})
        return next((known[name] for name in record.names if name in known), None)

    def to_events(self, source: str, record: Foreign) -> list[tuple[str, dict[str, Any]]]:
        """Return (event type, plain JSON event) of a record.

        Raises:
            BadContract: nothing of ours corresponds to it (`unmapped`).
        """
        found = self._of(source, record)
        if found is None and record.op == "fact" and record.names[0] in self.contracts:
            # It speaks our language already.
            contract = self.contracts[record.names[0]]
            return [(contract.type, _event(record, dict(record.row), record.id))]
        if found is None:
            names = ", ".join(sorted(self.targets.get(source, {}))) or "nothing yet"
            text = f"{record.names[0]!r} is not in {self.file}; it maps under '{source}': {names}"
            raise refuse(text, Refusal.UNMAPPED)
        targets = [target for target in found if record.op in target.on]
        if not targets:
            text = f"{self.file} does not map {record.names[0]!r} for op {record.op!r}"
            raise refuse(text, Refusal.UNMAPPED)
        several = len(found) > 1
        return [
            (
                t.contract.type,
                _event(record, _data(t, record), f"{record.id}/{t.contract.type}" if several else record.id),
            )
            for t in targets
        ]


def _event(record: Foreign, data: dict[str, Any], name: str) -> dict[str, Any]:
    event: dict[str, Any] = {"id": name, "source": record.source, "time": rfc3339(record.time), "data": data}
    for word in ("subject", "correlation_id", "causation_id"):
        if (value := getattr(record, word)) is not None:
            event[word] = value
    return event


def _data(target: Target, record: Foreign) -> dict[str, Any]:
    """Return the payload; what is null, and need not be given, is left out."""
    fields = target.contract.fields
    values = {name: expression(record.row) for name, expression in target.fields.items()}
    data = {name: value for name, value in values.items() if value is not None or fields[name].default is NO_DEFAULT}
    if target.row:
        before, data["before_coverage"] = _side(target, record.before, absent=record.op == "create", whole=record.whole)
        after, data["after_coverage"] = _side(target, record.after, absent=record.op == "delete", whole=record.whole)
        data["before"], data["after"] = before, after
        known = {name for name in (before or {}) if name in (after or {})}
        changed = {name for name in known if (before or {})[name] != (after or {})[name]}
        partial = "CHANGED_FIELDS_ONLY" in (data["before_coverage"], data["after_coverage"])
        data["changed_fields"] = sorted(known if partial else changed)
    return data


def _side(
    target: Target, row: Mapping[str, Any] | None, *, absent: bool, whole: bool
) -> tuple[dict[str, Any] | None, str]:
    """Return one side of a change, and how much of it the source has shown: by the columns that are there."""
    if row is None:
        return None, "ABSENT" if absent else "UNKNOWN"
    shown = {
        name: function(row)
        for name, (function, paths) in target.row.items()
        if whole or any(_there(row, path) for path in paths)
    }
    if not shown:
        return None, "KEY_ONLY"
    return shown, "FULL" if len(shown) == len(target.row) else "CHANGED_FIELDS_ONLY"


def _there(row: Mapping[str, Any], path: Path) -> bool:
    """Return whether a column was sent, null included."""
    first = path[0].lower()
    return any(str(name).lower() == first for name in row) or value_at(row, path) is not None


def load(
    raw: bytes, contracts: Mapping[str, Contract], file: str = "sources.yaml"
) -> tuple[SourceMap | None, list[Diagnostic]]:
    """Return the mapping of a file, or None where it has mistakes; all of them are told."""
    reader = Reader(file, raw)
    try:
        root = reader.read()
    except Broken as broken:
        return None, [broken.diagnostic]
    loader = _Loader(reader, contracts)
    targets = loader.file(root)
    found = reader.diagnostics
    return (None if found else SourceMap(targets, contracts, file)), sorted(
        found, key=lambda one: (one.line, one.column)
    )


class _Loader:
    def __init__(self, reader: Reader, contracts: Mapping[str, Contract]) -> None:
        self.reader = reader
        self.contracts = contracts

    def wrong(self, node: Node, code: str, text: str, hint: str | None = None) -> None:
        self.reader.diagnostics.append(self.reader.at(node.line, node.column, code, text, hint))

    def known(self, key: Node, options: Any, what: str, code: str, owner: str = "") -> bool:
        if key.text in options:
            return True
        near = get_close_matches(key.text, list(options), 1)
        text = f"{owner} has no {what} '{key.text}'" if owner else f"there is no {what} '{key.text}'"
        self.wrong(key, code, text, near[0] if near else None)
        return False

    def file(self, root: Node) -> dict[str, dict[str, tuple[Target, ...]]]:
        found: dict[str, dict[str, tuple[Target, ...]]] = {}
        version = root.get("version")
        if root.kind != "map" or version is None or version.value != 1:
            self.wrong(root, "S001", "'version: 1' is needed at the top of the file")
            return found
        for key, node in root.entries:
            if key.text == "version" or not self.known(key, SOURCES, "source", "S002"):
                continue
            if node.kind != "map":
                self.wrong(node, "S001", "a mapping of names (types, tables) to lists of events is needed here")
                continue
            # Databases differ in how they write the names of tables; Debezium's records are matched in small letters.
            small = key.text == "debezium"
            found[key.text] = {
                name.text.lower() if small else name.text: self.targets(value) for name, value in node.entries
            }
        return found

    def targets(self, node: Node) -> tuple[Target, ...]:
        if node.kind != "list" or not node.items:
            self.wrong(node, "S001", "a list of events is needed here, as - event: …")
            return ()
        return tuple(target for one in node.items if (target := self.target(one)) is not None)

    def target(self, node: Node) -> Target | None:
        if node.kind != "map":
            self.wrong(node, "S001", "a mapping with 'event' and 'set' is needed here")
            return None
        for key, _ in node.entries:
            self.known(key, ("event", "on", "set", "row"), "key", "S003")
        name = node.get("event")
        if name is None:
            self.wrong(node, "S004", "'event' is missing")
            return None
        if not self.known(name, self.contracts, "event contract", "S005"):
            return None
        contract = self.contracts[name.text]
        row = self.row(node.get("row"), contract, node)
        fields, origins = self.set(node.get("set"), contract, node, made=MADE if row else ())
        return Target(contract, fields, row, self.on(node.get("on")), origins)

    def set(
        self, node: Node | None, contract: Contract, owner: Node, *, made: tuple[str, ...]
    ) -> tuple[dict[str, Expression], dict[str, Origin]]:
        found, origins = {}, {}
        for key, value in node.entries if node is not None else ():
            if self.known(key, contract.fields, "field", "S006", contract.type):
                if key.text in made:
                    self.wrong(key, "S007", f"'{key.text}' is made from 'row'; do not set it")
                elif (expression := self.expression(value)) is not None:
                    found[key.text] = expression[0]
                    origins[key.text] = Origin(expression[1], value.line)
        for name, field_ in contract.fields.items():
            if field_.default is NO_DEFAULT and name not in found and name not in made:
                given = node is not None and node.get(name) is not None
                if not given:
                    self.wrong(node or owner, "S008", f"{contract.type} needs '{name}', which nothing sets")
        return found, origins

    def row(self, node: Node | None, contract: Contract, owner: Node) -> dict[str, tuple[Expression, frozenset[Path]]]:
        if not contract.is_change:
            if node is not None:
                self.wrong(node, "S009", f"{contract.type} is no change event; it has no before and after")
            return {}
        if node is None:
            self.wrong(
                owner, "S008", f"{contract.type} is a change event: 'row' says what before and after are made of"
            )
            return {}
        columns: Mapping[str, Field] = contract.fields["after"].type.fields
        found = {}
        for key, value in node.entries:
            if self.known(key, columns, "column", "S006", contract.type):
                expression = self.expression(value)
                if expression is not None:
                    found[key.text] = expression
        return found

    def on(self, node: Node | None) -> frozenset[str]:
        if node is None:
            return frozenset(OPS)
        if node.kind != "list":
            self.wrong(node, "S001", f"a list is needed here, of {', '.join(OPS)}")
            return frozenset()
        return frozenset(one.text for one in node.items if self.known(one, OPS, "op", "S010"))

    def expression(self, node: Node) -> tuple[Expression, frozenset[Path]] | None:
        try:
            return compiled(_plain(node))
        except Wrong as fault:
            self.wrong(node, "S011", str(fault))
            return None


def _plain(node: Node) -> Any:
    if node.kind == "scalar":
        return node.value if isinstance(node.value, (bool, int)) else node.text
    if node.kind == "list":
        return [_plain(item) for item in node.items]
    return {key.text: _plain(value) for key, value in node.entries}
