"""Events in plain JSON: strict, bounded, and every mistake told at once with its place."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import contracts
from schemas.examples import described
from streams.codec import Codec
from streams.json_events import NotAnEvent, from_json, micros, parse_json, rfc3339, to_json
from streams.wire import MAX_BYTES
from tidings.log import LogRecord

KNOWN = contracts()
ISSUED = KNOWN.by_type["billing.invoice.issued"]


@pytest.mark.parametrize(("raw", "text"), [
    (b"[" * 60 + b"]" * 60, "nested deeper"), (b" " * (MAX_BYTES + 1), "at most"), (b'{"a":1,"a":2}', "stands twice"),
    (b"NaN", "is not a JSON number"), (b"[Infinity]", "is not a JSON number"), (b"\xff", "is not UTF-8"), (b"", "line 1"),
    (b"{", "line 1, column 2"), (b'{"a":1}x', "Extra data"), (b'"\x01"', "control character"), (b"1" * 5000, "digits"),
], ids=["deep", "large", "twice", "NaN", "Infinity", "not UTF-8", "empty", "cut", "more", "control", "digits"])  # fmt: skip
def test_what_is_no_json_is_refused(raw, text):
    with pytest.raises(NotAnEvent, match=text):
        parse_json(raw)


def mistakes(**change: Any) -> dict[str, str | None]:
    event = described(ISSUED)
    event["data"] |= change.pop("data", {})
    event |= change
    with pytest.raises(NotAnEvent) as told:
        from_json(ISSUED, event)
    return {one.pointer: one.hint for one in told.value.mistakes}


def test_every_mistake_is_told_at_once_with_its_place_and_what_was_meant():
    wrong = {
        "amount_due": {"amount_minor": "12", "curency": "EUR"},
        "due_date": "tomorrow",
        "invoise_id": "x",
        "invoice_id": None,
    }
    assert mistakes(data=wrong, time="2026-03-05", id="", sorce="billing") == {
        "/data/amount_due/amount_minor": None, "/data/amount_due/curency": "currency", "/data/amount_due/currency": None,
        "/data/due_date": None, "/data/invoise_id": "invoice_id", "/data/invoice_id": None, "/time": None, "/id": None,
        "/sorce": "source",
    }  # fmt: skip


@pytest.mark.parametrize(("field", "value", "text"), [
    ("amount_due", "120 EUR", 'is a text; money, as {"amount_minor": 12000, "currency": "EUR"} for 120 euros, is needed'),
    ("amount_due", 120, 'is a whole number; money, as {"amount_minor": 12000, "currency": "EUR"} for 120 euros, is needed'),
    ("number", 7, "is a whole number; a text is needed"), ("number", {"of": 7}, "is an object; a text is needed"),
    ("number", True, "is true or false; a text is needed"),
])  # fmt: skip
def test_a_value_of_another_kind_is_told_with_the_form_that_is_needed_and_without_the_value(field, value, text):
    event = described(ISSUED)
    event["data"][field] = value
    with pytest.raises(NotAnEvent) as told:
        from_json(ISSUED, event)
    assert str(told.value) == f"/data/{field}: {text}"


@pytest.mark.parametrize(
    ("currency", "meant"), [("EURO", None), ("eur", "EUR"), ("€", None), ("", None), ("EUR\n", None)]
)
def test_a_currency_has_three_capital_letters(currency, meant):
    assert mistakes(data={"amount_due": {"amount_minor": 12000, "currency": currency}}) == {
        "/data/amount_due/currency": meant
    }


@pytest.mark.parametrize(("change", "place"), [
    ({"data": []}, "/data"), ({"data": None}, "/data"), ({"type": "x.y"}, "/type"), ({"tenant": "other"}, "/tenant"),
    ({"id": 7}, "/id"), ({"source": None}, "/source"), ({"time": 1_772_704_800}, "/time"),
    ({"time": "2026-02-30T10:00:00Z"}, "/time"), ({"time": "2026-03-05T10:00:00.1234567Z"}, "/time"),
    ({"time": "2026-03-05T10:00:00"}, "/time"), ({"subject": 7}, "/subject"), ({"sequence": "7"}, "/sequence"),
    ({"sequence": 2**70}, "/sequence"), ({"sequence": True}, "/sequence"), ({"correlation_id": []}, "/correlation_id"),
], ids=str)  # fmt: skip
def test_the_envelope_is_checked(change, place):
    event = {**described(ISSUED), **change}
    with pytest.raises(NotAnEvent) as told:
        from_json(ISSUED, event)
    assert [one.pointer for one in told.value.mistakes] == [place]


@pytest.mark.parametrize("event", [[], None, 7, "text"])
def test_what_is_no_object_is_no_event(event):
    with pytest.raises(NotAnEvent):
        from_json(ISSUED, event)


@pytest.mark.parametrize("name", sorted(KNOWN.by_type))
def test_an_event_comes_back_from_the_log_as_it_was(name):
    contract = KNOWN.by_type[name]
    codec = Codec(KNOWN)
    event = {**described(contract), "subject": "s", "correlation_id": "c", "causation_id": "e", "sequence": 7}
    key, value = codec.encode(name, from_json(contract, event))
    assert to_json(codec.decode(LogRecord(contract.topic, 0, 0, 1, key, value)), contract) == event


ZONES = [UTC, timezone(timedelta(hours=5, minutes=30))]
moments = st.builds(
    lambda seconds, micro, zone: datetime.fromtimestamp(seconds, zone).replace(microsecond=micro),
    st.integers(0, 2**33), st.integers(0, 999_999), st.sampled_from(ZONES),
)  # fmt: skip


@given(moments)
@settings(derandomize=True, database=None)
def test_a_time_is_exact_to_the_microsecond(at: datetime):
    text = rfc3339(micros(at))
    assert datetime.fromisoformat(text) == at
    assert micros(datetime.fromisoformat(text)) == micros(at)


@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(derandomize=True, database=None, max_examples=300)
def test_rubbish_is_refused_and_nothing_else_happens(raw: bytes):
    with pytest.raises(NotAnEvent) as told:
        from_json(ISSUED, parse_json(raw))
    assert told.value.mistakes
