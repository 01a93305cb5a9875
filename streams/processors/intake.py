"""From fetched records to batches: what can be read, and what is set aside with its bytes and its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streams.processors.detect import Batch, Refused
from tidings.errors import BadContract, Refusal
from tidings.event import DAY, MINUTE, SECOND, Event, Micros
from tidings.journal import Span
from tidings.log import Decoder, LogRecord, Partition, fingerprint

MAX_CLOCK_SKEW: Micros = 5 * MINUTE
"""How far an event's time may lie after its append time."""


def prepare(records: Sequence[LogRecord], starts: Mapping[Partition, int], decode: Decoder) -> Batch:
    """Return the batch of `records`, which follow `starts` in each partition without a gap that matters.

    A record that cannot be read is left out, with its reason; its neighbours are decided.
    """
    events: list[Event] = []
    refused: list[Refused] = []
    last: dict[Partition, LogRecord] = {}
    left_out: dict[Partition, list[int]] = {}
    for record in records:
        place = (record.topic, record.partition)
        last[place] = record
        try:
            event = decode(record)
        except BadContract as fault:
            refused.append(Refused(record, str(fault.reason), fault.detail, fault.schema_id))
        else:
            ahead = event.occurred_at - record.appended_at
            if ahead <= MAX_CLOCK_SKEW:
                events.append(event)
                continue
            far = f"{ahead / DAY:.1f} days" if ahead >= DAY else f"{ahead / SECOND:.1f} s"
            text = f"occurred_at lies {far} after the append time"
            refused.append(Refused(record, str(Refusal.TIME_IN_FUTURE), text))
        left_out.setdefault(place, []).append(record.offset)
    spans = tuple(
        Span(*place, starts[place], last[place].offset + 1, tuple(left_out.get(place, ()))) for place in sorted(last)
    )
    return Batch(spans, tuple(events), tuple(refused), {place: fingerprint(one) for place, one in last.items()})


def set_aside(record: LogRecord, start: int, detail: str) -> Batch:
    """Return a batch of one record, which follows `start`, and is set aside as `internal_error`."""
    span = Span(record.topic, record.partition, start, record.offset + 1, (record.offset,))
    marks = {(record.topic, record.partition): fingerprint(record)}
    return Batch((span,), (), (Refused(record, str(Refusal.INTERNAL_ERROR), detail),), marks)
