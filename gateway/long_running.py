"""What every verb that runs until it is asked to stop has in common: signals, health, exit codes, a store to wait for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from gateway.config import Config
from gateway.http.look import Progress
from gateway.metrics import Metrics
from gateway.site import Site
from tidings.ports import StoreUnavailable

T = TypeVar("T")

logger = logging.getLogger("tidings.run")

AWAY = 75
"""Exit code (EX_TEMPFAIL): something outside has been away for long; start us again."""
PATIENCE = 60.0
"""Seconds for which a process that starts waits for its database."""
AGAIN = 2.0


def asked_to_stop() -> asyncio.Event:
    """Return an event that SIGTERM or Ctrl-C sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    return stop


async def until_there(open_it: Callable[[], Awaitable[T]], stop: asyncio.Event, patience: float = PATIENCE) -> T | None:
    """Open what a process needs, trying again while it is away; None: asked to stop meanwhile.

    Raises:
        StoreUnavailable: it has been away for `patience` seconds.
    """
    end = time.monotonic() + patience
    said = False
    while not stop.is_set():
        try:
            return await open_it()
        except StoreUnavailable as fault:
            if time.monotonic() >= end:
                raise
            if not said:
                logger.warning("not there yet, tried again for %.0f s: %s", patience, fault)
            said = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), AGAIN)
    return None


async def until_stopped(engine: Progress, stop: asyncio.Event) -> None:
    """Return when asked to stop; raise what ended a loop."""
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            engine.check()
            await asyncio.wait([stopping], timeout=0.2)
    finally:
        stopping.cancel()


async def before(coroutine: Awaitable[T], stop: asyncio.Event) -> T | None:
    """Wait for something, unless asked to stop first: then it is cut off, and None."""
    task = asyncio.ensure_future(coroutine)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return None
    finally:
        stopping.cancel()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def served(
    settings: Config, engine: Progress, metrics: Metrics, port: int | None = None, *, site: Site | None = None
) -> AsyncGenerator[tuple[str, int] | None]:
    """Serve health and metrics while the context lasts, where [http] is configured; at `port` instead, if given.

    With a site the whole edge is served.
    """
    http = settings.settings.http
    if http is None and port is None:
        yield None
        return
    from gateway.http.app import create_app
    from gateway.http.serve import serving
    from gateway.sections import Http

    place = http or Http()
    async with serving(create_app(engine, metrics, site=site), place.host, port or place.port) as found:
        yield found
