"""`tidings sources list | accept`: where readers stand in their logs, what is held, and how it goes on.

A source is held where its log is not the one that was read. Nobody but a person can say what then is right; `accept`
tells beforehand what would come again or be lost, does it with `--confirm`, and leaves a row in `audit`.
"""

from __future__ import annotations

import asyncio
import json
import re
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway import config
from gateway.cli.operator import operator
from gateway.cli.told import Told
from gateway.cli.topics import ground as reached
from streams.kafka.ground import decide, observe
from streams.processors import ground
from streams.processors.ground import ARCHIVE, DISPATCH, READERS, Decision, Source, standing_of
from streams.wording import counted, moment
from tidings.ground import Choice, NoChoice, Seen
from tidings.ports import Row, Scan, Transaction

PLACE = re.compile(r"([a-z0-9._-]{1,249}?)(?::([0-9]{1,6}))?")
REPEATS = """\
What was decided before and comes again harms nothing where it is the same event (source, id, time): a firing has one id,
stateful rules call it late, a person's row keeps the newest word. A producer that gave new ids to old facts is not
recognised: those count as new. Messages whose deadline has passed are not sent."""


@dataclass(frozen=True)
class Standing:
    """One reader of one partition, as the list shows it."""

    source: Source
    row: Row
    seen: Seen | None
    hold: Row | None

    @property
    def lag(self) -> int:
        """Records that wait."""
        return 0 if self.seen is None else max(0, self.seen.end - standing_of(self.row).position)


def listing(arguments: Namespace) -> int:
    """List positions and holds; 0 if nothing is held."""
    standings, dispatch = asyncio.run(_list(arguments.config))
    held = [one for one in standings if one.hold is not None]
    shown = held if arguments.held else standings
    if arguments.json:
        print(json.dumps({"sources": [_vars(one) for one in shown], "dispatch": _older(dispatch)}))
        return 1 if held or dispatch else 0
    if not arguments.held:
        for line in _totals(standings):
            print(line)
    if arguments.held and not held and dispatch is None:
        print("nothing is held")
    for one in held:
        assert one.hold is not None
        reader, topic, partition = one.source
        print(f"held  {topic}:{partition} for {reader}, since {moment(one.hold['at'])}: {ground.finding_of(one.hold)}")
    if held:
        print(
            "\n'tidings sources accept TOPIC[:P] --from-start' (or --from-end, --from OFFSET) says what going on would do."
        )
    if dispatch is not None:
        print(f"held  all messages, since {moment(dispatch['at'])}: {ground.read_older(dispatch)}; see docs/ground.md")
    return 1 if held or dispatch else 0


async def _list(path: Path) -> tuple[list[Standing], Row | None]:
    async with reached(config.read(path)) as (cluster, store):
        rows = await store.read(_rows)
        seen = await observe(cluster, rows)
        holds = await store.read(ground.read_holds)
        found = [Standing(source, row, seen[source], holds.get(source)) for source, row in sorted(rows.items())]
        return found, holds.get(DISPATCH)


def _rows() -> Transaction[dict[Source, Row]]:
    rows = yield Scan("sources")
    return {(row["reader"], row["topic"], row["partition"]): row for row in rows if row["reader"] in READERS}


def _totals(standings: Sequence[Standing]) -> Iterator[str]:
    """Sum up each reader of a topic, in Kafka's own offsets; those of the store are told where they are others."""
    lag: dict[tuple[str, str], int] = defaultdict(int)
    read: dict[tuple[str, str], int] = defaultdict(int)
    bases: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for one in standings:
        name = (one.source[1], one.source[0])
        lag[name] += one.lag
        read[name] += standing_of(one.row).position
        if one.row["base"]:
            bases[name][one.source[2]] = one.row["base"]
    width = max((len(topic) for topic, _ in lag), default=0)
    for (topic, reader), waits in sorted(lag.items()):
        moved = ", ".join(f"{base} in {number}" for number, base in sorted(bases[topic, reader].items()))
        more = f"  base {moved}" if moved else ""
        yield f"{topic:{width}}  {reader:7}  {read[topic, reader]:>12,} read  {waits:>10,} waiting{more}"
    if any(bases.values()):
        yield ""
        yield "base: the topic was made again; journal, archive and dead letters count on, so many higher than Kafka does."


def _vars(one: Standing) -> dict[str, Any]:
    reader, topic, partition = one.source
    standing, hold = standing_of(one.row), one.hold
    return {
        "reader": reader, "topic": topic, "partition": partition, "position": standing.position,
        "base": one.row["base"], "start": one.seen and one.seen.start, "end": one.seen and one.seen.end, "lag": one.lag,
        "held": None if hold is None else {
            "reason": hold["reason"], "at": hold["at"], "says": str(ground.finding_of(hold)),
        },
    }  # fmt: skip


def _older(dispatch: Row | None) -> str | None:
    return None if dispatch is None else str(ground.read_older(dispatch))


def accept(arguments: Namespace) -> int:
    """Say what a decision would do; with `--confirm` do it."""
    topic, only = _place(arguments.place)
    done = asyncio.run(_accept(arguments.config, topic, only, arguments.where, confirm=arguments.confirm))
    if arguments.json:
        print(json.dumps({"confirmed": arguments.confirm, "decisions": [_decided(one) for one in done]}))
        return 0
    for one in done:
        for line in _preview(one):
            print(line)
    print(f"\n{REPEATS}\n")
    if arguments.confirm:
        print("Done, and written down in the table audit. Workers go on within seconds.")
    else:
        print("Nothing was done: add --confirm.")
    return 0


def _place(text: str) -> tuple[str, int | None]:
    match = PLACE.fullmatch(text)
    if match is None:
        raise Told(
            f"{text!r} is no topic and no partition of one; write billing.invoice.paid.v1 or billing.invoice.paid.v1:3"
        )
    return match[1], None if match[2] is None else int(match[2])


async def _accept(path: Path, topic: str, only: int | None, where: int | str, *, confirm: bool) -> list[Decision]:
    async with reached(config.read(path)) as (cluster, store):
        rows = {s: r for s, r in (await store.read(_rows)).items() if s[1] == topic and only in (None, s[2])}
        if not rows:
            raise Told(
                f"the database knows no {topic}{'' if only is None else f':{only}'}; 'tidings sources list' names all"
            )
        try:
            decisions = await decide(cluster, store, rows, where)
        except NoChoice as fault:
            raise Told(str(fault)) from None
        for one in decisions if confirm else ():
            if not await store.run(ground.accept(one, operator())):
                raise Told(f"{topic}:{one.place[1]} has moved meanwhile; look again with 'tidings sources list'")
        return decisions


def _preview(one: Decision) -> Iterator[str]:
    choice = one.choice
    yield f"{one.place[0]}:{one.place[1]}"
    for reader, finding in sorted(one.findings.items()):
        yield f"  {reader}: {finding}"
    yield f"  goes on at {choice.at}: {counted(choice.read, 'record')} of today's log will be read"
    for text in _lost(one, choice):
        yield f"  lost: {text}"
    if choice.another_log:
        base = max(row["next_offset"] for row in one.rows.values()) + 1 - choice.at
        yield f"  it is another log: offsets in journal, archive and dead letters are {base} higher than Kafka's from now on"


def _lost(one: Decision, choice: Choice) -> Iterator[str]:
    if choice.expired:
        yield f"{counted(choice.expired, 'record')} expired before they were read"
    if choice.skipped:
        yield f"{counted(choice.skipped, 'record')} before it in today's log"
    if not choice.another_log:
        return
    yield "whatever the old log held that nobody had read; how much that was, nobody can count"
    at = {source[0]: row["next_offset"] for source, row in one.rows.items()}
    if ARCHIVE in at and (behind := max(at.values()) - at[ARCHIVE]) > 0:
        yield f"{counted(behind, 'record')} that were decided and not archived: 'tidings verify' cannot replay them"


def _decided(one: Decision) -> dict[str, Any]:
    choice = one.choice
    return {
        "topic": one.place[0], "partition": one.place[1], "at": choice.at, "read": choice.read, "skipped": choice.skipped,
        "expired": choice.expired, "another_log": choice.another_log, "lost": list(_lost(one, choice)),
        "findings": {reader: str(finding.moved) for reader, finding in one.findings.items()},
    }  # fmt: skip
