"""Lines that begin in a column where nothing of their kind stands: what a parser calls anything but that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

LINE = re.compile(r"( *)((?:- +)*)(?:([\"']?[A-Za-z_][\w.-]*[\"']?) *:(?= |$))?")
FAR = 3
"""Blanks by which a line is misplaced at most; from there on it may be meant as something else."""


def misplaced(lines: Sequence[str], row: int) -> tuple[int, str] | None:
    """Return where a line begins that stands beside its neighbours' column (from 1), with the sentence about it."""
    if row >= len(lines) or (parts := list(_parts(lines[row]))) == []:
        return None
    at, word = parts[0]
    dash = word == "-"
    neighbours = [column for column, is_dash in _open(lines[:row]) if is_dash == dash]
    if not neighbours or at in neighbours:
        return None
    near = min(neighbours, key=lambda column: abs(column - at))
    if abs(near - at) > FAR:
        return None
    return at, f"'{word}' stands in column {at}, its neighbours in column {near}"


def _parts(line: str) -> Iterator[tuple[int, str]]:
    """Yield the dashes and the key with which a line begins, with their columns from 1."""
    match = LINE.match(line)
    if match is None:
        return
    for dash in re.finditer("-", match[2]):
        yield len(match[1]) + dash.start() + 1, "-"
    if match[3]:
        yield len(match[1]) + len(match[2]) + 1, match[3].strip("\"'")


def _open(lines: Sequence[str]) -> list[tuple[int, bool]]:
    """Return the columns in which lists (True) and mappings have begun, and not ended, after these lines."""
    found: list[tuple[int, bool]] = []
    text_below = 0
    for line in lines:
        indent = len(line) - len(line.lstrip(" ")) + 1
        if not line.strip() or line.lstrip().startswith("#") or (text_below and indent > text_below):
            continue
        text_below = 0
        for at, word in _parts(line):
            found = [one for one in found if one[0] < at or one == (at, word == "-")]
            if (at, word == "-") not in found:
                found.append((at, word == "-"))
            if re.search(r": +[|>][-+0-9]*\s*(#.*)?$", line):
                text_below = at
    return found
