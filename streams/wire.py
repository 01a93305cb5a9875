"""What a record says its schema is, and the schemas by which records are read and written.

Two forms are read: Confluent's frame (0, four bytes of schema id, Avro), which is the one written as well, and the
header `__value_schema_id` beside bare Avro, which holds four bytes of id, the same after a 0, or a GUID after a 1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol
from uuid import UUID

import fastavro

from schemas import Contracts
from streams.compiled_avro import Read, compiled
from tidings.contract import Contract
from tidings.errors import BadContract, Refusal
from tidings.log import LogRecord

MAX_BYTES = 256 * 1024
"""A record longer than this is never parsed; nor is a schema."""

MAX_KEY = 512
MAX_DEPTH = 50
SCHEMA_HEADER = "__value_schema_id"

SchemaName = int | UUID
"""How a record names its schema: an id, or the GUID that newer serializers put into the header."""


@dataclass(frozen=True)
class Wire:
    """One schema, as records that name it are read."""

    name: SchemaName
    full_name: str
    contract: Contract
    """Of the current version, which its records become."""
    writer: Any
    reader: Any
    """None where both mean the same bytes: resolving a schema against itself costs as much again as reading."""

    @property
    def number(self) -> int | None:
        """The id, where the record named one."""
        return self.name if isinstance(self.name, int) else None

    @cached_property
    def compiled(self) -> Read | None:
        """The function that reads its records without looking at the schema again, where there can be one."""
        return compiled(self.writer) if self.reader is None else None


class Schemas(Protocol):
    """The schemas that may be on the wire: those that are shipped, or those of a registry."""

    @property
    def wires(self) -> Mapping[SchemaName, Wire]:
        """What is known at this moment; asked for every record."""
        ...

    def absent(self, name: SchemaName) -> Exception:
        """Return why a schema is not among `wires`."""
        ...

    def written(self, contract: Contract) -> int:
        """Return the id under which records of a contract are written."""
        ...

    async def ready(self, names: Collection[SchemaName]) -> None:
        """Find out about schemas, so that `wires` and `absent` can answer without waiting."""
        ...

    async def enlist(self) -> None:
        """Find out under which ids records are written, so that `written` can answer."""
        ...

    async def close(self) -> None:
        """End what was opened."""
        ...


class Shipped:
    """The released schemas of the package, by their own ids: no network."""

    def __init__(self, known: Contracts) -> None:
        parsed = {number: fastavro.parse_schema(plain(one.schema)) for number, one in known.released.items()}
        self._wires: dict[SchemaName, Wire] = {}
        for number, one in known.released.items():
            contract = known.by_full_name[one.full_name]
            reader = None if contract.schema_id == number else parsed[contract.schema_id]
            self._wires[number] = Wire(number, one.full_name, contract, parsed[number], reader)

    @property
    def wires(self) -> Mapping[SchemaName, Wire]:
        """Every released version."""
        return self._wires

    def absent(self, name: SchemaName) -> Exception:
        """Return that there is no such contract."""
        if isinstance(name, UUID):
            return BadContract(Refusal.UNKNOWN_SCHEMA, f"{SCHEMA_HEADER} is a GUID, {name}: no registry is configured")
        return BadContract(Refusal.UNKNOWN_SCHEMA, f"no contract has the schema id {name}", name)

    def written(self, contract: Contract) -> int:
        """Return the id of the current version."""
        return contract.schema_id

    async def ready(self, names: Collection[SchemaName]) -> None:
        """Do nothing: everything is known."""

    async def enlist(self) -> None:
        """Do nothing: the ids are our own."""

    async def close(self) -> None:
        """Do nothing: nothing is open."""


def plain(schema: Any) -> Any:
    """Return a schema without the logical types that fastavro would turn into objects."""
    if isinstance(schema, list):
        return [plain(branch) for branch in schema]
    if isinstance(schema, dict):
        kept = {name: plain(value) for name, value in schema.items() if name != "logicalType"}
        return kept["type"] if isinstance(schema.get("type"), str) and set(kept) == {"type"} else kept
    return schema


def named_in(record: LogRecord) -> tuple[SchemaName, int]:
    """Return what a record says its schema is, and where its Avro begins.

    Raises:
        BadContract: it says nothing that can be followed.
    """
    value = record.value
    if record.key is None:
        raise BadContract(Refusal.NULL_KEY, "the record has no key")
    if len(record.key) > MAX_KEY:
        raise BadContract(Refusal.KEY_TOO_LONG, f"the key has {len(record.key)} bytes; at most {MAX_KEY}")
    if value is None:
        raise BadContract(Refusal.NOT_AVRO, "the record has no value")
    if len(value) > MAX_BYTES:
        raise BadContract(Refusal.OVERSIZE, f"{len(value)} bytes; at most {MAX_BYTES}")
    header = None
    if record.headers:
        header = next((raw for name, raw in record.headers if name == SCHEMA_HEADER), None)
    if header is not None:
        return _of_header(header), 0
    if len(value) >= 5 and value[0] == 0:  # noqa: PLR2004 - the frame: one zero, four bytes of id
        return _number(value[1:5]), 5
    if value[:1] == b"\x00":
        raise BadContract(Refusal.TRUNCATED, f"{len(value)} bytes are less than a frame")
    if depth_of(value) > MAX_DEPTH:
        raise BadContract(Refusal.TOO_DEEP, f"text nested deeper than {MAX_DEPTH}, and no Avro")
    raise BadContract(Refusal.NOT_AVRO, f"the first byte is {value[:1].hex() or 'missing'}, not 00")


def _number(raw: bytes) -> int:
    """Return an id. Registries number in 31 bits: what is more is garbage, and some of them answer it with a fault."""
    number = int.from_bytes(raw, "big")
    if not 0 < number < 2**31:
        raise BadContract(Refusal.UNKNOWN_SCHEMA, f"{number} is no id of a schema")
    return number


def _of_header(header: bytes) -> SchemaName:
    match len(header), header[:1]:
        case 4, _:
            return _number(header)
        case 5, b"\x00":
            return _number(header[1:])
        case 17, b"\x01":
            return UUID(bytes=header[1:])
    text = f"{SCHEMA_HEADER} has {len(header)} bytes ({header[:8].hex()}…), and is neither an id nor a GUID"
    raise BadContract(Refusal.UNKNOWN_SCHEMA, text)


def depth_of(raw: bytes) -> int:
    """Return how deep the brackets of a text are nested, at a glance and without parsing; stops beyond `MAX_DEPTH`."""
    depth = deepest = 0
    in_text = escaped = False
    for byte in raw[:MAX_BYTES]:
        if in_text:
            if escaped:
                escaped = False
            elif byte == 0x5C:  # noqa: PLR2004 - backslash
                escaped = True
            elif byte == 0x22:  # noqa: PLR2004 - quote
                in_text = False
        elif byte == 0x22:  # noqa: PLR2004
            in_text = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > MAX_DEPTH:
                break
        elif byte in b"]}":
            depth -= 1
    return deepest
