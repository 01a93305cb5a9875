"""How values are written for a person: dates, amounts, numbers and durations by locale and zone.

Digits are those of the Latin script in every locale: Babel writes dates in no others, and one message does not mix.
Amounts are exact: fractions and decimals, never binary floats.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import get_timezone_gmt, get_timezone_name
from babel.numbers import NumberPattern
from babel.units import format_unit

from handlers.templates.faults import Unshown
from tidings.event import DAY, HOUR, MINUTE, SECOND
from tidings.money import decimals

WIDTHS = ("short", "medium", "long", "full")
LENGTHS = ("long", "short", "narrow")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST = 10**21
"""Amounts and numbers from here on are no such thing; Babel's decimals have 28 digits."""
PLACES = 3
"""Decimals of a number unless it says otherwise."""
FINE_PLACES = 6
"""Decimals of a number so small that it would be shown as nothing."""
EXACT = re.compile(r"-?[0-9]{1,400}(?:/0*[1-9][0-9]{0,400}|(?:\.[0-9]{1,400})?(?:e[+-]?[0-9]{1,3})?)")
CURRENCY = re.compile("[A-Z]{3}")
GLUED = re.compile(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")


@lru_cache(maxsize=512)
def locale_of(name: str | None) -> Locale:
    """Return a locale by its name, `de-AT` or `de_AT`; its language where only that is known; else English."""
    parts = re.split("[-_]", name) if name and len(name) <= 35 else []  # noqa: PLR2004 - BCP 47 asks for no more
    for size in range(len(parts), 0, -1):
        try:
            return Locale.parse("_".join(parts[:size]))
        except (UnknownLocaleError, ValueError, TypeError):
            continue
    return Locale.parse("en")


@lru_cache(maxsize=1024)
def zone_of(name: str | None, fallback: str | None = None) -> tzinfo:
    """Return a zone of the tz database; the fallback where it is unknown; else UTC."""
    for one in (name, fallback):
        try:
            if one:
                return ZoneInfo(one)
        except (KeyError, ValueError, OSError):
            continue
    return UTC


@dataclass(frozen=True, slots=True)
class Voice:
    """For whom values are written."""

    locale: Locale
    zone: tzinfo
    narrow: bool = False
    """A text message: signs that would double its price have a plain counterpart."""

    def say(self, text: str) -> str:
        """Return what Babel wrote, with plain spaces where they count."""
        return text.replace("\xa0", " ").replace("\u202f", " ") if self.narrow else text


def instant(value: int, zone: tzinfo) -> datetime:
    """Return the local time of an instant.

    Raises:
        OverflowError: it is in no year that has a date.
    """
    return (EPOCH + timedelta(microseconds=value)).astimezone(zone)


def date(value: int, voice: Voice, width: str = "long") -> str:
    """Return the day."""
    pattern = voice.locale.date_formats[width]
    return voice.say(str(pattern.apply(instant(value, voice.zone), voice.locale)))


def time(value: int, voice: Voice, width: str = "short") -> str:
    """Return the time of day, without its zone."""
    pattern = voice.locale.time_formats[width]
    return voice.say(str(pattern.apply(instant(value, voice.zone), voice.locale)))


def date_time(value: int, voice: Voice, width: str = "long") -> str:
    """Return day and time with the name of the zone."""
    at = instant(value, voice.zone)
    locale = voice.locale
    frame = str(locale.datetime_formats[width]).replace("'", "")
    day = locale.date_formats[width].apply(at, locale)
    hour = f"{locale.time_formats['short'].apply(at, locale)} {zone_name(at, locale)}"
    return voice.say(frame.replace("{0}", hour, 1).replace("{1}", day, 1))


def zone_name(at: datetime, locale: Locale) -> str:
    """Return the short name that people use for a zone, else its distance: `CET`, `UTC+01:00`."""
    name = get_timezone_name(at, "short", locale=locale)
    return get_timezone_gmt(at, "long", locale=locale) if any(map(str.isdigit, name)) else name


def rounded(value: Fraction, places: int) -> Decimal:
    """Return a fraction with so many decimals, halves away from zero.

    Raises:
        OverflowError: it is too large to be shown.
    """
    if abs(value) >= LARGEST:
        raise OverflowError
    scaled = abs(value) * 10**places
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Decimal((int(value < 0 and whole != 0), tuple(map(int, str(whole))), -places))


@lru_cache(maxsize=512)
def _pattern(locale: Locale, kind: str, least: int, most: int) -> NumberPattern:
    formats = {"money": locale.currency_formats["standard"], "percent": locale.percent_formats[None]}
    pattern: NumberPattern = copy.copy(formats.get(kind) or locale.decimal_formats[None])
    pattern.frac_prec = (least, most)
    if kind == "code":
        pattern = copy.copy(locale.currency_formats["standard"])
        pattern.frac_prec = (least, most)
        pattern.prefix = (pattern.prefix[0].replace("¤", "¤¤"), pattern.prefix[1].replace("¤", "¤¤"))
        pattern.suffix = (pattern.suffix[0].replace("¤", "¤¤"), pattern.suffix[1].replace("¤", "¤¤"))
    return pattern


def money(value: Mapping[str, Any], voice: Voice, style: str = "symbol") -> str:
    """Return an amount with the decimals of its currency; a part of a cent comes from a division, and is rounded.

    Raises:
        ValueError: it has no amount, or no currency.
    """
    currency = value["currency"]
    if not isinstance(currency, str) or CURRENCY.fullmatch(currency) is None:
        text = "an amount has no currency"
        raise Unshown(text)
    places = decimals(currency)
    amount = rounded(fraction(value["amount_minor"]) / 10**places, places)
    pattern = _pattern(voice.locale, "code" if style == "code" else "money", places, places)
    shown = str(pattern.apply(amount, voice.locale, currency=currency, currency_digits=False))
    return voice.say(GLUED.sub("\xa0", shown))


def fraction(value: Any) -> Fraction:
    """Return a number exactly: an int, or a text like `1/3` or `0.25`.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, (int, Fraction)):
        return Fraction(value)
    text = repr(value) if isinstance(value, float) else value
    if not isinstance(text, str) or EXACT.fullmatch(text) is None:
        told = "a number cannot be read"
        raise Unshown(told)
    return Fraction(text)


def number(value: Any, voice: Voice, places: int | None = None) -> str:
    """Return a number with groups; with exactly so many decimals, or as many as it needs, three at most."""
    exact = fraction(value)
    most = PLACES if exact == 0 or abs(exact) >= Fraction(1, 10**PLACES) else FINE_PLACES
    least, most = (places, places) if places is not None else (0, most)
    return voice.say(str(_pattern(voice.locale, "number", least, most).apply(rounded(exact, most), voice.locale)))


def percent(value: Any, voice: Voice, places: int = 0) -> str:
    """Return a share as a percentage: 4/5 is 80 %."""
    amount = rounded(fraction(value), places + 2)
    return voice.say(str(_pattern(voice.locale, "percent", places, places).apply(amount, voice.locale)))


def duration(value: int, voice: Voice, length: str = "long") -> str:
    """Return a duration in its two largest units, the second one only if it follows: `2 days 3 hours`."""
    sign, rest = (-1, -value) if value < 0 else (1, value)
    parts: list[tuple[int, str]] = []
    for size, unit in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (SECOND, "second")):
        count, rest = divmod(rest, size)
        if count:
            parts.append((count if parts else count * sign, unit))
        elif parts:
            break
    written = [
        format_unit(count, f"duration-{unit}", length, locale=voice.locale)  # type: ignore[arg-type]
        for count, unit in parts[:2] or [(0, "second")]
    ]
    return voice.say(" ".join(written))


def truncate(text: str, voice: Voice, size: int) -> str:
    """Return at most so many characters, cut between words where there are any, with a mark that something is missing."""
    if len(text) <= size:
        return text
    mark = "..." if voice.narrow else "…"
    room = max(size - len(mark), 0)
    head = text[:room]
    if room < len(text) and not text[room].isspace() and (blank := head.rfind(" ")) > room // 2:
        head = head[:blank]
    # A mark of the letter before it is not left without it, nor half an emoji.
    while head and len(head) < len(text) and _joins(text[len(head)], head[-1]):
        head = head[:-1]
    return (head.rstrip() + mark)[:size]


def _joins(following: str, last: str) -> bool:
    return not following.isspace() and (
        following in "\u200d\ufe0f\u20e3" or last == "\u200d" or "\u0300" <= following <= "\u036f"
        or "\U0001f3fb" <= following <= "\U0001f3ff"
    )  # fmt: skip
