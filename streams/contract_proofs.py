"""Proofs that the contracts work: every version reads every other through the codec, and the examples hold."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import fastavro

from schemas import Contracts
from schemas.examples import Example, described, examples
from schemas.gate import Finding
from streams.codec import Codec
from streams.json_events import NotAnEvent, from_json, to_json
from streams.wire import plain
from tidings.errors import BadContract
from tidings.log import LogRecord


def prove(known: Contracts) -> list[Finding]:
    """Return every proof that failed."""
    codec = Codec(known)
    return [*_versions(known, codec), *_examples(known, codec)]


def _versions(known: Contracts, codec: Codec) -> Iterator[Finding]:
    """Yield where a record of one version cannot be read with another, in either direction."""
    schemas: dict[str, dict[int, Any]] = {}
    for one in known.released.values():
        schemas.setdefault(one.full_name, {})[one.version] = fastavro.parse_schema(plain(one.schema))
    for full_name, versions in schemas.items():
        contract = known.by_full_name[full_name]
        try:
            payload = from_json(contract, described(contract), tenant=codec.tenant)
        except NotAnEvent as told:
            text = f"the examples of its fields make no event: {told}"
            yield Finding("C506", f"released/{full_name}", text, "mend them in the source, and release a new version")
            continue
        for writer in versions:
            for reader in versions:
                fault = _reads(payload, versions[writer], versions[reader])
                if fault is not None:
                    where, text = f"released/{full_name}", f"version {reader} cannot read version {writer}: {fault}"
                    yield Finding("C501", where, text, "only add: nullable with default null, or a new major version")


def _reads(payload: Any, writer: Any, reader: Any) -> str | None:
    buffer = io.BytesIO()
    try:
        # Not strict: the payload is the newest version's, and an older writer leaves the new fields out.
        fastavro.schemaless_writer(buffer, writer, payload)
        buffer.seek(0)
        fastavro.schemaless_reader(buffer, writer, reader)
    except Exception as fault:  # noqa: BLE001 - whatever a reader raises, it cannot read
        return str(fault)
    return None


def _examples(known: Contracts, codec: Codec) -> Iterator[Finding]:
    seen: dict[str, set[bool]] = {}
    for example in examples():
        seen.setdefault(example.full_name, set()).add(bool(example.refused_at))
        yield from _example(example, known, codec)
    for full_name in known.by_full_name:
        for kind, word in ((False, "valid"), (True, "invalid")):
            if kind not in seen.get(full_name, ()):
                yield Finding("C502", f"examples/{full_name}", f"has no {word} example", "add one; see its neighbours")


def _example(example: Example, known: Contracts, codec: Codec) -> Iterator[Finding]:
    contract = known.by_full_name.get(example.full_name)
    if contract is None:
        yield Finding("C503", example.file, "belongs to no contract", "remove it, or name its folder by a full name")
        return
    try:
        payload = from_json(contract, example.event, tenant=codec.tenant)
    except NotAnEvent as fault:
        found = tuple(sorted(mistake.pointer for mistake in fault.mistakes))
        if found != tuple(sorted(example.refused_at)):
            text = f"is refused at {', '.join(found)}"
            yield Finding("C504", example.file, text, f"it says {', '.join(example.refused_at) or 'that it is valid'}")
        return
    if example.refused_at:
        yield Finding("C504", example.file, "is taken", f"it should be refused at {', '.join(example.refused_at)}")
        return
    try:
        key, value = codec.encode(contract.type, payload)
        record = LogRecord(contract.topic, 0, 0, payload["meta"]["occurred_at"], key, value)
        event = codec.decode(record)
    except BadContract as fault:
        yield Finding("C505", example.file, f"does not pass the codec: {fault}", "mend the example or the contract")
        return
    if from_json(contract, to_json(event, contract), tenant=codec.tenant) != payload:
        yield Finding("C505", example.file, "comes back changed from the log", "this is a fault of the codec")
