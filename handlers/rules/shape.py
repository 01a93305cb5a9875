"""The shape of a file: which keys a mapping may have, and of which kind their values are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from handlers.rules.conditions import Problem, parse_duration
from handlers.rules.keys import BUILT, LATER
from handlers.rules.yaml import Node, Reader
from tidings.outcomes import OURS

MAX_SUGGESTED = 200
"""Mistakes of a file for which the nearest word is sought; a search costs more than everything else of a mistake."""
MAX_WORD = 100
MAX_OPTIONS = 5_000
NEAR = 0.7
"""How alike a key and its suggestion are: `throttle` was not meant to be `title`."""


class Shape:
    """Reads nodes of one file; what has the wrong shape becomes a diagnostic of its reader."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def wrong(self, node: Node, code: str, text: str, hint: str | None = None, *, severity: str = "error") -> None:
        """Add a diagnostic at a node."""
        self.reader.diagnostics.append(self.reader.at(node.line, node.column, code, text, hint, severity))

    def problem(self, node: Node, problem: Problem) -> None:
        """Add a problem of an expression at its place in the scalar `node`."""
        line, column = node.place(problem.offset)
        self.reader.diagnostics.append(
            self.reader.at(line, column, problem.code, problem.text, problem.hint, problem.severity)
        )

    def secret(self, node: Node, text: str) -> None:
        """Add a diagnostic at what may be a secret: its line is not shown."""
        self.reader.diagnostics.append(replace(self.reader.at(node.line, node.column, "R011", text), snippet=""))

    def near(self, word: str, options: Iterable[str], cutoff: float = 0.6) -> str | None:
        """Return the option that was meant, if one is near."""
        if len(word) > MAX_WORD or len(self.reader.diagnostics) > MAX_SUGGESTED:
            return None
        return next(iter(get_close_matches(word, list(options)[:MAX_OPTIONS], 1, cutoff)), None)

    def no_event(self, node: Node, contracts: Iterable[str]) -> None:
        """Refuse the name of an event: there is none, or no rule reads it."""
        if node.text.startswith(OURS) and node.text in contracts:
            text = f"'{node.text}' is an outcome that is published for others, and no rule reads it; name the event that led to it"
            self.wrong(node, "R005", text)
            return
        known = [name for name in contracts if not name.startswith(OURS)]
        self.wrong(node, "R005", f"no event contract '{node.text}'", self.near(node.text, known))

    def keys(self, node: Node, kind: str) -> bool:
        """Check the keys of a mapping: unknown ones get a suggestion, later ones are refused by name."""
        if node.kind != "map":
            self.wrong(node, "R006", f"a mapping is needed here, with {', '.join(BUILT[kind][:4])} …")
            return False
        later = LATER.get(kind, ())
        for key, _ in node.entries:
            if key.text in later:
                self.later(key)
            elif key.text not in BUILT[kind]:
                near = self.near(key.text, (*BUILT[kind], *later), NEAR)
                which = "" if near else f"; there are {', '.join(BUILT[kind])}"
                self.wrong(key, "R005", f"there is no key '{key.text}' here{which}", near)
        return True

    def later(self, node: Node) -> None:
        """Refuse by its name what the language has and this version has not."""
        self.wrong(node, "R010", f"'{node.text}' is part of the language, but not built yet")

    def entries(self, node: Node | None, what: str) -> Iterator[tuple[Node, Node]]:
        """Yield names and values of a mapping in which a file names its own things."""
        if node is None:
            return
        if node.kind != "map":
            self.wrong(node, "R006", f"{what} must be a mapping of names")
            return
        yield from node.entries

    def version(self, root: Node, *, needed: bool) -> None:
        """Check `version: 1`."""
        version = root.get("version")
        if version is None and not needed:
            return
        if version is None or version.value != 1 or isinstance(version.value, bool):
            self.wrong(version or root, "R007", "'version: 1' is needed at the top of the file")

    def text(self, node: Node | None, what: str, owner: Node) -> str:
        """Return a text that must be there; "" where it is not."""
        if node is None:
            self.wrong(owner, "R007", f"'{what}' is missing")
            return ""
        if node.kind != "scalar" or not isinstance(node.value, str) or not node.text.strip():
            self.wrong(node, "R006", f"'{what}' must be a text that is not empty")
            return ""
        return node.text

    def choice(self, node: Node | None, options: Sequence[str], default: str, later: Sequence[str] = ()) -> Any:
        """Return one of the options, or the default; `later` are those of the language that are not built yet."""
        if node is None:
            return default
        if node.text in later:
            self.later(node)
        elif node.kind != "scalar" or node.text not in options:
            many = f"one of {', '.join(options)} is needed here"
            text = many if len(options) > 1 else f"only '{options[0]}' is built so far"
            self.wrong(node, "R006", text, self.near(node.text, options))
        return node.text if node.text in options else default

    def duration(self, node: Node | None, default: int | None) -> int | None:
        """Return a duration in microseconds."""
        if node is None:
            return default
        found = 0 if node.text == "0" else parse_duration(node.text) if node.kind == "scalar" else None
        if found is None:
            self.wrong(node, "R006", "a duration is needed here, as 90m, 24h or 3d")
            return default
        return found

    def flag(self, node: Node | None) -> bool:
        """Return a boolean, false by default."""
        if node is not None and not isinstance(node.value, bool):
            self.wrong(node, "R006", "true or false is needed here")
        return node is not None and node.value is True
