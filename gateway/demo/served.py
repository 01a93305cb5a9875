"""The demonstration's own edge: console and intake on loopback, open, as nobody else hears of it."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import AsyncIterator

from gateway.http.app import create_app
from gateway.http.look import Progress
from gateway.http.serve import listen, serving
from gateway.metrics import Metrics
from gateway.site import Site
from tidings.errors import Misconfigured

HOST = "127.0.0.1"
PORT = 8321
TRIES = 50
"""Ports that are looked at, from the first on."""


def place(port: int | None) -> socket.socket:
    """Return a socket that listens at a port; without one at the usual, or the next free one.

    Raises:
        Misconfigured: there is none.
    """
    if port is not None:
        try:
            return listen(HOST, port)
        except Misconfigured as fault:
            if getattr(fault.__cause__, "errno", None) != errno.EADDRINUSE:
                raise
            text = (
                f"--port {port}: somebody else listens there; name another one, or leave it out for the next free one"
            )
            raise Misconfigured(text) from fault
    for number in range(PORT, PORT + TRIES):
        try:
            return listen(HOST, number)
        except Misconfigured as fault:
            if getattr(fault.__cause__, "errno", None) != errno.EADDRINUSE:
                raise
    text = f"all ports from {PORT} to {PORT + TRIES - 1} are in use; name another one with --port"
    raise Misconfigured(text)


def url_of(listener: socket.socket) -> str:
    """Return where a browser finds it."""
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def served(engine: Progress, metrics: Metrics, site: Site, listener: socket.socket) -> AsyncIterator[None]:
    """Serve while the context lasts."""
    try:
        async with serving(create_app(engine, metrics, site=site), HOST, 0, listener=listener):
            yield
    finally:
        await site.close()
