"""Runs a tree on the values of one message.

A value is read by the keys of plain dicts; nothing of an object can be reached. What is missing, null or blank is
`Blank`, unless `default` or `{% if %}` deals with it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from handlers.templates import wording
from handlers.templates.faults import MAX_ITEMS, MAX_RENDERED, Blank, Unshown, exact, is_blank
from handlers.templates.filters import FILTERS, NUMBERS, TEXTS
from handlers.templates.tree import (
    Both,
    Compared,
    Condition,
    Const,
    Count,
    Either,
    Filtered,
    If,
    Loop,
    Not,
    Path,
    Show,
    Text,
    Tree,
    Value,
)
from handlers.templates.wording import Voice
from tidings.contract import Type

STRING = Type("string")
LONG = Type("long")
BOOLEAN = Type("boolean")
MONEY = frozenset({"amount_minor", "currency"})
WORDS = {
    "string": "a text", "enum": "a text", "long": "a number", "double": "a number", "boolean": "a yes or no",
    "timestamp": "a time", "duration": "a duration", "money": "an amount", "record": "a record", "array": "a list",
    "map": "a record",
}  # fmt: skip
"""What each kind of value is called."""
WORDINGS: dict[str, Callable[[Any, Voice], str]] = {
    "string": lambda value, voice: exact(value), "enum": lambda value, voice: exact(value), "long": wording.number,
    "double": wording.number, "timestamp": wording.date_time, "duration": wording.duration, "money": wording.money,
}  # fmt: skip
"""How a kind of value is written where no filter says otherwise."""
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "in": lambda left, right: left in right, "not in": lambda left, right: left not in right,
}  # fmt: skip
EMPHATIC = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""An underscore that Markdown might take for emphasis, in an address that stands in a text."""


@dataclass(slots=True)
class Run:
    """One message while it is written."""

    values: dict[str, Any]
    types: dict[str, Type]
    voice: Voice
    worded: dict[str, str] = field(default_factory=dict)
    """Values that were worded already, by how they are written in the template."""
    counts: dict[str, int] = field(default_factory=dict)
    """The next number of each list."""
    left: int = MAX_RENDERED
    """Characters that may still come."""


def run(tree: Tree, state: Run, escape: Callable[[str], str]) -> str:
    """Return the text of a tree.

    Raises:
        Blank: a value is missing.
        ValueError: a value cannot be shown, or the text grows too long.
    """
    parts: list[str] = []
    _body(tree, state, escape, parts)
    return "".join(parts)


def _body(tree: Tree, state: Run, escape: Callable[[str], str], parts: list[str]) -> None:
    for node in tree:
        if isinstance(node, Text):
            text = node.text
        elif isinstance(node, Show):
            text = _in_url(node.value, state) if node.in_url else escape(_shown(node, state))
        elif isinstance(node, Count):
            text = _count(node, state)
        else:
            if isinstance(node, If):
                _question(node, state, escape, parts)
            else:
                _loop(node, state, escape, parts)
            continue
        state.left -= len(text)
        if state.left < 0:
            told = f"the text would have more than {MAX_RENDERED} characters"
            raise Unshown(told)
        parts.append(text)


def _count(node: Count, state: Run) -> str:
    if node.start is not None:
        state.counts[node.key] = node.start
        return ""
    number = state.counts[node.key]
    state.counts[node.key] = number + 1
    return str(number)


def _question(node: If, state: Run, escape: Callable[[str], str], parts: list[str]) -> None:
    for condition, body in node.branches:
        if _holds(condition, state):
            return _body(body, state, escape, parts)
    return _body(node.otherwise, state, escape, parts)


def _loop(node: Loop, state: Run, escape: Callable[[str], str], parts: list[str]) -> None:
    items, type_ = find(node.items, state)
    if not items:
        if node.otherwise is None:
            told = f"{str(node.items)!r} has no value"
            raise Blank(told)
        return _body(node.otherwise, state, escape, parts)
    _few(items, node.items)
    item = type_.item if type_ is not None else None
    kept = [(held, name, held.get(name)) for held in (state.values, state.types) for name in (node.name, "loop")]
    state.types.pop(node.name, None)
    state.types.pop("loop", None)
    for number, value in enumerate(items, 1):
        state.values[node.name] = value
        if item is not None:
            state.types[node.name] = item
        state.values["loop"] = {"index": number, "first": number == 1, "last": number == len(items)}
        _body(node.body, state, escape, parts)
    for held, name, former in kept:
        held.pop(name, None)
        if former is not None:
            held[name] = former
    return None


def _few(items: Any, path: object) -> None:
    if not isinstance(items, (list, tuple)):
        told = f"{str(path)!r} is no list"
        raise Unshown(told)
    if len(items) > MAX_ITEMS:
        told = f"{str(path)!r} has {len(items)} items; at most {MAX_ITEMS} are shown"
        raise Unshown(told)


def find(path: Path, state: Run) -> tuple[Any, Type | None]:
    """Return the value that a path names, or None, and its type, where it is known."""
    parts = path.parts
    value = state.values.get(parts[0])
    type_ = state.types.get(parts[0])
    for part in parts[1:]:
        value = value.get(part) if isinstance(value, dict) else None
        if type_ is not None:
            held = type_.fields.get(part)
            type_ = held.type if held is not None else type_.item if type_.kind == "map" else None
    return value, type_


def kind_of(value: Any, type_: Type | None) -> str:
    """Return what a value is; its type decides between those that look alike."""
    told = type_.kind if type_ is not None else ""
    if isinstance(value, str):
        return told if told in ("enum", "double") else "string"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return told if told in ("double", "timestamp", "duration") else "long"
    if isinstance(value, (list, tuple)):
        return "array"
    if isinstance(value, dict):
        return "money" if value.keys() == MONEY else "record"
    return told if told == "double" and isinstance(value, float) else ""


def missing(value: Any) -> bool:
    """Return whether a reader would see nothing."""
    return (
        value is None
        or (isinstance(value, str) and is_blank(value))
        or (isinstance(value, (list, tuple)) and not value)
    )


def evaluate(value: Value, state: Run) -> tuple[Any, Type | None]:
    """Return what a value is after its filters; None where it is missing."""
    if isinstance(value, Path):
        found, type_ = find(value, state)
        return (None if missing(found) else found), type_
    if isinstance(value, Const):
        return value.value, None
    inner, type_ = evaluate(value.inner, state)
    if value.name == "default":
        return (value.arguments[0], STRING) if inner is None else (inner, type_)
    if inner is None:
        return None, STRING
    if value.name == "join":
        return _joined(value, inner, type_, state), STRING
    wanted = FILTERS[value.name]
    kind = kind_of(inner, type_)
    if kind not in wanted.takes:
        told = f"'{value.name}' cannot be used on {WORDS.get(kind, 'this')}"
        raise Unshown(told)
    if kind in TEXTS:
        inner = exact(inner)
    return wanted.apply(inner, state.voice, *value.arguments), STRING


def _joined(value: Filtered, items: Any, type_: Type | None, state: Run) -> str:
    _few(items, "the list")
    item = type_.item if type_ is not None else None
    if any(map(missing, items)):
        told = "an item of a list has no value"
        raise Blank(told)
    return (value.arguments[0] if value.arguments else ", ").join(wordily(one, item, state.voice) for one in items)


def wordily(value: Any, type_: Type | None, voice: Voice) -> str:
    """Return a value as a person reads it.

    Raises:
        ValueError: it is nothing that can be read.
    """
    kind = kind_of(value, type_)
    wordings = WORDINGS.get(kind)
    if wordings is None:
        told = f"{WORDS.get(kind, 'this')} cannot be shown as it is"
        raise Unshown(told)
    return wordings(value, voice)


def _shown(node: Show, state: Run) -> str:
    key = node.key
    if key is not None and (known := state.worded.get(key)) is not None:
        return known
    value, type_ = evaluate(node.value, state)
    if value is None:
        raise _blank(node.value)
    text = wordily(value, type_, state.voice)
    if key is not None:
        state.worded[key] = text
    return text


def _in_url(node: Value, state: Run) -> str:
    """Return a value as a part of a link: not worded, and unable to leave its place."""
    value, type_ = evaluate(node, state)
    if value is None:
        raise _blank(node)
    if kind_of(value, type_) not in (*TEXTS, "long"):
        told = "a link may hold texts and whole numbers only"
        raise Unshown(told)
    text = quote(exact(value) if isinstance(value, str) else str(value), safe="").replace("~", "%7E")
    text = EMPHATIC.sub("%5F", text)
    if text in (".", ".."):
        told = "a value would change where a link leads"
        raise Unshown(told)
    return text


def _blank(value: Value) -> Blank:
    while isinstance(value, Filtered):
        value = value.inner
    return Blank(f"{str(value)!r} has no value" if isinstance(value, Path) else "a text in quotes is blank")


def _holds(condition: Condition, state: Run) -> bool:
    if isinstance(condition, Path):
        return truth(*find(condition, state))
    if isinstance(condition, Const):
        return bool(condition.value)
    if isinstance(condition, Not):
        return not _holds(condition.inner, state)
    if isinstance(condition, Both):
        return _holds(condition.left, state) and _holds(condition.right, state)
    if isinstance(condition, Either):
        return _holds(condition.left, state) or _holds(condition.right, state)
    return _compare(condition, state)


def truth(value: Any, type_: Type | None) -> bool:
    """Return whether there is something: no value, false, zero, and a list without items are nothing."""
    if missing(value):
        return False
    kind = kind_of(value, type_)
    if kind in NUMBERS:
        return wording.fraction(value) != 0
    if kind == "money":
        return wording.fraction(value["amount_minor"]) != 0
    return kind == "timestamp" or bool(value)


def _compare(asked: Compared, state: Run) -> bool:
    left, right = _operand(asked.left, state), _operand(asked.right, state)
    families = {family for family, _ in (left, *([] if isinstance(right[1], tuple) else [right]))}
    if len(families) != 1 or "" in families:
        told = "two values cannot be compared"
        raise Unshown(told)
    return COMPARE[asked.sign](left[1], right[1])


def _operand(side: Path | Const, state: Run) -> tuple[str, Any]:
    """Return a value that may be compared, and its family; what is missing is not compared but told."""
    if isinstance(side, Const):
        value = side.value
        if isinstance(value, tuple):
            return "", tuple(wording.fraction(one) if isinstance(one, float) else one for one in value)
        return family(kind_of(value, Type("double") if isinstance(value, float) else None)), (
            wording.fraction(value) if isinstance(value, float) else value
        )
    value, type_ = find(side, state)
    if missing(value):
        raise _blank(side)
    kind = kind_of(value, type_)
    return family(kind), wording.fraction(value) if kind in NUMBERS else value


def family(kind: str) -> str:
    """Return what kinds may be compared with each other; `""` with none."""
    if kind in TEXTS:
        return "text"
    if kind in NUMBERS:
        return "number"
    return kind if kind in ("boolean", "timestamp", "duration") else ""


def state_of(values: Mapping[str, Any], types: Mapping[str, Type], voice: Voice) -> Run:
    """Return the start of a message."""
    return Run(dict(values), dict(types), voice)
