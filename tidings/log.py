"""The log port: partitions of records, appended and fetched; Kafka on a cluster, a table when embedded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

from tidings.event import Event, Micros
from tidings.value import value

Partition = tuple[str, int]
"""(topic, partition)"""


@value
class LogRecord:
    """A record as the log holds it; nothing about it has been believed yet."""

    topic: str
    partition: int
    offset: int
    appended_at: Micros
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def fingerprint(record: LogRecord) -> str:
    """Return by what a record is known again: append time and a hash of key and value, never what they hold."""
    found = blake2b(digest_size=12)
    for part in (record.key, record.value):
        found.update(b"-" if part is None else b"%d:" % len(part) + part)
    return f"{record.appended_at}:{found.hexdigest()}"


@dataclass(frozen=True, slots=True)
class Fetched:
    """One fetch of one partition."""

    partition: Partition
    position: int
    """Offset that was asked for."""
    records: Sequence[LogRecord]
    high_watermark: int
    """Offset after the last record that the log held."""
    sent_at: Micros
    """When the fetch was *sent*: an empty one says that nothing was appended before that."""
    log_start: int = 0

    @property
    def caught_up(self) -> bool:
        """Whether the fetch came back empty at the end of the log."""
        return not self.records and self.position == self.high_watermark


class Log(Protocol):
    """Where events wait for detection."""

    async def fetch(self, positions: Mapping[Partition, int], limit: int) -> Sequence[Fetched]:
        """Fetch up to `limit` records of each partition from its position on."""
        ...

    async def partitions(self, topics: Sequence[str]) -> Sequence[Partition]:
        """Return the partitions that exist."""
        ...


class Decoder(Protocol):
    """From a record to an event; raises `tidings.errors.BadContract` for what cannot be read."""

    def __call__(self, record: LogRecord) -> Event:
        """Decode one record."""
        ...
