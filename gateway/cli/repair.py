"""`tidings repair`: events that were decided come again as new intake; a preview first, `--confirm` does it.

The positions of readers are not moved: state has gone on since, and would count everything twice. The chosen records
are appended behind the others. An event keeps its id, so what it fired before is not said again.
"""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.cli import log_place
from gateway.cli.installation import Installation, looked_at
from gateway.cli.log_place import Holdings, Range, quoted
from gateway.cli.told import Told
from schemas import contracts
from streams.embedded_log import Append, read_record
from streams.json_events import TIME, micros
from streams.processors.detect import READER
from streams.wording import counted
from tidings.errors import BadContract
from tidings.event import Event, Micros
from tidings.log import LogRecord
from tidings.ports import Body, Find, Key, Read, Row, Transaction

MOST = 10_000
"""Events that are taken in again at once."""
PAGE = 2_000


@dataclass(frozen=True)
class Chosen:
    """A record that comes again, and its event; or why it cannot be read."""

    record: LogRecord
    event: Event | None
    fault: str = ""


def repair(arguments: Namespace) -> int:
    """`tidings repair`: 0 done or proposed, 1 nothing could be."""
    return asyncio.run(_repair(arguments))


async def _repair(arguments: Namespace) -> int:
    since, until = _time(arguments.since, "--from"), _time(arguments.until, "--to")
    if not arguments.places and arguments.type is None and since is None:
        raise Told("say which events: PLACE, --type or --from; 'tidings repair --help' has an example")
    async with looked_at(arguments) as there:
        ranges = [_range(text) for text in arguments.places]
        if ranges:
            await _see_that_they_exist(there, ranges)
        else:
            ranges = await _partitions(there, arguments.type)
        chosen = await _choose(there, ranges, arguments.type, since, until)
        readable = [one for one in chosen if one.event is not None]
        for one in chosen:
            if one.event is None:
                print(f"{log_place.of(one.record)}  cannot be read, and is left out: {one.fault}")
        if not readable:
            print("no event was chosen")
            return 1
        undecided = await there.reader.read(_set_aside([one.record for one in readable]))
        before = {
            one.event.ref
            for one in readable
            if one.event is not None and (one.record.topic, one.record.partition, one.record.offset) not in undecided
        }
        print(f"{counted(len(readable), 'event')} chosen, {len(before)} of them decided before")
        appends = [Append(r.topic, r.key, r.value, r.headers, r.partition) for r in (one.record for one in readable)]
        if not arguments.confirm:
            await _propose(there, appends, before)
            return 0
    said = {"places": list(arguments.places), "type": arguments.type, "from": since, "to": until}
    who = await there.append(appends, said)
    print(f"{counted(len(appends), 'event')} appended behind the others; {who}")
    return 0


async def _propose(there: Installation, appends: Sequence[Append], before: set[str]) -> None:
    print("\nIf you confirm, this is what happens (tried beside the store; nobody was told):\n")
    tried, lines = await there.preview(appends, before)
    for line in lines:
        print(line)
    fired = sum(record.kind == "fired" for record in tried.firings)
    print(
        f"\n{counted(fired, 'new firing')}, {counted(tried.told, 'message')} at once. What was fired before has its id"
    )
    print("and is not said again. No position is moved: the events come as new records behind the others.")
    print("Nothing was sent. Add --confirm to do it.")


def _time(text: str | None, option: str) -> Micros | None:
    if text is None:
        return None
    try:
        if TIME.fullmatch(text):
            return micros(datetime.fromisoformat(text))
    except ValueError:
        pass  # as 2012-02-31
    raise Told(f"{option} {text!r} is no time; write 2012-01-18T12:00:00Z")


def _range(text: str) -> Range:
    found = log_place.read(text)
    if found is None:
        raise Told(f"{text!r} is no place; write 'billing.invoice.paid.v1[0]@7', or '…@7-19'")
    return found


async def _see_that_they_exist(there: Installation, ranges: Sequence[Range]) -> None:
    """A place that nobody has ever written to is a slip of the hand, and not an empty choice."""
    topics = frozenset(one.topic for one in ranges)
    partitions = await there.reader.read(log_place.held(topics))
    name = "the archive" if there.folder is None else f"{there.folder}/tidings.db"
    for one in ranges:
        Holdings(partitions, name).check(one)


async def _partitions(there: Installation, kind: str | None) -> list[Range]:
    """Return all partitions of a type's topic, or of all topics that detection reads."""
    if kind is not None and kind not in contracts().by_type:
        raise Told(f"there is no event {kind!r}; 'tidings contracts list' names them")
    topic = None if kind is None else contracts().by_type[kind].topic

    def body() -> Transaction[list[Range]]:
        equals = (READER,) if topic is None else (READER, topic)
        rows = yield Find("sources", "by_topic", equals)
        return sorted(
            (Range(row["topic"], row["partition"]) for row in rows), key=lambda one: (one.topic, one.partition)
        )

    return await there.reader.read(body)


async def _choose(
    there: Installation, ranges: Sequence[Range], kind: str | None, since: Micros | None, until: Micros | None
) -> list[Chosen]:
    """Read the ranges, and keep the events of that type and time."""
    found: list[Chosen] = []
    for one in ranges:
        at = one.first - 1
        while True:
            rows = await there.reader.read(_log(one, at))
            records = [read_record(row) for row in rows]
            await there.codec.ready(records)
            for record in records:
                chosen = _chosen(there, record)
                if _is_wanted(chosen, kind, since, until):
                    found.append(chosen)
            if len(found) > MOST:
                raise Told(f"more than {MOST} events were chosen; choose fewer at once")
            if len(rows) < PAGE:
                break
            at = rows[-1]["offset"]
    return found


def _log(one: Range, after: int) -> Body[list[Row]]:
    def body() -> Transaction[list[Row]]:
        place = (one.topic, one.partition)
        return (yield Find("log", "by_offset", place, above=after, upto=one.last, limit=PAGE))  # type: ignore[no-any-return]

    return body


def _chosen(there: Installation, record: LogRecord) -> Chosen:
    try:
        return Chosen(record, there.codec.decode(record))
    except BadContract as fault:
        return Chosen(record, None, f"{fault.reason}; see: tidings dead-letters show {quoted(log_place.of(record))}")


def _is_wanted(one: Chosen, kind: str | None, since: Micros | None, until: Micros | None) -> bool:
    if one.event is None:
        # Of what cannot be read nobody knows when it happened.
        return kind is None and since is None and until is None
    at = one.event.occurred_at
    return kind in (None, one.event.type) and (since is None or at >= since) and (until is None or at < until)


def _set_aside(records: Sequence[LogRecord]) -> Body[set[tuple[str, int, int]]]:
    """Return the body that names records which were set aside instead of being decided."""

    def body() -> Transaction[set[tuple[str, int, int]]]:
        places: list[Key] = [(READER, one.topic, one.partition, one.offset) for one in records]
        rows = yield Read("dead_letters", places)
        return {(row["topic"], row["partition"], row["offset"]) for row in rows.values()}

    return body
