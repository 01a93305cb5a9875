"""IANA time zones as rule files name them."""

from __future__ import annotations

from functools import cache
from zoneinfo import available_timezones

from handlers.rules.shape import Shape
from handlers.rules.yaml import Node


@cache
def zones() -> frozenset[str]:
    """Return every zone; those that only say "this machine's" or "not set" are none."""
    return frozenset(available_timezones()) - {"localtime", "Factory"}


def zone(shape: Shape, node: Node | None, *also: str) -> str | None:
    """Return the zone that a node names, or one of the words `also`; None where it is none, and that is told."""
    if node is None:
        return None
    if node.kind == "scalar" and (node.text in also or node.text in zones()):
        return node.text
    words = f", nor {' or '.join(also)}" if also else ""
    text = f"'{node.text}' is no time zone{words}; as in Europe/Berlin"
    shape.wrong(node, "R112", text, shape.near(node.text, (*also, *sorted(zones()))))
    return None
