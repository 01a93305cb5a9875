"""`tidings kill | release | drop | kills`: stop what leaves, and end that; while everything runs, or nothing does."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from gateway.cli.installation import Installation, looked_at
from gateway.cli.operator import operator
from gateway.cli.told import Told
from gateway.cli.wording import counted, moment
from gateway.stopping import WITHIN, NoScope, check, sending_in_words, stopped_before, unsent_of, waits_in_words
from schemas import contracts
from streams import control
from streams.processors import kills
from streams.processors.kills import Kill
from streams.processors.outcomes import Telling
from streams.rule_book import RuleBook
from streams.stores.counts import Unsent, count_unsent
from streams.stores.postgres import PostgresStore
from streams.stores.sqlite import SqliteStore
from tidings.errors import Misconfigured
from tidings.event import Micros
from tidings.ports import Store, StoreUnavailable
from tidings.scopes import read_reason, said, scope_of


def kill(arguments: Namespace) -> int:
    """`tidings kill`."""
    return asyncio.run(_kill(arguments, *_asked(arguments)))


def release(arguments: Namespace) -> int:
    """`tidings release`."""
    return asyncio.run(_end("release", arguments, *_asked(arguments)))


def drop(arguments: Namespace) -> int:
    """`tidings drop`."""
    return asyncio.run(_end("drop", arguments, *_asked(arguments)))


def listing(arguments: Namespace) -> int:
    """`tidings kills`."""
    return asyncio.run(_list(arguments))


def _asked(arguments: Namespace) -> tuple[str, str]:
    """Return scope and reason."""
    given = [(kind, name) for kind in ("tenant", "channel", "rule") if (name := getattr(arguments, kind)) is not None]
    try:
        return scope_of(*(given[0] if given else (None,))), read_reason(arguments.reason)
    except ValueError as fault:
        raise Told(str(fault)) from None


async def _kill(arguments: Namespace, scope: str, reason: str) -> int:
    async with looked_at(arguments) as there:
        if scope.startswith("rule:"):
            counts = await _counts(there)
            try:
                check(scope, await _rules(there) | (frozenset() if counts is None else counts.rules))
            except NoScope as fault:
                raise Told(str(fault)) from None
        before = await _do(there, "kill", scope, reason)
        counts = await _counts(there)
    waits = None if counts is None else counts.of(scope)
    if arguments.json:
        by = None if before is None else asdict(before)
        print(json.dumps({"scope": scope, "stopped_before": by, "waits": None if waits is None else asdict(waits)}))
        return 0
    if before is not None:
        print(f"{said(scope)}: {stopped_before(before, moment(before.at))}")
    else:
        print(f"stopped: {said(scope)}. No message of it is begun from now on; {waits_in_words(waits)}.")
    if still := sending_in_words(waits):
        print(f"{still}: what its provider has, nobody can call back.")
    option = "" if scope == "all" else " --" + scope.replace(":", " ", 1)
    print(
        f"Go on with 'tidings release{option} --reason …', or cancel what waits with 'tidings drop{option} --reason …'."
    )
    return 0


async def _end(verb: str, arguments: Namespace, scope: str, reason: str) -> int:
    async with looked_at(arguments) as there:
        standing = {one.scope: one for one in await there.reader.read(kills.standing)}
        if scope not in standing:
            raise Told(_not_stopped(scope, standing))
        counts = await _counts(there)
        waits = None if counts is None else counts.of(scope)
        if not arguments.confirm:
            if arguments.json:
                print(json.dumps({"confirmed": False, "waits": None if waits is None else asdict(waits)}))
                return 0
            one = standing[scope]
            print(f"{said(scope)}: stopped by {one.by} at {moment(one.at)}: {one.reason or 'no reason given'}")
            then = "go on as far as deadlines and gates allow" if verb == "release" else "are cancelled for good"
            print(f"{waits_in_words(waits)}. With --confirm they {then}.\nNothing was done: add --confirm.")
            return 0
        done = await _do(there, verb, scope, reason, standing[scope].at)
    if done is None:
        raise Told(f"somebody else has ended the kill of {said(scope)} meanwhile")
    if arguments.json:
        print(json.dumps({"confirmed": True, "recipients" if verb == "release" else "cancelled": done}))
    elif verb == "release":
        print(f"released: {said(scope)}. What waited for {counted(done, 'recipient')} is looked at again now.")
    else:
        print(f"dropped: {said(scope)}. {counted(done, 'message')} cancelled; what comes from now on leaves again.")
    return 0


def _not_stopped(scope: str, standing: Collection[str]) -> str:
    others = ", ".join(said(one) for one in standing)
    return f"{said(scope)} is not stopped; {'stopped: ' + others if others else 'nothing is'}"


async def _list(arguments: Namespace) -> int:
    async with looked_at(arguments) as there:
        found = await there.reader.read(kills.standing)
        counts = await _counts(there) if found else None
    if arguments.json:
        print(json.dumps([{**asdict(one), "waits": None if counts is None else asdict(counts.of(one.scope))} for one in found], indent=1))  # fmt: skip
        return 0
    for one in found:
        waits = None if counts is None else counts.of(one.scope)
        print(f"{said(one.scope)}: stopped by {one.by} at {moment(one.at)}: {one.reason or 'no reason given'}")
        print(f"    {'; '.join(part for part in (waits_in_words(waits), sending_in_words(waits)) if part)}")
    if not found:
        print("nothing is stopped")
    return 0


async def _counts(there: Installation) -> Unsent | None:
    """Count what has not left; None: that took too long, and is no reason to stop nothing."""
    if there.folder is None:
        return await unsent_of(there.reader)
    try:
        return await asyncio.to_thread(count_unsent, there.folder / "tidings.db", within=WITHIN)
    except StoreUnavailable:
        return None


async def _rules(there: Installation) -> frozenset[str]:
    try:
        active = await RuleBook(contracts(), there.reader).active()
    except Misconfigured:
        return frozenset()  # they do not load with this version; what waits still says which there are
    return frozenset() if active is None else frozenset(active.by_id)


async def _do(there: Installation, verb: str, scope: str, reason: str, at: Micros | None = None) -> Any:
    """Do it where it counts: through the running engine, in the file that nobody runs on, or in the database."""
    if there.folder is not None:
        done = await asyncio.to_thread(control.stop_by, there.folder, verb, scope, operator(), reason, at)
        if done is not control.NOBODY:
            return done
        store = await SqliteStore.open(there.folder / "tidings.db", there.clock)
        try:
            return await _by(store, verb, scope, reason, at)
        finally:
            await store.close()
    assert isinstance(there.reader, PostgresStore), "a cluster has its database"
    return await _by(Telling(there.reader), verb, scope, reason, at)


async def _by(store: Store, verb: str, scope: str, reason: str, at: Micros | None) -> Kill | int | None:
    match verb:
        case "kill":
            return await store.run(kills.kill(scope, operator(), reason), urgent=True)
        case "release":
            return await store.run(kills.release(scope, operator(), reason, at=at), urgent=True)
    return await kills.drop(store, scope, operator(), reason, at=at)
