"""`tidings migrate`: bring the database of a cluster up to this release. It says what it did, and is safe to repeat."""

from __future__ import annotations

import argparse
import asyncio

from gateway import config
from streams.stores.migrate import migrate as bring_up
from streams.stores.migrations import VERSION


def migrate(arguments: argparse.Namespace) -> int:
    """Run what is missing, or with `--plan` say what would be run."""
    place = config.read(arguments.config).postgres()
    done = asyncio.run(bring_up(place, plan=arguments.plan))
    where = f"{place.host}:{place.port}/{place.database}"
    if not done.steps:
        print(f"{where} has version {VERSION}: nothing to do")
        return 0
    verb = "would run" if arguments.plan else "ran"
    for step in done.steps:
        print(f"{verb} {step.number:04d} {step.title}")
    print(f"{where}: version {done.before} → {done.steps[-1].number}{' (nothing was done)' if arguments.plan else ''}")
    return 0
