"""`tidings migrate`: bring the database of a cluster up to this release. It says what it did, and is safe to repeat."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator

from gateway import config
from gateway.cli.told import Told
from gateway.cli.verify import progress
from gateway.codec import codec_of
from gateway.config import Config
from schemas import contracts
from streams.horizon import Differs, Horizon, advance
from streams.rule_book import RuleBook
from streams.stores.migrate import migrate as bring_up
from streams.stores.migrations import VERSION
from streams.stores.postgres import PostgresStore
from streams.stores.retention import LEAST, Behind, Retained, retain
from streams.verdict import WORDS
from streams.verify import ServerJournal
from streams.wording import counted
from tidings.event import DAY, Micros

LONGEST = 36_500


def migrate(arguments: argparse.Namespace) -> int:
    """Run what is missing, or with `--plan` say what would be run."""
    settings = config.read(arguments.config)
    place = settings.postgres()
    if arguments.anew and arguments.retain is None:
        raise Told("--anew belongs to --retain: name the days as well")
    if arguments.retain is not None and arguments.retain * DAY < LEAST:
        text = f"--retain {arguments.retain}: rules look back for days; keep {LEAST // DAY} at least"
        raise Told(text)
    if arguments.retain is not None and arguments.retain > LONGEST:
        raise Told(f"--retain {arguments.retain}: {LONGEST} days at most, which is a hundred years")
    where = f"{place.host}:{place.port}/{place.database}"
    done = asyncio.run(bring_up(place, plan=arguments.plan))
    verb = "would run" if arguments.plan else "ran"
    for step in done.steps:
        print(f"{verb} {step.number:04d} {step.title}")
    if done.steps:
        print(f"{where}: version {done.before} → {VERSION}{' (nothing was done)' if arguments.plan else ''}")
    else:
        print(f"{where} has version {VERSION}: nothing to do")
    if arguments.retain is not None and (done.before or not arguments.plan):
        _retain(settings, arguments.retain, plan=arguments.plan, anew=arguments.anew)
    return 0


def _retain(settings: Config, days: int, *, plan: bool, anew: bool) -> None:
    now = time.time_ns() // 1000
    before = now - days * DAY
    try:
        horizon, found = asyncio.run(_let_go(settings, before, now, plan=plan, anew=anew))
    except Differs as fault:
        raise Told(
            f"nothing was let go: {fault}, which 'tidings verify' shows, between what is stored and what the journal says; "
            "what would go is the evidence. With --anew what is stored is taken as it stands"
        ) from fault
    for line in _horizon(horizon, plan=plan):
        print(line)
    for name in found.dropped:
        print(f"{'would drop' if plan else 'dropped'} {name}")
    for name in found.kept:
        print(f"kept {name}: something in it is unread or open, or not in the snapshot yet")
    if plan:
        return
    print(f"{len(found.dropped)} partitions and {found.deleted} single rows older than {days} days are gone")
    print(", ".join(f"{count} {table}" for table, count in found.ended.items()) + " that were over are gone")


async def _let_go(settings: Config, before: Micros, now: Micros, *, plan: bool, anew: bool) -> tuple[Horizon, Retained]:
    place = settings.postgres()
    store = await PostgresStore.open(place, writers=1, urgent=1, readers=2)
    try:
        codec = codec_of(settings)
        try:
            journal = ServerJournal(store)
            book = RuleBook(contracts(), journal)
            with progress() as tell:
                horizon = await advance(
                    place, journal, book, codec, before, now, plan=plan, anew=anew, progress=tell
                )  # fmt: skip
        finally:
            await codec.close()
    finally:
        await store.close()
    found = await retain(place, before, Behind(horizon.seq, horizon.positions), now=now, plan=plan)
    return horizon, found


def _horizon(horizon: Horizon, *, plan: bool) -> Iterator[str]:
    if horizon.why is not None:
        because = "--anew asks for it" if horizon.why == "asked" else f"before, {WORDS[horizon.why]}"
        verb = "would be taken" if plan else "was taken"
        yield f"a snapshot of what is stored {verb}, as {because}; verify begins with it"
    elif horizon.moved:
        proved = (
            ""
            if plan or horizon.head is None
            else f"; {horizon.head.compared} records compared on the way, no difference"
        )
        yield f"replayed up to row {horizon.seq} of the journal, with whose snapshot verify {'would begin' if plan else 'begins'}{proved}"
    if not plan and horizon.moved and horizon.head is not None:
        yield f"the snapshot holds {counted(horizon.head.keys, 'key')}"
