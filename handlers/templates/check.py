"""Holds a template against the types of its values: names, fields, filters, and what may be null."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from handlers.templates.faults import Problem
from handlers.templates.filters import FILTERS, TEXTS
from handlers.templates.source import Source
from handlers.templates.speak import BOOLEAN, LONG, STRING, WORDINGS, WORDS, family
from handlers.templates.tree import (
    Both,
    Compared,
    Condition,
    Const,
    Either,
    Filtered,
    If,
    Loop,
    Not,
    Path,
    Show,
    Tree,
    Value,
)
from tidings.contract import Field, Type

CURRENCY = {"currency": Field("currency", STRING)}
LOOP = Type("record", fields={
    "index": Field("index", LONG), "first": Field("first", BOOLEAN), "last": Field("last", BOOLEAN),
})  # fmt: skip
Known = frozenset[tuple[str, ...]]
"""Paths that certainly have a value here."""


class Checker:
    """Collects what is wrong in the trees of one message."""

    def __init__(self, source: Source, types: Mapping[str, Type]) -> None:
        self.source = source
        self.types = dict(types)
        self.problems: dict[Problem, None] = {}

    def tell(self, code: str, text: str, at: int, hint: str | None = None, *, warning: bool = False) -> None:
        """Write down a problem, once."""
        line, column = self.source.place(at)
        self.problems[Problem(code, text, line, column, hint, "warning" if warning else "error")] = None

    def tree(self, tree: Tree, known: Known = frozenset()) -> None:
        """Check everything below."""
        for node in tree:
            if isinstance(node, Show):
                self._show(node, known)
            elif isinstance(node, If):
                self._question(node, known)
            elif isinstance(node, Loop):
                self._loop(node, known)

    def _question(self, node: If, known: Known) -> None:
        for condition, body in node.branches:
            self._condition(condition, known)
            self.tree(body, known | facts(condition, holds=True))
            known |= facts(condition, holds=False)
        self.tree(node.otherwise, known)

    def _loop(self, node: Loop, known: Known) -> None:
        found = self._path(node.items)
        if found is not None and found[0].kind != "array":
            self.tell("R123", f"'{node.items}' is {WORDS[found[0].kind]}, not a list", node.items.at[0])
            found = None
        elif found is not None and found[1] and node.otherwise is None:
            self._nullable(node.items, known)
        kept = {name: self.types.get(name) for name in (node.name, "loop")}
        item = found[0].item if found is not None else None
        self.types |= {node.name: item if item is not None else UNKNOWN, "loop": LOOP}
        inside = frozenset(path for path in known if path[0] != node.name)
        self.tree(node.body, inside)
        for name, former in kept.items():
            del self.types[name]
            if former is not None:
                self.types[name] = former
        self.tree(node.otherwise or (), known)

    def _show(self, node: Show, known: Known) -> None:
        type_ = self._value(node.value, known, asked=False)
        if type_ is None or type_ is UNKNOWN:
            return
        if type_.kind not in WORDINGS:
            text, hint = self._unshown(node.value, type_)
            self.tell("R123", text, node.at, hint)
        elif node.in_url and type_.kind not in (*TEXTS, "long"):
            self.tell("R123", f"a link may hold texts and whole numbers, not {WORDS[type_.kind]}", node.at)

    def _unshown(self, value: Value, type_: Type) -> tuple[str, str | None]:
        name = str(value) if isinstance(value, Path) else "this"
        if type_.kind == "boolean":
            return f"'{name}' is a yes or no; ask with {{% if {name} %}}", None
        if type_.kind == "array":
            return f"'{name}' is a list; use a loop, or join", f"{name}|join"
        fields = ", ".join(list(type_.fields)[:8])
        return f"'{name}' is a record; name one of its fields: {fields}", None

    def _value(self, value: Value, known: Known, *, asked: bool) -> Type | None:
        """Return the type after all filters; None where something is wrong or unknown. `asked`: null is dealt with."""
        if isinstance(value, Const):
            return constant(value.value)
        if isinstance(value, Path):
            found = self._path(value)
            if found is None:
                return None
            if found[1] and not asked:
                self._nullable(value, known)
            return found[0]
        inner = self._value(value.inner, known, asked=asked or value.name == "default")
        if inner is None or inner is UNKNOWN:
            return STRING if value.name != "default" else None
        return self._filtered(value, inner)

    def _filtered(self, value: Filtered, inner: Type) -> Type | None:
        wanted = FILTERS[value.name]
        if inner.kind not in wanted.takes:
            fit = [name for name, one in FILTERS.items() if inner.kind in one.takes and name != "default"]
            hint = fit[0] if len(fit) == 1 else None
            self.tell("R123", f"'{value.name}' cannot be used on {WORDS[inner.kind]}: {wanted.usage}", value.at, hint)
            return None
        if value.name == "join" and inner.item is not None:
            if inner.item.kind not in WORDINGS:
                self.tell("R123", f"'join' joins texts, numbers and times, not {WORDS[inner.item.kind]}s", value.at)
                return None
            return STRING
        # What stands in for a missing value is a text; so is the value from there on.
        return inner if value.name == "default" and inner.kind in TEXTS else STRING

    def _path(self, path: Path) -> tuple[Type, bool] | None:
        """Return the type at the end of a path, and whether it may be null; None where there is none."""
        name = path.parts[0]
        type_ = self.types.get(name)
        if type_ is None:
            text = f"the template needs '{name}', which 'with' does not give"
            self.tell("R122", text, path.at[0], _near(name, self.types))
            return None
        nullable = type_.nullable
        for number, part in enumerate(path.parts[1:], 1):
            if type_ is UNKNOWN:
                return UNKNOWN, False
            before = ".".join(path.parts[:number])
            fields = CURRENCY if type_.kind == "money" else type_.fields
            if type_.kind == "map":
                type_, nullable = type_.item or UNKNOWN, True
            elif part in fields:
                type_ = fields[part].type
                nullable = nullable or type_.nullable
            elif type_.kind == "record" and not fields:
                return UNKNOWN, False
            else:
                text = f"'{before}' is {WORDS[type_.kind]} and has no field '{part}'"
                near = _near(part, fields)
                self.tell("R123", text, path.at[number], f"{before}.{near}" if near else None)
                return None
        return type_, nullable

    def _nullable(self, path: Path, known: Known) -> None:
        if path.parts in known:
            return
        text = f"'{path}' may be null, and then the message is not sent"
        self.tell("R125", text, path.at[0], f'{path}|default("…")', warning=True)

    def _condition(self, condition: Condition, known: Known) -> None:
        if isinstance(condition, Path):
            self._path(condition)
        elif isinstance(condition, Not):
            self._condition(condition.inner, known)
        elif isinstance(condition, (Both, Either)):
            self._condition(condition.left, known)
            self._condition(condition.right, known | facts(condition.left, holds=isinstance(condition, Both)))
        elif isinstance(condition, Compared):
            self._compared(condition, known)

    def _compared(self, asked: Compared, known: Known) -> None:
        left, right = self._side(asked.left, known), self._side(asked.right, known)
        if left is None or right is None or UNKNOWN in (left, right):
            return
        families = {family(left.kind), family(right.kind)}
        if len(families) != 1 or "" in families:
            names = f"{WORDS[left.kind]} is not compared with {WORDS[right.kind]}"
            if "money" in (left.kind, right.kind):
                names = "amounts are not compared here; the rule's conditions do, and 'with' gives the answer"
            self.tell("R123", names, asked.at)
        elif asked.sign not in ("==", "!=", "in", "not in") and families <= {"text", "boolean"}:
            self.tell("R123", f"'{asked.sign}' compares numbers and times, not {WORDS[left.kind]}", asked.at)
        for one, other in ((left, asked.right), (right, asked.left)):
            if one.kind == "enum" and isinstance(other, Const):
                self._symbols(one, other)

    def _symbols(self, type_: Type, other: Const) -> None:
        for value in other.value if isinstance(other.value, tuple) else (other.value,):
            if type_.symbols and value not in type_.symbols:
                text = f"{value!r} is none of {', '.join(type_.symbols)}"
                self.tell("R123", text, other.at, _near(str(value), type_.symbols))

    def _side(self, side: Path | Const, known: Known) -> Type | None:
        if isinstance(side, Path):
            return self._value(side, known, asked=False)
        if isinstance(side.value, tuple):
            types = {one.kind: one for one in map(constant, side.value)}
            return next(iter(types.values())) if len(types) == 1 else UNKNOWN
        return constant(side.value)


UNKNOWN = Type("record", name="?")
"""The type of what no contract describes."""


def constant(value: object) -> Type:
    """Return the type of a value in a template."""
    if isinstance(value, bool):
        return BOOLEAN
    return STRING if isinstance(value, str) else LONG if isinstance(value, int) else Type("double")


def facts(condition: Condition, *, holds: bool) -> Known:
    """Return the paths that have a value where a condition holds, or does not."""
    if isinstance(condition, Path):
        return _prefixes(condition) if holds else frozenset()
    if isinstance(condition, Not):
        return facts(condition.inner, holds=not holds)
    if isinstance(condition, (Both, Either)):
        left, right = facts(condition.left, holds=holds), facts(condition.right, holds=holds)
        return left | right if isinstance(condition, Both) == holds else left & right
    if isinstance(condition, Compared):
        # Had a side been missing, the message would not have come this far.
        sides = (condition.left, condition.right)
        return frozenset[tuple[str, ...]]().union(*(_prefixes(side) for side in sides if isinstance(side, Path)))
    return frozenset()


def _prefixes(path: Path) -> Known:
    return frozenset(path.parts[:size] for size in range(1, len(path.parts) + 1))


def _near(name: str, among: Iterable[str]) -> str | None:
    near = get_close_matches(name, [one for one in among if one != "loop"], 1)
    return near[0] if near else None
