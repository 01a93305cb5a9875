"""YAML 1.2 with positions, bounded before it is composed.

PyYAML's parser reads; what a plain word means is decided here, by YAML 1.2's core schema: `on`, `NO` and `22:30` are
texts. Aliases, merge keys and duplicate keys are refused: in a rule file each of them hides something.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import yaml

from handlers.rules.diagnostics import Diagnostic
from handlers.rules.indents import misplaced

MAX_BYTES = 256 * 1024
MAX_DEPTH = 50
MAX_EVENTS = 50_000
MAX_TEXT = 500
"""Characters of a sentence about a mistake; a file may hold words of any length."""

INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
DECIMAL = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{1,18}")
WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
         "null": None, "Null": None, "NULL": None, "~": None, "": None}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a file: a scalar, a list, or a mapping whose keys are texts."""

    line: int
    column: int
    kind: str
    """`scalar`, `list`, `map`"""
    text: str = ""
    value: Any = None
    """A scalar's value."""
    style: str = ""
    items: tuple[Node, ...] = ()
    entries: tuple[tuple[Node, Node], ...] = ()
    indent: int = 0
    """Of a block scalar: the column where its text begins."""

    def get(self, name: str) -> Node | None:
        """Return the value under a key."""
        return next((value for key, value in self.entries if key.text == name), None)

    def place(self, offset: int) -> tuple[int, int]:
        """Return line and column of a character of a scalar's text."""
        if self.style in ("|", ">"):
            before = self.text[:offset]
            row = before.count("\n")
            return self.line + 1 + row, self.indent + offset - (before.rfind("\n") + 1)
        quote = 1 if self.style in ("'", '"') else 0
        return self.line, self.column + quote + offset


class Broken(Exception):
    """The file cannot be read as YAML; carries the diagnostic."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(str(diagnostic))
        self.diagnostic = diagnostic


@dataclass
class Reader:
    """Reads one file; `diagnostics` are mistakes after which reading went on."""

    file: str
    raw: bytes
    diagnostics: list[Diagnostic] = field(default_factory=list)
    anchors: bool = False
    """Whether a node may carry a name (`&low`), as a remark for readers; referring to one stays refused."""
    lines: list[str] = field(default_factory=list)

    def read(self) -> Node:
        """Return the tree.

        Raises:
            Broken: it is too large, too deep, or no YAML.
        """
        text = self._text()
        self.lines = text.splitlines()
        try:
            self._scan(text)
            root = yaml.compose(text, Loader=yaml.CBaseLoader)
        except yaml.MarkedYAMLError as fault:
            mark = fault.problem_mark or fault.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            if (beside := misplaced(self.lines, line - 1)) is not None:
                raise Broken(self.at(line, beside[0], "R001", f"this is no YAML: {beside[1]}")) from fault
            raise Broken(self.at(line, column, "R001", f"this is no YAML: {fault.problem or fault.context}")) from fault
        except yaml.YAMLError as fault:
            raise Broken(self.at(1, 1, "R001", f"this is no YAML: {str(fault).splitlines()[0]}")) from fault
        if root is None:
            raise Broken(self.at(1, 1, "R001", "the file is empty"))
        return self._node(root)

    def at(
        self, line: int, column: int, code: str, text: str, hint: str | None = None, severity: Any = "error"
    ) -> Diagnostic:
        """Return a diagnostic for a place in this file, with its line."""
        text = text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
        snippet = self.lines[line - 1][:200] if 0 < line <= len(self.lines) else ""
        return Diagnostic(code, text, self.file, line, column, hint, severity, snippet)

    def _text(self) -> str:
        if len(self.raw) > MAX_BYTES:
            raise Broken(self.at(1, 1, "R002", f"{len(self.raw)} bytes; at most {MAX_BYTES}"))
        try:
            text = self.raw.decode("utf-8")
        except UnicodeDecodeError as fault:
            line = self.raw[: fault.start].count(b"\n") + 1
            raise Broken(self.at(line, 1, "R001", f"byte {fault.start} is not UTF-8")) from fault
        for number, line_text in enumerate(text.split("\n"), 1):
            for column, letter in enumerate(line_text, 1):
                if ord(letter) < 32 and letter not in "\t\r":  # noqa: PLR2004 - control characters
                    raise Broken(self.at(number, column, "R001", f"control character U+{ord(letter):04X}"))
        return text

    def _scan(self, text: str) -> None:
        depth = 0
        for count, event in enumerate(yaml.parse(text, Loader=yaml.CBaseLoader), 1):
            mark = event.start_mark
            assert mark is not None
            line, column = mark.line + 1, mark.column + 1
            if count > MAX_EVENTS:
                raise Broken(self.at(line, column, "R002", f"more than {MAX_EVENTS} parts"))
            if isinstance(event, yaml.AliasEvent) or (getattr(event, "anchor", None) and not self.anchors):
                what = "aliases are refused" if self.anchors else "anchors and aliases are refused in rule files"
                raise Broken(self.at(line, column, "R003", f"{what}; write it out"))
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                depth += 1
                if depth > MAX_DEPTH:
                    raise Broken(self.at(line, column, "R002", f"nested deeper than {MAX_DEPTH}"))
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                depth -= 1
            if getattr(event, "tag", None):
                raise Broken(self.at(line, column, "R003", "tags (!…) are refused in rule files"))

    def _node(self, node: yaml.Node) -> Node:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        if isinstance(node, yaml.ScalarNode):
            style = node.style or ""
            value = node.value if style else plain(node.value)
            indent = self._indent(node) if style in ("|", ">") else 0
            return Node(line, column, "scalar", node.value, value, style, indent=indent)
        if isinstance(node, yaml.SequenceNode):
            return Node(line, column, "list", items=tuple(self._node(item) for item in node.value))
        return Node(line, column, "map", entries=tuple(self._entries(node)))

    def _entries(self, node: yaml.Node) -> Iterator[tuple[Node, Node]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._node(key_node)
            if key.kind != "scalar":
                self.diagnostics.append(self.at(key.line, key.column, "R004", "a key is a plain word"))
                continue
            if key.text == "<<":
                self.diagnostics.append(
                    self.at(key.line, key.column, "R003", "merge keys (<<) are refused; write it out")
                )
                continue
            if key.text in seen:
                text = f"'{key.text}' stands here twice; first in line {seen[key.text]}"
                self.diagnostics.append(self.at(key.line, key.column, "R004", text))
                continue
            seen[key.text] = key.line
            yield key, self._node(value_node)

    def _indent(self, node: yaml.Node) -> int:
        for line in self.lines[node.start_mark.line + 1 :]:
            if line.strip():
                return len(line) - len(line.lstrip(" ")) + 1
        return 1


def plain(text: str) -> Any:
    """Return what a plain scalar means in YAML 1.2's core schema; decimals exactly."""
    if text in WORDS:
        return WORDS[text]
    if text[0] not in "+-0123456789":
        return text
    if INTEGER.fullmatch(text):
        return int(text)
    if DECIMAL.fullmatch(text):
        return Fraction(text)
    return text
