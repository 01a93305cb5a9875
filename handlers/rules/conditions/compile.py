"""Compiles a checked condition to Python: functions for "certainly holds", "certainly does not", and its value.

No text of a user ever becomes source: names go through `repr`, every other value through a tuple of constants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import CodeType
from typing import Any

from handlers.rules.conditions import values
from handlers.rules.conditions.check import Typed
from tidings.unknown import UNKNOWN

MAX_CODE = 40_000
"""Generated source beyond this is refused: both branches of nested ternaries are written out."""

EVENT_ATTRIBUTES = {
    "id": "id", "type": "type", "source": "source", "subject": "subject", "time": "occurred_at", "tenant": "tenant",
}  # fmt: skip
HELPERS: Mapping[str, Any] = {
    "U": UNKNOWN, "lt": values.lt, "le": values.le, "gt": values.gt, "ge": values.ge, "eq": values.eq, "ne": values.ne,
    "is_null": values.is_null, "is_in": values.is_in, "arithmetic": values.arithmetic, "negative": values.negative,
    "call": values.call, "of_duration": values.of_duration, "missing": values.missing,
}  # fmt: skip
NAMES = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}
INVERSE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}


class TooComplex(Exception):
    """The generated code would be too large."""


Function = Callable[[Mapping[str, Any], Any, Mapping[str, Any]], Any]


def compiled(tree: Typed) -> tuple[Function, Function, Function]:
    """Return the functions (true, false, value) of (data, event, params).

    Raises:
        TooComplex: the source would exceed `MAX_CODE`.
    """
    writer = _Writer()
    is_bool = tree.kind == "bool"
    parts = {"value": writer.value(tree)}
    if is_bool:
        parts |= {"true": writer.true(tree), "false": writer.false(tree)}
    found: dict[str, Any] = {**HELPERS, "K": tuple(writer.constants), "__builtins__": {}}
    source = "".join(f"def {name}(data, event, params):\n return {part}\n" for name, part in parts.items())
    try:
        exec(_code(source), found)  # noqa: S102 - see the module: no user's text is in it
    except (SyntaxError, RecursionError, MemoryError) as fault:
        raise TooComplex from fault
    return found.get("true", never), found.get("false", never), found["value"]


def never(data: Mapping[str, Any], event: Any, params: Mapping[str, Any]) -> bool:
    """What is no condition holds never, and does not fail to hold."""
    return False


@lru_cache(4096)
def _code(source: str) -> CodeType:
    # Most expressions of a set are fields, and most rules name the same few.
    return compile(source, "<condition>", "exec")


class _Writer:
    def __init__(self) -> None:
        self.constants: list[Any] = []

    def bounded(self, source: str) -> str:
        if len(source) > MAX_CODE:
            raise TooComplex
        return source

    def constant(self, value: Any) -> str:
        if value is None or isinstance(value, bool):
            return repr(value)
        if isinstance(value, int) and abs(value) < 2**63:
            return f"({value})"
        self.constants.append(value)
        return f"K[{len(self.constants) - 1}]"

    def true(self, tree: Typed) -> str:
        return self.bounded(self._truth(tree, positive=True))

    def false(self, tree: Typed) -> str:
        return self.bounded(self._truth(tree, positive=False))

    def _truth(self, tree: Typed, *, positive: bool) -> str:
        node = tree.node
        if tree.constant and node.kind == "literal":
            return repr(tree.value is positive)
        if node.kind == "unary":
            return self._truth(tree.children[0], positive=not positive)
        if node.kind == "named":
            return self._truth(tree.children[0], positive=positive)
        if node.kind == "binary" and node.op in ("&&", "||"):
            word = " and " if (node.op == "&&") is positive else " or "
            # Bounded at every step: a name is short, and what it stands for need not be.
            return self.bounded("(" + word.join(self._truth(one, positive=positive) for one in tree.children) + ")")
        if node.kind == "binary" and node.op in NAMES:
            return self._comparison(tree, positive=positive)
        if node.kind == "ternary":
            condition, then, other = tree.children
            first, second = self._truth(then, positive=positive), self._truth(other, positive=positive)
            return self.bounded(f"({first} if {self.true(condition)} else {self.false(condition)} and {second})")
        if node.kind == "call" and node.op == "has":
            inner = self.value(tree.children[0])
            return f"({inner} is {'not ' if positive else ''}None)"
        return f"({self.value(tree)} is {positive})"

    def _comparison(self, tree: Typed, *, positive: bool) -> str:
        op = tree.node.op
        left, right = tree.children
        if "null" in (left.kind, right.kind):
            other = left if right.kind == "null" else right
            wanted = positive is (op == "==")
            return f"(is_null({self.value(other)}) is {wanted})"
        if is_plain(left) and is_plain(right):
            return f"({self.value(left)} {op if positive else INVERSE[op]} {self.value(right)})"
        return f"({NAMES[op]}({self.value(left)}, {self.value(right)}) is {positive})"

    def value(self, tree: Typed) -> str:
        return self.bounded(self._value(tree))

    def _value(self, tree: Typed) -> str:
        node = tree.node
        if tree.constant and node.kind != "unary":
            return self.constant(tree.value)
        if node.kind in ("path", "named"):
            return self._path(tree) if node.kind == "path" else self._value(tree.children[0])
        if (
            tree.kind == "bool"
            and node.kind != "ternary"
            and not (node.kind == "call" and node.op != "has")
            and node.op != "in"
        ):
            return f"(True if {self.true(tree)} else False if {self.false(tree)} else U)"
        parts = [self.value(child) for child in tree.children]
        if node.kind == "unary":
            return f"negative({parts[0]})"
        if node.op == "in":
            return f"is_in({parts[0]}, {parts[1]})"
        if node.kind == "ternary":
            condition = tree.children[0]
            return f"({parts[1]} if {self.true(condition)} else {parts[2]} if {self.false(condition)} else U)"
        if node.kind == "call":
            return f"call({node.op!r}, {', '.join(parts)})"
        if node.op in "+-" and len(node.op) == 1 and all(is_plain(child) for child in tree.children):
            return f"({parts[0]} {node.op} {parts[1]})"
        result = f"arithmetic({node.op!r}, {parts[0]}, {parts[1]})"
        return f"of_duration({result})" if tree.kind in ("duration", "timestamp") else result

    def _path(self, tree: Typed) -> str:
        path = tree.node.value
        if path[0] == "event":
            return f"event.{EVENT_ATTRIBUTES[path[1]]}"
        if path[0] == "params":
            return f"params[{path[1]!r}]"
        source = f"data.get({path[0]!r})"
        for name in path[1:]:
            # Any part may be null at run time, whatever the contract says of the whole.
            source = f"(None if (x := {source}) is None else x.get({name!r}))"
        return source


def is_plain(tree: Typed) -> bool:
    """Return whether a value can be compared and added as it is: a number or a time that is surely there."""
    if tree.kind not in ("number", "timestamp", "duration"):
        return False
    if tree.constant:
        return isinstance(tree.value, int)
    return tree.node.kind == "path" and tree.node.value[0] in ("event", "params") and not tree.nullable
