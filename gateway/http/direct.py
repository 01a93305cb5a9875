"""Operations that read their requests themselves, and answers that are bytes already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class Direct(APIRoute):
    """A route whose operation takes the request, and nothing else.

    FastAPI declares it in the document and hands the request over; its search for parameters, dependencies and a model
    of the body would find none, and takes longer than most operations.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self.dependant.path_params or scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        answer: Response = await self.endpoint(Request(scope, receive, send))
        await answer(scope, receive, send)


class Answer(Response):
    """A JSON answer whose bytes are there, and whose headers are bytes, too."""

    def __init__(self, body: bytes, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.body, self.status_code, self.background = body, status, None
        size = (b"content-length", b"%d" % len(body))
        self.raw_headers = [size, (b"content-type", b"application/json"), *headers]


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers as they are sent."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def first(scope: Scope) -> dict[bytes, bytes]:
    """Return the headers of a request; of one that stands twice, the first."""
    return dict(reversed(scope["headers"]))


async def whole(receive: Receive) -> bytes:
    """Return the whole body of a request, which is bounded by whoever hands it on.

    Raises:
        ClientDisconnect: its client is gone.
    """
    parts: list[bytes] = []
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
