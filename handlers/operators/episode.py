"""What a stateful rule remembers of the event that began an episode, and the event that it makes of it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidings.event import DAY, Event, Micros
from tidings.rule import Emission, Episode, Item

MEMORY: Micros = 90 * DAY
"""How long a firing waits for the event that takes it back (`dispatch.md`: a run is closed after 90 d)."""


def remembered(event: Event, keep: frozenset[str]) -> dict[str, Any]:
    """Return the part of an item's body that an episode needs: the fields `keep` of the payload, and its envelope."""
    data = {name: event.data[name] for name in sorted(keep) if name in event.data}
    return {"data": data, "id": event.id, "tenant": event.tenant, "subject": event.subject}


def begin(item: Item) -> dict[str, Any]:
    """Return the episode of an item whose body `remembered` made."""
    body = item.body
    envelope = {name: body[name] for name in ("type", "id", "tenant", "subject")}
    return {"order": list(item.order), "item": envelope, "data": body["data"]}


def event_of(episode: Mapping[str, Any]) -> Event:
    """Return the event that began an episode, as its rule kept it."""
    time, _, source, ref = episode["order"]
    item = episode["item"]
    return Event(
        ref=ref, tenant=item["tenant"], source=source, id=item["id"], type=item["type"], occurred_at=time,
        data=episode["data"], topic="", partition=-1, offset=-1, appended_at=time, subject=item["subject"],
    )  # fmt: skip


def say(kind: str, episode: Mapping[str, Any], at: Micros) -> Emission:
    """Return what an operator says of an episode."""
    event = event_of(episode)
    return Emission(kind, 0, Episode(event.occurred_at, event.source, event.ref), at, event)
