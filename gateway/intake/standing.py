"""What is known of one event that was published."""

from __future__ import annotations

from typing import Any

from gateway.access.keys import Principal
from gateway.intake.recent import Known, Name, Recent
from gateway.site import Site
from streams.json_events import rfc3339
from streams.processors.detect import READER
from tidings.ports import Body, Read, Transaction

REF = 36
"""Characters of a reference."""


async def standing(site: Site, who: Principal, recent: Recent, ref: str) -> dict[str, Any] | None:
    """Return what is known of an event of the principal's own sources; None: nothing.

    Raises:
        StoreUnavailable: it cannot be said now.
    """
    found, ours = recent.of_ref(who.tenant, ref), False
    unsure = found is None or found[1].place is None
    # Of long ago, or of another process, or kept and published since: the catalogue knows what is in the log.
    if unsure and (catalogued := await _catalogued(site, who.tenant, ref)) is not None:
        found, ours = catalogued, True
    if found is None:
        return None
    (_, source, name), known = found
    if not who.may_publish(source):
        return None
    state, reason = "kept", None
    if known.place is not None:
        state, reason = await site.store.read(_state(*known.place, ours=ours))
    return {
        "event_ref": ref, "id": name, "source": source, "type": known.type, "time": rfc3339(known.at), "state": state,
        "reason": reason,
    }  # fmt: skip


async def _catalogued(site: Site, tenant: str, ref: str) -> tuple[Name, Known] | None:
    if len(ref) != REF or tenant != site.ledger.tenant:
        return None
    for event in await site.ledger.events(ref):
        if event.ref == ref:
            place = (event.topic, event.partition, event.offset)
            return (tenant, event.source, event.id), Known(event.occurred_at, ref, event.type, place, durable=True)
    return None


def _state(topic: str, partition: int, offset: int, *, ours: bool) -> Body[tuple[str, str | None]]:
    """Return what asks how far a record came; `ours`: its offset is the store's, not the broker's."""

    def body() -> Transaction[tuple[str, str | None]]:
        source = (READER, topic, partition)
        row = (yield Read("sources", [source])).get(source)
        if row is None:
            return "waiting", None
        at = offset if ours else offset + row["base"]
        if at >= row["next_offset"]:
            return "waiting", None
        key = (*source, at)
        letter = (yield Read("dead_letters", [key])).get(key)
        return ("decided", None) if letter is None else ("refused", letter["reason"])

    return body
