"""Types of conditions, against the contract: every mistake at once, with a place and a suggestion.

A checked tree carries the kind of each node and whether it may be null; both compilers read only that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fractions import Fraction
from typing import Any

from handlers.rules.conditions import amounts
from handlers.rules.conditions.problems import Problem
from handlers.rules.conditions.syntax import Node, parse_duration, parse_instant
from tidings.contract import Field, Type
from tidings.money import money

KINDS = {
    "string": "string", "long": "number", "double": "number", "boolean": "bool", "enum": "string",
    "timestamp": "timestamp", "duration": "duration", "money": "money", "record": "record", "array": "list", "map": "record",
}  # fmt: skip
WORDS = {"bool": "true or false", "number": "a number", "string": "a text", "timestamp": "a time", "money": "an amount of money",
         "duration": "a duration", "record": "a record", "list": "a list", "null": "null"}  # fmt: skip

EVENT: Mapping[str, Type] = {
    "id": Type("string"), "type": Type("string"), "source": Type("string"), "subject": Type("string", nullable=True),
    "time": Type("timestamp"), "tenant": Type("string"),
}  # fmt: skip

FUNCTIONS_LATER = ("business_days",)
"""Functions of the language that are not built yet."""
FUNCTIONS = ("has", "duration", "timestamp", "money", "size", "startsWith", "endsWith", "contains", "lowerAscii")

Path = tuple[str, ...]


@dataclass(frozen=True)
class Scope:
    """What an expression may name: the fields of the event's payload, `event`, `params`, images, named conditions."""

    fields: Mapping[str, Field]
    params: Mapping[str, Type] = field(default_factory=dict)
    images: Mapping[str, Field] = field(default_factory=dict)
    """Other entities that the rule reads, by their alias."""
    named: Mapping[str, Named] = field(default_factory=dict)
    type: str = ""
    """Of the event; a named condition is about some types only."""
    known: frozenset[Path] = frozenset()
    """Paths that are not null where the expression is asked."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Names that have a meaning, but not here: with the reason."""
    blind: bool = False
    """A file of named conditions could not be read: a name that is near to nothing may stand there."""

    @property
    def names(self) -> Mapping[str, Field]:
        """Fields and images; an alias never shadows a field."""
        return {**self.fields, **self.images} if self.images else self.fields


@dataclass(frozen=True)
class Named:
    """A named condition, checked against every event type that it is about."""

    name: str
    source: str
    on: tuple[str, ...]
    trees: Mapping[str, Typed]
    """By event type; a type is left out where the condition has mistakes, which are told where it stands."""
    reads: frozenset[Path] = frozenset()


@dataclass(frozen=True, slots=True)
class Typed:
    """A checked node. `kind` is one of `KINDS`' values, `null`, or `any` after a mistake."""

    node: Node
    kind: str
    nullable: bool = False
    symbols: tuple[str, ...] = ()
    value: Any = None
    """The value of a constant."""
    constant: bool = False
    children: tuple[Typed, ...] = ()
    type: Type | None = None


@dataclass
class Checker:
    """Checks one tree; `problems`, `reads` and `params` are what it found."""

    scope: Scope
    problems: list[Problem] = field(default_factory=list)
    reads: set[Path] = field(default_factory=set)
    params: set[str] = field(default_factory=set)
    broken: bool = False
    """It names a condition that has mistakes of its own."""

    def problem(
        self, node: Node, text: str, *, code: str = "R101", hint: str | None = None, warn: bool = False
    ) -> None:
        """Note a mistake at a node."""
        severity = "warning" if warn else "error"
        self.problems.append(Problem(code, text, node.offset, node.length, hint, severity))  # type: ignore[arg-type]

    def check(self, node: Node, known: frozenset[Path] = frozenset()) -> Typed:
        """Return the typed node; `known` are paths that a `has` has shown not to be null."""
        return getattr(self, f"_{node.kind}")(node, known)  # type: ignore[no-any-return]

    def _literal(self, node: Node, _: frozenset[Path]) -> Typed:
        return Typed(node, node.op, node.op == "null", value=node.value, constant=True)

    def _list(self, node: Node, known: frozenset[Path]) -> Typed:
        items = tuple(self.check(child, known) for child in node.children)
        for item in items:
            if not item.constant or item.kind == "null":
                self.problem(item.node, "a list holds plain values only")
        kinds = {item.kind for item in items} - {"any"}
        if len(kinds) > 1:
            self.problem(node, f"a list holds one kind of value, not {' and '.join(sorted(kinds))}")
        return Typed(node, "list", children=items, value=tuple(item.value for item in items), constant=True)

    def _path(self, node: Node, known: frozenset[Path]) -> Typed:
        path: Path = node.value
        if path[0] == "params":
            return self._param(node, path)
        if path[0] == "event":
            return self._event(node, path, known)
        fields: Mapping[str, Field] = self.scope.names
        nullable = False
        kind: Type | None = None
        for depth, name in enumerate(path):
            if name not in fields:
                where = f"{'.'.join(path[:depth])} has" if depth else "the event has"
                options = [*fields, *(() if depth else ("event", "params", *self._conditions()))]
                if not depth and name in self.scope.elsewhere:
                    self.problem(node, self.scope.elsewhere[name])
                    return Typed(node, "any")
                near = get_close_matches(name, options, 1, 0.8 if self.scope.blind else 0.6)
                if self.scope.blind and len(path) == 1 and not near:
                    self.broken = True
                    return Typed(node, "any")
                self.problem(
                    node, f"{where} no field {name!r}", hint=".".join((*path[:depth], near[0])) if near else None
                )
                return Typed(node, "any")
            kind = fields[name].type
            nullable = (nullable or kind.nullable) and path[: depth + 1] not in known
            fields = kind.fields if kind.kind == "record" else {}
        assert kind is not None
        self.reads.add(path)
        return Typed(node, KINDS[kind.kind], nullable, kind.symbols, type=kind)

    def _conditions(self) -> list[str]:
        return [name for name, named in self.scope.named.items() if self.scope.type in named.on]

    def _named(self, node: Node, _: frozenset[Path]) -> Typed:
        named: Named = node.value
        if self.scope.type not in named.on:
            about = " and ".join(named.on)
            self.problem(
                node, f"the condition '{named.name}' is about {about}, not about {self.scope.type}", code="R110"
            )
            return Typed(node, "any")
        tree = named.trees.get(self.scope.type)
        if tree is None:
            self.broken = True
            return Typed(node, "any")
        self.reads |= named.reads
        return Typed(node, "bool", tree.nullable, children=(tree,))

    def _param(self, node: Node, path: Path) -> Typed:
        if len(path) != 2 or path[1] not in self.scope.params:  # noqa: PLR2004 - params.name
            near = get_close_matches(path[1] if len(path) > 1 else "", list(self.scope.params), 1)
            self.problem(
                node, f"there is no parameter {'.'.join(path[1:])!r}", hint=f"params.{near[0]}" if near else None
            )
            return Typed(node, "any")
        self.params.add(path[1])
        kind = self.scope.params[path[1]]
        return Typed(node, KINDS[kind.kind], type=kind)

    def _event(self, node: Node, path: Path, known: frozenset[Path]) -> Typed:
        if len(path) != 2 or path[1] not in EVENT:  # noqa: PLR2004 - event.name
            near = get_close_matches(path[1] if len(path) > 1 else "", list(EVENT), 1)
            text = f"event has {', '.join(EVENT)}; not {'.'.join(path[1:])!r}"
            self.problem(node, text, hint=f"event.{near[0]}" if near else None)
            return Typed(node, "any")
        kind = EVENT[path[1]]
        return Typed(node, KINDS[kind.kind], kind.nullable and path not in known, type=kind)

    def _unary(self, node: Node, known: frozenset[Path]) -> Typed:
        inner = self.check(node.children[0], known)
        if node.op == "!":
            self._need(inner, "bool")
            return Typed(node, "bool", children=(inner,))
        if inner.kind not in ("number", "duration", "money", "any"):
            self.problem(inner.node, f"{WORDS[inner.kind]} has no negative")
        self._guard(inner)
        constant = inner.constant and inner.kind == "number"
        return Typed(
            node,
            inner.kind,
            inner.nullable,
            value=-inner.value if constant else None,
            constant=constant,
            children=(inner,),
        )

    def _binary(self, node: Node, known: frozenset[Path]) -> Typed:
        left_node, right_node = node.children
        if node.op in ("&&", "||"):
            shown = has_paths(left_node) | has_paths(right_node) if node.op == "&&" else frozenset()
            not_shown = absent_paths(left_node) if node.op == "||" else frozenset()
            left = self.check(left_node, known | shown)
            right = self.check(right_node, known | shown | not_shown)
            self._need(left, "bool")
            self._need(right, "bool")
            return Typed(node, "bool", children=(left, right))
        left, right = self.check(left_node, known), self.check(right_node, known)
        if node.op == "in":
            return self._in(node, left, right)
        if node.op in ("==", "!=", "<", "<=", ">", ">="):
            return self._comparison(node, left, right)
        return self._arithmetic(node, left, right)

    def _in(self, node: Node, left: Typed, right: Typed) -> Typed:
        if right.kind not in ("list", "any"):
            self.problem(right.node, f"'in' needs a list, as in x in [1, 2]; this is {WORDS[right.kind]}")
        elif right.children:
            for item in right.children:
                self._comparable(node, left, item)
        elif right.type is not None and right.type.item is not None:
            item_type = right.type.item
            item = Typed(right.node, KINDS[item_type.kind], symbols=item_type.symbols, type=item_type)
            self._comparable(node, left, item)
        self._guard(left)
        return Typed(node, "bool", children=(left, right))

    def _comparison(self, node: Node, left: Typed, right: Typed) -> Typed:
        if "null" in (left.kind, right.kind):
            if node.op not in ("==", "!="):
                self.problem(node, "null has no order; ask == null or has(…)")
        else:
            self._comparable(node, left, right)
            self._guard(left)
            self._guard(right)
            if left.constant and right.constant and "any" not in (left.kind, right.kind):
                self.problem(node, "both sides are constant", code="R204", warn=True)
        return Typed(node, "bool", children=(left, right))

    def _comparable(self, node: Node, left: Typed, right: Typed) -> None:
        kinds = {left.kind, right.kind}
        if "any" in kinds:
            return
        if len(kinds) > 1:
            hints = [amounts.meant(one.node) for one in (left, right) if "money" in kinds]
            hint = next((one for one in hints if one is not None), None)
            self.problem(node, f"{WORDS[left.kind]} cannot be compared with {WORDS[right.kind]}", hint=hint)
            return
        if left.kind in ("record", "list") or (left.kind == "bool" and node.op not in ("==", "!=", "in")):
            self.problem(
                node, f"{WORDS[left.kind]} has no order" if node.op not in ("==", "!=") else "records are not compared"
            )
        for one, other in ((left, right), (right, left)):
            if one.symbols and other.constant and other.value not in one.symbols:
                near = get_close_matches(str(other.value), one.symbols, 1)
                text = f"{other.value!r} is none of {', '.join(one.symbols)}"
                self.problem(other.node, text, hint=repr(near[0]) if near else None)

    def _arithmetic(self, node: Node, left: Typed, right: Typed) -> Typed:
        self._guard(left)
        self._guard(right)
        nullable = left.nullable or right.nullable or node.op in "/%"
        if "any" in (left.kind, right.kind):
            return Typed(node, "any", nullable, children=(left, right))
        result = ARITHMETIC.get((left.kind, node.op, right.kind))
        if result is None:
            self.problem(node, f"{WORDS[left.kind]} {node.op} {WORDS[right.kind]} has no meaning")
            return Typed(node, "any", children=(left, right))
        return Typed(node, result, nullable or result == "money", children=(left, right))

    def _ternary(self, node: Node, known: frozenset[Path]) -> Typed:
        condition = self.check(node.children[0], known)
        self._need(condition, "bool")
        then = self.check(node.children[1], known | has_paths(node.children[0]))
        other = self.check(node.children[2], known | absent_paths(node.children[0]))
        kinds = {then.kind, other.kind} - {"any", "null"}
        if len(kinds) > 1:
            self.problem(node, f"the branches are {WORDS[then.kind]} and {WORDS[other.kind]}")
        return Typed(node, min(kinds, default="any"), True, children=(condition, then, other))

    def _call(self, node: Node, known: frozenset[Path]) -> Typed:
        is_function = node.value == "function"
        if node.op in FUNCTIONS_LATER:
            self.problem(node, f"'{node.op}' is part of the language, but not built yet", code="R010")
            return Typed(node, "any")
        if node.op not in FUNCTIONS:
            near = get_close_matches(node.op, FUNCTIONS, 1)
            self.problem(node, f"there is no function {node.op!r}", hint=near[0] if near else None)
            return Typed(node, "any")
        if node.op in ("has", "duration", "timestamp", "money"):
            if not is_function:
                self.problem(node, f"{node.op} is no method; write {node.op}(…)")
                return Typed(node, "any")
            return self._has(node) if node.op == "has" else self._constant(node)
        arguments = tuple(self.check(child, known) for child in node.children)
        wanted = 2 if node.op in ("startsWith", "endsWith", "contains") else 1
        if len(arguments) != wanted:
            self.problem(node, f"{node.op} takes {wanted - 1 or 'no'} argument{'s' * (wanted != 2)} after the dot")  # noqa: PLR2004
            return Typed(node, "any")
        for argument in arguments:
            if not (node.op == "size" and argument.kind == "list"):
                self._need(argument, "string")
            self._guard(argument)
        kind = {"size": "number", "lowerAscii": "string"}.get(node.op, "bool")
        return Typed(node, kind, any(argument.nullable for argument in arguments), children=arguments)

    def _has(self, node: Node) -> Typed:
        if len(node.children) != 1 or node.children[0].kind != "path":
            self.problem(node, "has(…) takes one field, as in has(before.plan)")
            return Typed(node, "bool")
        inner = self.check(node.children[0])
        if inner.kind != "any" and not inner.nullable:
            self.problem(node, f"{'.'.join(inner.node.value)} is never null", code="R204", warn=True)
        return Typed(node, "bool", children=(inner,))

    def _constant(self, node: Node) -> Typed:
        plain = ("number", "string")
        values = [c.value if c.kind == "literal" and c.op in plain else None for c in node.children]
        found: Any = None
        if node.op == "money":
            text = 'money takes a number and a currency, as in money(50, "EUR")'
            match values:
                case [int() | Fraction() as amount, str() as currency] if not isinstance(amount, bool):
                    if len(currency) == 3 and currency.isascii() and currency.isupper():  # noqa: PLR2004 - ISO 4217
                        try:
                            found = money(amount, currency)
                        except ValueError as fault:
                            text = str(fault)
                    else:
                        text = f"{currency!r} is no ISO 4217 currency"
        elif len(values) == 1 and isinstance(values[0], str):
            found = parse_duration(values[0]) if node.op == "duration" else parse_instant(values[0])
            text = f"{values[0]!r} is no {node.op}"
        else:
            example = '"90m"' if node.op == "duration" else '"2026-03-05T10:00:00Z"'
            text = f"{node.op} takes a text, as in {node.op}({example})"
        if found is None:
            self.problem(node, text)
            return Typed(node, "any")
        return Typed(node, node.op, value=found, constant=True)

    def _need(self, typed: Typed, kind: str) -> None:
        if typed.kind not in (kind, "any"):
            self.problem(typed.node, f"this is {WORDS[typed.kind]}; {WORDS[kind]} is needed")

    def _guard(self, typed: Typed) -> None:
        if typed.nullable and typed.node.kind == "path":
            name = ".".join(typed.node.value)
            self.problem(
                typed.node,
                f"{name} may be null; then this is unknown",
                code="R203",
                hint=f"has({name}) && …",
                warn=True,
            )


_SAME = {(kind, op, kind): kind for kind in ("number", "duration", "money") for op in "+-"}
ARITHMETIC: Mapping[tuple[str, str, str], str] = {
    **_SAME,
    **{("number", op, "number"): "number" for op in "*/%"},
    ("string", "+", "string"): "string",
    ("timestamp", "+", "duration"): "timestamp", ("duration", "+", "timestamp"): "timestamp",
    ("timestamp", "-", "duration"): "timestamp", ("timestamp", "-", "timestamp"): "duration",
    ("duration", "*", "number"): "duration", ("number", "*", "duration"): "duration",
    ("duration", "/", "number"): "duration", ("duration", "/", "duration"): "number",
    ("money", "*", "number"): "money", ("number", "*", "money"): "money",
    ("money", "/", "number"): "money", ("money", "/", "money"): "number",
}  # fmt: skip


def with_names(node: Node, scope: Scope) -> Node:
    """Return the tree with the names of conditions resolved; a field goes before a condition of the same name."""
    if not scope.named:
        return node
    if node.kind == "path" and len(node.value) == 1:
        named = scope.named.get(node.value[0])
        if named is None or named.name in scope.names:
            return node
        tree = named.trees.get(scope.type)
        return Node("named", node.offset, node.length, named.name, named, () if tree is None else (tree.node,))
    if not node.children:
        return node
    return replace(node, children=tuple(with_names(child, scope) for child in node.children))


def has_paths(node: Node) -> frozenset[Path]:
    """Return the paths that are certainly not null where `node` is true."""
    if node.kind == "call" and node.op == "has" and len(node.children) == 1 and node.children[0].kind == "path":
        path = node.children[0].value
        return frozenset(path[:end] for end in range(1, len(path) + 1))
    if node.kind == "binary" and node.op == "&&":
        return has_paths(node.children[0]) | has_paths(node.children[1])
    if node.kind == "binary" and node.op == "!=":
        return asked_for_null(node)
    if node.kind == "unary" and node.op == "!":
        return absent_paths(node.children[0])
    return _of_name(node, has_paths)


def absent_paths(node: Node) -> frozenset[Path]:
    """Return the paths that are certainly not null where `node` is false."""
    if node.kind == "unary" and node.op == "!":
        return has_paths(node.children[0])
    if node.kind == "binary" and node.op == "||":
        return absent_paths(node.children[0]) | absent_paths(node.children[1])
    if node.kind == "binary" and node.op == "==":
        return asked_for_null(node)
    return _of_name(node, absent_paths)


def _of_name(node: Node, paths: Callable[[Node], frozenset[Path]]) -> frozenset[Path]:
    return paths(node.children[0]) if node.kind == "named" and node.children else frozenset()


def asked_for_null(node: Node) -> frozenset[Path]:
    """Return the path that is compared with null, on either side, and the paths on the way to it."""
    for side, other in (node.children, node.children[::-1]):
        if other.kind == "literal" and other.op == "null" and side.kind == "path":
            return frozenset(side.value[:end] for end in range(1, len(side.value) + 1))
    return frozenset()
