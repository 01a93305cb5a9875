"""The filters of templates: what each takes, what it makes of it, and with which arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.templates import wording
from handlers.templates.faults import exact
from handlers.templates.wording import Voice

TEXTS = ("string", "enum")
NUMBERS = ("long", "double")
MAX_PLACES = 6
MAX_LENGTH = 1_000
"""Characters that `truncate` may leave, and that a text in quotes may have."""


@dataclass(frozen=True, slots=True)
class Argument:
    """The one argument that a filter may have."""

    kind: type[str | int] | None = None
    required: bool = False
    among: tuple[str, ...] = ()
    least: int = 0
    most: int = MAX_LENGTH

    def wrong(self, given: Sequence[Any]) -> str | None:
        """Return what is wrong with the arguments, or None."""
        if not given:
            return "needs a value" if self.required else None
        if self.kind is None or len(given) > 1:
            return "takes no value" if self.kind is None else "takes one value"
        value = given[0]
        if isinstance(value, bool) or not isinstance(value, self.kind):
            return "takes a text in quotes" if self.kind is str else "takes a whole number"
        if self.among and value not in self.among:
            return f"knows {', '.join(self.among)}"
        size = len(value) if isinstance(value, str) else value
        return None if self.least <= size <= self.most else f"takes {self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter; `apply` gets the value, the voice and the argument, and returns a text."""

    takes: tuple[str, ...]
    apply: Callable[..., str]
    usage: str
    argument: Argument = Argument()


def _upper(value: str, voice: Voice) -> str:
    return exact(value).upper()


def _lower(value: str, voice: Voice) -> str:
    return exact(value).lower()


def _never(*_: object) -> str:
    """`default` and `join` ask what the others may not: whether there is a value, and of which type its parts are."""
    raise AssertionError


ANY = ("string", "enum", "long", "double", "timestamp", "duration", "money")
FILTERS: dict[str, Filter] = {
    "date": Filter(("timestamp",), wording.date, 'due|date, due|date("short")', Argument(str, among=wording.WIDTHS)),
    "time": Filter(("timestamp",), wording.time, "due|time", Argument(str, among=wording.WIDTHS[:2])),
    "datetime": Filter(
        ("timestamp",), wording.date_time, 'due|datetime, due|datetime("short")', Argument(str, among=wording.WIDTHS)
    ),
    "money": Filter(("money",), wording.money, 'total|money("code")', Argument(str, among=("symbol", "code"))),
    "number": Filter(NUMBERS, wording.number, "ratio|number(2)", Argument(int, most=MAX_PLACES)),
    "percent": Filter(NUMBERS, wording.percent, "ratio|percent, ratio|percent(1)", Argument(int, most=MAX_PLACES)),
    "duration": Filter(("duration",), wording.duration, 'left|duration("short")', Argument(str, among=wording.LENGTHS)),
    "upper": Filter(TEXTS, _upper, "name|upper"),
    "lower": Filter(TEXTS, _lower, "name|lower"),
    "truncate": Filter(TEXTS, wording.truncate, "name|truncate(40)", Argument(int, required=True, least=4)),
    "default": Filter(ANY, _never, 'name|default("friend")', Argument(str, required=True, least=1)),
    "join": Filter(("array",), _never, 'items|join, items|join(" / ")', Argument(str)),
}
