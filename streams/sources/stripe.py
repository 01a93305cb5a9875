"""Stripe: webhook payloads of API events to events of ours.

Amounts of Stripe are in the smallest unit already. Their customers are foreign: `stripe:cus_…` until linked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streams.json_events import rfc3339
from tidings.errors import BadContract, Refusal
from tidings.event import SECOND

SOURCE = "stripe"


def to_events(payload: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return (event type, plain JSON event) of a payload.

    Raises:
        BadContract: it is no Stripe event, or nothing of ours corresponds to it (`unmapped`).
    """
    if not isinstance(payload, Mapping) or payload.get("object") != "event":
        raise BadContract(Refusal.BAD_VALUE, 'a Stripe event is an object with "object": "event"')
    kind = payload.get("type")
    mapping = MAPPINGS.get(str(kind))
    if mapping is None:
        known = ", ".join(sorted(MAPPINGS))
        raise BadContract(Refusal.UNMAPPED, f"Stripe's {kind!r} corresponds to no contract; {known} do")
    created = payload.get("created")
    thing = payload.get("data", {}).get("object") if isinstance(payload.get("data"), Mapping) else None
    if not isinstance(created, int) or not 0 <= created < 2**33 or not isinstance(thing, Mapping):
        raise BadContract(Refusal.BAD_VALUE, "a Stripe event has 'created' (seconds) and 'data.object'")
    event_type, data = mapping(thing)
    event = {
        "id": payload.get("id"), "source": SOURCE, "time": rfc3339(created * SECOND), "subject": thing.get("id"),
        "data": data,
    }  # fmt: skip
    return [(event_type, event)]


def _invoice_payment_failed(invoice: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    amount, currency = invoice.get("amount_due"), invoice.get("currency")
    return "billing.payment.failed", {
        "payment_id": invoice.get("charge") or invoice.get("id"),
        "invoice_id": invoice.get("id"),
        "customer_id": f"stripe:{invoice.get('customer')}" if invoice.get("customer") else None,
        "amount": {"amount_minor": amount, "currency": currency.upper() if isinstance(currency, str) else currency},
        # The invoice does not say why; the charge would.
        "code": "not_given",
        "attempt": invoice.get("attempt_count", 1),
    }


MAPPINGS = {"invoice.payment_failed": _invoice_payment_failed}
