"""Texts of messages: a `Subject:` line, an empty line, the body, with `{{ name }}` and `{{ name.part }}` in both.

A subset of Jinja's syntax, so that what is written today stays valid; everything else of it is refused by name. A
value that is missing is never rendered as a blank.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from tidings.contract import Type
from tidings.event import DAY, HOUR, MINUTE, SECOND
from tidings.money import major_text

MAX_TEXT = 64 * 1024
MAX_RENDERED = 256 * 1024
"""Characters of a rendered text; more is no message."""
BREAKS = ("Cc", "Zl", "Zp")
"""Unicode's categories of what ends a line or controls a terminal."""
PLACEHOLDER = re.compile(r"\{\{\s*([a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*)\s*\}\}")
FOREIGN = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|\{\{|\{%|\{#", re.DOTALL)


class BadTemplate(ValueError):
    """The template cannot be used; `line` counts from 1."""

    def __init__(self, text: str, line: int) -> None:
        super().__init__(text)
        self.text = text
        self.line = line


class Blank(ValueError):
    """A value is missing that the text needs."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message's text."""

    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    subject: str
    body: str

    @property
    def placeholders(self) -> frozenset[str]:
        """Names that it needs, first parts only."""
        return frozenset(name.split(".")[0] for name in PLACEHOLDER.findall(f"{self.subject}\n{self.body}"))

    def render(self, values: Mapping[str, Any], types: Mapping[str, Type]) -> Rendered:
        """Return the text.

        Raises:
            Blank: a value is missing.
            ValueError: a value would break the subject's line, or cannot be shown, or the text grows too long.
        """
        try:
            subject, body = _fill(self.subject, values, types), _fill(self.body, values, types)
        except (TypeError, KeyError, OverflowError, ArithmeticError) as fault:
            # What no contract has checked; whoever sends must hear of it as of any other value that is wrong.
            text = f"a value cannot be shown: {type(fault).__name__}"
            raise ValueError(text) from fault
        if breaks_line(subject):
            text = "the subject would hold a control character"
            raise ValueError(text)
        if len(subject) + len(body) > MAX_RENDERED:
            text = f"the text would have more than {MAX_RENDERED} characters"
            raise ValueError(text)
        return Rendered(subject, body)


def breaks_line(text: str) -> bool:
    """Return whether a text holds what would end a header, or is taken for it by some mail program."""
    return any(unicodedata.category(letter) in BREAKS for letter in text)


def parse(text: str) -> Template:
    """Return the template of a text.

    Raises:
        BadTemplate: it has no subject, is too long, or uses more than placeholders.
    """
    if len(text) > MAX_TEXT:
        raise BadTemplate(f"{len(text)} characters; at most {MAX_TEXT}", 1)
    for match in FOREIGN.finditer(text):
        if PLACEHOLDER.fullmatch(match.group()) is None:
            line = text[: match.start()].count("\n") + 1
            raise BadTemplate(f"{match.group()[:40]!r}: only {{{{ name }}}} is built so far", line)
    first, _, rest = text.partition("\n")
    name, colon, subject = first.partition(":")
    if not colon or name.strip().lower() != "subject" or not subject.strip():
        raise BadTemplate("the first line is 'Subject: …'", 1)
    if breaks_line(subject.strip()):
        raise BadTemplate("the subject holds a control character", 1)
    gap, _, body = rest.partition("\n")
    if gap.strip():
        raise BadTemplate("an empty line follows the subject", 2)
    return Template(subject.strip(), body)


def _fill(text: str, values: Mapping[str, Any], types: Mapping[str, Type]) -> str:
    def one(match: re.Match[str]) -> str:
        path = match.group(1).split(".")
        value: Any = values.get(path[0])
        kind = types.get(path[0])
        for part in path[1:]:
            value = value.get(part) if isinstance(value, Mapping) else None
            kind = kind.fields[part].type if kind is not None and part in kind.fields else None
        if value is None or (isinstance(value, str) and not value.strip()):
            text = f"{match.group(1)!r} has no value"
            raise Blank(text)
        return show(value, kind)

    return PLACEHOLDER.sub(one, text)


def show(value: Any, kind: Type | None) -> str:
    """Return a value as a customer reads it."""
    name = kind.kind if kind is not None else ""
    if name == "timestamp":
        at = datetime.fromtimestamp(value // SECOND, UTC)
        return f"{at.day} {at:%B %Y, %H:%M} UTC"
    if name == "duration":
        return _duration(value)
    if isinstance(value, Mapping):
        # A part of a cent comes from a division; nobody is charged by a message.
        exact = Fraction(value["amount_minor"])
        return major_text({**value, "amount_minor": round(exact)})
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and name == "double":
        exact = Fraction(value)
        whole = int(exact) == exact
        return str(int(exact)) if whole else f"{float(exact):.6f}".rstrip("0").rstrip(".")
    return str(value)


def _duration(value: int) -> str:
    """Return a duration in its two largest units: `1 hour 30 minutes`."""
    if value < 0:
        return f"minus {_duration(-value)}"
    parts = []
    for size, word in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (SECOND, "second")):
        count, value = divmod(value, size)
        if count:
            parts.append(f"{count} {word}{'s' * (count != 1)}")
        elif parts:
            break
    return " ".join(parts[:2]) or "less than a second"
