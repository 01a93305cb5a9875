"""What happened, what was expected, and in what they differ; in words for people who do not program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from handlers.rules.conditions import parse_duration
from handlers.rules.conditions.syntax import parse_instant
from streams.json_events import rfc3339
from streams.rule_tests.data import amount_of
from streams.rule_tests.model import FAILED, VISIBLE, Expected
from tidings.contract import Type
from tidings.event import DAY, HOUR, MINUTE, SECOND, Micros
from tidings.money import major_text


@dataclass(frozen=True, slots=True)
class Seen:
    """Something that happened in a test."""

    at: Micros
    outcome: str
    severity: str | None = None
    channel: str | None = None
    to: tuple[str, ...] = ()
    """The recipient, and whom they are linked to."""
    template: str | None = None
    data: Mapping[str, Any] | None = None
    types: Mapping[str, Type] = field(default_factory=dict)
    until: Micros | None = None
    reasons: tuple[str, ...] = ()
    """The reason in words, the word of the closed list, its sentence: a test may give any of them."""
    name: str | None = None
    variant: str | None = None
    """The language's own file of the template, where it was used: `billing/invoice-overdue.de`."""
    says: Mapping[str, str] = field(default_factory=dict)
    """What it said: `subject` or `title`, and `text`."""

    @property
    def visible(self) -> bool:
        """Whether it fails a test that does not expect it."""
        return self.outcome in VISIBLE or self.outcome == FAILED

    def __str__(self) -> str:
        data = None if self.data is None else {name: show(v, self.types.get(name)) for name, v in self.data.items()}
        reason = self.reasons[0] if self.reasons else None
        return _phrase(self, self.to[0] if self.to else None, self.variant or self.template, data, reason)


def say(expected: Expected) -> str:
    """Return an expected outcome in the words in which what happened is told."""
    data = None if expected.data is None else {name: show(value, None) for name, value in expected.data.items()}
    said = _phrase(expected, expected.to, expected.template, data, expected.reason)
    return ", ".join([said, *(f'{name} with "{text}"' for name, text in expected.says.items())])


def _phrase(one: Any, to: str | None, template: str | None, data: Mapping[str, str] | None, reason: str | None) -> str:
    parts = [one.outcome]
    if one.channel is not None:
        parts.append(f"by {one.channel}")
    if one.name is not None:
        parts.append(one.name)
    if to is not None:
        parts.append(f"to {to}")
    more = []
    if template is not None:
        more.append(f"template {template}")
    if one.severity is not None:
        more.append(f"severity {one.severity}")
    if reason is not None:
        more.append(f"because: {reason}")
    if one.until is not None:
        more.append(f"until {rfc3339(one.until)}")
    if data:
        more.append("with " + ", ".join(f"{name} = {value}" for name, value in data.items()))
    return ", ".join([" ".join(parts), *more])


def show(value: Any, kind: Type | None) -> str:
    """Return a value as a test would write it."""
    name = "" if kind is None else kind.kind
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        if set(value) == {"amount_minor", "currency"} and isinstance(value["amount_minor"], int):
            return major_text(value)
        fields = kind.fields if kind is not None else {}
        inner = {part: fields[part].type if part in fields else None for part in value}
        return "{" + ", ".join(f"{part}: {show(one, inner[part])}" for part, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(show(one, None if kind is None else kind.item) for one in value) + "]"
    if name == "timestamp" and isinstance(value, int) and 0 <= value < 2**53:
        return rfc3339(value)
    if name == "duration" and isinstance(value, int):
        return _duration(value)
    exact = _number(value, name)
    if exact is not None:
        return str(int(exact)) if exact == int(exact) else f"{float(exact):g}"
    return str(value)


def _duration(value: int) -> str:
    found, rest = "-" if value < 0 else "", abs(value)
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", 1000)):
        count, rest = divmod(rest, size)
        found += f"{count}{unit}" if count else ""
    return found if found.strip("-") else "0s"


def _number(value: Any, kind: str) -> Fraction | None:
    if isinstance(value, (int, Fraction)) and not isinstance(value, bool):
        return Fraction(value)
    if kind == "double" and isinstance(value, str):
        try:
            return Fraction(value)
        except (ValueError, ZeroDivisionError):
            return None
    return None


def differences(expected: Expected, seen: Seen) -> list[str]:
    """Return the names of what differs, `outcome` first; nothing: this is what was expected."""
    found = []
    if expected.outcome != seen.outcome:
        found.append("outcome")
    for name in ("severity", "channel", "until", "name"):
        wanted = getattr(expected, name)
        if wanted is not None and wanted != getattr(seen, name):
            found.append(name)
    if expected.template is not None and expected.template not in (seen.template, seen.variant):
        found.append("template")
    if expected.to is not None and expected.to not in seen.to:
        found.append("to")
    if expected.reason is not None and _words(expected.reason) not in map(_words, seen.reasons):
        found.append("reason")
    for name, value in (expected.data or {}).items():
        data = seen.data or {}
        if name not in data or not equal(value, data[name], seen.types.get(name)):
            found.append(f"data.{name}")
    found += [name for name, part in expected.says.items() if one_line(part) not in one_line(seen.says.get(name, ""))]
    return found


def one_line(text: str) -> str:
    """Return a text without its line breaks."""
    return " ".join(text.split())


def _words(text: str) -> str:
    return " ".join(text.split()).rstrip(".").lower()


def equal(wanted: Any, value: Any, kind: Type | None) -> bool:
    """Return whether a value is what a test wrote: amounts and times as texts, mappings as subsets."""
    name = "" if kind is None else kind.kind
    if isinstance(value, Mapping):
        if isinstance(wanted, str) and set(value) == {"amount_minor", "currency"}:
            return amount_of(wanted) == value
        fields = kind.fields if kind is not None else {}
        return isinstance(wanted, Mapping) and all(
            part in value and equal(one, value[part], fields[part].type if part in fields else None)
            for part, one in wanted.items()
        )
    if isinstance(value, list):
        item = None if kind is None else kind.item
        same = isinstance(wanted, list) and len(wanted) == len(value)
        return same and all(equal(one, other, item) for one, other in zip(wanted, value, strict=True))
    if isinstance(wanted, bool) or isinstance(value, bool):
        return wanted is value
    if name == "timestamp" and isinstance(wanted, str):
        return bool(parse_instant(wanted) == value)
    if name == "duration" and isinstance(wanted, str):
        return bool(parse_duration(wanted) == value)
    number, other = _number(wanted, ""), _number(value, name)
    if number is not None and other is not None:
        return number == other
    return bool(wanted == value)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What an expectation and a stretch of a test have not in common."""

    lacking: tuple[Expected, ...]
    """Expected, and did not happen."""
    nearest: tuple[tuple[Seen, tuple[str, ...]] | None, ...]
    """For each of them: what comes nearest to it, and in what it differs."""
    unexpected: tuple[Seen, ...]
    """Visible, and not expected."""

    @property
    def good(self) -> bool:
        """Whether all is as expected."""
        return not self.lacking and not self.unexpected


def compare(expected: Sequence[Expected], seen: Sequence[Seen]) -> Comparison:
    """Pair what was expected with what happened, each once, so that as many as possible are paired; order is free."""
    owner: dict[int, int] = {}
    for number in range(len(expected)):
        _pair(number, expected, seen, owner, set())
    taken = set(owner.values())
    lacking = tuple(one for number, one in enumerate(expected) if number not in taken)
    free = [one for number, one in enumerate(seen) if number not in owner]
    nearest = tuple(_nearest(one, free) for one in lacking)
    return Comparison(lacking, nearest, tuple(one for one in free if one.visible))


def _pair(
    number: int, expected: Sequence[Expected], seen: Sequence[Seen], owner: dict[int, int], tried: set[int]
) -> bool:
    for place, one in enumerate(seen):
        if place in tried or differences(expected[number], one):
            continue
        tried.add(place)
        if place not in owner or _pair(owner[place], expected, seen, owner, tried):
            owner[place] = number
            return True
    return False


def _nearest(expected: Expected, free: Sequence[Seen]) -> tuple[Seen, tuple[str, ...]] | None:
    same = [(one, tuple(differences(expected, one))) for one in free if one.outcome == expected.outcome]
    return min(same, key=lambda pair: len(pair[1]), default=None)
