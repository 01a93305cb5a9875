"""A rule while it is built: what it may name, what it has read so far, and how its expressions are compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from handlers.rules.conditions import Compiled, Path, Scope, compile_value
from handlers.rules.directory import Directory
from handlers.rules.names import Sight
from handlers.rules.shape import Shape
from handlers.rules.yaml import Node
from handlers.templates import Template
from tidings.contract import Contract, Field, Type
from tidings.outcomes import OURS
from tidings.rule import Reading, To

KEY_KINDS = ("string", "long", "enum", "boolean")
"""Kinds of which a key may be."""


@dataclass(frozen=True)
class Known:
    """What the rules of every file may name."""

    contracts: Mapping[str, Contract]
    entities: Mapping[str, Contract]
    """The contract that owns the image of an entity, by the entity's name."""
    directory: Directory
    templates: Mapping[str, Template]
    template_names: frozenset[str]
    """Those with mistakes as well."""
    variants: Mapping[str, tuple[str, ...]]
    """By the name of a template: that name, and those of its languages."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Of the templates."""

    def line(self, name: str, number: int) -> str:
        """Return a line of a template, as diagnostics show it."""
        lines = self.sources.get(name, "").splitlines()
        return lines[number - 1][:200] if 0 < number <= len(lines) else ""


@dataclass
class Draft:
    """A rule while it is built."""

    shape: Shape
    known: Known
    sight: Sight
    scope: Scope = field(default_factory=lambda: Scope({}))
    """What the conditions of this file may name, but for the fields of an event."""
    node: Node = field(default_factory=lambda: Node(1, 1, "map"))
    params: dict[str, Any] = field(default_factory=dict)
    types: dict[str, Type] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    """Parameters that something reads."""
    read: set[str] = field(default_factory=set)
    """Top-level names that something reads."""
    images: dict[str, Field] = field(default_factory=dict)
    """Other entities that the rule reads, by alias."""
    readings: tuple[Reading, ...] = ()
    arming: Contract | None = None
    """Of the event that the rule speaks of."""
    holds: frozenset[Path] = frozenset()
    """Paths of that event that are not null when the rule fires."""
    kept: set[str] = field(default_factory=set)
    """Top-level names that are read when the rule fires, or later."""
    lasting: set[str] = field(default_factory=set)
    """Those of them that are read when a firing is taken back."""
    to: To = field(default_factory=To)
    consent: str = "transactional"

    def contract(self, node: Node | None, owner: Node) -> Contract | None:
        """Return the contract that a node names."""
        name = self.shape.text(node, "event", owner)
        if not name or node is None:
            return None
        contract = self.known.contracts.get(name)
        if contract is None or name.startswith(OURS):
            self.shape.no_event(node, self.known.contracts)
            return None
        return contract

    def expression(
        self, node: Node | None, contract: Contract, expected: Sequence[str] = (), *,
        known: frozenset[Path] = frozenset(),
    ) -> Compiled | None:  # fmt: skip
        """Compile an expression over an event; its problems become diagnostics at their places in the file.

        What the rule reads of other entities is there only where the event is the one that the rule speaks of: their
        keys come from its payload.
        """
        if node is None:
            return None
        if node.kind != "scalar":
            self.shape.wrong(node, "R006", "an expression is needed here")
            return None
        scope = replace(self.scope, fields=contract.fields, params=self.types, type=contract.type, known=known)
        if contract is self.arming:
            scope = replace(scope, images=self.images)
        elif self.images and self.arming is not None:
            reason = f"is read beside {self.arming.type} only, whose fields name it"
            scope = replace(scope, elsewhere={alias: f"'{alias}' {reason}" for alias in self.images})
        found = compile_value(node.text, scope, expected)
        self.used |= found.params
        self.read |= {path[0] for path in found.reads}
        for problem in found.problems:
            self.shape.problem(node, problem)
        return found if found.ok else None

    def at_firing(
        self, node: Node | None, expected: Sequence[str] = (), *, known: frozenset[Path] = frozenset(),
        lasting: bool = False,
    ) -> Compiled | None:  # fmt: skip
        """Compile an expression that is asked when the rule has fired, over the event that it speaks of.

        `lasting` says that it is asked once more when the firing is taken back.
        """
        if self.arming is None:
            return None
        found = self.expression(node, self.arming, expected, known=self.holds | known)
        if found is not None:
            names = {path[0] for path in found.reads}
            self.kept |= names
            self.lasting |= names if lasting else set()
        return found

    def field_at(self, node: Node, contract: Contract, code: str, *, what: str = "") -> tuple[Path, Type] | None:
        """Return path and type of a field that is named by its path: `customer_id`, `after.plan`."""
        path = tuple(node.text.split(".")) if node.kind == "scalar" else ("",)
        fields: Mapping[str, Field] = contract.fields
        found: Type | None = None
        nullable = False
        for depth, name in enumerate(path):
            if name not in fields:
                near = self.shape.near(name, fields)
                hint = ".".join((*path[:depth], near)) if near else None
                self.shape.wrong(node, code, f"{contract.type} has no field '{node.text}'{what}", hint)
                return None
            found = fields[name].type
            nullable = nullable or found.nullable
            fields = found.fields if found.kind == "record" else {}
        assert found is not None
        return path, Type(found.kind, nullable, found.name, found.symbols, found.fields, found.item)
