"""Interprets a checked condition term by term, for explanations. Slow, and equal to the compiled code (a property)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from handlers.rules.conditions import values
from handlers.rules.conditions.check import Typed
from handlers.rules.conditions.compile import EVENT_ATTRIBUTES
from handlers.rules.conditions.syntax import Node
from tidings.event import DAY, HOUR, MINUTE, SECOND, Event
from tidings.money import major_text
from tidings.unknown import UNKNOWN

FIRST, LAST = -62_135_596_800 * SECOND, 253_402_300_800 * SECOND
"""The years 1 and 10000: Python's calendar has no others."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One term: its text, its value, and the terms that it is made of."""

    source: str
    value: Any
    """UNKNOWN where it cannot be known; then `because` says why."""
    kind: str
    because: str = ""
    parts: tuple[Trace, ...] = ()
    constant: bool = False
    """It stands in the rule as it is, and explains nothing."""
    op: str = ""
    """What joins its parts: `&&`, `<`, `in`, …; `named` where it is the name of a condition."""

    @property
    def shown(self) -> str:
        """The value as a person reads it."""
        return render_value(self.value, self.kind)


def explain(tree: Typed, source: str, data: Mapping[str, Any], event: Event, params: Mapping[str, Any]) -> Trace:
    """Return the value of a condition with every step that led to it."""
    return _Interpreter(source, data, event, params).visit(tree)


@dataclass(frozen=True, slots=True)
class _Interpreter:
    source: str
    data: Mapping[str, Any]
    event: Event
    params: Mapping[str, Any]

    def visit(self, tree: Typed) -> Trace:
        node = tree.node
        text = self.source[node.offset : node.offset + node.length]
        if tree.constant and node.kind != "unary":
            return Trace(text, tree.value, tree.kind, constant=True)
        if node.kind == "path":
            return Trace(text, self._path(node.value), tree.kind)
        if node.kind == "named":
            inner = replace(self, source=node.value.source).visit(tree.children[0])
            return Trace(text, inner.value, tree.kind, inner.because, (inner,), op="named")
        parts = tuple(self.visit(child) for child in tree.children)
        try:
            value = self._value(tree, [part.value for part in parts])
        except Exception:  # noqa: BLE001 - as the compiled code: data that no contract has checked is unknown
            value = UNKNOWN
        because = ""
        if value is UNKNOWN:
            asked = self._taken(node, parts)
            because = next((part.because for part in asked if part.because), "") or self._why(asked)
        return Trace(text, value, tree.kind, because, parts, op=node.op)

    @staticmethod
    def _taken(node: Node, parts: tuple[Trace, ...]) -> tuple[Trace, ...]:
        """Return the parts that decided: of `a ? b : c` the condition, or the branch that it took."""
        if node.kind != "ternary" or values.missing(parts[0].value):
            return parts[:1] if node.kind == "ternary" else parts
        return parts[1:2] if parts[0].value else parts[2:]

    def _path(self, path: tuple[str, ...]) -> Any:
        if path[0] == "event":
            return getattr(self.event, EVENT_ATTRIBUTES[path[1]])
        found: Any = self.params if path[0] == "params" else self.data
        for name in path[1:] if path[0] == "params" else path:
            found = None if found is None else found.get(name)
        return found

    def _why(self, parts: tuple[Trace, ...]) -> str:
        for part in parts:
            if part.value is None:
                return f"{part.source} is null"
        currencies = [
            part.value["currency"] for part in parts if isinstance(part.value, Mapping) and "currency" in part.value
        ]
        if len(set(currencies)) > 1:
            return f"{currencies[0]} and {currencies[1]} are not compared"
        if parts and parts[-1].value == 0:
            return f"{parts[-1].source} is zero"
        return "it cannot be known"

    def _value(self, tree: Typed, found: list[Any]) -> Any:  # noqa: PLR0911 - one line for each kind of node
        node = tree.node
        match node.kind, node.op:
            case "unary", "!":
                return UNKNOWN if values.missing(found[0]) else not found[0]
            case "unary", _:
                return values.negative(found[0])
            case "binary", "&&":
                return _kleene(found, decisive=False)
            case "binary", "||":
                return _kleene(found, decisive=True)
            case "binary", "in":
                return values.is_in(*found)
            case "binary", ("==" | "!=") as op if "null" in (tree.children[0].kind, tree.children[1].kind):
                other = found[0] if tree.children[1].kind == "null" else found[1]
                same = values.is_null(other)
                return same if same is UNKNOWN or op == "==" else not same
            case "binary", op if op in values.ORDERINGS:
                return values.compare(op, *found)
            case "binary", op:
                result = values.arithmetic(op, *found)
                return values.of_duration(result) if tree.kind in ("duration", "timestamp") else result
            case "ternary", _:
                return UNKNOWN if values.missing(found[0]) else found[1] if found[0] else found[2]
            case "call", "has":
                return found[0] is not None
            case _:
                return values.call(node.op, *found)


def _kleene(found: list[Any], *, decisive: bool) -> Any:
    if any(value is decisive for value in found):
        return decisive
    return UNKNOWN if any(values.missing(value) for value in found) else not decisive


def render_value(value: Any, kind: str = "") -> str:  # noqa: PLR0911 - one line for each kind of value
    """Return a value as a person reads it: times in UTC, amounts with their currency."""
    if value is None:
        return "null"
    if value is UNKNOWN:
        return "unknown"
    if isinstance(value, bool):
        return "true" if value else "false"
    if kind == "timestamp":
        if not FIRST <= value < LAST:
            return "beyond all times"
        seconds, rest = divmod(value, SECOND)
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{text}{f'.{rest:06d}'.rstrip('0') if rest else ''}Z"
    if kind == "duration":
        return render_duration(value)
    if isinstance(value, Mapping) and set(value) == {"amount_minor", "currency"}:
        exact = value["amount_minor"]
        if isinstance(exact, int):
            return major_text(value)
        if isinstance(exact, Fraction):
            return f"about {major_text({**value, 'amount_minor': round(exact)})}"
    if isinstance(value, Fraction):
        return f"{float(value):.6g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(render_value(part) for part in value) + "]"
    return str(value) if isinstance(value, int) else repr(value)


def render_duration(micros: int) -> str:
    """Return a duration in the notation of the rules: `1d 2h`."""
    if micros < 0:
        return f"-{render_duration(-micros)}"
    parts = []
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND)):
        count, micros = divmod(micros, size)
        if count:
            parts.append(f"{count}{unit}")
    if micros:
        parts.append(f"{micros}µs")
    return " ".join(parts) or "0s"
