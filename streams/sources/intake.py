"""From the bytes of a payload to records of the log: read, mapped, checked against the contracts; all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from streams.codec import Codec
from streams.embedded_log import Append
from streams.json_events import NotAnEvent, from_json, parse_json
from streams.sources import cloudevents, debezium, shopify, stripe
from streams.sources.foreign import Foreign, refuse
from streams.sources.mapping import SourceMap
from tidings.event import Micros

READERS: Mapping[str, Callable[[Any, Micros], list[Foreign]]] = {
    "cloudevents": cloudevents.read, "debezium": debezium.read, "shopify": shopify.read, "stripe": stripe.read,
}  # fmt: skip


def appends_of(
    codec: Codec, mapping: SourceMap, source: str, raw: bytes, now: Micros
) -> tuple[list[Append], list[str]]:
    """Return the records that a payload becomes, and the types of their events.

    Raises:
        BadContract: it becomes none, with its reason.
    """
    known = codec.contracts.by_type
    payloads: list[tuple[str, dict[str, Any]]] = []
    for record in records_of(source, raw, now):
        for kind, event in mapping.to_events(source, record):
            try:
                payloads.append((kind, from_json(known[kind], event, tenant=codec.tenant)))
            except NotAnEvent as fault:
                raise refuse(mapping.explained(source, record, kind, fault)) from fault
    appends = [Append(known[kind].topic, *codec.encode(kind, payload)) for kind, payload in payloads]
    return appends, [kind for kind, _ in payloads]


def records_of(source: str, raw: bytes, now: Micros) -> list[Foreign]:
    """Return what a payload says in its own words, before anything is mapped.

    Raises:
        BadContract: it cannot be read.
    """
    try:
        return READERS[source](parse_json(raw), now)
    except NotAnEvent as fault:
        raise refuse(str(fault)) from fault
