"""`tidings doctor` on who comes in over HTTP: the secret that keys are proven with, and the keys."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.access.door import is_loopback
from gateway.cli.found import Found
from gateway.config import Config
from streams.processors.keys import is_live
from streams.wording import counted
from tidings.errors import Misconfigured
from tidings.event import Micros
from tidings.ports import Row, Scan, Transaction

MAKE = "'openssl rand -hex 32' makes a good one; docs/http.md"


def secret(settings: Config) -> Found:
    """Say whether there is a secret, and one that is long enough."""
    if settings.settings.secret_key is None:
        return Found("secret_key", "note", "none: nobody can have a key, and mails carry no unsubscribe link", MAKE)
    try:
        key = settings.link_key()
    except Misconfigured as fault:
        return Found("secret_key", "wrong", str(fault), MAKE)
    return Found("secret_key", "ok", f"{len(key or b'')} bytes")


def every_key() -> Transaction[list[Row]]:
    """Read the keys."""
    return (yield Scan("keys"))  # type: ignore[no-any-return]


def keys(settings: Config, rows: Sequence[Row], now: Micros) -> Found:
    """Say how many keys there are, and whether anybody can come in."""
    live = sum(is_live(row, now) for row in rows)
    makes = "tidings keys create NAME --role …"
    if rows and settings.settings.secret_key is None:
        says = (
            f"{counted(len(rows), 'key')}, and without secret_key none of them can be proven: every one is answered 401"
        )
        return Found("keys", "wrong", says, "set the secret_key with which they were made")
    http = settings.settings.http
    if not rows and http is not None and is_loopback(http.host):
        return Found("keys", "note", "none: whoever is at this machine may do everything over HTTP", makes)
    if not live:
        says = (
            f"{counted(len(rows), 'key')}, none live: nobody comes in over HTTP"
            if rows
            else "none: nobody comes in over HTTP"
        )
        return Found("keys", "note", says, makes)
    return Found("keys", "ok", f"{counted(len(rows), 'key')}, {live} live")
