"""Dead letters, as whoever looks at them sees them: what helps, which bytes, what they would be now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from streams.codec import Codec
from streams.embedded_log import Append, read_record
from streams.processors.intake import prepare
from streams.sources.intake import appends_of
from streams.sources.mapping import SourceMap
from tidings.errors import BadContract, Refusal
from tidings.ports import Row

INGESTED = "ingest:"
"""Topics of payloads that never became records begin with this; the source's name follows."""
FRAME = 5
"""Bytes of a frame: a zero, and the id of the schema."""

HELPS: Mapping[str, str] = {
    Refusal.TRUNCATED: "The record ends too early. Ask its producer: it was cut on the way, or written with another schema.",
    Refusal.TRAILING_BYTES: "It was written with another schema than it names. Ask its producer for the schema, register it, then redrive.",
    Refusal.WRONG_SCHEMA: "It lies in a topic that is another contract's, or its schema does not fit ours. Ask its producer which is meant.",
    Refusal.UNKNOWN_SCHEMA: "Release the contract of that schema here ('tidings contracts publish'), then redrive; or ask its producer why the id changed.",
    Refusal.OVERSIZE: "Such a record is never read. Ask its producer to send a reference instead of the whole, and set this one aside.",
    Refusal.NULL_KEY: "Without a key nobody knows whose it is. Ask its producer to send it again with one, and set this one aside.",
    Refusal.KEY_TOO_LONG: "Ask its producer to send it again with a shorter key, and set this one aside.",
    Refusal.BAD_TEXT: "A text in it is no text that can be stored. Ask its producer to send it again, and set this one aside.",
    Refusal.TIME_IN_FUTURE: "Its producer's clock is ahead. Once that time has come, redrive it; have the clock mended.",
    Refusal.TOO_DEEP: "Nobody nests so deep by intention. Ask its producer, and set this one aside.",
    Refusal.NOT_AVRO: "It is no Avro, perhaps JSON: its producer writes to the wrong topic, or without the serializer.",
    Refusal.BAD_VALUE: "A value in it cannot be. Ask its producer to send it again, and set this one aside.",
    Refusal.TENANT_MISMATCH: "It says that it is another tenant's. Ask its producer which topic is meant.",
    Refusal.BUFFER_FULL: "Too many events waited for one key. It has been decided without this one; set it aside once you have seen why.",
    Refusal.UNMAPPED: "Say in sources.yaml which event it becomes, then redrive.",
    Refusal.INTERNAL_ERROR: "A fault of ours: the log has it. Redrive after the release that mends it.",
}
"""By reason: what a person can do."""


@dataclass(frozen=True)
class Again:
    """A dead letter, and what it would be appended as now; or why it still cannot be read."""

    row: Row
    appends: tuple[Append, ...] = ()
    fault: str = ""


def place_of(row: Row) -> str:
    """Return how a dead letter is named: `topic[partition]@offset`."""
    return f"{row['topic']}[{row['partition']}]@{row['offset']}"


def again_of(codec: Codec, row: Row, mapping: SourceMap | None, now: int) -> Again:
    """Return what a dead letter is now; its schema is known (`Codec.ready`)."""
    if row["value"] is None:
        return Again(row, fault="it has no bytes")
    try:
        if row["topic"].startswith(INGESTED):
            if mapping is None:
                return Again(row, fault="nothing says which event it becomes")
            source = row["topic"].removeprefix(INGESTED)
            appends, _ = appends_of(codec, mapping, source, row["value"], row["appended_at"])
            return Again(row, tuple(appends))
        # What lay in the future when it came may have happened meanwhile.
        record = replace(read_record(row), appended_at=max(row["appended_at"], now))
        batch = prepare([record], {(record.topic, record.partition): record.offset}, codec.decode)
    except BadContract as fault:
        return Again(row, fault=f"{fault.reason}: {fault.detail}")
    if batch.refused:
        return Again(row, fault=f"{batch.refused[0].reason}: {batch.refused[0].detail}")
    return Again(row, (Append(record.topic, record.key, record.value, record.headers, record.partition),))


def at_fault(row: Row) -> range:
    """Return which bytes the reason is about, where that is known; else none."""
    value, reason = row["value"] or b"", row["reason"]
    size = len(value)
    if reason == Refusal.NOT_AVRO:
        return range(min(1, size))
    if reason in (Refusal.UNKNOWN_SCHEMA, Refusal.WRONG_SCHEMA) and value[:1] == b"\x00":
        return range(min(FRAME, size))
    if reason == Refusal.TRUNCATED:
        return range(max(0, size - 1), size)
    if reason == Refusal.TRAILING_BYTES and (found := re.match(r"(\d+) bytes", row["detail"])):
        return range(max(0, size - int(found[1])), size)
    if reason == Refusal.BAD_TEXT and (at := value.find(b"\x00", FRAME)) >= 0 and "NUL" in row["detail"]:
        return range(at, at + 1)
    return range(0)
