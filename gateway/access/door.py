"""Who comes in: whoever shows a key; and on a laptop that has none, whoever sits at it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from gateway.access.keys import Keys, Principal, local

HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::\d{1,5})?")
SITES = ("same-origin", "none")
"""Of `Sec-Fetch-Site`: asked by a page of ours, or by a person."""


@lru_cache(64)
def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Door:
    """One for the whole edge of a process."""

    keys: Keys
    host: str
    """Where it listens: beyond loopback nobody comes in without a key."""
    tenant: str = "default"

    async def open_to(self, headers: Mapping[str, str]) -> Principal | None:
        """Return who comes in without a key, which is nobody but on a laptop without any key in its store.

        A page of somebody else in the browser of that laptop could ask under its own name, which it has pointed here,
        or across sites: neither is let in.

        Raises:
            StoreUnavailable: it cannot be said now.
        """
        if not is_loopback(self.host) or await self.keys.any():
            return None
        name = HOST.fullmatch(headers.get("host", ""))
        if name is None or not is_loopback(name[1]):
            return None
        if headers.get("sec-fetch-site", "none") not in SITES:
            return None
        return local(self.tenant)

    async def bearer(self, headers: Mapping[str, str]) -> Principal | None:
        """Return whose key the header `Authorization: Bearer …` shows, or who comes in without one.

        Raises:
            StoreUnavailable: it cannot be said now.
        """
        shown = headers.get("authorization")
        if shown is None:
            return await self.open_to(headers)
        scheme, _, key = shown.partition(" ")
        return await self.keys.principal(key.strip()) if scheme.lower() == "bearer" else None
