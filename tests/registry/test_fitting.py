"""The schema of another writer: read where it means what ours means, refused with a reason otherwise, and in time."""

import asyncio
import copy
import io
import json
from contextlib import suppress
from random import Random
from typing import Any

import fastavro
import pytest

from schemas import contracts
from schemas.loading import Released
from streams.codec import Codec
from streams.registry.client import Registered
from streams.registry.fitting import fitted
from tests.registry.stand_in import BARE, FRAMED, KNOWN, PAID, StandIn, framed, reading
from tidings.errors import BadContract, Refusal

OURS = KNOWN.schema(PAID.full_name)


def field(schema: Any, name: str) -> Any:
    return next(one for one in schema["fields"] if one["name"] == name)


def theirs(change: Any) -> Registered:
    schema = copy.deepcopy(OURS)
    changed = change(schema)
    return Registered(json.dumps(changed if isinstance(changed, dict) else schema))


def add(kind: Any) -> Any:
    return lambda schema: schema["fields"].append({"name": "extra", "type": kind})


def unit(schema: Any) -> None:
    field(field(schema, "meta")["type"], "occurred_at")["type"]["logicalType"] = "timestamp-millis"


def no_unit(schema: Any) -> None:
    field(field(schema, "meta")["type"], "occurred_at")["type"] = "long"


def deep(levels: int) -> Any:
    kind: Any = "string"
    for _ in range(levels):
        kind = {"type": "array", "items": kind}
    return kind


def itself(name: str) -> Any:
    return {"type": "record", "name": name, "fields": [{"name": "next", "type": ["null", name]}]}


def record(*kinds: Any) -> Any:
    return {"type": "record", "name": "R", "fields": [{"name": f"f{n}", "type": kind} for n, kind in enumerate(kinds)]}


UNFIT: dict[str, tuple[Any, str]] = {
    "no JSON": (lambda _: Registered("{nonsense"), "cannot be parsed"),
    "no Avro": (lambda _: Registered('{"type": "record", "fields": []}'), "cannot be parsed"),
    "a type that is not there": (add("Nowhere"), "cannot be parsed"),
    "a text": (lambda _: Registered('"string"'), "is no record"),
    "a union": (lambda _: Registered('["null", "string"]'), "is no record"),
    "JSON Schema": (lambda _: Registered("{}", kind="JSON"), "is JSON, and no Avro"),
    "references": (lambda _: Registered(json.dumps(OURS), references=True), "register it written out"),
    "depth": (lambda _: theirs(add(deep(60))), "nested deeper than 50"),
    "size": (lambda _: theirs(lambda s: s.update(doc="x" * 300_000)), "bytes; at most"),
    "ten thousand fields": (
        lambda _: theirs(lambda s: s["fields"].extend({"name": f"f{n}", "type": "int"} for n in range(9000))),
        "bytes; at most|more than 5000 types",
    ),
    "recursion": (lambda _: theirs(add(itself("Chain"))), "contains itself"),
    "itself": (lambda _: theirs(add(["null", PAID.full_name])), "contains itself"),
    "null in an array": (add({"type": "array", "items": "null"}), "without width"),
    "an empty record": (add({"type": "array", "items": record()}), "without width"),
    "a fixed value without size": (add({"type": "fixed", "name": "F", "size": 0}), "another size"),
    "an array of booleans": (add({"type": "array", "items": "boolean"}), "nobody can skip"),
    "an array of records of them": (add({"type": "array", "items": record("double", "float")}), "nobody can skip"),
    "an array of fixed values": (
        add({"type": "array", "items": {"type": "fixed", "name": "F", "size": 1}}), "nobody can skip",
    ),
    "another unit": (unit, "occurred_at as timestamp-millis, and timestamp-micros"),
    "no unit": (no_unit, "occurred_at as a plain number, and timestamp-micros"),
    "another type": (lambda s: field(s, "invoice_id").update(type="bytes"), "invoice_id as bytes, and string"),
    "a field less": (lambda s: s["fields"].remove(field(s, "invoice_id")), "lacks .*invoice_id"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_read_safely_or_rightly_is_refused(name):
    change, text = UNFIT[name]
    made = change(copy.deepcopy(OURS))
    found = made if isinstance(made, Registered) else theirs(change)
    with pytest.raises(BadContract, match=text) as told:
        fitted(7, found, KNOWN)
    assert told.value.reason is Refusal.WRONG_SCHEMA
    assert told.value.schema_id == 7


def test_whatever_stands_in_a_registry_only_one_error_leaves_and_in_time():
    chance = Random(11)
    words = ["null", "boolean", "long", "Nowhere", PAID.full_name, [], {}, 7, None, True, [["null"]], {"type": "array"}]

    def broken(part: Any) -> Any:
        if chance.random() < 0.02:
            return chance.choice(words)
        if isinstance(part, list):
            return [broken(one) for one in part if chance.random() > 0.01]
        if isinstance(part, dict):
            return {name: broken(value) for name, value in part.items() if chance.random() > 0.01}
        return part

    read = 0
    for _ in range(400):
        try:
            wire = fitted(7, Registered(json.dumps(broken(OURS))), KNOWN)
        except BadContract:
            continue
        read += 1
        with suppress(Exception):  # the codec takes whatever comes; here it has to come
            fastavro.schemaless_reader(io.BytesIO(BARE), wire.writer, wire.reader)
    assert 0 < read < 400


def test_a_name_that_is_none_of_ours_is_an_unknown_schema():
    with pytest.raises(BadContract, match=r"'Pet', which is none of our contracts") as told:
        fitted(7, Registered('{"type": "record", "name": "Pet", "fields": [{"name": "n", "type": "string"}]}'), KNOWN)
    assert told.value.reason is Refusal.UNKNOWN_SCHEMA


HARMLESS: dict[str, Any] = {
    "the same": lambda schema: None,
    "other words": lambda schema: schema.update(doc="Paid!", owner="somebody"),
    "a text said to be a UUID": lambda s: field(s, "invoice_id").update(type={"type": "string", "logicalType": "uuid"}),
    "what Java writes about texts": lambda s: field(s, "invoice_id").update(
        type={"type": "string", "avro.java.string": "String"}
    ),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_schema_that_writes_the_same_bytes_is_read_without_resolution(name):
    wire = fitted(7, theirs(HARMLESS[name]), KNOWN)
    if "Java" not in name:
        assert wire.reader is None
    payload: Any = fastavro.schemaless_reader(io.BytesIO(BARE), wire.writer, wire.reader)
    assert payload["invoice_id"] == "i-1"


def test_fields_in_another_order_and_beside_ours_are_resolved():
    def change(schema: Any) -> None:
        schema["fields"].append({"name": "extra", "type": {"type": "array", "items": record("boolean", "string")}})

    wire = fitted(7, theirs(change), KNOWN)
    assert wire.reader is not None
    payload: Any = fastavro.schemaless_reader(io.BytesIO(BARE + b"\x02\x01\x04ab\x00"), wire.writer, wire.reader)
    assert "extra" not in payload


def test_every_released_version_of_every_contract_fits():
    known = contracts()
    for one in known.released.values():
        wire = fitted(one.schema_id, Registered(json.dumps(one.schema)), known)
        assert wire.contract is known.by_full_name[one.full_name]


def test_a_schema_of_another_topic_is_refused_where_it_does_not_belong():
    async def body() -> None:
        there = StandIn()
        number = there.hold(KNOWN.schema("tidings.billing.v1.InvoiceIssued"))
        async with reading(there) as (codec, _):
            await codec.ready([framed(number)])
            with pytest.raises(BadContract, match="does not belong") as told:
                codec.decode(framed(number))
            assert (told.value.reason, told.value.schema_id) == (Refusal.WRONG_SCHEMA, number)

    asyncio.run(body())


def test_fastavro_still_skips_values_without_looking():
    """The reason of one of the guards: when this fails, ask whether the guard is still needed."""
    writer = fastavro.parse_schema({
        "type": "record", "name": "A",
        "fields": [{"name": "x", "type": {"type": "array", "items": "boolean"}}, {"name": "a", "type": "string"}],
    })  # fmt: skip
    reader = fastavro.parse_schema({"type": "record", "name": "A", "fields": [{"name": "a", "type": "string"}]})
    buffer = io.BytesIO(bytes([0x80, 0x80, 0x08]))  # 65,536 items, of which none is there
    with pytest.raises(EOFError) as told:
        fastavro.schemaless_reader(buffer, writer, reader)
    assert "boolean" not in str(told.value)


def test_shipped_ids_and_bytes_are_what_they_were():
    assert FRAMED[:5] == b"\x00" + PAID.schema_id.to_bytes(4, "big")
    assert isinstance(KNOWN.released[PAID.schema_id], Released)
    assert Codec(KNOWN).decode(framed(PAID.schema_id)).type == PAID.type
