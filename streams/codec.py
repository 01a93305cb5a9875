"""The codec: records of the log to events and back, with every guard that a hostile or broken record needs.

Instants are read as plain integers, microseconds: the core wants them so, and it costs half of what datetimes cost.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Iterable, Mapping
from typing import Any

import fastavro

from schemas import Contracts
from streams.quick_avro import NoFit, writer
from streams.wire import MAX_BYTES, SchemaName, Schemas, Shipped, Wire, named_in, plain
from tidings import ids
from tidings.contract import value_at
from tidings.errors import BadContract, Refusal
from tidings.event import Event
from tidings.log import LogRecord


class Codec:
    """Encodes and decodes the records of a set of contracts. Schemas are parsed once.

    With the schemas of a registry, `ready` comes before `decode`: it asks for what a batch names and nobody has seen
    yet. A record whose schema nobody asked for is `RegistryUnavailable`, never poison.
    """

    def __init__(self, known: Contracts, *, tenant: str = "default", schemas: Schemas | None = None) -> None:
        self.contracts = known
        self.tenant = tenant
        self.schemas: Schemas = Shipped(known) if schemas is None else schemas
        self._wires = self.schemas.wires
        self._written = {
            one.full_name: writer(plain(known.schema(one.full_name))) for one in known.by_full_name.values()
        }

    async def ready(self, records: Iterable[LogRecord]) -> None:
        """Find out about the schemas that records name; without a registry there is nothing to find out.

        Raises:
            RegistryUnavailable: it cannot be said now what one of them is. Nothing is lost: ask again later.
        """
        if isinstance(self.schemas, Shipped):
            return
        names: set[SchemaName] = set()
        for record in records:
            try:
                names.add(named_in(record)[0])
            except BadContract:
                continue  # `decode` will say it
        await self.schemas.ready(names)

    async def enlist(self) -> None:
        """Find out under which ids records are written; whoever encodes asks once, before the first record.

        Raises:
            RegistryUnavailable: ask again later.
        """
        await self.schemas.enlist()

    async def close(self) -> None:
        """Hang up on the registry."""
        await self.schemas.close()

    def encode(self, event_type: str, payload: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """Return key and value of a record.

        Raises:
            BadContract: the payload does not fit the contract.
            Misconfigured: a registry is configured, and does not have the contract (or nobody called `enlist`).
        """
        contract = self.contracts.by_type.get(event_type)
        if contract is None:
            raise BadContract(Refusal.UNKNOWN_SCHEMA, f"there is no event contract {event_type!r}")
        number = self.schemas.written(contract)
        try:
            body = self._written[contract.full_name](payload)
        except NoFit as fault:
            raise BadContract(Refusal.BAD_VALUE, f"{event_type}: {fault}", number) from fault
        key = value_at(payload, contract.key)
        if not key:
            raise BadContract(Refusal.NULL_KEY, f"{event_type} has no {'.'.join(contract.key)}", number)
        value = framed(number, body)
        if len(value) > MAX_BYTES:
            raise BadContract(Refusal.OVERSIZE, f"{len(value)} bytes; at most {MAX_BYTES}", number)
        return str(key).encode(), value

    def decode(self, record: LogRecord) -> Event:
        """Return the event of a record.

        Raises:
            BadContract: it cannot be read, or does not belong where it is; no other fault of a record ever leaves here.
            RegistryUnavailable: `ready` was not asked for it.
        """
        name, start = named_in(record)
        wire = self._wires.get(name)
        if wire is None:
            raise self.schemas.absent(name)
        if wire.contract.topic != record.topic:
            text = f"{wire.full_name} does not belong on {record.topic}"
            raise BadContract(Refusal.WRONG_SCHEMA, text, wire.number)
        value = record.value or b""
        payload = None
        if (read := wire.compiled) is not None:
            try:
                payload = read(value, start)
            except Exception:  # noqa: BLE001 - whatever it is: fastavro says what is wrong with the record, if anything is
                payload = None
        if payload is None:
            payload = _read(wire, value, start)
            if holds_nul(payload):
                raise BadContract(Refusal.BAD_TEXT, "a text holds NUL", wire.number)
        return self._event(payload, wire, record)

    def _event(self, payload: dict[str, Any], wire: Wire, record: LogRecord) -> Event:
        contract = wire.contract
        meta = payload.pop("meta")
        tenant, source, name, occurred_at = meta["tenant"], meta["source"], meta["event_id"], meta["occurred_at"]
        if meta["type"] != contract.type:
            text = f"meta.type is {meta['type']!r}, the schema is {contract.type!r}"
            raise BadContract(Refusal.WRONG_SCHEMA, text, wire.number)
        if tenant != self.tenant:
            text = f"meta.tenant is {tenant!r}; this topic belongs to {self.tenant!r}"
            raise BadContract(Refusal.TENANT_MISMATCH, text, wire.number)
        if not 0 <= occurred_at < 2**53:
            text = f"meta.occurred_at is {occurred_at}, which is no instant between 1970 and 2255"
            raise BadContract(Refusal.BAD_VALUE, text, wire.number)
        return Event(
            ids.event_ref(tenant, source, name, occurred_at), tenant, source, name, contract.type, occurred_at, payload,
            record.topic, record.partition, record.offset, record.appended_at, meta["subject"],
            meta["correlation_id"], meta["causation_id"], meta["sequence"],
        )  # fmt: skip


def framed(number: int, body: bytes) -> bytes:
    """Return Avro as a record's value: behind the id of its schema."""
    return b"\x00" + number.to_bytes(4, "big") + body


def _read(wire: Wire, value: bytes, start: int) -> dict[str, Any]:
    """Return the payload of a record."""
    number = wire.number
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
