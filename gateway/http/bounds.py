"""What one request may be: URL, headers and body are bounded before anything reads them; time is `serve`'s affair."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import chain
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.problems import problem
from tidings.ports import StoreUnavailable

logger = logging.getLogger("tidings.http")

MAX_URL = 4 * 1024
MAX_HEADERS = 16 * 1024
MAX_HEADER_LINES = 100
MAX_BODY = 256 * 1024
"""Of one event; what takes batches or payloads of others will say so itself."""
NAME, NAMES = 16, 64
"""Bytes of chance in a request's id, and how many ids are drawn at once: asking the system costs as much as the rest."""
CLOSE = {"connection": "close"}
"""What is left of the request is not read."""


Refuse = Callable[[Scope, int, str, dict[str, str]], Response]
"""What is answered instead: request, status, the request's id, headers."""


def plainly(scope: Scope, status: int, request_id: str, headers: dict[str, str]) -> Response:
    """Answer with a problem."""
    said = scope["state"].get("detail")
    detail = None if said == HTTPStatus(status).phrase else said
    return problem(status, request_id, headers, detail=detail)


@dataclass
class Bounded:
    """ASGI middleware: refuses what is too large, and answers for whatever the application raises.

    It stands inside Starlette's own error middleware, which would hand the exception on to be logged with its text.
    """

    app: ASGIApp
    max_body: int = MAX_BODY
    refuse: Refuse = plainly
    larger: Mapping[str, int] = field(default_factory=dict)
    """Paths whose bodies may have more bytes."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of every answer."""

    def __post_init__(self) -> None:
        self._headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        self._names = _Names()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name = next(self._names)
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), (b"request-id", name.encode()), *self._headers]
            await send(message)

        scope.setdefault("state", {})["request_id"] = name
        most = self.larger.get(scope["path"], self.max_body)
        status = refusal(scope, most)
        refuse = self.refuse if status is None else plainly
        if status is None:
            try:
                await self.app(scope, _counted(receive, most), answer)
            except ClientDisconnect:
                return
            except StoreUnavailable as fault:
                # It is known, and says itself in the log: one line, without the way through our code.
                logger.warning(
                    "store away", extra={"fields": {"request": name, "path": path_of(scope), "why": str(fault)}}
                )
                status = 503
            except Exception:
                logger.exception("request failed", extra={"fields": {"request": name, "path": path_of(scope)}})
                status = 500
        if status is None:
            return
        if started:
            # Half an answer is out; without an end it is not taken for a whole one.
            raise ConnectionAbortedError
        await refuse(scope, status, name, CLOSE)(scope, receive, answer)


class _Names:
    """Ids of requests: by chance, drawn for many at once."""

    def __init__(self) -> None:
        self._drawn: list[str] = []

    def __next__(self) -> str:
        if not self._drawn:
            drawn = os.urandom(NAME * NAMES).hex()
            self._drawn = [drawn[at : at + 2 * NAME] for at in range(0, len(drawn), 2 * NAME)]
        return self._drawn.pop()


def refusal(scope: MutableMapping[str, Any], max_body: int) -> int | None:
    """Return the status with which a request is refused by its head, or None."""
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URL:
        return 414
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if len(headers) > MAX_HEADER_LINES or sum(map(len, chain.from_iterable(headers))) > MAX_HEADERS:
        return 431
    named = dict(headers)
    if b"content-length" in named and b"transfer-encoding" in named:
        return 400  # two lengths: whoever stands in front of us may believe the other one
    return 413 if int(named.get(b"content-length", b"0")) > max_body else None


def _counted(receive: Receive, most: int) -> Receive:
    """Return the body as the application receives it: the length that is declared may be missing, or a lie."""
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            # Of this type, because FastAPI makes "cannot be parsed" of every other one.
            raise HTTPException(413, headers=CLOSE)
        return message

    return counted


def path_of(scope: Scope) -> str:
    """Return the route that matched, never what was typed: it may hold anything."""
    return str(getattr(scope.get("route"), "path", "none"))
