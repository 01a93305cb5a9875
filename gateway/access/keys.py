"""Keys of systems and people: `tid_live_ID_SECRET`. What is kept is a proof of them, under a key that is not in the store.

The secret has 190 bits of chance, so the proof need not be slow; its last six characters are a checksum, so that what
was cut or mistyped, and what a scanner of source code finds by its prefix, is told apart without a look at the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import re
import secrets
import string
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Any

from streams.processors import keys as rows
from tidings.event import SECOND, Micros
from tidings.ports import Body, Row, Store, StoreUnavailable

logger = logging.getLogger("tidings.keys")

UNPROVEN = "keys exist, and without secret_key this process can prove none of them: every key is answered 401"

SCOPES: Mapping[str, str] = {
    "events": "publish events, and ask what came of them",
    "decisions": "read what was decided, and why",
    "customers:reveal": "see an address in full; each time is written down",
    "kill": "stop, release and drop what would leave",
    "deliveries": "retry and cancel deliveries",
    "jobs": "look at dead letters, and take them in again",
    "admin": "everything",
}
ROLES: Mapping[str, frozenset[str]] = {
    "publisher": frozenset({"events"}),
    "viewer": frozenset({"decisions"}),
    "support": frozenset({"decisions", "customers:reveal"}),
    "operator": frozenset({"decisions", "kill", "deliveries", "jobs"}),
    "admin": frozenset({"admin"}),
}
"""Names for sets of scopes."""

LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID, SECRET, CHECK = 10, 32, 6
KEY = re.compile(rf"tid_(live)_([0-9a-z]{{{ID}}})_([0-9A-Za-z]{{{SECRET}}})([0-9A-Za-z]{{{CHECK}}})")
PURPOSE = b"tidings/keys/1"
LONGEST_NAME = 64
NAME = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{LONGEST_NAME - 1}}}")
LONGEST_SOURCE = 200
"""Characters of one pattern of a source."""
MOST_SOURCES = 50

FRESH = 5.0
"""Seconds for which a key that was found good is not looked at again: so long may a revoked one go on."""
WHILE_AWAY = 900.0
"""Seconds for which one goes on being good while the store cannot be asked."""
MOST_FRESH = 4096
USED_EVERY = rows.USED_EVERY / SECOND
NONE_YET = 1.0
"""Seconds between two looks for the first key of all."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    name: str
    tenant: str
    scopes: frozenset[str]
    sources: tuple[str, ...] = ()
    """As which events may be published: names, or beginnings that end with `*`. None: as nothing."""
    key: str | None = None
    """Id of the key; None: the open door of a laptop."""

    def may(self, scope: str) -> bool:
        """Say whether it has a scope."""
        return scope in self.scopes or "admin" in self.scopes

    def may_publish(self, source: str) -> bool:
        """Say whether events of a source are its own."""
        if source in self.sources:
            return True
        for one in self.sources:  # noqa: SIM110 - asked for every event, and a generator takes twice as long
            if one[-1] == "*" and source.startswith(one[:-1]):
                return True
        return False


@lru_cache(16)
def local(tenant: str) -> Principal:
    """Return who asks on a machine of which nobody else hears."""
    return Principal("local", tenant, frozenset({"admin"}), ("*",))


@dataclass(frozen=True, slots=True)
class Made:
    """A new key: the row to keep, and the key itself, which is shown once."""

    row: Mapping[str, Any]
    key: str = field(repr=False)


def pepper_of(secret_key: bytes) -> bytes:
    """Return what proofs are made with; without `secret_key` a stolen store lets nobody in."""
    return hmac.digest(secret_key, PURPOSE, sha256)


def make(
    pepper: bytes,
    name: str,
    *,
    tenant: str,
    scopes: frozenset[str],
    sources: tuple[str, ...] = (),
    expires_at: Micros | None = None,
) -> Made:
    """Draw a new key.

    Raises:
        ValueError: name, scopes or sources are not to be had; the text says what would be.
    """
    if NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of a key: up to {LONGEST_NAME} of a-z 0-9 . _ -, as 'billing-system'")
    if unknown := sorted(scopes - set(SCOPES)):
        raise ValueError(f"there is no scope {', '.join(unknown)}; there are {', '.join(SCOPES)}")
    if not scopes:
        raise ValueError("a key without a scope may do nothing; name one")
    if "events" in scopes and not sources:
        raise ValueError("whoever publishes says as what: name a source, as 'shop/billing' or 'shop/*'")
    for one in sources:
        _check_source(one)
    if len(sources) > MOST_SOURCES:
        raise ValueError(f"{len(sources)} sources; {MOST_SOURCES} at most, use a beginning with * instead")
    number = "".join(secrets.choice(string.digits + string.ascii_lowercase) for _ in range(ID))
    secret = "".join(secrets.choice(LETTERS) for _ in range(SECRET))
    body = f"tid_live_{number}_{secret}"
    row = {
        "id": number, "tenant": tenant, "name": name, "proof": proof_of(pepper, number, secret),
        "scopes": " ".join(sorted(scopes)), "sources": " ".join(sources), "expires_at": expires_at,
    }  # fmt: skip
    return Made(row, body + checksum(body))


def _check_source(one: str) -> None:
    bare = one.removesuffix("*")
    if not one or len(one) > LONGEST_SOURCE or "*" in bare or any(c.isspace() or not c.isprintable() for c in one):
        text = f"{one!r} is no source: a name without blanks as events bear it, or its beginning and one * at the end"
        raise ValueError(text)


def proof_of(pepper: bytes, number: str, secret: str) -> bytes:
    """Return what is kept of a key."""
    return hmac.digest(pepper, f"{number}_{secret}".encode(), sha256)


def checksum(body: str) -> str:
    """Return the last characters of a key."""
    value, found = zlib.crc32(body.encode()), ""
    for _ in range(CHECK):
        value, at = divmod(value, len(LETTERS))
        found += LETTERS[at]
    return found


def parted(key: str) -> tuple[str, str] | None:
    """Return id and secret of what looks like a key, or None."""
    found = KEY.fullmatch(key)
    if found is None or checksum(key[:-CHECK]) != found[4]:
        return None
    return found[2], found[3]


@dataclass
class Keys:
    """The keys of a store, as whoever serves asks about them."""

    store: Store
    pepper: bytes | None = field(repr=False)
    """None: there is no `secret_key`, so there can be no key either."""
    clock: Callable[[], Micros]
    monotonic: Callable[[], float] = time.monotonic
    _fresh: dict[bytes, tuple[Row, float]] = field(default_factory=dict, init=False, repr=False)
    _used: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    _any: bool = field(default=False, init=False)
    _looked: float = field(default=float("-inf"), init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False, repr=False)

    async def principal(self, key: str) -> Principal | None:
        """Return whose key this is; None: nobody's, or it is over.

        Raises:
            StoreUnavailable: it cannot be said now.
        """
        parts = parted(key)
        if parts is None or self.pepper is None:
            return None
        number, secret = parts
        proof = proof_of(self.pepper, number, secret)
        row, seen = self._fresh.get(proof, (None, 0.0))
        if row is None or self.monotonic() - seen >= FRESH:
            row = await self._read(number, proof, row, seen)
            if row is None:
                return None
        if not rows.is_live(row, self.clock()):
            return None
        self._take_down(number)
        return Principal(
            row["name"], row["tenant"], frozenset(row["scopes"].split()), tuple(row["sources"].split()), number
        )

    async def _read(self, number: str, proof: bytes, before: Row | None, seen: float) -> Row | None:
        try:
            row = await self.store.read(rows.read(number))
        except StoreUnavailable:
            # Events can be taken while the database is away, and whoever was let in a moment ago sends them.
            if before is not None and self.monotonic() - seen < WHILE_AWAY:
                return before
            raise
        if row is None or not hmac.compare_digest(row["proof"], proof):
            self._fresh.pop(proof, None)
            return None
        if len(self._fresh) >= MOST_FRESH:
            self._fresh.clear()
        self._fresh[proof] = (row, self.monotonic())
        return row

    async def of_session(self, number: str, session: str) -> Principal | None:
        """Return whose key a session began with; None: nobody's, it is over, or the session was signed out.

        Raises:
            StoreUnavailable: it cannot be said now.
        """
        row = await self.store.read(rows.of_session(number, session))
        if row is None or not rows.is_live(row, self.clock()):
            return None
        return Principal(
            row["name"], row["tenant"], frozenset(row["scopes"].split()), tuple(row["sources"].split()), number
        )

    async def sign_out(self, session: str, until: Micros) -> None:
        """End a session in every process.

        Raises:
            StoreUnavailable: it has not ended.
        """
        await self.store.run(rows.sign_out(session, until, self.clock()))

    async def any(self) -> bool:
        """Say whether there is any key at all, also one that is over: then nobody comes in without one.

        Raises:
            StoreUnavailable: it cannot be said now.
        """
        if not self._any and self.monotonic() - self._looked >= NONE_YET:
            self._any = await self.store.read(rows.any_key)
            self._looked = self.monotonic()
            if self._any and self.pepper is None:
                logger.error(UNPROVEN, extra={"fields": {"mend": "set the secret_key with which they were made"}})
        return self._any

    async def are_dead(self) -> bool:
        """Say whether there are keys of which this process can prove none.

        Raises:
            StoreUnavailable: it cannot be said now.
        """
        return self.pepper is None and await self.any()

    async def watch(self) -> None:
        """Look for the first key as long as it could not be proven, so that the log says so before anybody knocks."""
        while self.pepper is None and not self._any:
            with contextlib.suppress(StoreUnavailable):
                if await self.any():
                    return
            await asyncio.sleep(FRESH)

    def _take_down(self, number: str) -> None:
        now = self.monotonic()
        if now - self._used.get(number, float("-inf")) < USED_EVERY:
            return
        if len(self._used) >= MOST_FRESH:
            self._used.clear()
        self._used[number] = now
        task = asyncio.get_running_loop().create_task(self._quietly(rows.used(number)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _quietly(self, body: Body[None]) -> None:
        try:
            await self.store.run(body)
        except StoreUnavailable:
            return  # when it was used last is known a minute later

    async def close(self) -> None:
        """Let what is being taken down end."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))
