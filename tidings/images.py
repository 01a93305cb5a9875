"""Images: the last known state of an entity, which completes the `before` of a change event.

An image has one owning topic, that of its change event. Its version is the source's sequence, else `occurred_at`; a
stale event neither overwrites the image nor is completed from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidings import ids
from tidings.contract import Contract, value_at
from tidings.event import Event

Image = Mapping[str, Any]
"""`{"v": version, "d": fields or None after a deletion}`."""


def image_class(entity: str | None) -> str:
    """Return the class of an entity's rows of state."""
    return f"image:{entity}"


def image_key(contract: Contract, event: Event) -> tuple[Any, ...] | None:
    """Return the entity's key values, or None where the event names no entity or a part of its key is null."""
    if contract.entity is None or not contract.is_change:
        return None
    values = tuple(value_at(event.data, path) for path in contract.entity_key)
    return None if None in values else values


def state_key(contract: Contract, event: Event) -> bytes | None:
    """Return the key of the entity's image, or None."""
    values = image_key(contract, event)
    return None if values is None else ids.state_key(event.tenant, image_class(contract.entity), values)


def complete(event: Event, image: Image | None) -> tuple[Event, Image]:
    """Return the event with `before` as complete as it is known, and the image after it.

    A `before` that the source sent in full is believed. Otherwise the image stands in for it, if the event is the
    newer one; a created entity (`before_coverage` ABSENT) has no `before`.
    """
    data = dict(event.data)
    version = event.occurred_at if event.sequence is None else event.sequence
    after, coverage = data.get("after"), data.get("after_coverage", "FULL")
    if image is not None and version <= image["v"]:
        return event, image
    known = image["d"] if image is not None else None
    if data.get("before_coverage", "UNKNOWN") not in ("FULL", "ABSENT"):
        data["before"] = known
        data["before_coverage"] = "UNKNOWN" if known is None else "FULL"
    if coverage == "CHANGED_FIELDS_ONLY" and isinstance(after, Mapping):
        if known is None:
            return event.with_data(data), {"v": version, "d": None}
        changed = data.get("changed_fields") or tuple(after)
        after = {**known, **{name: after[name] for name in changed if name in after}}
        data["after"], data["after_coverage"] = after, "FULL"
    elif coverage not in ("FULL", "CHANGED_FIELDS_ONLY"):
        after = None
    return event.with_data(data), {"v": version, "d": after}
