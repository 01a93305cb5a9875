"""Profile, consent and identity events become rows of `recipients`, under the recipient's lock.

A reader of its own with its own positions: detection never takes a recipient. When this transaction has committed, a
withdrawal is answered, and no intent follows it: T3 takes the same lock and reads the row again.
"""

from __future__ import annotations

from collections.abc import Mapping

from streams.processors.detect import Batch, Skipped, dead_letter, positions_match
from tidings.event import Event, Micros
from tidings.person import changed_row, joined, link_of, recipient_named
from tidings.ports import Body, Find, Insert, Lock, Now, Put, Read, Row, Transaction

READER = "people"


def project(batch: Batch) -> Body[int | Skipped]:
    """Return the body that applies a batch of `customer.*` events; its result is the number of changed rows."""

    def body() -> Transaction[int | Skipped]:
        places = sorted((READER, span.topic, span.partition) for span in batch.spans)
        held = yield Lock("sources", places)
        spans = {(READER, span.topic, span.partition): span for span in batch.spans}
        if not all(positions_match(held[place], spans[place]) for place in places):
            return Skipped({(t, p): -1 if (row := held[r, t, p]) is None else row["next_offset"] for r, t, p in places})
        named = [(event, who) for event in batch.events if (who := recipient_named(event)) is not None]
        whom = {(event.tenant, who) for event, who in named}
        known = yield Read("recipients", sorted(whom))
        linked = {(place[0], row["linked_to"]) for place, row in known.items() if row["linked_to"] is not None}
        linked |= {(event.tenant, target) for event, _ in named if (target := link_of(event)) is not None}
        rows = yield Lock("recipients", sorted(whom | linked))
        named_rows = [row for place in whom if (row := rows[place]) is not None and row["linked_to"] is not None]
        if any((row["tenant"], row["linked_to"]) not in rows for row in named_rows):
            # A link appeared since we looked; read it again, so that all locks are taken in order.
            return Skipped({(span.topic, span.partition): span.start for span in batch.spans})
        now = yield Now()
        changed: dict[tuple[str, ...], Row] = {}
        moving: dict[tuple[str, str], tuple[str, str]] = {}
        for event, who in sorted(named, key=lambda pair: (pair[0].occurred_at, pair[0].ref)):
            place = (event.tenant, who)
            if not (news := heard(rows, place, event, now)):
                continue
            rows.update(news)
            changed.update(news)
            if (linked_to := news[place]["linked_to"]) is not None:
                moving[place] = (event.tenant, linked_to)
        if changed:
            yield Put("recipients", [changed[place] for place in sorted(changed)])
        for place, theirs in sorted(moving.items()):
            yield from _move(place, theirs)
        marks = batch.fingerprints
        yield Put(
            "sources",
            [
                {**held[r, t, p], "next_offset": spans[r, t, p].end, "fingerprint": marks.get((t, p))}
                for r, t, p in places
            ],
        )
        if batch.refused:
            yield Insert("dead_letters", [dead_letter(refused, READER) for refused in batch.refused])
        return len(changed)

    return body


def heard(
    rows: Mapping[tuple[str, ...], Row | None], place: tuple[str, str], event: Event, now: Micros
) -> dict[tuple[str, ...], Row]:
    """Return the rows that an event about one person changes; none where it is no news."""
    row = changed_row(place[1], rows[place], event)
    if row is None:
        return {}
    # Whoever has something open is looked at again at once.
    changed: dict[tuple[str, ...], Row] = {place: {**row, "next_at": now}}
    if row["linked_to"] is not None:
        # What is said under a foreign id is said by the customer whose it is.
        theirs = (event.tenant, row["linked_to"])
        own = joined(rows.get(theirs), row["linked_to"], row) or rows.get(theirs)
        if own is not None:
            changed[theirs] = {**own, "next_at": now}
    return changed


def _move(place: tuple[str, str], theirs: tuple[str, str]) -> Transaction[None]:
    """Give what is open under a foreign id to the customer whose it is: it follows their zone, their word, their news."""
    found = yield Find("runs", "by_recipient", (*place, 1))
    runs = yield Lock("runs", sorted((row["run_id"],) for row in found))
    if runs:
        yield Put("runs", [{**row, "recipient": theirs[1]} for row in runs.values() if row is not None])
    names = [(row["message_id"],) for row in (yield Find("messages", "by_recipient", (*place, 1)))]
    locked = yield Lock("messages", sorted(names))
    moved = [{**row, "recipient": theirs[1]} for row in locked.values() if row is not None and row["open"]]
    if moved:
        yield Put("messages", moved)
