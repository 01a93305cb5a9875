"""`tidings doctor` on a cluster: who delivers, archives and serves, as the database knows it.

Nothing is asked of the processes, which may be anywhere. A process is there while the server has a connection under its
name; that it works is told by the lease that one of the deliverers renews every few seconds, and by what lies in the
hands of somebody whose lease is over.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg

from gateway.cli.found import Found
from streams.processors.ground import ARCHIVE
from streams.processors.outcomes import RELAY
from streams.stores.place import Place
from streams.stores.postgres_connections import SETTINGS, connect
from streams.stores.postgres_transaction import lock_number
from streams.wording import counted, span
from tidings.event import SECOND, Micros

NAMES = """
SELECT DISTINCT application_name FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE $1 ORDER BY 1
"""
HOLDER = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND ((classid::bigint << 32) | objid::bigint) = $1
"""
LEASE = "SELECT value FROM epochs WHERE name = $1"
DUE = """
SELECT (SELECT count(*) FROM (SELECT FROM messages WHERE state = 'pending' AND due_at <= $1 LIMIT 100001) p),
       (SELECT count(*) FROM (SELECT FROM records WHERE unread IS NOT NULL LIMIT 100001) r)
"""
HANDS = """
SELECT owner, count(*) AS many, count(*) FILTER (WHERE due_at < $1) AS late
FROM messages WHERE state IN ('claimed', 'sending') AND due_at IS NOT NULL GROUP BY owner ORDER BY owner
"""
LATE: Micros = 60 * SECOND
"""So long after its end a lease has been taken back, if anybody works."""
SHOWN = 5


@dataclass(frozen=True)
class Hand:
    """What lies in the hands of one deliverer."""

    owner: str
    many: int
    late: int
    """Whose lease is over for long, and which nobody has taken back."""


async def processes(place: Place) -> AsyncIterator[Found]:
    """Yield who delivers, who archives and who serves."""
    connection = await connect(place, {**SETTINGS, "application_name": "tidings doctor"})
    try:
        yield await _deliverers(connection)
        yield await _archive(connection, place)
        yield await _gateways(connection)
    except asyncpg.InsufficientPrivilegeError:
        yield Found("deliverers", "note", "this user may not see what waits", "ask as a deliverer, or as an operator")
    finally:
        await connection.close()


async def _deliverers(connection: asyncpg.Connection) -> Found:
    now = time.time_ns() // 1000
    names = await _named(connection, "deliver")
    ((pending, unread),) = await connection.fetch(DUE, now)
    hands = [Hand(*row) for row in await connection.fetch(HANDS, now - LATE)]
    late = sum(one.late for one in hands)
    waits = _waits(pending, unread, late)
    if not names:
        says = f"none has a connection to the database{'; ' + waits if waits else ', and nothing waits for one'}"
        return Found("deliverers", "wrong" if waits else "note", says, "tidings deliver")
    many = f"{counted(len(names), 'deliverer')}: {_some(names)}"
    if late:
        says = f"{many}; {counted(late, 'message')} in the hands of processes whose lease has been over for a minute"
        return Found("deliverers", "wrong", says, "see the log of 'tidings deliver': its clock, the database, a hang")
    lease = await connection.fetchval(LEASE, RELAY)
    until = 0 if lease is None else int(json.loads(lease)["until"])
    if until < now - LATE:
        since = "yet" if not until else f"for {span(now - until)}"
        says = f"{many}; none of them has published outcomes {since}: it cannot reach Kafka, or does not work"
        mend = "see the log of 'tidings deliver'; 'tidings topics plan' for topics"
        return Found("deliverers", "wrong" if until else "note", says, mend)
    busy = ", ".join(f"{one.owner} has {one.many}" for one in hands[:SHOWN])
    held = f"; in hand: {busy}" if busy else ""
    return Found("deliverers", "ok", f"{many}; {json.loads(lease)['owner'] or 'nobody'} publishes outcomes{held}")


def _waits(pending: int, unread: int, late: int) -> str:
    parts = [
        f"{counted(number, one)} {verb}{'s' if number == 1 else ''}"
        for number, one, verb in (
            (unread, "decision", "wait"),
            (pending, "message", "wait"),
            (late, "message of one that is gone", "rest"),
        )
        if number
    ]
    return ", ".join(parts)


async def _archive(connection: asyncpg.Connection, place: Place) -> Found:
    copies = await connection.fetchval(HOLDER, lock_number(place.schema, ARCHIVE))
    names = await _named(connection, "archive")
    if copies is None:
        says = "nobody copies records: 'rules explain' and 'verify' see none that come from now on"
        return Found("archive", "note", says, "tidings archive")
    beside = f", {len(names) - 1} more stand by" if len(names) > 1 else ""
    return Found("archive", "ok", f"copies{': ' + names[0] if len(names) == 1 else beside}")


async def _gateways(connection: asyncpg.Connection) -> Found:
    names = await _named(connection, "gateway")
    if not names:
        return Found(
            "gateways", "note", "none: no events over HTTP, no console, no unsubscribe links", "tidings gateway"
        )
    return Found("gateways", "ok", f"{counted(len(names), 'gateway')}: {_some(names)}")


async def _named(connection: asyncpg.Connection, verb: str) -> list[str]:
    rows = await connection.fetch(NAMES, f"tidings {verb} %")
    return [str(row[0]).removeprefix(f"tidings {verb} ") for row in rows]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
