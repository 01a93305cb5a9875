"""Policies: the class of consent that a message needs, and the hours in which it waits."""

from __future__ import annotations

import re
from dataclasses import dataclass

from handlers.rules.keys import CONSENTS, DAYS, LATER_DAYS
from handlers.rules.shape import Shape
from handlers.rules.yaml import Node
from handlers.rules.zones import zone
from tidings.quiet_hours import EVERY_DAY, QuietHours, Window

CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
A_DAY = 24 * 60
MAX_WINDOWS = 50


@dataclass(frozen=True, slots=True)
class Policy:
    """What a rule says about consent and time; a file may give it a name."""

    consent: str = "transactional"
    quiet_hours: QuietHours | None = None


def policy_of(shape: Shape, node: Node) -> Policy:
    """Return a policy as far as it can be read."""
    if not shape.keys(node, "policy"):
        return Policy()
    consent = str(shape.choice(node.get("consent"), CONSENTS, "transactional"))
    quiet = node.get("quiet_hours")
    return Policy(consent, _quiet_hours(shape, quiet) if quiet is not None else None)


def _quiet_hours(shape: Shape, node: Node) -> QuietHours | None:
    if not shape.keys(node, "quiet_hours"):
        return None
    windows = _windows(shape, node)
    named = zone(shape, node.get("timezone"), "customer")
    unknown = node.get("if_unknown")
    if_unknown = zone(shape, unknown)
    if node.get("timezone") is None:
        text = "'timezone' is missing: customer, or a zone as Europe/Berlin"
        shape.wrong(node, "R007", text)
    elif named == "customer" and unknown is None:
        text = (
            "'if_unknown' is missing: the zone that counts where nobody knows the customer's; it never means 'send now'"
        )
        shape.wrong(node, "R007", text)
    elif named not in (None, "customer") and unknown is not None:
        shape.wrong(unknown, "R112", "'if_unknown' belongs to 'timezone: customer'; this zone is named already")
    shape.choice(node.get("on_quiet"), ("hold",), "hold")
    shape.choice(node.get("bypass"), ("critical",), "critical")
    if not windows or named is None:
        return None
    return QuietHours(windows, named, if_unknown or ("UTC" if named == "customer" else named))


def _windows(shape: Shape, node: Node) -> tuple[Window, ...]:
    """Return the windows; a single one may stand as `start` and `end`."""
    several = node.get("windows")
    if several is None:
        return tuple(window for window in (_window(shape, node),) if window is not None)
    for single in ("start", "end", "days"):
        if (one := node.get(single)) is not None:
            shape.wrong(one, "R112", f"'{single}' stands inside of 'windows', or 'windows' is left out")
    if several.kind != "list" or not 0 < len(several.items) <= MAX_WINDOWS:
        shape.wrong(several, "R006", f"'windows' is a list of windows, at least one and at most {MAX_WINDOWS}")
        return ()
    found = [_window(shape, one) for one in several.items if shape.keys(one, "window")]
    return tuple(window for window in found if window is not None)


def _window(shape: Shape, node: Node) -> Window | None:
    start, end = (_clock(shape, node, name) for name in ("start", "end"))
    days = _days(shape, node.get("days"))
    if start == A_DAY:
        shape.wrong(node.get("start") or node, "R112", "a window starts at 00:00 at the earliest, 24:00 ends one")
        return None
    if start is None or end is None:
        return None
    if start == end:
        text = "start and end are the same time; a whole day is 00:00 to 24:00"
        shape.wrong(node.get("end") or node, "R112", text)
        return None
    return Window(start, end, days)


def _clock(shape: Shape, node: Node, name: str) -> int | None:
    """Return a time of day in minutes."""
    given = node.get(name)
    if given is None:
        shape.wrong(node, "R007", f"'{name}' is missing, as in \"21:00\"")
        return None
    if given.kind != "scalar" or CLOCK.fullmatch(given.text) is None:
        near = f"0{given.text}" if CLOCK.fullmatch(f"0{given.text}") else None
        shape.wrong(given, "R006", "a time of day is needed here, as 21:00", near)
        return None
    hours, minutes = given.text.split(":")
    return int(hours) * 60 + int(minutes)


def _days(shape: Shape, node: Node | None) -> frozenset[int]:
    if node is None:
        return EVERY_DAY
    if node.kind == "map" or (node.kind == "list" and not node.items):
        shape.wrong(node, "R006", f"'days' is a list of {', '.join(DAYS)}; at least one")
        return EVERY_DAY
    found: set[int] = set()
    for one in node.items if node.kind == "list" else (node,):
        found.update(DAYS.get(shape.choice(one, tuple(DAYS), "", LATER_DAYS), ()))
    return frozenset(found)
