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
from gateway.site import Site
from gateway.stopping import (
    WITHIN,
    NoScope,
    check,
    check_tenant,
    ending_in_words,
    kept_in_words,
    sending_in_words,
    stopped_before,
    total_of,
    unsent_of,
    waits_in_words,
)
from schemas import contracts
from streams import control
from streams.processors import endings, kills
from streams.processors.endings import DROP, RELEASE, Ending
from streams.processors.kills import Kill
from streams.processors.outcomes import Telling
from streams.rule_book import RuleBook
from streams.stores.counts import Unsent, count_unsent
from streams.stores.postgres import PostgresStore
from streams.stores.sqlite import SqliteStore
from streams.wording import counted, moment
from tidings.errors import Misconfigured
from tidings.event import Micros
from tidings.ports import Store, StoreUnavailable
from tidings.scopes import read_reason, said, scope_of

COUNTED = {RELEASE: "messages", DROP: "cancelled"}
"""What the count of an end is called in JSON."""


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
        if not arguments.force:
            try:
                await check_tenant(there.reader, scope, {Site.tenant})
            except NoScope as fault:
                raise Told(f"{fault}\nIf it is new, and shall be stopped before its first event: --force") from None
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
        ending = {one.scope: one for one in await there.reader.read(endings.begun) if one.verb == verb}
        one = standing.get(scope) or ending.get(scope)
        if one is None:
            raise Told(_not_stopped(scope, standing))
        counts = await _counts(there)
        waits = None if counts is None else counts.of(scope)
        if not arguments.confirm:
            if arguments.json:
                print(json.dumps({"confirmed": False, "waits": None if waits is None else asdict(waits)}))
                return 0
            print(_said(one))
            then = "go on as far as deadlines and gates allow" if verb == RELEASE else "are cancelled for good"
            print(f"{waits_in_words(waits)}. With --confirm they {then}.")
            if kept := kept_in_words(verb, scope, counts, standing):
                print(f"{kept}.")
            print("Nothing was done: add --confirm.")
            return 0
        total = None if waits is None else total_of(verb, waits)
        done = await _do(there, verb, scope, reason, one.at, total)
        others = [name for name in standing if name != scope]
    if done is None:
        raise Told(f"somebody else has ended the kill of {said(scope)} meanwhile")
    if arguments.json:
        print(json.dumps({"confirmed": True, "complete": done.is_over, "kept": done.kept, COUNTED[verb]: done.done}))
    elif not done.is_over:
        print(
            f"{said(scope)}: {ending_in_words(done)}. The rest goes on by itself; 'tidings kills' shows how far it is."
        )
    elif verb == RELEASE:
        print(f"released: {said(scope)}. What waited, {counted(done.done, 'message')}, is looked at again now.")
        if done.kept:
            print(f"{counted(done.kept, 'message')} more wait on: stopped as well by {', '.join(map(said, others))}.")
    else:
        print(f"dropped: {said(scope)}. {counted(done.done, 'message')} cancelled; what is decided now leaves again.")
    return 0


def _said(one: Kill | Ending) -> str:
    """Return the line of a kill, or of one that ends."""
    if isinstance(one, Ending):
        since = f"by {one.by} since {moment(one.begun_at)}: {one.reason}"
        return f"{said(one.scope)}: {ending_in_words(one)}, {since}"
    return f"{said(one.scope)}: stopped by {one.by} at {moment(one.at)}: {one.reason or 'no reason given'}"


def _not_stopped(scope: str, standing: Collection[str]) -> str:
    others = ", ".join(said(one) for one in standing)
    return f"{said(scope)} is not stopped; {'stopped: ' + others if others else 'nothing is'}"


async def _list(arguments: Namespace) -> int:
    async with looked_at(arguments) as there:
        found = await there.reader.read(kills.standing)
        ending = await there.reader.read(endings.begun)
        counts = await _counts(there) if found else None
    if arguments.json:
        listed = [
            {"state": "killed", **asdict(one), "waits": None if counts is None else asdict(counts.of(one.scope))}
            for one in found
        ]
        listed += [{"state": "releasing" if one.verb == RELEASE else "dropping", **asdict(one)} for one in ending]
        print(json.dumps(listed, indent=1))
        return 0
    for one in found:
        waits = None if counts is None else counts.of(one.scope)
        print(_said(one))
        print(f"    {'; '.join(part for part in (waits_in_words(waits), sending_in_words(waits)) if part)}")
    for one_more in ending:
        print(_said(one_more))
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


async def _do(
    there: Installation, verb: str, scope: str, reason: str, at: Micros | None = None, total: int | None = None
) -> Any:
    """Do it where it counts: through the running engine, in the file that nobody runs on, or in the database."""
    if there.folder is not None:
        done = await asyncio.to_thread(control.stop_by, there.folder, verb, scope, operator(), reason, at, total)
        if done is not control.NOBODY:
            return done
        store = await SqliteStore.open(there.folder / "tidings.db", there.clock)
        try:
            return await _by(store, verb, scope, reason, at, total)
        finally:
            await store.close()
    assert isinstance(there.reader, PostgresStore), "a cluster has its database"
    return await _by(Telling(there.reader), verb, scope, reason, at, total)


async def _by(
    store: Store, verb: str, scope: str, reason: str, at: Micros | None, total: int | None
) -> Kill | Ending | None:
    if verb == "kill":
        return await store.run(kills.kill(scope, operator(), reason), urgent=True)
    end = kills.release if verb == RELEASE else kills.drop
    return await end(store, scope, operator(), reason, at=at, total=total)
