"""A provider that is away, in the words of every page that says so."""

from __future__ import annotations

from gateway.console.marks import span
from gateway.logs import cause_of, mend_of
from gateway.site import Site
from tidings.breaker import Breaker
from tidings.reasons import MessageState


def away(name: str, breaker: Breaker, site: Site) -> str:
    """Return since when, by our clock, what this process knows as `name` takes nothing."""
    word = "does not take us" if breaker.misconfigured else "is away"
    return f"{name} {word} since {span(max(0, site.now() - breaker.since) // site.speed)}"


def needed(name: str, breaker: Breaker, site: Site) -> str:
    """Return the same with its cause, what a person has to do about it, and when it is asked again."""
    cause = cause_of(breaker.why)
    left = max(0, breaker.until - site.now()) // site.speed
    again = "now" if breaker.probe or not left else f"in {span(left)}"
    head = f"{away(name, breaker, site)}{f' ({cause})' if cause else ''}"
    if breaker.misconfigured:
        return f"{head}. {mend_of(breaker.why)}; until then its messages wait, and one of them asks again {again}."
    return f"{head}; its messages wait, and leave when it is back. It is asked again {again}."


def kept(state: MessageState, channel: str, site: Site) -> str:
    """Return which provider a message waits for; nothing where it waits for none, or another process asks it."""
    if state is not MessageState.PENDING:
        return ""
    found = ((name, one.breaker) for name, one in site.ways().items() if channel in one.channels)
    return next((away(name, breaker, site) for name, breaker in found if breaker.is_open), "")
