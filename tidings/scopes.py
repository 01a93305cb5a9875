"""What a kill stops: a scope, as text that a person can type and a row can hold.

`all` · `tenant:NAME` · `channel:NAME` · `rule:ID` · `ground`, which no operator sets (see `tidings.gates`).
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import get_args

from tidings.gates import GROUND
from tidings.ports import Row
from tidings.rule import Channel

ALL = "all"
KINDS = ("tenant", "channel", "rule")
CHANNELS: tuple[str, ...] = get_args(Channel)
LONGEST_REASON = 500
"""Characters."""
NAME = re.compile(r"[^\s\x00-\x1f\x7f]{1,200}")


def scope_of(kind: str | None, name: str = "") -> str:
    """Return the scope of a kind and a name; without a kind it is everything.

    Raises:
        ValueError: there is no such kind or channel, or the name is none.
    """
    if kind is None:
        return ALL
    if kind not in KINDS:
        text = f"{kind!r} cannot be stopped; {', '.join(KINDS)} can, or everything"
        raise ValueError(text)
    if NAME.fullmatch(name) is None:
        text = f"{name[:40]!r} is no name of a {kind}"
        raise ValueError(text)
    if kind == "channel" and name not in CHANNELS:
        near = get_close_matches(name, CHANNELS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(CHANNELS)}"
        text = f"there is no channel {name[:40]!r}; {hint}"
        raise ValueError(text)
    return f"{kind}:{name}"


def read_scope(text: str) -> str:
    """Return a scope as somebody typed it, `all` or `channel:email`.

    Raises:
        ValueError: it is none.
    """
    kind, colon, name = text.partition(":")
    return ALL if text == ALL else scope_of(kind if colon else text[:40], name)


def read_reason(text: str) -> str:
    """Return a reason, which whoever comes next on call will read.

    Raises:
        ValueError: there is none, it is too long, or it cannot be shown.
    """
    reason = " ".join(text.split())
    if not reason or len(reason) > LONGEST_REASON or not reason.isprintable():
        text = f"a reason is needed: one line of 1 to {LONGEST_REASON} characters, for whoever comes next"
        raise ValueError(text)
    return reason


def said(scope: str) -> str:
    """Return a scope in words: `everything`, `channel email`."""
    if scope == GROUND:
        return "everything (the database is older than its topics)"
    return "everything" if scope == ALL else scope.replace(":", " ", 1)


def reaches(scope: str, tenant: str, rule: str, channel: str) -> bool:
    """Return whether a scope holds what these three are of."""
    return scope in (ALL, GROUND, f"tenant:{tenant}", f"rule:{rule}", f"channel:{channel}")


def reaches_row(scope: str, row: Row) -> bool:
    """Return whether a scope holds the message of a row."""
    return reaches(scope, row["tenant"], row["rule"], row["channel"])
