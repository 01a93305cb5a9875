"""Stopping, releasing and dropping, as whoever asks for it sees it: the command line, the pages, HTTP."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from gateway.cli.wording import counted
from streams.processors.kills import Kill
from streams.stores.counts import Waits

WITHIN = 2.0
"""Seconds for counting what waits; a kill does not wait for its number."""


class NoScope(ValueError):
    """What was to be stopped does not exist; the text says what does."""


def check(scope: str, rules: Collection[str]) -> None:
    """See that a scope names something: a typing error would stop nothing, and look as if it had.

    Raises:
        NoScope: `rules`, those in use or with something unsent, do not hold its rule.
    """
    kind, _, name = scope.partition(":")
    if kind != "rule" or name in rules:
        return
    near = get_close_matches(name, rules, 1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    text = f"there is no rule '{name}'{hint}"
    raise NoScope(text)


def waits_in_words(waits: Waits | None) -> str:
    """Return how much waits: `143 messages wait`."""
    if waits is None:
        return "how much waits could not be counted"
    least = "" if waits.whole else "at least "
    verb = "waits" if waits.stopped == 1 else "wait"
    return f"{least}{counted(waits.stopped, 'message')} {verb}"


def sending_in_words(waits: Waits | None) -> str:
    """Return what may still arrive after a kill, or nothing."""
    if waits is None or not waits.sending:
        return ""
    are = "is" if waits.sending == 1 else "are"
    return f"{counted(waits.sending, 'message')} {are} with a provider at this moment and may still arrive"


def stopped_before(kill: Kill, at: str) -> str:
    """Return that somebody was faster."""
    return f"already stopped by {kill.by} at {at}: {kill.reason or 'no reason given'}"
