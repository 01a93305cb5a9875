"""The server: uvicorn inside the event loop of whoever runs it, without its signal handlers, and with bounds on time.

uvicorn by itself waits for ever for the second half of a header, for a body, and for somebody who does not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
from collections.abc import AsyncGenerator, Generator
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.http.bounds import MAX_HEADERS, MAX_URL
from gateway.http.joined import Joined
from gateway.http.problems import CONTENT_TYPE, body_of
from tidings.errors import Misconfigured

HEAD_WITHIN = 10.0
"""Seconds for the head of a request, from the connection or from the answer before."""
BODY_WITHIN = 30.0
"""Seconds for its body."""
READ_WITHIN = 30.0
"""Seconds for which a client may leave an answer unread."""
KEEP_ALIVE = 5
CONNECTIONS = 256
GRACE = 2
"""Seconds for what is being answered when the server stops."""


class _Timed(H11Protocol):
    """uvicorn's protocol, with a deadline for each phase of a request.

    `their_state` is IDLE while a head is awaited and SEND_BODY while a body is. The timer of a phase is not pushed
    back by the bytes that trickle in.
    """

    head_within = HEAD_WITHIN
    body_within = BODY_WITHIN
    read_within = READ_WITHIN
    _phase: Any = None
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Joined(transport, self.loop))
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        self._phase = None  # the next head has a time of its own
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.read_within, self.transport.abort)

    def resume_writing(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what h11 could not read: its hint tells a head that is too long from one that is wrong."""
        fault = sys.exception()
        status = fault.error_status_hint if isinstance(fault, h11.RemoteProtocolError) else 400
        self._refuse(status if status in (400, 431) else 400)

    def _watch(self) -> None:
        phase = self.conn.their_state
        if phase is self._phase:
            return
        self._phase = phase
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.transport.is_closing():
            return
        if phase is h11.IDLE:
            self._timer = self.loop.call_later(self.head_within, self._refuse, 408)
        elif phase is h11.SEND_BODY:
            self._timer = self.loop.call_later(self.body_within, self._refuse, 408)

    def _refuse(self, status: int) -> None:
        """Say why, if nothing has been said yet, and close."""
        if self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = body_of(status)
            headers = [("content-type", CONTENT_TYPE), ("content-length", str(len(body))), ("connection", "close")]
            parts = (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage())
            self.transport.write(b"".join(self.conn.send(part) or b"" for part in parts))
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to whoever runs the loop."""
        yield


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    protocol: type[asyncio.Protocol] = _Timed,
    listener: socket.socket | None = None,
) -> AsyncGenerator[tuple[str, int]]:
    """Serve while the context lasts; gives the address, whose port is the chosen one where 0 was asked for.

    What the application names as `state.beside` runs as long; `state.ending` is set when the end begins.

    With a `listener` it is served there.

    Raises:
        Misconfigured: the address is not to be had; the text says what to set.
    """
    listener = listen(host, port) if listener is None else listener
    config = uvicorn.Config(
        app, http=protocol, ws="none", lifespan="off", loop="none", log_config=None, log_level="error", access_log=False,
        proxy_headers=False, server_header=False, timeout_keep_alive=KEEP_ALIVE, limit_concurrency=CONNECTIONS, backlog=128,
        timeout_graceful_shutdown=GRACE, h11_max_incomplete_event_size=MAX_HEADERS + MAX_URL,
    )  # fmt: skip
    server = _Server(config)
    place = listener.getsockname()[:2]
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    ready = asyncio.create_task(server.ready.wait())
    state = getattr(app, "state", None)
    beside = [asyncio.create_task(one(), name="beside http") for one in getattr(state, "beside", ())]
    try:
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        yield place
    finally:
        ready.cancel()
        server.should_exit = True
        for one in beside:
            one.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        ending = getattr(state, "ending", None)
        if ending is not None:
            ending.set()  # streams end by themselves, instead of being cut off
        try:
            await task
        finally:
            listener.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        Misconfigured: as `serving`.
    """
    where = f"[http] {host}:{port}"
    try:
        family, kind, number, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError, OverflowError) as fault:
        text = f"{where}: there is no such address; set 'host' to one of this machine, as 127.0.0.1"
        raise Misconfigured(text) from fault
    listener = socket.socket(family, kind, number)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(128)
        listener.setblocking(False)
    except (OSError, OverflowError) as fault:
        listener.close()
        raise Misconfigured(f"{where}: {_mend(fault)}") from fault
    return listener


def _mend(fault: Exception) -> str:
    match getattr(fault, "errno", None):
        case errno.EADDRINUSE:
            return "somebody else listens there; stop that process, or set another 'port'"
        case errno.EACCES:
            return "this user may not listen there; set a 'port' from 1024 on"
        case errno.EADDRNOTAVAIL:
            return "that address is not one of this machine; set 'host' to one that is, as 127.0.0.1"
    return f"it cannot be listened on ({type(fault).__name__}); set another 'host' or 'port'"
