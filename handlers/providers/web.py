"""One HTTP request, in stages: what is surely unsent, what was answered, and what nobody knows.

Every request has a connection of its own. One that is kept may be closed by the server while the next request is
written on it, and then nobody knows; a handshake a message is the price of knowing. No redirect is followed, no
attempt repeated, no answer read beyond its cap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy

from handlers.providers.guard import Forbidden, Sockets, checked
from handlers.providers.reach import unreached
from tidings.event import DAY, SECOND, Micros
from tidings.ports import Outcome

CONFIGURATION: Micros = 60 * SECOND
"""Wait after a refusal that a person has to mend; the message stays pending meanwhile."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and bytes of one request."""

    connect: float = 2.0
    """Resolution, connection and TLS."""
    total: float = 10.0
    answer: int = 64 * 1024

    @property
    def lease(self) -> Micros:
        """How long an attempt may take: the request, and what is done around it."""
        return int(self.total * SECOND) + 20 * SECOND


PATIENT = Limits()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said, its body complete or cut at the cap."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    first_byte_at: Micros


class TooLate(Exception):
    """`start_by` was over before the first byte."""


_before_first_byte: ContextVar[Callable[[], None]] = ContextVar("before_first_byte")


class _Request(aiohttp.ClientRequest):
    """Asks once more between the connection and the first byte."""

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        _before_first_byte.get()()
        return await super().send(conn)


class Web:
    """Makes requests; `allow_loopback` is for tests and trials on one machine."""

    def __init__(self, clock: Callable[[], Micros], limits: Limits, *, allow_loopback: bool) -> None:
        self.clock = clock
        self.limits = limits
        self.allow_loopback = allow_loopback

    async def ask(
        self,
        method: str,
        url: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        start_by: Micros | None = None,
        params: dict[str, str] | None = None,
    ) -> Answer | Outcome:
        """Return the answer, or how far it came without one: `not_sent` or `ambiguous`; `away` is this one server."""
        first: Micros | None = None

        def start() -> None:
            nonlocal first
            now = self.clock()
            if start_by is not None and now >= start_by:
                raise TooLate
            first = now

        def lost(why: str, wait: Micros | None = None) -> Outcome:
            return Outcome("not_sent" if first is None else "ambiguous", None, why, wait, first, away=True)

        try:
            place = checked(url, allow_loopback=self.allow_loopback)
        except Forbidden as fault:
            return lost(f"configuration: {fault}", CONFIGURATION)
        sockets = Sockets(place, allow_loopback=self.allow_loopback)
        token = _before_first_byte.set(start)
        try:
            async with (
                asyncio.timeout(self.limits.total),
                self._session(sockets) as session,
                session.request(
                    method, place, headers=list(headers), data=body or None, params=params, allow_redirects=False
                ) as response,
            ):
                read = await _read(response, self.limits.answer)
                assert first is not None
                return Answer(response.status, response.headers, read, first)
        except TooLate:
            return Outcome("not_sent", detail="start_by is over")
        except Exception as fault:  # noqa: BLE001 - the stage is known whatever was raised, and nothing leaves this file
            if first is None and sockets.refusal is not None:
                return lost(f"configuration: {sockets.refusal}", CONFIGURATION)
            if isinstance(fault, aiohttp.InvalidURL):
                return lost("configuration: the URL cannot be asked", CONFIGURATION)
            return lost(_named(fault))
        finally:
            _before_first_byte.reset(token)

    def _session(self, sockets: Sockets) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=sockets, force_close=True, limit=1),
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_Request,
            timeout=aiohttp.ClientTimeout(total=None, connect=self.limits.connect),
            # A packed body could be unpacked beyond every cap: none is asked for.
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            trust_env=False,
        )


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    read = bytearray()
    while len(read) < most and (chunk := await response.content.read(most - len(read))):
        read += chunk
    return bytes(read)


def _named(fault: Exception) -> str:
    """Say what went wrong without the URL, which may be a secret itself."""
    if (why := unreached(fault)) is not None:
        return why
    cause = getattr(fault, "os_error", fault)
    reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else ""
    return f"{type(fault).__name__}{': ' if reason else ''}{reason}"[:200]


def retry_after(headers: CIMultiDictProxy[str], now: Micros) -> Micros | None:
    """Return how long `Retry-After` asks to wait, as seconds or as a date; a day at most."""
    value = headers.get("Retry-After", "").strip()[:64]
    if value.isascii() and value.isdigit():
        wait = int(value[:9]) * SECOND
    else:
        try:
            at = parsedate_to_datetime(value)
            wait = int(at.timestamp()) * SECOND - now
        except (ValueError, OverflowError):
            return None
    return max(0, min(DAY, wait))
