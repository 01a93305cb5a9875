"""Which values a field must have for a condition to hold: what an index over rules may ask first.

Only what is certain: a path stands here if the condition is not true whenever the path has none of the values. What
a condition says beside that is not told here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from handlers.rules.conditions.check import Path, Typed

PLAIN = ("string", "number", "bool", "timestamp", "duration")
"""Kinds whose values are compared as they are; an amount of money is compared within its currency only."""


def equalities(tree: Typed, images: frozenset[str] = frozenset()) -> Mapping[Path, frozenset[Any]]:
    """Return, by path of the payload, the values of the terms `path == literal` and `path in [literals]`.

    Terms are those that `&&` joins at the top, those of named conditions included. A path that is asked twice keeps
    the values that both allow. `images` are names that are no fields of the event.
    """
    found: dict[Path, frozenset[Any]] = {}
    for term in _terms(tree):
        path, values = _equality(term)
        if path and path[0] not in images:
            found[path] = found[path] & values if path in found else values
    return found


def _terms(tree: Typed) -> Iterator[Typed]:
    if tree.node.kind == "named" or (tree.node.kind == "binary" and tree.node.op == "&&"):
        for child in tree.children:
            yield from _terms(child)
    else:
        yield tree


def _equality(term: Typed) -> tuple[Path, frozenset[Any]]:
    if term.node.kind != "binary":
        return (), frozenset()
    left, right = term.children
    if term.node.op == "==" and left.constant:
        left, right = right, left
    if not _is_field(left) or not right.constant:
        return (), frozenset()
    if term.node.op == "==" and right.kind in PLAIN:
        return left.node.value, frozenset({right.value})
    if (
        term.node.op == "in"
        and right.kind == "list"
        and all(one.constant and one.kind in PLAIN for one in right.children)
    ):
        return left.node.value, frozenset(one.value for one in right.children)
    return (), frozenset()


def _is_field(tree: Typed) -> bool:
    return tree.node.kind == "path" and tree.kind in PLAIN and tree.node.value[0] not in ("event", "params")
