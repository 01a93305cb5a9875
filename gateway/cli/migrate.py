"""`tidings migrate`: bring the database of a cluster up to this release. It says what it did, and is safe to repeat."""

from __future__ import annotations

import argparse
import asyncio
import time

from gateway import config
from gateway.cli.told import Told
from streams.stores.migrate import migrate as bring_up
from streams.stores.migrations import VERSION
from streams.stores.place import Place
from streams.stores.retention import LEAST, retain
from tidings.event import DAY

LONGEST = 36_500


def migrate(arguments: argparse.Namespace) -> int:
    """Run what is missing, or with `--plan` say what would be run."""
    place = config.read(arguments.config).postgres()
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
        _retain(place, arguments.retain, plan=arguments.plan)
    return 0


def _retain(place: Place, days: int, *, plan: bool) -> None:
    found = asyncio.run(retain(place, time.time_ns() // 1000 - days * DAY, plan=plan))
    for name in found.dropped:
        print(f"{'would drop' if plan else 'dropped'} {name}")
    for name in found.kept:
        print(f"kept {name}: something in it is unread or open")
    if not plan:
        print(f"{len(found.dropped)} partitions and {found.deleted} single rows older than {days} days are gone")
