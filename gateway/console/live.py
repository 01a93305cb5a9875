"""Figures that change while somebody looks: server-sent events, at most one a second, and only what has changed.

Many may look at once: the same question is asked once a second for all of them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import StreamingResponse

from gateway.console.headers import HEADERS
from gateway.http.look import Asked
from tidings.ports import StoreUnavailable

EVERY = 1.0
"""Seconds between two looks."""
PATIENCE = 5.0
ASKED_AGAIN = 3.0
"""Seconds after which a stream asks again who looks: so long may a revoked key, or a session that has ended."""
STILL_HERE = 10.0
"""Seconds of silence after which a comment says that the line stands."""
LASTS = 300.0
"""Seconds of one stream; the browser opens the next one by itself, and is asked anew who it is."""
MOST = 48
"""Streams at once: they hold connections that pages need as well."""
MOST_QUESTIONS = 200

Told = Mapping[str, Any]
"""`figures`: text by name; `newer`: the sentence of what is newer than the list."""
Ask = Callable[[], Awaitable[Told]]


class Live:
    """The streams of one process."""

    def __init__(self, lasts: Callable[[Request], Awaitable[bool]]) -> None:
        self.lasts = lasts
        """Whether who looks may go on."""
        self.open = 0
        self._asked: dict[str, Asked[Told]] = {}

    def stream(self, request: Request, ask: Ask) -> StreamingResponse:
        """Return the stream of the question that a URL asks.

        Raises:
            HTTPException: 503, too many look already.
        """
        if self.open >= MOST:
            raise HTTPException(503)
        if len(self._asked) >= MOST_QUESTIONS:
            self._asked.clear()
        question = f"{request.url.path}?{request.url.query}"
        asked = self._asked.setdefault(question, Asked(ask, patience=PATIENCE, keep=EVERY * 0.9))
        ending: asyncio.Event | None = getattr(request.app.state, "ending", None)
        headers = {**HEADERS, "x-accel-buffering": "no"}
        return StreamingResponse(
            self._lines(request, asked, ending or asyncio.Event()), 200, headers, "text/event-stream"
        )

    async def _lines(self, request: Request, asked: Asked[Told], ending: asyncio.Event) -> AsyncIterator[str]:
        clock = asyncio.get_running_loop().time
        began = spoken = known = clock()
        said = ""
        self.open += 1
        try:
            while not ending.is_set() and clock() - began < LASTS:
                try:
                    if clock() - known >= ASKED_AGAIN:
                        if not await self.lasts(request):
                            return
                        known = clock()
                    told = json.dumps(await asked(), separators=(",", ":"))
                except (StoreUnavailable, TimeoutError):
                    return  # the browser says that the connection is lost, and tries again
                if told != said:
                    said, spoken = told, clock()
                    yield f"data: {told}\n\n"
                elif clock() - spoken >= STILL_HERE:
                    spoken = clock()
                    yield ": still here\n\n"
                try:
                    await asyncio.wait_for(ending.wait(), EVERY)
                except TimeoutError:
                    continue
        finally:
            self.open -= 1
