"""The shape of a rule file: which keys a mapping may have, and of which kind their values are."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from handlers.rules.conditions import parse_duration
from handlers.rules.keys import BUILT, LATER
from handlers.rules.yaml import Node, Reader


class Shape:
    """Reads nodes of one file; what has the wrong shape becomes a diagnostic of its reader."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def wrong(self, node: Node, code: str, text: str, hint: str | None = None, *, severity: str = "error") -> None:
        """Add a diagnostic at a node."""
        self.reader.diagnostics.append(self.reader.at(node.line, node.column, code, text, hint, severity))

    def keys(self, node: Node, kind: str) -> bool:
        """Check the keys of a mapping: unknown ones get a suggestion, later ones are refused by name."""
        if node.kind != "map":
            self.wrong(node, "R006", f"a mapping is needed here, with {', '.join(BUILT[kind][:4])} …")
            return False
        for key, _ in node.entries:
            if key.text in LATER[kind]:
                self.wrong(key, "R010", f"'{key.text}' is part of the language, but not built yet")
            elif key.text not in BUILT[kind]:
                near = get_close_matches(key.text, (*BUILT[kind], *LATER[kind]), 1)
                self.wrong(key, "R005", f"there is no key '{key.text}' here", near[0] if near else None)
        return True

    def text(self, node: Node | None, what: str, owner: Node) -> str:
        """Return a text that must be there; "" where it is not."""
        if node is None:
            self.wrong(owner, "R007", f"'{what}' is missing")
            return ""
        if node.kind != "scalar" or not isinstance(node.value, str) or not node.text.strip():
            self.wrong(node, "R006", f"'{what}' is a text")
            return ""
        return node.text

    def choice(self, node: Node | None, options: Sequence[str], default: str, later: Sequence[str] = ()) -> Any:
        """Return one of the options, or the default; `later` are those of the language that are not built yet."""
        if node is None:
            return default
        if node.text in later:
            self.wrong(node, "R010", f"'{node.text}' is part of the language, but not built yet")
        elif node.kind != "scalar" or node.text not in options:
            near = get_close_matches(node.text, options, 1)
            self.wrong(node, "R006", f"one of {', '.join(options)} is needed here", near[0] if near else None)
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
