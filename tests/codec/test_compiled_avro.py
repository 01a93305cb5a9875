"""The compiled reader: never says anything else than fastavro."""

from random import Random
from typing import Any

import fastavro
import pytest

from schemas import contracts
from schemas.examples import described
from streams.codec import Codec, holds_nul
from streams.compiled_avro import compiled
from streams.json_events import from_json
from streams.wire import Wire

KNOWN = contracts()
CODEC = Codec(KNOWN)
WIRES = {wire.full_name: wire for wire in CODEC.schemas.wires.values() if wire.reader is None}


def read_by_fastavro(wire: Wire, value: bytes) -> Any:
    from streams.codec import _read

    payload = _read(wire, value, 5)
    if holds_nul(payload):
        raise ValueError
    return payload


@pytest.mark.parametrize("name", sorted(WIRES))
def test_what_is_read_is_what_fastavro_reads_whatever_the_bytes(name):
    wire = WIRES[name]
    read = wire.compiled
    assert read is not None, "the contract has a type that is read the slow way: compile it as well"
    payload = from_json(wire.contract, described(wire.contract))
    _, whole = CODEC.encode(wire.contract.type, payload)
    assert read(whole, 5) == payload
    chance, agreed = Random(name), 0
    for _ in range(1500):
        value = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(5, len(value))
            match chance.randrange(4):
                case 0:
                    value[at] = chance.randrange(256)
                case 1:
                    value[at] ^= 1 << chance.randrange(8)
                case 2:
                    del value[at : at + chance.randint(1, 4)]
                    value += b"\0"
                case _:
                    value[at:at] = chance.randbytes(chance.randint(1, 9))
        try:
            found = read(bytes(value), 5)
        except Exception:  # noqa: BLE001 - fastavro is asked then, and has the last word
            continue
        assert found == read_by_fastavro(wire, bytes(value))
        assert not holds_nul(found)
        agreed += 1
    assert agreed > 50


def record(*types: Any) -> Any:
    fields = [{"name": f"f{at}", "type": one} for at, one in enumerate(types)]
    return fastavro.parse_schema({"type": "record", "name": "r", "fields": fields})


SCHEMAS = [
    record("int", "long", "string"),
    record({"type": "array", "items": ["null", "string"]}),
    record({"type": "array", "items": {"type": "record", "name": "i", "fields": [{"name": "a", "type": "long"}]}}),
    record({"type": "enum", "name": "e", "symbols": [f"S{n}" for n in range(70)]}, "boolean"),
    record(["string", "null"], ["null", {"type": "array", "items": "boolean"}]),
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_same_of_bytes_that_nobody_wrote(schema):
    from io import BytesIO

    read, chance, agreed = compiled(schema), Random(1), 0
    assert read is not None
    for _ in range(6000):
        value = bytes(chance.choice((0, 1, 2, 3, 4, 6, 65, 127, 128, 130, 255)) for _ in range(chance.randint(1, 14)))
        try:
            found = read(value, 0)
        except Exception:  # noqa: BLE001
            continue
        buffer = BytesIO(value)
        assert found == fastavro.schemaless_reader(buffer, schema, None)
        assert buffer.tell() == len(value)
        agreed += 1
    assert agreed


@pytest.mark.parametrize(
    "other",
    [
        "double", "bytes", {"type": "map", "values": "long"}, ["null", "long", "string"],
        {"type": "long", "logicalType": "timestamp-micros"}, {"type": "fixed", "name": "x", "size": 2},
        ["null", "r"], {"type": "array", "items": "null"},
    ],
)  # fmt: skip
def test_what_is_not_compiled_is_left_to_fastavro(other):
    assert compiled(record(other)) is None


def test_names_of_a_schema_never_become_code():
    odd = 'f"]}; import os; raise SystemExit #\n'
    schema = {"type": "record", "name": "r", "fields": [{"name": odd, "type": "long"}]}
    read = compiled(schema)
    assert read is not None
    assert read(b"\x54", 0) == {odd: 42}
