"""Texts by language: variants of a template (`billing/overdue`, `billing/overdue.de`, `billing/overdue.de-AT`), sentences of topics.

A text whose name says no language, or in whose place one must stand, is in English.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from babel import Locale, UnknownLocaleError

from tidings.rule import Topic

LANGUAGE = "en"
"""Of texts that name none."""
TAG = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,3}")


def language_of(locale: str) -> str | None:
    """Return the English name of a locale's language, or None where there is no such locale."""
    if TAG.fullmatch(locale) is None:
        return None
    try:
        return Locale.parse(locale.replace("-", "_")).get_language_name("en")
    except (UnknownLocaleError, ValueError):
        return None


def shorter_of(tag: str) -> str | None:
    """Return `de` of `ger`, `de-AT` of `deu-AT`: locales name a language by two letters, where it has them; else None."""
    first, *more = _parts(tag)
    if len(first) == 2 or language_of(tag) is None:  # noqa: PLR2004 - ISO 639-1
        return None
    language = Locale.parse(first).language
    return next(tags("-".join([language, *more])), None) if len(language) == 2 else None  # noqa: PLR2004 - likewise


def choose(templates: Mapping[str, Any], name: str, locale: str | None) -> str:
    """Return the name of the variant that fits a locale best: its own, its language's, else the plain one."""
    found = _variant(templates, name, locale)
    return name if found is None else found


def spoken(templates: Mapping[str, Any], name: str, locale: str | None, default: str = LANGUAGE) -> str:
    """Return the locale in which the chosen variant speaks, so that a text and its dates are in one language.

    It is the person's where the variant, or the plain template with its language `default`, is in the person's
    language; else the variant's or the default.
    """
    chosen = choose(templates, name, locale)
    language = chosen[len(name) + 1 :] or default
    return locale if locale is not None and _parts(locale)[:1] == _parts(language)[:1] else language


def sentence_of(topic: Topic, locale: str | None) -> str:
    """Return what customers read of a topic: in their locale, in its language, else the one that everybody reads."""
    return next((topic.sentences[tag] for tag in tags(locale) if tag in topic.sentences), topic.sentence)


def tags(locale: str | None) -> Iterator[str]:
    """Yield the tags under which a text for a locale may stand, the best first; nothing where it is no locale.

    The first is the locale as it is usually written: `de-AT` of `de_at`.
    """
    if locale is None or TAG.fullmatch(locale) is None:
        return
    parts = _parts(locale)
    cased = [parts[0], *(part.upper() if len(part) == 2 else part.title() for part in parts[1:])]  # noqa: PLR2004 - ISO 3166
    for size in range(len(parts), 0, -1):
        yield from ("-".join(cased[:size]), "_".join(cased[:size]), "-".join(parts[:size]))


def _variant(templates: Mapping[str, Any], name: str, locale: str | None) -> str | None:
    return next((f"{name}.{tag}" for tag in tags(locale) if f"{name}.{tag}" in templates), None)


def _parts(tag: str) -> list[str]:
    return re.split("[-_]", tag.lower())
