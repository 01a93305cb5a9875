"""The data of an event in a test: completed and checked against the contract, with the fields that were left out.

Amounts may be written `120.00 EUR`, and times relative to the event (`+3d`). A field that the contract needs and the
test leaves out gets a filler, so that the event is one; a rule that reads it fails the test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from handlers.rules.conditions import parse_duration
from handlers.rules.yaml import Node
from schemas import Contracts
from streams.codec import Codec
from streams.json_events import NotAnEvent, from_json, rfc3339
from streams.rule_tests.model import Given, Path
from streams.rule_tests.sheet import LAST, Sheet
from tidings.contract import NO_DEFAULT, Contract, Field, Type
from tidings.errors import BadContract
from tidings.event import Micros
from tidings.log import LogRecord
from tidings.money import money

AMOUNT = re.compile(r"(-?[0-9]{1,15}(?:\.[0-9]{1,3})?) ([A-Z]{3})")


def amount_of(text: str) -> dict[str, Any] | None:
    """Return the money that a text such as `120.00 EUR` states, or None."""
    match = AMOUNT.fullmatch(text)
    try:
        return None if match is None else money(Fraction(match[1]), match[2])
    except ValueError:
        return None


@dataclass
class EventReader:
    """Makes events of the nodes of a test. Offsets count by topic."""

    contracts: Contracts
    codec: Codec
    offsets: dict[str, int] = field(default_factory=dict)

    def read(
        self, sheet: Sheet, contract: Contract, node: Node, *, name: str, occurred_at: Micros, arrives: Micros
    ) -> Given | None:
        """Return the event of a timeline's entry, or None; every mistake becomes a diagnostic."""
        data_node = node.get("data")
        if data_node is not None and data_node.kind != "map":
            sheet.wrong(data_node, "R006", "'data' is a mapping of the event's fields")
            return None
        draft = _Draft(sheet, occurred_at, {"": node, "/data": data_node or node})
        draft.places |= {f"/{key.text}": value for key, value in node.entries if key.text in ("id", "source")}
        data = draft.record(contract.fields, data_node, "/data", ())
        for side in ("before", "after") if contract.is_change else ():
            if isinstance(data.get(side), dict):
                # Sources say how much of a row they show; a test that writes one means all of it.
                data.setdefault(f"{side}_coverage", "FULL")
        source_node = node.get("source")
        source = sheet.text(source_node, "source") if source_node else contract.owner.removeprefix("team-")
        event = {"id": name, "source": source or "test", "time": rfc3339(occurred_at), "data": data}
        try:
            key, value = self.codec.encode(contract.type, from_json(contract, event))
            offset = self.offsets.get(contract.topic, 0)
            decoded = self.codec.decode(LogRecord(contract.topic, 0, offset, arrives, key, value))
        except NotAnEvent as fault:
            for mistake in fault.mistakes:
                where = draft.place(mistake.pointer)
                what = mistake.pointer.removeprefix("/data").strip("/").replace("/", ".")
                sheet.wrong(where, "T101", f"{contract.type}: '{what}' {_said(mistake.text)}", mistake.hint)
            return None
        except BadContract as fault:
            sheet.wrong(node, "T101", f"{contract.type}: {fault.detail[:200]}")
            return None
        if draft.failed or source is None:
            return None
        self.offsets[contract.topic] = offset + 1
        return Given(decoded, frozenset(draft.unset))


def _said(text: str) -> str:
    """Return what the contract's check says, in the words of people who write tests."""
    return {"there is no such field": "is no field of it"}.get(text, text)


@dataclass
class _Draft:
    """One event's data while it is read."""

    sheet: Sheet
    at: Micros
    places: dict[str, Node]
    """By JSON pointer."""
    unset: set[Path] = field(default_factory=set)
    failed: bool = False

    def place(self, pointer: str) -> Node:
        """Return the node of a pointer, or the nearest that holds it."""
        while pointer not in self.places:
            pointer = pointer.rpartition("/")[0]
        return self.places[pointer]

    def record(
        self, fields: Mapping[str, Field], node: Node | None, pointer: str, path: Path, *, gaps: bool = True
    ) -> dict[str, Any]:
        """Return the values of a record, with fillers for what is needed and left out."""
        found: dict[str, Any] = {}
        for key, value in node.entries if node is not None else ():
            known = fields.get(key.text)
            self.places[f"{pointer}/{key.text}"] = key if known is None else value
            kind = None if known is None else known.type
            found[key.text] = self.value(kind, value, f"{pointer}/{key.text}", (*path, key.text))
        for name, one in fields.items():
            if gaps and name not in found and one.default is NO_DEFAULT:
                found[name] = self.filler(one.type, one.example)
                self.unset.add((*path, name))
        return found

    def value(self, kind: Type | None, node: Node, pointer: str, path: Path) -> Any:
        """Return one value as plain JSON has it."""
        name = "" if kind is None else kind.kind
        if node.kind == "map":
            # An amount is written whole: half of one is a mistake, no gap.
            return self.record({} if kind is None else kind.fields, node, pointer, path, gaps=name != "money")
        if node.kind == "list":
            item = None if kind is None else kind.item
            for number, one in enumerate(node.items):
                self.places[f"{pointer}/{number}"] = one
            parts = enumerate(node.items)
            return [self.value(item, one, f"{pointer}/{number}", (*path, str(number))) for number, one in parts]
        if name == "money" and node.value is not None:
            return self.amount(node)
        if name == "timestamp" and node.text[:1] in ("+", "-"):
            span = parse_duration(node.text[1:])
            at = None if span is None else self.at + (span if node.text[0] == "+" else -span)
            return node.text if at is None or not 0 < at < LAST else rfc3339(at)
        if name == "string" and isinstance(node.value, (int, Fraction)) and not isinstance(node.value, bool):
            self.wrong(node, f'a text is needed here: write "{node.text}"')
            return node.text
        return float(node.value) if isinstance(node.value, Fraction) else node.value

    def amount(self, node: Node) -> Any:
        """Return an amount of a scalar."""
        found = amount_of(node.text)
        if found is None:
            self.wrong(node, "an amount is needed here, as 120.00 EUR or {amount_minor: 12000, currency: EUR}")
            return {"amount_minor": 0, "currency": "EUR"}
        return found

    def wrong(self, node: Node, text: str) -> None:
        """Add a mistake that the contract's own check would tell in other words."""
        self.sheet.wrong(node, "T101", text)
        self.failed = True

    def filler(self, kind: Type, example: Any) -> Any:
        """Return any valid value."""
        if example is not None:
            return example
        match kind.kind:
            case "record" | "money":
                needed = {name: one for name, one in kind.fields.items() if one.default is NO_DEFAULT}
                return {name: self.filler(one.type, one.example) for name, one in needed.items()}
            case "enum":
                return kind.symbols[-1]
            case "timestamp":
                return rfc3339(self.at)
            case "string":
                return "unset"
            case "boolean":
                return False
            case "array":
                return []
            case "map":
                return {}
            case _:
                return 0
