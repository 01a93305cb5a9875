"""Stripe: webhook payloads of API events. A change carries only the former values of what changed.

`previous_attributes` laid over the object gives the whole former object, as everything else is as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streams.sources.foreign import Foreign, Op, instant, mapping_of, refuse

SOURCE = "stripe"
OPS: Mapping[str, Op] = {"created": "create", "updated": "update", "deleted": "delete"}
"""By the last word of a type; every other type is a fact about its object."""


def read(payload: Any, now: int) -> list[Foreign]:
    """Return the change or fact of an event.

    Raises:
        BadContract: it is no event of Stripe.
    """
    body = mapping_of(payload, "the event")
    if body.get("object") != "event":
        raise refuse('a Stripe event is an object with "object": "event"')
    kind, name = body.get("type"), body.get("id")
    if not isinstance(kind, str) or not isinstance(name, str) or not kind or not name:
        raise refuse("a Stripe event has 'id' and 'type', both texts")
    time = instant(body.get("created"))
    if time is None:
        raise refuse("a Stripe event has 'created', in seconds since 1970")
    data = mapping_of(body.get("data"), "data")
    thing = mapping_of(data.get("object"), "data.object")
    op = OPS.get(kind.rpartition(".")[2], "fact")
    before = after = None
    if op == "delete":
        before = thing
    else:
        after = thing
    if op == "update" and data.get("previous_attributes") is not None:
        before = laid_over(thing, mapping_of(data["previous_attributes"], "data.previous_attributes"))
    subject = thing.get("id")
    subject = subject if isinstance(subject, str) else None
    return [Foreign((kind,), name, SOURCE, time, op, before, after, subject, whole=True)]


def laid_over(thing: Mapping[str, Any], former: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the object with its former values; objects are merged, lists are replaced."""
    found = dict(thing)
    for name, value in former.items():
        known = thing.get(name)
        both = isinstance(value, Mapping) and isinstance(known, Mapping)
        found[name] = laid_over(known, value) if both else value  # type: ignore[arg-type]
    return found
