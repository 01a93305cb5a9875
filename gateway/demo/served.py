"""The demonstration's own edge: console and intake on loopback, open, as nobody else hears of it."""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from gateway.http.app import create_app
from gateway.http.look import Progress
from gateway.http.serve import listen, serving
from gateway.links.brand import Brand
from gateway.metrics import Metrics
from gateway.site import Site
from handlers.channels.content import Contents
from handlers.channels.unsubscribe import LEAST_KEY
from tidings.errors import Misconfigured

BRAND = Brand("The small shop")
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


def contents(folder: Path, url: str) -> Contents:
    """Return what messages say; their links lead here, are signed with a key of this folder, and good when it is run again.

    Raises:
        OSError: the key cannot be kept.
    """
    file = folder / "links.key"
    file.touch(0o600)
    if len(file.read_bytes()) < LEAST_KEY:
        file.write_bytes(secrets.token_hex(32).encode())
    return Contents(url, file.read_bytes())


@contextlib.asynccontextmanager
async def served(engine: Progress, metrics: Metrics, site: Site, listener: socket.socket) -> AsyncIterator[None]:
    """Serve while the context lasts."""
    try:
        async with serving(create_app(engine, metrics, site=replace(site, brand=BRAND)), HOST, 0, listener=listener):
            yield
    finally:
        await site.close()
