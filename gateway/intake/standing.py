"""What is known of one event that was published."""

from __future__ import annotations

from typing import Any

from gateway.access.keys import Principal
from gateway.intake.recent import Recent
from gateway.site import Site
from streams.json_events import rfc3339
from streams.processors.detect import READER
from tidings.log import Partition
from tidings.ports import Body, Read, Transaction


async def standing(site: Site, who: Principal, recent: Recent, ref: str) -> dict[str, Any] | None:
    """Return what is known of an event of the principal's own sources; None: nothing.

    Raises:
        StoreUnavailable: it cannot be said now.
    """
    found = recent.of_ref(who.tenant, ref)
    if found is None:
        return None
    (_, source, name), known = found
    if not who.may_publish(source):
        return None
    state, reason = "kept", None
    if known.place is not None:
        state, reason = await site.store.read(_state(*known.place))
    return {
        "event_ref": ref, "id": name, "source": source, "type": known.type, "time": rfc3339(known.at), "state": state,
        "reason": reason,
    }  # fmt: skip


def _state(place: Partition, offset: int) -> Body[tuple[str, str | None]]:
    def body() -> Transaction[tuple[str, str | None]]:
        row = (yield Read("sources", [(READER, *place)])).get((READER, *place))
        if row is None or offset + row["base"] >= row["next_offset"]:
            return "waiting", None
        key = (READER, *place, offset + row["base"])
        letter = (yield Read("dead_letters", [key])).get(key)
        return ("decided", None) if letter is None else ("refused", letter["reason"])

    return body
