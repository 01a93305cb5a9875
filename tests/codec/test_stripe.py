"""Stripe's webhook payloads, and what is no such thing."""

from typing import Any

import pytest

from schemas import contracts
from streams.json_events import NotAnEvent, from_json
from streams.sources import stripe
from tidings.errors import BadContract, Refusal

FAILED: dict[str, Any] = {
    "object": "event", "id": "evt_1", "type": "invoice.payment_failed", "created": 1_772_704_800, "livemode": False,
    "data": {"object": {
        "id": "in_1", "object": "invoice", "customer": "cus_1", "currency": "eur", "amount_due": 1999, "attempt_count": 2,
        "charge": "ch_1", "lines": {"data": []},
    }},
}  # fmt: skip


def test_a_failed_payment_becomes_an_event_of_ours():
    ((kind, event),) = stripe.to_events(FAILED)
    assert kind == "billing.payment.failed"
    assert event == {
        "id": "evt_1", "source": "stripe", "time": "2026-03-05T10:00:00Z", "subject": "in_1",
        "data": {
            "payment_id": "ch_1", "invoice_id": "in_1", "customer_id": "stripe:cus_1", "code": "not_given", "attempt": 2,
            "amount": {"amount_minor": 1999, "currency": "EUR"},
        },
    }  # fmt: skip
    assert from_json(contracts().by_type[kind], event)["meta"]["source"] == "stripe"


@pytest.mark.parametrize("payload", [
    None, [], "x", {}, {"object": "invoice"}, {**FAILED, "created": "yesterday"}, {**FAILED, "created": 10**30},
    {**FAILED, "created": None}, {**FAILED, "data": None}, {**FAILED, "data": {"object": []}},
], ids=str)  # fmt: skip
def test_what_is_no_event_of_stripe_is_refused(payload):
    with pytest.raises(BadContract) as told:
        stripe.to_events(payload)
    assert told.value.reason is Refusal.BAD_VALUE


@pytest.mark.parametrize("kind", ["customer.created", None, 7, []])
def test_a_type_that_corresponds_to_nothing_is_unmapped(kind):
    with pytest.raises(BadContract) as told:
        stripe.to_events({**FAILED, "type": kind})
    assert told.value.reason is Refusal.UNMAPPED


@pytest.mark.parametrize(
    ("field", "value"), [("amount_due", "12"), ("currency", None), ("customer", None), ("attempt_count", [])]
)
def test_a_field_of_the_wrong_kind_is_told_by_the_contract(field, value):
    thing = {**FAILED["data"]["object"], field: value}
    ((kind, event),) = stripe.to_events({**FAILED, "data": {"object": thing}})
    if field == "customer":
        assert event["data"]["customer_id"] is None
    with pytest.raises(NotAnEvent):
        from_json(contracts().by_type[kind], event)
