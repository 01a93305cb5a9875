"""The text of a rule, line by line, as its file in the pinned set has it; and on which line each part of it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from handlers.rules.yaml import Broken, Node, Reader
from tidings import canonical
from tidings.ports import Body, Read, Transaction
from tidings.rule import Rule

KEY = re.compile(r"^(\s*(?:- )?)([A-Za-z_][\w.-]*)(:)(?=\s|$)(.*)$")
MAX_LINES = 400


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `key` is the word before its colon, where it has one."""

    number: int
    before: str
    key: str
    rest: str


@dataclass(frozen=True)
class Source:
    """The lines of one rule, with the comment above it."""

    file: str
    lines: tuple[Line, ...]
    places: Mapping[str, int]
    """Line of each part: `when.if`, `when.missing.after`, `then.0`, `status` …"""


def read_files(digest: str) -> Body[Mapping[str, str]]:
    """Return the body that reads the texts of a rule set's files."""

    def body() -> Transaction[Mapping[str, str]]:
        row = (yield Read("rule_sets", [(digest,)])).get((digest,))
        return {} if row is None else dict(canonical.loads(row["body"])["files"])

    return body


def source_of(rule: Rule, files: Mapping[str, str]) -> Source | None:
    """Return the text of a rule; None where its file is not there, or does not read."""
    text = files.get(rule.file)
    if text is None:
        return None
    try:
        root = Reader(rule.file, text.encode()).read()
    except Broken:
        return None
    listed = root.get("rules")
    nodes = () if listed is None else listed.items
    node = next((one for one in nodes if one.line == rule.line), None)
    if node is None:
        return None
    lines = text.splitlines()
    following = min((one.line for one in nodes if one.line > rule.line), default=len(lines) + 1)
    start, end = rule.line, following - 1
    end = _without_tail(lines, start, end)
    while start > 1 and lines[start - 2].strip().startswith("#"):
        start -= 1
    end = min(end, start + MAX_LINES - 1)
    return Source(rule.file, tuple(_line(n, lines[n - 1]) for n in range(start, end + 1)), dict(_places(node, "")))


def _without_tail(lines: list[str], start: int, end: int) -> int:
    """Return the last line that belongs to a rule: the comment above the next one does not."""
    while end > start and (not lines[end - 1].strip() or lines[end - 1].strip().startswith("#")):
        end -= 1
    return end


def _line(number: int, text: str) -> Line:
    found = None if text.lstrip().startswith("#") else KEY.match(text)
    if found is None:
        return Line(number, text, "", "")
    return Line(number, found[1], found[2], found[3] + found[4])


def _places(node: Node, above: str) -> Iterator[tuple[str, int]]:
    for key, value in node.entries:
        name = f"{above}{key.text}"
        yield name, key.line
        yield from _places(value, f"{name}.")
        for number, item in enumerate(value.items):
            yield f"{name}.{number}", item.line
            yield from _places(item, f"{name}.{number}.")
