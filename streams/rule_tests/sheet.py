"""The nodes of one test file: what is wrong with them becomes a diagnostic at their place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from handlers.rules.conditions import parse_duration
from handlers.rules.conditions.syntax import parse_instant
from handlers.rules.yaml import Node, Reader
from streams.rule_tests.model import Place
from tidings.event import Micros

MAX_WORD = 100
MAX_MISTAKES = 200
"""Told of one file at most."""
LAST: Micros = 7_258_118_400_000_000
"""The year 2200: no test goes there."""


class Sheet:
    """Reads nodes; every method goes on after a mistake."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.file = reader.file

    @property
    def mistakes(self) -> int:
        """How many there are."""
        return len(self.reader.diagnostics)

    def wrong(self, node: Node, code: str, text: str, hint: str | None = None) -> None:
        """Add a mistake at a node."""
        self.reader.diagnostics.append(self.reader.at(node.line, node.column, code, text, hint))

    def near(self, word: str, options: Iterable[str]) -> str | None:
        """Return the option that was meant, if one is near."""
        if len(word) > MAX_WORD or self.mistakes > MAX_MISTAKES:
            return None
        return next(iter(get_close_matches(word, list(options), 1)), None)

    def unknown(self, node: Node, text: str, options: Iterable[str]) -> None:
        """Say that a word is not known, with what was meant."""
        self.wrong(node, "R005", text, self.near(node.text, options))

    def keys(self, node: Node, known: Sequence[str], later: Sequence[str] = ()) -> bool:
        """Check that a node is a mapping with known keys only; `later` are keys that are not built yet."""
        if node.kind != "map":
            self.wrong(node, "R006", f"a mapping is needed here, with {', '.join(known[:4])} …")
            return False
        for key, _ in node.entries:
            if key.text in later:
                self.wrong(key, "R010", f"'{key.text}' is part of the language, but not built yet")
            elif key.text not in known:
                near = self.near(key.text, (*known, *later))
                which = "" if near else f"; there are {', '.join(known)}"
                self.wrong(key, "R005", f"there is no key '{key.text}' here{which}", near)
        return True

    def items(self, node: Node | None, what: str) -> tuple[Node, ...]:
        """Return the nodes of a list."""
        if node is None:
            return ()
        if node.kind != "list":
            self.wrong(node, "R006", f"{what} is a list")
            return ()
        return node.items

    def entries(self, node: Node | None, what: str) -> Iterator[tuple[Node, Node]]:
        """Yield names and values of a mapping in which a test names its own things."""
        if node is None:
            return
        if node.kind != "map":
            self.wrong(node, "R006", f"{what} is a mapping of names")
            return
        yield from node.entries

    def text(self, node: Node | None, what: str, owner: Node | None = None) -> str | None:
        """Return a text; None where there is none. With an `owner` it must be there."""
        if node is None:
            if owner is not None:
                self.wrong(owner, "R007", f"'{what}' is missing")
            return None
        if node.kind != "scalar" or node.value is None or not node.text.strip():
            self.wrong(node, "R006", f"'{what}' is a text")
            return None
        return node.text

    def choice(self, node: Node | None, what: str, options: Sequence[str]) -> str | None:
        """Return one of the options."""
        if node is None:
            return None
        if node.kind != "scalar" or node.text not in options:
            word = f"'{node.text}' is no {what}" if node.kind == "scalar" else f"this is no {what}"
            self.wrong(node, "R006", f"{word}: {', '.join(options)}", self.near(node.text, options))
            return None
        return node.text

    def flag(self, node: Node | None) -> bool | None:
        """Return true, false, or None where there is none."""
        if node is None:
            return None
        if not isinstance(node.value, bool):
            self.wrong(node, "R006", "true or false is needed here")
            return None
        return node.value

    def instant(self, node: Node | None, since: Micros) -> Micros | None:
        """Return a time: `2026-03-05T10:00:00Z`, or `+3d` after (`-10m` before) the instant `since`."""
        if node is None:
            return None
        found = None
        if node.kind == "scalar" and node.text[:1] in ("+", "-"):
            span = parse_duration(node.text[1:])
            found = None if span is None else since + (span if node.text[0] == "+" else -span)
        elif node.kind == "scalar":
            found = parse_instant(node.text)
        if found is None:
            self.wrong(node, "R006", "a time is needed here, as 2026-03-05T10:00:00Z, or +3d after the time before")
        elif not 0 < found < LAST:
            self.wrong(node, "T102", "a test goes from 1970 to 2200")
            return None
        return found


def place_of(node: Node) -> Place:
    """Return the place of a node."""
    return Place(node.line, node.column)


def value_of(node: Node) -> Any:
    """Return a node as a value: texts, integers, fractions, booleans, null, lists, mappings."""
    if node.kind == "scalar":
        return node.value
    if node.kind == "list":
        return [value_of(item) for item in node.items]
    return {key.text: value_of(value) for key, value in node.entries}
