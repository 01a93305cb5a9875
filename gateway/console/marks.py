"""Small parts of pages that every template writes: icon, id, state, time, who. Globals of every template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from markupsafe import Markup, escape

from gateway.console.words import said, shape_of
from streams.ledger.rows import Decision
from tidings.event import DAY, HOUR, MINUTE, SECOND, Micros

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Micros = SECOND // 1000
SHORT = 8
"""Characters of an id that are shown; the whole is copied."""
TIMES = ("ago", "utc", "zone")
"""How times are shown; the word stands in the URL."""


@dataclass(frozen=True, slots=True)
class View:
    """What the page that is being written knows of itself; macros see it as well, however they were imported."""

    now: Micros
    path: str
    params: Mapping[str, str]
    csrf: str = ""

    @property
    def times(self) -> str:
        """How instants are shown."""
        found = self.params.get("times", "ago")
        return found if found in TIMES else "ago"


VIEW: ContextVar[View] = ContextVar("view")


def marks(static: Callable[[str], str]) -> Mapping[str, Callable[..., Any]]:
    """Return the globals of templates, by name."""
    sprite = static("icons.svg")

    @lru_cache(maxsize=64)
    def icon(name: str) -> Markup:
        """A drawing beside a word; never without one."""
        return Markup('<svg class="i" viewBox="0 0 24 24" aria-hidden="true"><use href="{}#{}"/></svg>').format(
            sprite, name
        )

    def state(word: str, reason: str | None = None) -> Markup:
        """A state; where a reason is given, its word stands in the place of the state's."""
        text, colour, shape = shape_of(word)
        return Markup('<span class="st {}">{}{}</span>').format(colour, icon(shape), said(reason) if reason else text)

    def outcome_of(decision: Decision) -> Markup:
        """A decision in one word: why not, where it was not told; as what it waits, where it does."""
        told, word = decision.telling, str(decision.outcome)
        if word == "suppressed":
            return state("shadow" if decision.reason == "shadow" else word, decision.reason)
        return state(str(told.state) if told is not None and word == "in_flight" else word)

    def copy(value: str) -> Markup:
        return Markup('<button type="button" class="id" data-copy="{0}" title="Copy {0}">{1}</button>').format(
            value, short(value)
        )

    return {"icon": icon, "state": state, "outcome_of": outcome_of, "short_id": copy, "who": who, "when": when, "number": number,
            "again": again, "said": said, "span": span, "utc": utc, "shape_of": shape_of, "href": href, "csrf": csrf}  # fmt: skip


def short(value: str) -> str:
    """Return the first characters of a long hexadecimal id; what people gave a name stays whole."""
    bare = value.replace("-", "")
    if len(bare) >= 24 and all(one in "0123456789abcdef" for one in bare):  # noqa: PLR2004 - shorter ones are read
        return value[:SHORT]
    return value


def href(*parts: str) -> str:
    """Return a path; each part is quoted whole."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def who(recipient: str) -> Markup:
    """Whom it concerns: a customer is a link, a team a name; an address is never shown here."""
    kind, _, name = recipient.partition(":")
    if kind == "customer" and name:
        return Markup('<a href="{}">{}</a>').format(href("customers", name), name)
    if kind == "customer":
        return Markup('<span class="dim3">unknown customer</span>')
    return escape("one address" if kind == "address" else name or recipient)


def number(value: float | None) -> str:
    """Return a figure with thousands set apart; what is not known is a dash."""
    return "–" if value is None else f"{value:,}"


def span(micros: Micros) -> str:
    """Return how long something takes: "7 ms", "0.4 s", "4 s", "12 min", "2 h", "3 d"."""
    size = abs(micros)
    if MILLISECOND <= size < 10 * MILLISECOND:
        return f"{size // MILLISECOND} ms"
    if size < SECOND:
        return f"{size // 10_000 / 100:g} s"
    if size < 10 * SECOND:
        return f"{size // 100_000 / 10:g} s"
    for unit, word, most in ((SECOND, "s", MINUTE), (MINUTE, "min", HOUR), (HOUR, "h", 2 * DAY)):
        if size < most:
            return f"{size // unit} {word}"
    return f"{size // DAY:,} d"


def moment(at: Micros, zone: str | None = None) -> datetime:
    """Return an instant as a zone's clocks show it; UTC where the zone is not known."""
    found = EPOCH + timedelta(microseconds=at)
    return found if zone is None else found.astimezone(_zone(zone))


@lru_cache(maxsize=512)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def utc(at: Micros) -> str:
    """Return an instant in UTC, to the second."""
    return f"{moment(at):%Y-%m-%d %H:%M:%S} UTC"


def when(at: Micros | None, zone: str | None = None, *, tail: str = "") -> Markup:
    """An instant: as the page's switch says, with UTC and the customer's zone to be had from it."""
    if at is None:
        return Markup('<span class="dim3">–</span>')
    tip = utc(at) + (f"\n{moment(at, zone):%Y-%m-%d %H:%M:%S} {zone}" if zone else "")
    view = VIEW.get()
    match view.times:
        case "utc":
            text = f"{moment(at):%m-%d %H:%M:%S}"
        case "zone":
            text = f"{moment(at, zone):%m-%d %H:%M}" + ("" if zone else " UTC")
        case _:
            ahead = at - view.now
            text = f"in {span(ahead)}" if ahead >= SECOND else f"{span(ahead)}{tail}"
    return Markup('<time class="t" datetime="{:%Y-%m-%dT%H:%M:%S.%fZ}" data-tip="{}">{}</time>').format(
        moment(at), tip, text
    )


def again(**changes: Any) -> str:
    """Return the URL of this page with some parameters changed; None takes one away, and so the page of a list."""
    view = VIEW.get()
    kept = {name: value for name, value in view.params.items() if name not in ("before", "after")}
    kept |= {name.rstrip("_"): value for name, value in changes.items()}
    query = urlencode({name: value for name, value in kept.items() if value not in (None, "")})
    return f"{view.path}?{query}" if query else view.path


def csrf() -> Markup:
    """The field that every form of ours carries."""
    return Markup('<input type="hidden" name="csrf" value="{}">').format(VIEW.get().csrf)
