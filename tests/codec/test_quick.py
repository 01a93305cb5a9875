"""The quick ways of writing events are the slow ones, but for the time that they take."""

import io
import json
from datetime import UTC
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import contracts
from schemas.examples import described, examples
from streams.codec import Codec, framed
from streams.compiled_events import Slowly, compiled, number
from streams.json_events import NotAnEvent, from_json
from streams.quick_avro import NoFit, writer
from streams.wire import plain

KNOWN = sorted(contracts().by_type.values(), key=lambda one: one.type)
WRITERS = {one.type: writer(plain(contracts().schema(one.full_name))) for one in KNOWN}
COMPILED = {one.type: compiled(one, plain(contracts().schema(one.full_name))) for one in KNOWN}
CODEC = Codec(contracts())
EVENTS = [(contracts().by_full_name[one.full_name], one.event) for one in examples()]
EVENTS += [(one, described(one, full=full)) for one in KNOWN for full in (True, False)]
ODD: list[Any] = [
    None, True, 0, -1, 2**63, 1.5, "", "x", "EUR", "EURO", "eur", "2026-03-05T10:00:00Z", "2026-13-05T10:00:00Z", "0000-01-01T00:00:00Z", [], [1], {}, {"a": 1},
    "9999-12-31T23:59:59.999999-12:00",
]  # fmt: skip


def slowly(contract: Any, event: Any) -> Any:
    try:
        return from_json(contract, event)
    except NotAnEvent:
        return None


def same(contract: Any, event: Any) -> bool:
    """Return whether it was written the quick way; fails where the slow one would have written something else."""
    write = COMPILED[contract.type]
    assert write is not None, f"{contract.type} is not compiled"
    if not isinstance(event, dict) or "type" not in event:
        return False
    try:
        source, name, at, key, body = write(event, "default")
    except Slowly:
        return False  # then the slow way is asked
    wanted = slowly(contract, event)
    assert wanted is not None, "the slow way finds a mistake in it"
    meta = wanted["meta"]
    assert (source, name, at) == (meta["source"], meta["event_id"], meta["occurred_at"])
    number = CODEC.schemas.written(contract)
    assert (key, framed(number, body)) == CODEC.encode(contract.type, wanted)
    schema = fastavro.parse_schema(plain(contracts().schema(contract.full_name)))
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, wanted, strict=True)
    assert body == buffer.getvalue()
    return True


@pytest.mark.parametrize("contract", KNOWN, ids=lambda one: one.type)
def test_an_event_of_every_contract_is_written_the_quick_way(contract):
    assert same(contract, described(contract))
    assert same(contract, described(contract, full=False))


ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "subject": st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200),
        "correlation_id": st.none() | st.text(max_size=200),
        "causation_id": st.none() | st.text(max_size=200),
        "sequence": st.none() | st.integers(-(2**64), 2**64) | st.booleans(),
        "tenant": st.sampled_from(["default", "another"]),
        "id": st.text(max_size=600),
        "source": st.text(max_size=600),
        "time": st.datetimes(timezones=st.just(UTC)).map(lambda at: at.isoformat()),
    },
)


@given(st.sampled_from(EVENTS), ENVELOPES)
def test_whatever_an_envelope_holds_both_ways_agree_or_the_slow_one_is_asked(chosen, envelope):
    contract, event = chosen
    same(contract, {**event, **envelope})


SECOND = st.sampled_from(
    [
        "2026-11-26T12:00:00",
        "2026-02-30T12:00:00",
        "2026-11-26T23:59:60",
        "1969-12-31T23:59:59",
        "9999-12-31T23:59:59",
        "0001-01-01T00:00:00",
    ]
)
REST = st.sampled_from(
    ["Z", "z", "", "+00:00", "+01:30", "-01:30", ".5Z", ".000001Z", ".123456Z", ".12345 Z", ".+12345Z", ".1234567Z", ".12345²Z", ".١٢٣٤٥٦Z"]
)  # fmt: skip


@given(st.lists(st.tuples(SECOND, REST), min_size=1, max_size=6))
def test_instants_of_one_second_are_read_as_each_by_itself(times):
    contract = contracts().by_type["billing.payment.failed"]
    for second, rest in times:
        same(contract, {**described(contract), "time": second + rest})


@given(st.integers(-(2**70), 2**70) | st.integers(-300, 2**21))
def test_every_number_is_written_as_by_the_library_or_the_slow_way_is_asked(value):
    out = io.BytesIO()
    try:
        found = number(value)
    except Slowly:
        assert abs(value) > 2**63 - 1
        return
    fastavro.schemaless_writer(out, "long", value)
    assert found == out.getvalue()


@given(st.sampled_from(EVENTS), st.data())
def test_whatever_is_changed_in_an_event_both_ways_agree_or_the_slow_one_is_asked(chosen, data):
    contract, event = chosen
    event = json.loads(json.dumps(event))
    spots = []

    def walk(value: Any) -> None:
        if isinstance(value, dict | list):
            for key in value if isinstance(value, dict) else range(len(value)):
                spots.append((value, key))
                walk(value[key])

    walk(event)
    for _ in range(data.draw(st.integers(0, 3))):
        if spots:
            holder, key = data.draw(st.sampled_from(range(len(spots))).map(spots.__getitem__))
            change = data.draw(st.sampled_from(["value", "gone", "more"]))
            if change == "value":
                holder[key] = data.draw(st.sampled_from(ODD))
            elif isinstance(holder, dict):
                if change == "more":
                    holder["another"] = 1
                else:
                    holder.pop(key, None)
    same(contract, event)


@pytest.mark.parametrize(
    "change", [{"attempt": "x"}, {"attempt": 2**63}, {"code": "\ud800"}, {"amount": {}}, {"more": 1}]
)
def test_what_does_not_fit_is_not_written(change):
    contract = contracts().by_type["billing.payment.failed"]
    payload = from_json(contract, described(contract))
    with pytest.raises(NoFit):
        WRITERS[contract.type]({**payload, **change})
    payload.pop("code")
    with pytest.raises(NoFit):
        WRITERS[contract.type](payload)


@given(st.integers(-(2**63), 2**63 - 1), st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_every_number_and_text_is_written_as_by_the_library(number, text):
    contract = contracts().by_type["billing.payment.failed"]
    event = described(contract)
    payload = from_json(contract, event)
    payload |= {"attempt": number, "code": text}
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(plain(contracts().schema(contract.full_name))), payload)
    assert WRITERS[contract.type](payload) == buffer.getvalue()
