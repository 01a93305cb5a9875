"""The codec: records of the log to events and back, with every guard that a hostile or broken record needs.

Wire format: Confluent's frame (0, four bytes of schema id, Avro) is written; the header form (`__value_schema_id` with
bare Avro) is read as well. Instants are read as plain integers, microseconds: the core wants them so, and it costs
half of what datetimes cost.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fastavro

from schemas import Contracts
from schemas.loading import Released
from tidings import ids
from tidings.contract import Contract, value_at
from tidings.errors import BadContract, Refusal
from tidings.event import Event
from tidings.log import LogRecord

MAX_BYTES = 256 * 1024
"""A record longer than this is never parsed."""

MAX_KEY = 512
MAX_DEPTH = 50
SCHEMA_HEADER = "__value_schema_id"


def plain(schema: Any) -> Any:
    """Return a schema without the logical types that fastavro would turn into objects."""
    if isinstance(schema, list):
        return [plain(branch) for branch in schema]
    if isinstance(schema, dict):
        kept = {name: plain(value) for name, value in schema.items() if name != "logicalType"}
        return kept["type"] if isinstance(schema.get("type"), str) and set(kept) == {"type"} else kept
    return schema


@dataclass(frozen=True, slots=True)
class _Wire:
    """One released schema, as its records are read."""

    released: Released
    contract: Contract
    """Of the current version, which its records become."""
    writer: Any
    reader: Any
    """None where the released version is the current one: resolving a schema against itself costs as much again as
    reading."""


class Codec:
    """Encodes and decodes the records of a set of contracts. Schemas are parsed once."""

    def __init__(self, known: Contracts, *, tenant: str = "default") -> None:
        self.contracts = known
        self.tenant = tenant
        self._parsed = {number: fastavro.parse_schema(plain(one.schema)) for number, one in known.released.items()}
        self._wires = {number: self._wire(one) for number, one in known.released.items()}

    def _wire(self, released: Released) -> _Wire:
        contract = self.contracts.by_full_name[released.full_name]
        reader = None if contract.schema_id == released.schema_id else self._parsed[contract.schema_id]
        return _Wire(released, contract, self._parsed[released.schema_id], reader)

    def encode(self, event_type: str, payload: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """Return key and value of a record.

        Raises:
            BadContract: the payload does not fit the contract.
        """
        contract = self.contracts.by_type.get(event_type)
        if contract is None:
            raise BadContract(Refusal.UNKNOWN_SCHEMA, f"there is no event contract {event_type!r}")
        buffer = io.BytesIO()
        buffer.write(b"\x00" + contract.schema_id.to_bytes(4, "big"))
        try:
            fastavro.schemaless_writer(buffer, self._parsed[contract.schema_id], dict(payload), strict=True)
        except Exception as fault:
            raise BadContract(Refusal.BAD_VALUE, f"{event_type}: {fault}", contract.schema_id) from fault
        key = value_at(payload, contract.key)
        if not key:
            raise BadContract(Refusal.NULL_KEY, f"{event_type} has no {'.'.join(contract.key)}", contract.schema_id)
        value = buffer.getvalue()
        if len(value) > MAX_BYTES:
            raise BadContract(Refusal.OVERSIZE, f"{len(value)} bytes; at most {MAX_BYTES}", contract.schema_id)
        return str(key).encode(), value

    def decode(self, record: LogRecord) -> Event:
        """Return the event of a record.

        Raises:
            BadContract: it cannot be read, or does not belong where it is; nothing else ever leaves here.
        """
        wire, start = self._framed(record)
        if wire.contract.topic != record.topic:
            text = f"{wire.released.full_name} does not belong on {record.topic}"
            raise BadContract(Refusal.WRONG_SCHEMA, text, wire.released.schema_id)
        payload = _read(wire, record.value or b"", start)
        if holds_nul(payload):
            raise BadContract(Refusal.BAD_TEXT, "a text holds NUL", wire.released.schema_id)
        return self._event(payload, wire.contract, record)

    def _framed(self, record: LogRecord) -> tuple[_Wire, int]:
        """Return the schema of a record, and where its Avro begins."""
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
            number, start = int.from_bytes(header[-4:], "big"), 0
        elif len(value) >= 5 and value[0] == 0:  # noqa: PLR2004 - the frame: one zero, four bytes of id
            number, start = int.from_bytes(value[1:5], "big"), 5
        elif value[:1] == b"\x00":
            raise BadContract(Refusal.TRUNCATED, f"{len(value)} bytes are less than a frame")
        elif depth_of(value) > MAX_DEPTH:
            raise BadContract(Refusal.TOO_DEEP, f"text nested deeper than {MAX_DEPTH}, and no Avro")
        else:
            raise BadContract(Refusal.NOT_AVRO, f"the first byte is {value[:1].hex() or 'missing'}, not 00")
        wire = self._wires.get(number)
        if wire is None:
            raise BadContract(Refusal.UNKNOWN_SCHEMA, f"no contract has the schema id {number}", number)
        return wire, start

    def _event(self, payload: dict[str, Any], contract: Contract, record: LogRecord) -> Event:
        meta = payload.pop("meta")
        tenant, source, name, occurred_at = meta["tenant"], meta["source"], meta["event_id"], meta["occurred_at"]
        if meta["type"] != contract.type:
            text = f"meta.type is {meta['type']!r}, the schema is {contract.type!r}"
            raise BadContract(Refusal.WRONG_SCHEMA, text, contract.schema_id)
        if tenant != self.tenant:
            text = f"meta.tenant is {tenant!r}; this topic belongs to {self.tenant!r}"
            raise BadContract(Refusal.TENANT_MISMATCH, text, contract.schema_id)
        if not 0 <= occurred_at < 2**53:
            text = f"meta.occurred_at is {occurred_at}, which is no instant between 1970 and 2255"
            raise BadContract(Refusal.BAD_VALUE, text, contract.schema_id)
        return Event(
            ids.event_ref(tenant, source, name, occurred_at), tenant, source, name, contract.type, occurred_at, payload,
            record.topic, record.partition, record.offset, record.appended_at, meta["subject"],
            meta["correlation_id"], meta["causation_id"], meta["sequence"],
        )  # fmt: skip


def _read(wire: _Wire, value: bytes, start: int) -> dict[str, Any]:
    """Return the payload of a record."""
    number = wire.released.schema_id
    buffer = io.BytesIO(value)
    buffer.seek(start)
    try:
        payload: Any = fastavro.schemaless_reader(buffer, wire.writer, wire.reader)
    except EOFError as fault:
        text = f"the record ends inside a value ({len(value) - start} bytes)"
        raise BadContract(Refusal.TRUNCATED, text, number) from fault
    except UnicodeDecodeError as fault:
        raise BadContract(Refusal.BAD_TEXT, f"a text is not UTF-8: {fault.reason}", number) from fault
    except Exception as fault:
        raise BadContract(Refusal.BAD_VALUE, f"{type(fault).__name__}: {fault}", number) from fault
    if left := len(value) - buffer.tell():
        raise BadContract(Refusal.TRAILING_BYTES, f"{left} bytes are left over", number)
    # fastavro shares mutable defaults between records.
    return payload if wire.reader is None else copy.deepcopy(payload)


def holds_nul(payload: Any) -> bool:
    """Return whether a text anywhere in a payload holds NUL. Lone surrogates have no UTF-8, and never come so far."""
    left = [payload]
    for part in left:  # grows while it is walked
        kind = type(part)
        if kind is str:
            if "\x00" in part:
                return True
        elif kind is dict:
            left += part.values()
        elif kind is list:
            left += part
    return False


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
