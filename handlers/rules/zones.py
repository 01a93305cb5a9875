"""IANA time zones as rule files name them: those by which quiet hours are read, whatever the machine knows beside."""

from __future__ import annotations

from functools import cache
from zoneinfo import available_timezones

from handlers.rules.shape import Shape
from handlers.rules.yaml import Node
from tidings.quiet_hours import is_zone

NO_PLACE = ("Factory",)
"""A zone that says "not set yet"."""


@cache
def _suggested() -> tuple[str, ...]:
    return tuple(sorted(name for name in available_timezones() if is_zone(name) and name not in NO_PLACE))


def zone(shape: Shape, node: Node | None, *also: str) -> str | None:
    """Return the zone that a node names, or one of the words `also`; None where it is none, and that is told."""
    if node is None:
        return None
    if node.kind == "scalar" and (node.text in also or (is_zone(node.text) and node.text not in NO_PLACE)):
        return node.text
    words = f", nor {' or '.join(also)}" if also else ""
    text = f"'{node.text[:60]}' is no time zone{words}; as in Europe/Berlin"
    shape.wrong(node, "R112", text, shape.near(node.text, (*also, *_suggested())))
    return None
