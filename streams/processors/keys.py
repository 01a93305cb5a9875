"""Rows of `keys`, as transactions: what a key may do, until when; never the key itself, only its proof."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streams.processors.audit import audit
from tidings.event import MINUTE, Micros
from tidings.ports import Body, Delete, Exclude, Find, Insert, Now, Put, Read, Row, Scan, Transaction

LIVE = 2
"""Keys of one name that may be live at once: the new one is handed out while the old one is still in use."""
USED_EVERY: Micros = MINUTE
"""How exactly `used_at` is kept."""
FORGOTTEN = 100
"""Sessions that are forgotten at most when another one ends: more than come to it."""


def is_live(row: Mapping[str, Any], now: Micros) -> bool:
    """Say whether a key is good at an instant."""
    return row["revoked_at"] is None and (row["expires_at"] is None or now < row["expires_at"])


def add(row: Mapping[str, Any], who: str) -> Body[str]:
    """Return the body that keeps a new key, and says so in the audit; its result is why not, or nothing.

    `row` without `created_at`: it is the store's instant.
    """

    def body() -> Transaction[str]:
        yield Exclude("keys")  # nobody counts beside us
        now = yield Now()
        others = yield Find("keys", "by_name", (row["tenant"], row["name"]))
        live = [other["id"] for other in others if is_live(other, now)]
        if len(live) >= LIVE:
            return f"{row['name']} has {len(live)} live keys, {' and '.join(sorted(live))}: revoke one of them first"
        (made,) = yield Insert("keys", [{**row, "created_at": now, "revoked_at": None, "used_at": None}])
        if not made:
            return f"there is a key {row['id']} already; once more draws another one"
        said = {name: row[name] for name in ("id", "tenant", "name", "scopes", "sources", "expires_at")}
        yield from audit("keys create", who, said)
        return ""

    return body


def revoke(tenant: str, key: str, who: str) -> Body[str]:
    """Return the body that ends a key for good; its result is why not, or nothing."""

    def body() -> Transaction[str]:
        row = (yield Read("keys", [(key,)])).get((key,))
        if row is None or row["tenant"] != tenant:
            return f"there is no key {key}; 'tidings keys list' shows them"
        if row["revoked_at"] is not None:
            return f"{key} is revoked already"
        now = yield Now()
        yield Put("keys", [{**row, "revoked_at": now}], only=("revoked_at",))
        yield from audit("keys revoke", who, {"id": key, "tenant": tenant, "name": row["name"]})
        return ""

    return body


def used(key: str) -> Body[None]:
    """Return the body that takes down that a key was used now."""

    def body() -> Transaction[None]:
        row = (yield Read("keys", [(key,)])).get((key,))
        now = yield Now()
        if row is not None and (row["used_at"] is None or now - row["used_at"] >= USED_EVERY):
            yield Put("keys", [{**row, "used_at": now}], only=("used_at",))

    return body


def read(key: str) -> Body[Row | None]:
    """Return the body that reads a key."""

    def body() -> Transaction[Row | None]:
        rows = yield Read("keys", [(key,)])
        return rows.get((key,))  # type: ignore[no-any-return]

    return body


def of_session(key: str, session: str) -> Body[Row | None]:
    """Return the body that reads the key that a session began with; None: there is none, or it was signed out."""

    def body() -> Transaction[Row | None]:
        found = (yield Read("keys", [(key,)])).get((key,))
        return None if found is None or (yield Read("signed_out", [(session,)])) else found

    return body


def sign_out(session: str, until: Micros, now: Micros) -> Body[None]:
    """Return the body that ends a session wherever it is shown; `until`: when it would be over by itself.

    What would be over by `now` is forgotten with it. Both are of one clock, which the store's need not be: that of a
    demonstration runs fast.
    """

    def body() -> Transaction[None]:
        yield Insert("signed_out", [{"session": session, "until": until}])
        if over := (yield Find("signed_out", "by_until", (), upto=now, limit=FORGOTTEN)):
            yield Delete("signed_out", [(row["session"],) for row in over])

    return body


def of_tenant(tenant: str) -> Body[list[Row]]:
    """Return the body that reads the keys of a tenant, by name."""

    def body() -> Transaction[list[Row]]:
        return [row for row in (yield Scan("keys")) if row["tenant"] == tenant]

    return body


def any_key() -> Transaction[bool]:
    """Ask whether there is any key, also one that is over."""
    return bool((yield Scan("keys", limit=1)))
