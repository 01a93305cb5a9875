"""Payloads of other systems, and what is none."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from schemas import contracts
from streams.codec import Codec
from streams.json_events import NotAnEvent, from_json
from streams.sources import cloudevents, debezium, shopify, stripe
from streams.sources.foreign import Foreign, instant
from streams.sources.intake import appends_of
from streams.sources.mapping import load
from tidings.errors import BadContract, Refusal

KNOWN = contracts().by_type
FILE = Path(__file__).resolve().parents[2] / "examples" / "shop" / "sources.yaml"
MAPPING, MISTAKES = load(FILE.read_bytes(), KNOWN)
NOW = 1_772_704_800_000_000
FAILED: dict[str, Any] = {
    "object": "event", "id": "evt_1", "type": "invoice.payment_failed", "created": 1_772_704_800, "livemode": False,
    "data": {"object": {
        "id": "in_1", "object": "invoice", "customer": "cus_1", "currency": "eur", "amount_due": 1999, "attempt_count": 2,
        "charge": "ch_1", "lines": {"data": []},
    }},
}  # fmt: skip
READERS = {"stripe": stripe.read, "shopify": shopify.read, "debezium": debezium.read, "cloudevents": cloudevents.read}


def events(source: str, payload: Any) -> list[tuple[str, dict[str, Any]]]:
    assert MAPPING is not None, MISTAKES
    found = [event for record in READERS[source](payload, NOW) for event in MAPPING.to_events(source, record)]
    for kind, event in found:
        from_json(KNOWN[kind], event)
    return found


def test_the_mapping_of_the_example_has_no_mistake():
    assert MISTAKES == []


def test_a_failed_payment_becomes_an_event_of_ours():
    assert events("stripe", FAILED) == [("billing.payment.failed", {
        "id": "evt_1", "source": "stripe", "time": "2026-03-05T10:00:00Z", "subject": "in_1",
        "data": {
            "payment_id": "ch_1", "invoice_id": "in_1", "customer_id": "stripe:cus_1", "code": "not_given", "attempt": 2,
            "amount": {"amount_minor": 1999, "currency": "EUR"},
        },
    })]  # fmt: skip


def stripe_customer(kind: str, thing: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {**FAILED, "type": f"customer.{kind}", "data": {"object": {"id": "cus_1", **thing}, **data}}


def test_former_values_of_stripe_are_laid_over_the_object():
    payload = stripe_customer(
        "updated", {"email": "new@x.org", "delinquent": False}, previous_attributes={"email": "old@x.org"}
    )
    ((_, event),) = events("stripe", payload)
    data = event["data"]
    assert (data["before"]["email"], data["after"]["email"]) == ("old@x.org", "new@x.org")
    assert data["before"]["delinquent"] is False
    assert (data["before_coverage"], data["after_coverage"], data["changed_fields"]) == ("FULL", "FULL", ["email"])


@pytest.mark.parametrize(("kind", "before", "after"), [
    ("created", "ABSENT", "FULL"), ("updated", "UNKNOWN", "FULL"), ("deleted", "FULL", "ABSENT"),
])  # fmt: skip
def test_a_change_says_how_much_it_knows(kind, before, after):
    ((_, event),) = events("stripe", stripe_customer(kind, {"email": "x@x.org"}))
    assert (event["data"]["before_coverage"], event["data"]["after_coverage"]) == (before, after)


def change(op: str, before: Any, after: Any, **source: Any) -> dict[str, Any]:
    known = {
        "name": "crm",
        "db": "shop",
        "schema": "public",
        "table": "customers",
        "ts_ms": 1_772_704_800_000,
        "lsn": 7,
    }
    return {"op": op, "before": before, "after": after, "source": {**known, **source}, "ts_ms": 1_772_704_801_000}


ANNE = {"id": 1, "first_name": "Anne", "last_name": "K", "email": "anne@x.org", "secret": "unmapped"}


def test_a_row_that_was_created_becomes_two_events_with_ids_of_their_own():
    (kind, changed), (other, profile) = events("debezium", change("c", None, ANNE))
    assert (kind, other) == ("crm.customer.changed", "customer.profile.changed")
    assert changed["id"] != profile["id"]
    assert changed["time"] == "2026-03-05T10:00:00Z"
    assert (changed["data"]["before_coverage"], changed["data"]["after"]["email"]) == ("ABSENT", "anne@x.org")
    assert profile["data"] == {"customer_id": "crm:1", "name": "Anne K", "email": "anne@x.org"}


def test_the_same_record_has_the_same_ids_and_another_position_others():
    first, again, later = (events("debezium", change("c", None, ANNE, lsn=lsn)) for lsn in (7, 7, 8))
    assert first == again
    assert {event["id"] for _, event in first}.isdisjoint(event["id"] for _, event in later)


COVERED: dict[str, tuple[dict[str, Any], str, str, list[str]]] = {
    "full": (change("u", ANNE, {**ANNE, "email": "new@x.org"}), "FULL", "FULL", ["email"]),
    "key only": (change("u", {"id": 1}, ANNE), "KEY_ONLY", "FULL", []),
    "nothing before": (change("u", None, ANNE), "UNKNOWN", "FULL", []),
    "some columns": (change("u", {"id": 1, "email": "old@x.org"}, ANNE), "CHANGED_FIELDS_ONLY", "FULL", ["email"]),
    "a large value left out": (change("u", ANNE, {**ANNE, "email": "__debezium_unavailable_value"}), "FULL", "CHANGED_FIELDS_ONLY",
                               ["first_name", "last_name"]),
    "deleted": (change("d", ANNE, None), "FULL", "ABSENT", []),
    "read by a snapshot": (change("r", None, ANNE), "UNKNOWN", "FULL", []),
    "created, says a snapshot": (change("c", None, ANNE, snapshot="first"), "UNKNOWN", "FULL", []),
}  # fmt: skip


@pytest.mark.parametrize("name", COVERED)
def test_a_database_change_says_how_much_it_knows(name):
    payload, before, after, fields = COVERED[name]
    data = events("debezium", payload)[0][1]["data"]
    assert (data["before_coverage"], data["after_coverage"], data["changed_fields"]) == (before, after, fields)


def test_all_wrappings_of_a_change_give_the_same_event():
    plain = change("u", ANNE, {**ANNE, "first_name": "Anna"})
    upper = {name.upper(): value for name, value in ANNE.items()}
    expected = events("debezium", plain)[0][1]["data"]
    for other in (
        {"schema": {"name": "x"}, "payload": plain},
        {**plain, "before": upper, "after": {**upper, "FIRST_NAME": "Anna"}},
        {**plain, "before": '{"_id": {"$numberLong": "1"}, "first_name": "Anne", "last_name": "K", "email": "anne@x.org"}',
         "after": '{"_id": {"$numberLong": "1"}, "first_name": "Anna", "last_name": "K", "email": "anne@x.org"}'},
    ):  # fmt: skip
        assert events("debezium", other)[0][1]["data"] == expected


ORDER: dict[str, Any] = {
    "id": 450789469, "created_at": "2026-03-05T05:00:00-05:00", "total_price": "409.94", "currency": "USD", "cancelled_at": None,
    "line_items": [{"id": 1}, {"id": 2}], "customer": {"id": 207119551}, "cancel_reason": None,
}  # fmt: skip


@pytest.mark.parametrize("wrapped", [True, False])
def test_an_order_of_shopify(wrapped):
    ((kind, event),) = events("shopify", {"order": ORDER} if wrapped else ORDER)
    assert (kind, event["time"]) == ("sales.order.placed", "2026-03-05T10:00:00Z")
    assert event["data"] == {
        "order_id": "450789469", "customer_id": "shopify:207119551", "item_count": 2,
        "total": {"amount_minor": 40994, "currency": "USD"},
    }  # fmt: skip


def test_an_order_of_shopify_that_was_cancelled():
    ((kind, event),) = events("shopify", {**ORDER, "cancelled_at": "2026-03-06T10:00:00Z", "cancel_reason": "fraud"})
    assert (kind, event["data"]["reason"], event["time"]) == ("sales.order.cancelled", "fraud", "2026-03-06T10:00:00Z")


CLOUD: dict[str, Any] = {
    "specversion": "1.0", "id": "1", "source": "https://x.org", "type": "com.example.order.placed", "correlationid": "c-1",
    "causationid": "e-0", "data": {"orderId": "o-1", "customerId": "7", "total": "12.50", "currency": "EUR"},
}  # fmt: skip


def test_a_cloud_event_without_a_time_happened_when_it_came():
    ((kind, event),) = events("cloudevents", CLOUD)
    assert (kind, event["time"], event["correlation_id"], event["causation_id"]) == (
        "sales.order.placed", "2026-03-05T10:00:00Z", "c-1", "e-0",
    )  # fmt: skip
    assert event["data"]["total"] == {"amount_minor": 1250, "currency": "EUR"}


def test_a_cloud_event_of_one_of_our_contracts_needs_no_mapping():
    data = {"order_id": "o-1", "customer_id": "c-1"}
    ((kind, event),) = events("cloudevents", {**CLOUD, "type": "sales.order.shipped", "data": data})
    assert (kind, event["data"]) == ("sales.order.shipped", data)


def without(payload: dict[str, Any], *path: str) -> dict[str, Any]:
    found = copy.deepcopy(payload)
    inner = found
    for part in path[:-1]:
        inner = inner[part]
    del inner[path[-1]]
    return found


NOTHING: tuple[Any, ...] = (None, [], "x", 7)
REFUSED: dict[str, tuple[str, Any, Refusal]] = {
    **{f"{source}: {payload!r}": (source, payload, Refusal.BAD_VALUE)
       for source in ("stripe", "debezium", "cloudevents", "shopify") for payload in NOTHING},
    "stripe: an invoice": ("stripe", {"object": "invoice"}, Refusal.BAD_VALUE),
    "stripe: no time": ("stripe", {**FAILED, "created": "yesterday"}, Refusal.BAD_VALUE),
    "stripe: a time beyond all bounds": ("stripe", {**FAILED, "created": 10**30}, Refusal.BAD_VALUE),
    "stripe: no data": ("stripe", {**FAILED, "data": None}, Refusal.BAD_VALUE),
    "stripe: no object": ("stripe", {**FAILED, "data": {"object": []}}, Refusal.BAD_VALUE),
    "stripe: a type that is no text": ("stripe", {**FAILED, "type": []}, Refusal.BAD_VALUE),
    "stripe: another type": ("stripe", {**FAILED, "type": "account.updated"}, Refusal.UNMAPPED),
    "debezium: a flat row": ("debezium", ANNE, Refusal.BAD_VALUE),
    "debezium: truncated": ("debezium", change("t", None, None), Refusal.UNMAPPED),
    "debezium: a message": ("debezium", change("m", None, None), Refusal.UNMAPPED),
    "debezium: no table": ("debezium", without(change("c", None, ANNE), "source", "table"), Refusal.UNMAPPED),
    "debezium: another table": ("debezium", change("c", None, ANNE, table="invoices"), Refusal.UNMAPPED),
    "debezium: a deletion with after": ("debezium", change("d", ANNE, ANNE), Refusal.BAD_VALUE),
    "debezium: an update to nothing": ("debezium", change("u", ANNE, None), Refusal.BAD_VALUE),
    "debezium: a row that is no JSON": ("debezium", change("c", None, "{"), Refusal.BAD_VALUE),
    "debezium: no time": ("debezium", {**change("c", None, ANNE, ts_ms=0), "ts_ms": 0}, Refusal.BAD_VALUE),
    "cloudevents: another version": ("cloudevents", {**CLOUD, "specversion": "0.3"}, Refusal.BAD_VALUE),
    "cloudevents: Avro": ("cloudevents", {**CLOUD, "datacontenttype": "application/avro"}, Refusal.BAD_VALUE),
    "cloudevents: no id": ("cloudevents", without(CLOUD, "id"), Refusal.BAD_VALUE),
    "cloudevents: a time without zone": ("cloudevents", {**CLOUD, "time": "2026-03-05T10:00:00"}, Refusal.BAD_VALUE),
    "shopify: a product": ("shopify", {"id": 1, "title": "x"}, Refusal.UNMAPPED),
    "shopify: a list of events": ("shopify", {"events": []}, Refusal.UNMAPPED),
    "shopify: no time": ("shopify", {**ORDER, "created_at": "soon"}, Refusal.BAD_VALUE),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_none_is_refused_with_its_reason(name):
    source, payload, reason = REFUSED[name]
    with pytest.raises(BadContract) as told:
        events(source, payload)
    assert told.value.reason is reason
    assert told.value.detail


@pytest.mark.parametrize(
    ("field", "value"), [("amount_due", "12"), ("currency", None), ("customer", None), ("attempt_count", [])]
)
def test_a_field_of_the_wrong_kind_is_told_by_the_contract(field, value):
    thing = {**FAILED["data"]["object"], field: value}
    with pytest.raises(NotAnEvent):
        events("stripe", {**FAILED, "data": {"object": thing}})


@pytest.mark.parametrize("price", ["1e9", "12.345", "nan", "1" * 40, None, "12,50", [], "-"])
def test_an_amount_that_is_none_is_refused_and_never_rounded(price):
    with pytest.raises(NotAnEvent):
        events("shopify", {**ORDER, "total_price": price})


@pytest.mark.parametrize(("value", "at"), [
    (1_772_704_800, NOW), (1_772_704_800_000, NOW), (1_772_704_800_000_000, NOW), (1_772_704_800_000_000_000, NOW),
    ("1772704800000", NOW), (0, None), (-5, None), (True, None), ("soon", None), (10**25, None), (None, None), (1.5, None),
])  # fmt: skip
def test_the_unit_of_a_time_is_told_by_its_size(value, at):
    assert instant(value) == at


WRONG = {
    "no version": ("stripe: {}\n", "S001", None),
    "a source that is none": ("version: 1\nstrype: {}\n", "S002", "stripe"),
    "a key that is none": ("version: 1\nstripe:\n  a:\n    - evnt: x\n", "S003", "event"),
    "no event": ("version: 1\nstripe:\n  a:\n    - set: {}\n", "S004", None),
    "an event that is none": ("version: 1\nstripe:\n  a:\n    - event: sales.order.shiped\n", "S005", "sales.order.shipped"),
    "a field that is none": ("version: 1\nstripe:\n  a:\n    - event: sales.order.shipped\n      set: { order_id: id, custmer_id: c }\n",
                             "S006", "customer_id"),
    "a field that nothing sets": ("version: 1\nstripe:\n  a:\n    - event: sales.order.shipped\n      set: { order_id: id }\n", "S008", None),
    "a change without a row": ("version: 1\nstripe:\n  a:\n    - event: crm.customer.changed\n      set: { customer_id: id }\n", "S008", None),
    "an expression that is none": ("version: 1\nstripe:\n  a:\n    - event: sales.order.shipped\n      set: { order_id: 'a{', customer_id: c }\n",
                                   "S011", None),
    "no YAML": ("version: [", "R001", None),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_mapping_with_a_mistake_says_where(name):
    text, code, hint = WRONG[name]
    found, diagnostics = load(text.encode(), KNOWN)
    assert found is None
    assert code in {one.code for one in diagnostics}
    assert hint is None or hint in {one.hint for one in diagnostics}
    assert all(str(one).startswith("sources.yaml:") for one in diagnostics)


def test_a_record_may_have_several_names_and_the_most_specific_counts():
    record = Foreign(("shop.public.customers", "public.customers", "customers"), "1", "s", NOW, "create", after=ANNE)
    text = (
        "version: 1\ndebezium:\n"
        "  customers: [{ event: sales.order.shipped, set: { order_id: { const: a }, customer_id: { text: id } } }]\n"
        "  Public.Customers: [{ event: sales.order.shipped, set: { order_id: { const: b }, customer_id: { text: id } } }]\n"
    )
    found, diagnostics = load(text.encode(), KNOWN)
    assert found is not None, diagnostics
    assert found.to_events("debezium", record)[0][1]["data"]["order_id"] == "b"


@pytest.mark.parametrize("source", ["cloudevents", "debezium", "shopify", "stripe"])
def test_each_mistake_is_told_once_whatever_the_source(source):
    text = f"version: 1\n{source}:\n  a:\n    - event: billing.payment.succeeded\n      set: {{ customerid: id }}\n"
    _, diagnostics = load(text.encode(), KNOWN)
    told = [str(one) for one in diagnostics]
    assert len(told) == len(set(told))
    assert "billing.payment.succeeded has no field 'customerid'" in [one.text for one in diagnostics]


def refused(source: str, payload: Any) -> BadContract:
    assert MAPPING is not None
    with pytest.raises(BadContract) as told:
        appends_of(Codec(contracts()), MAPPING, source, json.dumps(payload).encode(), NOW)
    return told.value


def test_a_value_that_is_missing_is_told_with_its_path_in_the_payload_and_the_line_that_takes_it_from_there():
    payload = copy.deepcopy(FAILED)
    del payload["data"]["object"]["amount_due"]
    detail = refused("stripe", payload).detail
    line = next(n for n, text in enumerate(FILE.read_text().splitlines(), 1) if "{ minor: amount_due" in text)
    assert (
        f"/data/amount: must not be null (sources.yaml:{line} takes it from 'amount_due', which the payload lacks)"
        in detail
    )


def test_a_type_that_nothing_maps_is_told_with_the_file_that_would():
    told = refused("stripe", {**FAILED, "type": "charge.refunded"})
    assert told.reason == Refusal.UNMAPPED
    assert "'charge.refunded' is not in sources.yaml" in told.detail
