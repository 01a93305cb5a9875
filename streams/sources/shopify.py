"""Shopify: bodies of webhooks, bare or wrapped as the Admin API does. The topic stands in a header, which a file lacks.

So the object itself says what it is: an order has line items; one with `cancelled_at` was cancelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from streams.json_events import micros
from streams.sources.foreign import Foreign, mapping_of, refuse
from tidings.errors import Refusal

SOURCE = "shopify"


def read(payload: Any, now: int) -> list[Foreign]:
    """Return the fact of an order.

    Raises:
        BadContract: it is no order.
    """
    body = mapping_of(payload, "the body")
    if isinstance(body.get("events"), list):
        raise refuse(
            "this is a list of the Admin API's events, which carries no object; send the webhook", Refusal.UNMAPPED
        )
    order = mapping_of(body.get("order", body), "order")
    if "line_items" not in order:
        raise refuse("only orders are read so far; an order has 'line_items'", Refusal.UNMAPPED)
    name = order.get("id")
    if not isinstance(name, (int, str)) or isinstance(name, bool) or not name:
        raise refuse("an order has an 'id'")
    cancelled = order.get("cancelled_at") is not None
    topic = "orders/cancelled" if cancelled else "orders/create"
    time = _time(order, "cancelled_at" if cancelled else "created_at")
    # Shopify's ids exceed 2^53 where they are numbers: they are texts here.
    return [Foreign((topic,), f"{topic}/{name}", SOURCE, time, "fact", after=order, subject=str(name), whole=True)]


def _time(order: Mapping[str, Any], name: str) -> int:
    value = order.get(name)
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        text = f"'{name}' is {value!r}; a time with zone is needed"
        raise refuse(text)
    return micros(at)
