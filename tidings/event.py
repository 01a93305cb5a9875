"""The event: a fact with its envelope, as every part of the platform sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidings.value import value

Micros = int
"""An instant, or a duration, in microseconds. Instants count from the Unix epoch, UTC."""

SECOND: Micros = 1_000_000
MINUTE: Micros = 60 * SECOND
HOUR: Micros = 60 * MINUTE
DAY: Micros = 24 * HOUR


@value
class Event:
    """A decoded record. `ref` is the event id everywhere inside the platform (`ids.event_ref`)."""

    ref: str
    tenant: str
    source: str
    """The producer's name, never a topic or a partition."""
    id: str
    """The producer's id, unique per source only."""
    type: str
    occurred_at: Micros
    data: Mapping[str, Any]
    """The payload without `meta`."""
    topic: str
    partition: int
    offset: int
    appended_at: Micros
    """Append time of the log (broker append time on Kafka)."""
    subject: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    sequence: int | None = None
    """The source's version of the entity, where it has one."""

    def with_data(self, data: Mapping[str, Any]) -> Event:
        """Return the event with another payload: completed, or with what stands beside it."""
        return Event(
            self.ref, self.tenant, self.source, self.id, self.type, self.occurred_at, data, self.topic, self.partition,
            self.offset, self.appended_at, self.subject, self.correlation_id, self.causation_id, self.sequence,
        )  # fmt: skip
