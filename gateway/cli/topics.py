"""`tidings topics plan | apply`: topics as the contracts want them, and the rows of their readers in the database.

Exit codes: 0 all is as wanted; 3 `plan` found something that `apply` would do (2 is a wrong command line, as everywhere);
1 something is not as wanted that nothing here can change, or could not be looked at.
"""

from __future__ import annotations

import asyncio
import json
import time
from argparse import Namespace
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from gateway import config
from gateway.cli.folder import read_rules
from gateway.cli.told import Told
from gateway.config import Config
from gateway.logs import silence
from handlers.rules.load import load
from schemas import contracts
from streams.kafka import topics
from streams.kafka.cluster import Cluster, Refused, opened
from streams.kafka.reach import Away
from streams.kafka.topics import Kind, Line, Wanted
from streams.stores.postgres import PostgresStore
from streams.wording import counted
from tidings.ports import Store
from tidings.rule import RuleSet
from tidings.watermark import GRACE

TO_DO = 3
QUESTION = 30.0
"""Seconds for one question: a broker that has just made hundreds of partitions takes its time over the next."""
ALL_WELL = "All topics are as wanted, and every reader has its rows."
DONE = {Kind.CREATE: "created", Kind.GROW: "grown", Kind.SET: "set", Kind.CONNECT: "connected"}


@asynccontextmanager
async def ground(settings: Config) -> AsyncIterator[tuple[Cluster, Store]]:
    """Reach both the cluster and the database; what goes wrong with the cluster is told as a sentence."""
    silence("aiokafka")
    connection, place = settings.kafka(), settings.postgres()
    store = await PostgresStore.open(place)
    try:
        async with opened(connection, within=QUESTION) as cluster:
            yield cluster, store
    except (Away, Refused) as fault:
        raise Told(str(fault)) from fault
    finally:
        await store.close()


async def wanted(settings: Config, cluster: Cluster) -> list[Wanted]:
    """Return the topics that this installation should have."""
    kafka = settings.settings.kafka
    assert kafka is not None
    brokers = len(await cluster.brokers())
    return topics.wanted(contracts(), partitions=kafka.partitions, replicas=kafka.replicas, brokers=brokers)


def rules_of(settings: Config) -> RuleSet | None:
    """Return the rules of the configured folder, where there are any without mistakes."""
    try:
        files, texts = read_rules(settings.rules)
    except (Told, OSError):
        return None
    return load(files, texts, contracts().by_type).rules


def plan(arguments: Namespace) -> int:
    """Say what differs; change nothing."""
    settings = config.read(arguments.config)
    lines = asyncio.run(_plan(settings))
    to_do = sum(line.is_to_do for line in lines)
    if arguments.json:
        print(_json(lines))
    else:
        _print(lines)
        if not lines:
            print(ALL_WELL)
        if to_do:
            counts = Counter(line.kind for line in lines if line.is_to_do)
            said = ", ".join(f"{count} to {kind}" for kind, count in counts.items())
            print(f"\n{said}. Nothing was done: 'tidings topics apply' does it.")
    return _code(lines) or (TO_DO if to_do else 0)


def apply(arguments: Namespace) -> int:
    """Do it, and say so line by line."""
    settings = config.read(arguments.config)
    done: list[Line] = []

    def told(line: Line) -> None:
        done.append(line)
        if not arguments.json:
            print(f"{DONE[line.kind]:9}  {line.topic}: {line.says}")

    left = asyncio.run(_apply(settings, told))
    if arguments.json:
        print(json.dumps({"done": [vars_of(line) for line in done], "left": [vars_of(line) for line in left]}))
    else:
        _print(left)
        print(f"\n{counted(len(done), 'change')}." if done else ALL_WELL)
    return _code(left)


async def _plan(settings: Config) -> list[Line]:
    async with ground(settings) as (cluster, store):
        aims = await wanted(settings, cluster)
        return topics.plan(aims, await topics.look(cluster, store, aims), rules_of(settings))


async def _apply(settings: Config, told: topics.Tell) -> list[Line]:
    async with ground(settings) as (cluster, store):
        aims = await wanted(settings, cluster)
        history = settings.settings.history
        return await topics.apply(
            cluster,
            store,
            aims,
            now=time.time_ns() // 1000,
            grace=GRACE,
            history=history,
            told=told,
            rules=rules_of(settings),
        )


def _print(lines: Sequence[Line]) -> None:
    for line in lines:
        print(f"{line.kind:9}  {line.topic}: {line.says}")
        if line.mend:
            print(f"           {line.mend}")


def vars_of(line: Line) -> dict[str, str]:
    """Return a line for JSON."""
    return {"kind": str(line.kind), "topic": line.topic, "says": line.says, "mend": line.mend}


def _json(lines: Sequence[Line]) -> str:
    counts = {"to_do": sum(line.is_to_do for line in lines), "cannot": sum(line.kind is Kind.CANNOT for line in lines)}
    return json.dumps({"lines": [vars_of(line) for line in lines], **counts}, ensure_ascii=False)


def _code(lines: Sequence[Line]) -> int:
    return 1 if any(line.kind is Kind.CANNOT for line in lines) else 0
