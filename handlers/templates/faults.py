"""What can be wrong with a template, and with the values of one message."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

MAX_TEXT = 64 * 1024
"""Characters of a template's source."""
MAX_RENDERED = 256 * 1024
"""Characters of everything that one message says; more is no message."""
MAX_ITEMS = 100
"""Turns of a loop, and items of a joined list."""
BREAKS = ("Cc", "Zl", "Zp")
"""Unicode's categories of what ends a line or controls a terminal."""
INVISIBLE = ("Cc", "Cf", "Zl", "Zp", "Zs")


class BadTemplate(ValueError):
    """The template cannot be used; `line` and `column` count from 1, in characters."""

    def __init__(self, text: str, line: int, column: int = 1) -> None:
        super().__init__(text)
        self.text = text
        self.line = line
        self.column = column


class Blank(ValueError):
    """A value is missing that the text needs."""


class Unshown(ValueError):
    """A value that cannot be shown, or a text that may not be sent; told without the value."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What a check found: `code` as in the rule language, `hint` what to write instead."""

    code: str
    text: str
    line: int
    column: int
    hint: str | None = None
    severity: Literal["error", "warning"] = "error"


def breaks_line(text: str) -> bool:
    """Return whether a text holds what would end a header, or is taken for it by some mail program."""
    return not text.isprintable() and any(unicodedata.category(letter) in BREAKS for letter in text)


def is_blank(text: str) -> bool:
    """Return whether a reader would see nothing."""
    if text.isprintable():
        return not text.strip()
    return all(unicodedata.category(letter) in INVISIBLE for letter in text)


def exact(text: str) -> str:
    """Return the text as a `str` and nothing else: a subclass may claim to be markup already."""
    return text if type(text) is str else str.__str__(text)
