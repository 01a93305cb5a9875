"""A connection that sends the head of an answer together with what follows at once.

uvicorn writes the head by itself: a short answer is then two packets, and two calls of the system, where one would do.
"""

from __future__ import annotations

import asyncio
from typing import Any

SHORT = 4096
"""Bytes of what is held back: heads are shorter, and pieces of long answers go their way."""
LONG = 65_536
"""Bytes from which copying costs more than a call."""


class Joined(asyncio.Transport):
    """Holds one short piece back, until the next one or until the loop comes round, whichever is first."""

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._inner = inner
        self._loop = loop
        self._held = b""

    def write(self, data: Any) -> None:
        """Send, or hold back."""
        if not data:
            return
        if self._held:
            if len(data) > LONG:
                self._send()
            else:
                data, self._held = self._held + data, b""
        elif len(data) <= SHORT:
            self._held = data
            self._loop.call_soon(self._send)
            return
        self._inner.write(data)

    def _send(self) -> None:
        if self._held:
            data, self._held = self._held, b""
            self._inner.write(data)

    def close(self) -> None:
        """Close, once everything is sent."""
        self._send()
        self._inner.close()

    def abort(self) -> None:
        """Close at once."""
        self._held = b""
        self._inner.abort()

    def is_closing(self) -> bool:
        """Say whether it is closed, or will be."""
        return self._inner.is_closing()

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._inner.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection."""
        return self._inner.get_extra_info(name, default)
