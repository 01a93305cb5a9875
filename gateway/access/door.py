"""Who comes in: whoever shows a key; and on a laptop that has none, whoever sits at it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

from starlette.requests import HTTPConnection

from gateway.access.keys import Keys, Principal, local

HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::\d{1,5})?")
SITES = ("same-origin", "none")
"""Of `Sec-Fetch-Site`: asked by a page of ours, or by a person."""
BETWEEN = (
    "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-real-ip",
    "cf-connecting-ip", "via",
)  # fmt: skip
"""Headers of a proxy: whoever stands behind one is not at this machine."""
_BETWEEN = frozenset(name.encode() for name in BETWEEN)


@lru_cache(64)
def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def at_this_machine(request: HTTPConnection) -> bool:
    """Say whether somebody at this machine asks, by a name of this machine, and not through a proxy."""
    if request.client is None or not is_loopback(request.client.host):
        return False
    if not _BETWEEN.isdisjoint([name for name, _ in request.scope["headers"]]):
        return False
    # A page of somebody else may ask under its own name, which it has pointed here.
    name = HOST.fullmatch(request.headers.get("host", ""))
    return name is not None and is_loopback(name[1])


@dataclass(frozen=True)
class Door:
    """One for the whole edge of a process."""

    keys: Keys
    host: str
    """Where it listens: beyond loopback nobody comes in without a key."""
    tenant: str = "default"

    async def is_open(self) -> bool:
        """Say whether whoever is at this machine comes in without a key: on a laptop without any key in its store.

        Raises:
            StoreUnavailable: it cannot be said now.
        """
        return is_loopback(self.host) and not await self.keys.any()

    async def guest(self, request: HTTPConnection) -> Principal | None:
        """Return who comes in without a key.

        Raises:
            StoreUnavailable: it cannot be said now.
        """
        return local(self.tenant) if at_this_machine(request) and await self.is_open() else None

    async def bearer(self, request: HTTPConnection) -> Principal | None:
        """Return whose key the header `Authorization: Bearer …` shows, or who comes in without one.

        Raises:
            StoreUnavailable: it cannot be said now.
        """
        shown = request.headers.get("authorization")
        if shown is None:
            # A page of somebody else in the browser of this machine asks across sites.
            ours = request.headers.get("sec-fetch-site", "none") in SITES
            return await self.guest(request) if ours else None
        scheme, _, key = shown.partition(" ")
        return await self.holder(key.strip()) if scheme.lower() == "bearer" else None

    async def holder(self, key: str) -> Principal | None:
        """Return whose key this is; None: nobody's of this installation.

        Raises:
            StoreUnavailable: it cannot be said now.
        """
        return self._ours(await self.keys.principal(key))

    async def of_session(self, number: str, session: str) -> Principal | None:
        """Return who sits in a session that began with the key of this id; None: nobody of this installation any more.

        Raises:
            StoreUnavailable: it cannot be said now.
        """
        return self._ours(await self.keys.of_session(number, session))

    def _ours(self, found: Principal | None) -> Principal | None:
        """Of tenants that share a store, each has its own installation."""
        return found if found is not None and found.tenant == self.tenant else None
