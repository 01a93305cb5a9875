"""What must be the same, and what must not have happened, whatever was done to the cluster."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlers.rules.load import load
from schemas import contracts
from streams import rule_switch
from streams.codec import Codec
from streams.embedded import wall_clock
from streams.embedded_log import Append, EmbeddedLog, create, read_record
from streams.loops import RealRuntime
from streams.processors import detect
from streams.processors.worker import Worker
from streams.rule_book import RuleBook
from streams.stores.sqlite import SqliteStore
from tests.proofs import workload
from tests.proofs.stand import Stand
from tests.proofs.workload import Written
from tidings.event import HOUR, SECOND, Micros
from tidings.ports import Find, Scan

Records = Mapping[tuple[str, str, int], bytes]
"""By (firing id, kind, n)."""


async def undisturbed(file: Path, written: Sequence[Written], lateness: Micros) -> Records:
    """Let one embedded process decide the same events, with nobody in its way."""
    known = contracts()
    files = workload.rule_files(lateness)
    rules = load(files, workload.TEMPLATES, known.by_type).rules
    assert rules is not None
    store = await SqliteStore.open(file)
    try:
        codec, log, book = Codec(known), EmbeddedLog(store), RuleBook(known, store)
        places = sorted({(contract.topic, 0) for contract in known.by_type.values()})
        await store.run(create(places))
        await store.run(detect.connect(places, wall_clock(), grace=0, history="live"))
        await rule_switch.apply(store, book, rules, files, workload.TEMPLATES, grace=0)
        for at in range(0, len(written), 2_000):
            await log.append([Append(one.topic, one.key, one.value) for one in written[at : at + 2_000]])
        worker = Worker(store, log, RealRuntime(wall_clock), codec.decode, rules, book.get, 0, learn=book.learn)
        await worker.assign(places)
        while await worker.step():
            pass
        marks = [
            detect.Idle((row["topic"], row["partition"]), row["next_offset"], wall_clock() + HOUR)
            for row in await store.read(_positions)
        ]
        await store.run(detect.mark_idle(marks))
        while await worker.tick():
            pass
        rows = await store.read(_records)
    finally:
        await store.close()
    return {(row["firing_id"], row["kind"], row["n"]): row["body"] for row in rows}


def _positions() -> Any:
    return (yield Find("sources", "by_topic", (detect.READER,)))


def _records() -> Any:
    return (yield Scan("records"))


async def recorded(stand: Stand) -> Records:
    """Return the records of the cluster."""
    rows = await stand.ask("SELECT firing_id, kind, n, body FROM records")
    assert len({(row[0], row[1], row[2]) for row in rows}) == len(rows)
    return {(row[0], row[1], row[2]): bytes(row[3]) for row in rows}


async def same(stand: Stand, ours: Records, theirs: Records) -> None:
    """See that two sets of records are the same; where not, say what the log knows of those that differ.

    Raises:
        AssertionError: they are not.
    """
    missing, extra = theirs.keys() - ours.keys(), ours.keys() - theirs.keys()
    changed = {key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key]}
    if not (missing or extra or changed):
        return
    codec, lines = Codec(contracts()), [f"{len(missing)} missing, {len(extra)} extra, {len(changed)} changed"]
    for word, keys, source in (("missing", missing, theirs), ("extra", extra, ours), ("changed", changed, ours)):
        for key in sorted(keys)[:3]:
            body = json.loads(source[key])
            lines.append(f"{word}: {body['rule']} {body['kind']} {body['key']}, due or at {body['logical_at']}")
            for name in body["key"]:
                for row in await stand.ask("SELECT * FROM log WHERE position($1 IN value) > 0", str(name).encode()):
                    record = read_record(dict(row))
                    one = codec.decode(record)
                    lines.append(
                        f"  {one.type} {one.id} at {one.occurred_at}, {record.appended_at - one.occurred_at} µs later "
                        f"as {record.topic}[{record.partition}]@{record.offset}"
                    )
    raise AssertionError("\n".join(lines))


async def latest(stand: Stand) -> float:
    """By how many seconds the latest record came after its event: below the lateness of the rules, or nothing is proven."""
    codec = Codec(contracts())
    worst = 0
    for topic in sorted({contract.topic for contract in contracts().by_type.values()}):
        for row in await stand.ask("SELECT * FROM log WHERE topic = $1", topic):
            record = read_record(dict(row))
            worst = max(worst, record.appended_at - codec.decode(record).occurred_at)
    return worst / SECOND


@dataclass(frozen=True)
class Deliveries:
    """What became of everything that was to be said."""

    messages: int
    states: Mapping[str, int]
    unknown: int
    """Messages of which an attempt had an outcome that nobody knew."""
    repeated: int
    """Hand-overs beyond the first one of a message."""
    lost: int
    """Recorded as accepted, and in nobody's book."""
    unexplained: int
    """Of those that were handed over again: neither unknown nor of a rule that wants it so."""


async def deliveries(stand: Stand) -> Deliveries:
    """Hold the database against the book of the mail server."""
    taken = Counter(stand.book.read_text().split())
    rows = {row[0]: row for row in await stand.ask("SELECT message_id, state, on_unknown, role FROM messages")}
    unknown = {
        row[0]
        for row in await stand.ask(
            "SELECT DISTINCT message_id FROM attempts WHERE outcome IS NULL OR outcome = 'ambiguous'"
        )
    }
    states = Counter(row[1] for row in rows.values())
    assert set(states) <= {"accepted", "cancelled", "unresolved"}, states
    assert set(taken) <= set(rows), "something was handed over that nobody has decided"
    named: dict[str, set[str]] = {state: {name for name, row in rows.items() if row[1] == state} for state in states}
    lost = [name for name in named["accepted"] if not taken[name]]
    assert not lost, f"{len(lost)} are recorded as accepted, and nobody has taken them"
    assert named.get("unresolved", set()) <= unknown
    assert {name for name in named.get("cancelled", ()) if taken[name]} <= unknown
    repeated = {name: times - 1 for name, times in taken.items() if times > 1}
    unexplained = set(repeated) - {name for name in unknown if rows[name][2] == "resend"}
    assert not unexplained, f"{len(unexplained)} were repeated without being unknown"
    (due,) = await stand.ask("SELECT coalesce(sum(steps_due), 0)::bigint FROM runs")
    assert due[0] == sum(row[3] == "notice" for row in rows.values()), "the sum does not hold"
    return Deliveries(len(rows), dict(states), len(unknown), sum(repeated.values()), len(lost), len(unexplained))


def verified(stand: Stand) -> dict[str, Any]:
    """Run `tidings verify` with the role that may see no delivery; it must find nothing."""
    told: dict[str, Any] = json.loads(
        stand.verb("verify", "--config", stand.config("verify"), "--json", codes=(0, 1, 2))
    )
    assert (told["code"], told["differences"], told["not_replayed"]) == (0, 0, {}), told
    return told


def said(told: Mapping[str, Any]) -> str:
    """Return what `tidings verify` told, in a line."""
    left = sum(told["not_replayed"].values())
    return (
        f"{told['rows']:,} rows, {left} of them not replayed; {told['events']:,} events, {told['compared']:,} records, "
        f"{told['differences']} differences"
    )


def run(body: Any) -> Any:
    return asyncio.run(body)
