"""The codec: golden bytes, a way back for every value, and no way out but `BadContract`."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import contracts
from schemas.examples import described
from schemas.loading import Contracts
from streams.codec import Codec
from streams.json_events import from_json
from streams.wire import MAX_BYTES, MAX_KEY, SCHEMA_HEADER, named_in
from tidings.contract import NO_DEFAULT, Contract, Field, Type
from tidings.errors import BadContract, Refusal
from tidings.log import LogRecord

KNOWN = contracts()
CODEC = Codec(KNOWN)
PAID = KNOWN.by_type["billing.invoice.paid"]


def payload(contract: Contract = PAID) -> dict[str, Any]:
    return from_json(contract, described(contract))


def record(key: bytes | None, value: bytes | None, topic: str = PAID.topic, **words: Any) -> LogRecord:
    return LogRecord(topic, 0, 7, 1, key, value, **words)


GOLDEN = "002cd0001e1a496e766f696365506169642d312862696c6c696e672e696e766f6963652e706169640e62696c6c696e670080a0aafeff90a60600000e64656661756c7400000006692d3106632d31c0bb0106455552"


def test_golden_bytes():
    key, value = CODEC.encode(PAID.type, payload())
    assert key == b"i-1"
    assert value.hex() == GOLDEN


def values(kind: Type) -> st.SearchStrategy[Any]:
    text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8)
    plain: dict[str, st.SearchStrategy[Any]] = {
        "string": text, "long": st.integers(-(2**63), 2**63 - 1), "boolean": st.booleans(),
        "timestamp": st.integers(-(2**63), 2**63 - 1), "enum": st.sampled_from(kind.symbols or ("x",)),
    }  # fmt: skip
    found = plain.get(kind.kind)
    if found is None and kind.kind in ("record", "money"):
        found = st.fixed_dictionaries({name: values(field.type) for name, field in kind.fields.items()})
    if found is None and kind.item is not None:
        found = st.lists(values(kind.item), max_size=3)
    assert found is not None, kind
    return st.none() | found if kind.nullable else found


def bodies(contract: Contract) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: values(field.type) for name, field in contract.fields.items()})


@pytest.mark.parametrize("name", sorted(KNOWN.by_type))
def test_every_value_comes_back(name):
    contract = KNOWN.by_type[name]
    meta = payload(contract)["meta"]

    @given(bodies(contract), st.integers(0, 2**53 - 1))
    @settings(deadline=None, derandomize=True, database=None, max_examples=40)
    def comes_back(body: dict[str, Any], at: int) -> None:
        first = contract.key[0]
        body = {**body, first: body[first] or "k"}
        key, value = CODEC.encode(name, {"meta": {**meta, "occurred_at": at}, **body})
        event = CODEC.decode(record(key, value, contract.topic))
        assert (event.data, event.occurred_at, event.type) == (body, at, name)

    comes_back()


def test_the_header_form_is_read():
    key, value = CODEC.encode(PAID.type, payload())
    framed = CODEC.decode(record(key, value))
    for header in (value[1:5], b"\x00" + value[1:5]):
        assert CODEC.decode(record(key, value[5:], headers=((SCHEMA_HEADER, header),))).data == framed.data


def bad(change: Any) -> bytes:
    changed = payload()
    change(changed)
    return CODEC.encode(PAID.type, changed)[1]


KEY, VALUE = CODEC.encode(PAID.type, payload())
OTHER = KNOWN.by_type["billing.invoice.issued"]
BROKEN: dict[str, tuple[LogRecord, Refusal]] = {
    "no key": (record(None, VALUE), Refusal.NULL_KEY),
    "a key too long": (record(b"k" * (MAX_KEY + 1), VALUE), Refusal.KEY_TOO_LONG),
    "no value": (record(KEY, None), Refusal.NOT_AVRO),
    "an empty value": (record(KEY, b""), Refusal.NOT_AVRO),
    "oversize": (record(KEY, b"\x00" * (MAX_BYTES + 1)), Refusal.OVERSIZE),
    "less than a frame": (record(KEY, b"\x00\x01"), Refusal.TRUNCATED),
    "no body": (record(KEY, VALUE[:5]), Refusal.TRUNCATED),
    "cut in the body": (record(KEY, VALUE[:-1]), Refusal.TRUNCATED),
    "a byte too many": (record(KEY, VALUE + b"\x00"), Refusal.TRAILING_BYTES),
    "an unknown id": (record(KEY, b"\x00\xff\xff\xff\xff" + VALUE[5:]), Refusal.UNKNOWN_SCHEMA),
    "the id of another topic's": (record(KEY, VALUE, OTHER.topic), Refusal.WRONG_SCHEMA),
    "JSON": (record(KEY, b'{"a": 1}'), Refusal.NOT_AVRO),
    "brackets without end": (record(KEY, b"[" * 9999), Refusal.TOO_DEEP),
    "brackets in a text": (record(KEY, b'"' + b"[" * 9999 + b'"'), Refusal.NOT_AVRO),
    "a text that is not UTF-8": (record(KEY, VALUE.replace(b"i-1", b"\xff-1")), Refusal.BAD_TEXT),
    "a text with NUL": (record(KEY, VALUE.replace(b"i-1", b"i\x001")), Refusal.BAD_TEXT),
    "another type in the envelope": (record(KEY, bad(lambda p: p["meta"].update(type="x.y"))), Refusal.WRONG_SCHEMA),
    "another tenant": (record(KEY, bad(lambda p: p["meta"].update(tenant="other"))), Refusal.TENANT_MISMATCH),
    "a time before 1970": (record(KEY, bad(lambda p: p["meta"].update(occurred_at=-1))), Refusal.BAD_VALUE),
    "a time in nanoseconds": (record(KEY, bad(lambda p: p["meta"].update(occurred_at=1_772_704_800 * 10**9))), Refusal.BAD_VALUE),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_says_why(name):
    found, reason = BROKEN[name]
    with pytest.raises(BadContract) as told:
        CODEC.decode(found)
    assert told.value.reason is reason
    assert told.value.detail


def test_whatever_the_bytes_only_one_error_leaves():
    chance = Random(5)
    read = 0
    for _ in range(4000):
        value = bytearray(VALUE)
        for _ in range(chance.randint(1, 4)):
            kind, at = chance.randrange(4), chance.randrange(len(value))
            if kind == 0:
                value[at] = chance.randrange(256)
            elif kind == 1:
                del value[at : at + chance.randint(1, 9)]
            elif kind == 2:
                value[at:at] = chance.randbytes(chance.randint(1, 9))
            else:
                value[at:] = chance.randbytes(3)
            value = value or bytearray(b"\x00")
        try:
            CODEC.decode(record(KEY, bytes(value)))
            read += 1
        except BadContract:
            pass
    # A changed letter of a text is a text; nothing else may be taken for one.
    assert read < 2000


def test_rubbish_of_any_kind_is_refused():
    chance = Random(6)
    for size in range(300):
        for start in (b"", VALUE[:5]):
            with pytest.raises(BadContract):
                CODEC.decode(record(KEY, start + chance.randbytes(size)))


REFUSED: dict[str, tuple[Any, Refusal, str]] = {
    "a number for a text": (lambda p: p.update(invoice_id=7), Refusal.BAD_VALUE, "billing.invoice.paid"),
    "a missing field": (lambda p: p.pop("amount"), Refusal.BAD_VALUE, "amount"),
    "an unknown field": (lambda p: p.update(colour="red"), Refusal.BAD_VALUE, "colour"),
    "a number beyond 64 bits": (lambda p: p["amount"].update(amount_minor=2**63), Refusal.BAD_VALUE, ""),
    "an empty key": (lambda p: p.update(invoice_id=""), Refusal.NULL_KEY, "invoice_id"),
    "too large": (lambda p: p.update(invoice_id="x" * MAX_BYTES), Refusal.OVERSIZE, "at most"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_not_written(name):
    change, reason, text = REFUSED[name]
    wrong = payload()
    change(wrong)
    with pytest.raises(BadContract) as told:
        CODEC.encode(PAID.type, wrong)
    assert told.value.reason is reason
    assert text in told.value.detail


def test_an_unknown_event_is_not_written():
    with pytest.raises(BadContract, match=r"billing\.invoice\.payd"):
        CODEC.encode("billing.invoice.payd", payload())


def with_list_default() -> Contracts:
    """The contracts, with a newer version of one that adds a list whose default both readers would share."""
    import copy
    from dataclasses import replace

    from schemas.loading import Released

    old = KNOWN.released[PAID.schema_id]
    schema = copy.deepcopy(old.schema)
    schema["fields"].append({"name": "labels", "type": {"type": "array", "items": "string"}, "default": []})
    newer = Released(old.full_name, 2, 77, schema)
    fields = {**PAID.fields, "labels": Field("labels", Type("array", item=Type("string")), default=NO_DEFAULT)}
    contract = replace(PAID, version=2, schema_id=77, fields=fields)
    return Contracts({**KNOWN.by_full_name, PAID.full_name: contract}, {**KNOWN.released, 77: newer})


def test_an_older_version_is_read_with_the_newer_and_defaults_are_nobody_elses():
    newer = Codec(with_list_default())
    one, other = newer.decode(record(KEY, VALUE)), newer.decode(record(KEY, VALUE))
    one.data["labels"].append("mine")
    assert other.data["labels"] == []
    assert newer.decode(record(KEY, VALUE)).data["labels"] == []


@pytest.mark.parametrize("number", [0, 2**31, 2**32 - 1])
def test_what_no_registry_ever_gives_as_an_id_is_refused_before_anybody_is_asked(number):
    """Apicurio answers such an id with a fault of its own: asked, one record would stop its topic for good."""
    record = LogRecord("t", 0, 0, 0, b"k", b"\x00" + number.to_bytes(4, "big") + b"\x00")
    with pytest.raises(BadContract, match="no id of a schema"):
        named_in(record)
