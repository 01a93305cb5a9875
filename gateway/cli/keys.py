"""`tidings keys`: make keys for systems and people, list them, end them. A key is shown once, on standard output."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from argparse import Namespace
from typing import Any

from gateway import config
from gateway.access import keys as access
from gateway.cli.operator import operator
from gateway.cli.told import Told
from gateway.config import Config
from streams import control
from streams.json_events import rfc3339
from streams.processors import keys as rows
from streams.stores.postgres import PostgresStore
from streams.stores.sqlite import SqliteReader, SqliteStore
from streams.wording import counted, moment
from tidings.event import DAY, HOUR, Micros
from tidings.ports import Body, Row, T

UNITS = {"h": HOUR, "d": DAY}
LONGEST = 3650 * DAY


def create(arguments: Namespace) -> int:
    """Make a key; print it, and on standard error what it is good for."""
    settings = _settings(arguments)
    scopes = set(arguments.scope or ())
    for role in arguments.role or ():
        scopes |= access.ROLES[role]
    until = _until(arguments.expires)
    try:
        new = access.make(
            access.pepper_of(_secret(settings)), arguments.name, tenant=arguments.tenant, scopes=frozenset(scopes),
            sources=tuple(dict.fromkeys(arguments.source or ())), expires_at=until,
        )  # fmt: skip
    except ValueError as fault:
        raise Told(str(fault)) from fault
    who = operator()
    why = control.add_key_by(settings.data, new.row, who) if not settings.on_cluster else None
    if why is None:
        why = asyncio.run(_changed(settings, rows.add(new.row, who)))
    if why:
        raise Told(why)
    print(new.key)
    what = f"{new.row['id']} ({arguments.name}) may: {new.row['scopes']}"
    if new.row["sources"]:
        what += f"; publishes as {new.row['sources'].replace(' ', ', ')}"
    ends = f"ends {moment(until)}" if until is not None else "has no end"
    print(f"{what}; {ends}. It is shown this once; send it as 'Authorization: Bearer …'.", file=sys.stderr)
    return 0


def listing(arguments: Namespace) -> int:
    """List the keys of a tenant."""
    settings = _settings(arguments)
    now = time.time_ns() // 1000
    found = sorted(_read(settings, arguments.tenant), key=lambda row: (row["name"], row["created_at"]))
    if arguments.json:
        print(json.dumps([_told(row, now) for row in found], indent=1))
        return 0
    for row in found:
        one = _told(row, now)
        used = f"used {moment(row['used_at'])}" if row["used_at"] is not None else "never used"
        as_what = f", as {', '.join(one['sources'])}" if one["sources"] else ""
        ends = f"until {moment(row['expires_at'])}" if row["expires_at"] is not None else "without an end"
        print(
            f"{row['id']}  {one['state']:8}  {row['name']}: {', '.join(one['scopes'])}{as_what}; "
            f"made {moment(row['created_at'])}, {used}, {ends}"
        )
    live = sum(rows.is_live(row, now) for row in found)
    print(f"{counted(len(found), 'key')}, {live} live" if found else "no keys yet: tidings keys create NAME --role …")
    return 0


def revoke(arguments: Namespace) -> int:
    """End a key for good."""
    settings = _settings(arguments)
    who = operator()
    key = access.parted(arguments.id)
    number = arguments.id if key is None else key[0]  # the whole key is as good, where only that is at hand
    why = None
    if not settings.on_cluster:
        why = control.revoke_key_by(settings.data, arguments.tenant, number, who)
    if why is None:
        why = asyncio.run(_changed(settings, rows.revoke(arguments.tenant, number, who)))
    if why:
        raise Told(why)
    print(f"{number} is revoked; within {access.FRESH:.0f} s nobody comes in with it")
    return 0


def _settings(arguments: Namespace) -> Config:
    if not arguments.config.exists():
        raise Told(
            f"there is no {arguments.config}: keys are of an installation, kept as proofs under its secret_key. "
            "The demonstration has none, and lets in whoever is at this machine. --config FILE names a configuration; "
            "docs/running.md has an example"
        )
    return config.read(arguments.config)


def _secret(settings: Config) -> bytes:
    found = settings.link_key()
    if found is None:
        raise Told(
            f"{settings.path.name} has no secret_key, and keys are kept as proofs under it: "
            "set secret_key = 'env:NAME' or 'file:/path' to 16 random bytes or more, and keep it"
        )
    return found


def _until(text: str | None) -> Micros | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6})([hd])", text)
    lasts = 0 if found is None else int(found[1]) * UNITS[found[2]]
    if not 0 < lasts <= LONGEST:
        raise Told(f"--expires {text!r} is no time that a key may last; write 12h or 90d, at most {LONGEST // DAY}d")
    return time.time_ns() // 1000 + lasts


async def _changed(settings: Config, body: Body[T]) -> T:
    store: SqliteStore | PostgresStore
    if settings.on_cluster:
        store = await PostgresStore.open(settings.postgres(), writers=1, urgent=1, readers=1)
    else:
        store = await SqliteStore.open(settings.data / "tidings.db")
    try:
        return await store.run(body)
    finally:
        await store.close()


def _read(settings: Config, tenant: str) -> list[Row]:
    if settings.on_cluster:

        async def read() -> list[Row]:
            store = await PostgresStore.open(settings.postgres(), writers=1, urgent=1, readers=1)
            try:
                return await store.read(rows.of_tenant(tenant))
            finally:
                await store.close()

        return asyncio.run(read())
    file = SqliteReader(settings.data / "tidings.db")
    try:
        return file.read(rows.of_tenant(tenant))
    finally:
        file.close()


def _told(row: Row, now: Micros) -> dict[str, Any]:
    state = "live" if rows.is_live(row, now) else "revoked" if row["revoked_at"] is not None else "over"
    times = {
        name.removesuffix("_at"): None if row[name] is None else rfc3339(row[name])
        for name in ("created_at", "expires_at", "revoked_at", "used_at")
    }
    return {
        "id": row["id"], "name": row["name"], "tenant": row["tenant"], "state": state,
        "scopes": row["scopes"].split(), "sources": row["sources"].split(), **times,
    }  # fmt: skip
