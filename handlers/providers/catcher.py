"""Catchers: they take what would leave, and keep it where a person or a test can look.

`FileCatcher` appends one JSON line a message to a file. `SocketCatcher` hands over to a catcher in another process, so
that what it counts survives the death of this one. Under `wire` stands byte for byte what a provider would be given;
references to secrets stay references.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from handlers.channels.wire import NOBODY, Senders, Unfit, compose
from handlers.providers.registry import provides
from tidings.event import SECOND, Micros
from tidings.ports import Outcome, Outgoing

LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def letter(outgoing: Outgoing, now: Micros, senders: Senders) -> bytes:
    """Return the line of a message.

    Raises:
        Unfit: no provider could carry it.
    """
    wire = compose(outgoing, now, senders)
    line = {
        "message_id": outgoing.message_id, "attempt": outgoing.attempt, "channel": outgoing.channel,
        "to": outgoing.address, **outgoing.content, "wire": wire.shown(),
    }  # fmt: skip
    try:
        # Readers that split at every kind of line end find one line a message.
        return json.dumps(line, ensure_ascii=False).translate(LINE_ENDS).encode() + b"\n"
    except (TypeError, ValueError) as fault:
        raise Unfit(f"the content is no JSON: {type(fault).__name__}") from None


@provides("catcher")
@dataclass
class FileCatcher:
    """Appends to a file; its own books answer every look-up."""

    path: Path
    clock: Callable[[], int]
    senders: Senders = NOBODY
    name: str = "catcher"
    lease: Micros = 30 * SECOND
    can_look_up: bool = True
    idempotent: bool = False
    _known: set[str] = field(default_factory=set)
    _torn: bool = False

    def __post_init__(self) -> None:
        if self.path.is_file():
            lines = self.path.read_bytes().split(b"\n")
            self._known = {json.loads(line)["message_id"] for line in lines if line.endswith(b"}")}
            # A line that a crash has cut short was not acknowledged; the next one begins on a new line.
            self._torn = lines[-1] != b""

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Append a line."""
        now = self.clock()
        try:
            line = letter(outgoing, now, self.senders)
        except Unfit as fault:
            return Outcome("permanent", detail=str(fault))
        if now >= outgoing.start_by:
            return Outcome("not_sent", detail="start_by is over")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(b"\n" + line if self._torn else line)
            self._torn = False
        except OSError as fault:
            return Outcome("ambiguous", detail=str(fault), first_byte_at=now, away=True)
        self._known.add(outgoing.message_id)
        return Outcome("accepted", reference=f"caught:{outgoing.message_id[:8]}", first_byte_at=now)

    async def look_up(self, message_id: str) -> str | None:
        """Say whether the message is in the file."""
        return "accepted" if message_id in self._known else "absent"


TIMEOUT = 10.0
"""Seconds for one exchange with the catcher."""


@provides("socket")
@dataclass
class SocketCatcher:
    """Hands over to a catcher on a loopback port: one JSON line there, one word back."""

    port: int
    clock: Callable[[], int]
    senders: Senders = NOBODY
    name: str = "socket"
    lease: Micros = 30 * SECOND
    can_look_up: bool = False
    idempotent: bool = False
    timeout: float = TIMEOUT

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Hand over; what is lost after the first byte is ambiguous."""
        try:
            line = letter(outgoing, self.clock(), self.senders)
        except Unfit as fault:
            return Outcome("permanent", detail=str(fault))
        try:
            async with asyncio.timeout(self.timeout):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except (OSError, TimeoutError) as fault:
            return Outcome("not_sent", detail=f"connect: {fault}", away=True)
        try:
            now = self.clock()
            if now >= outgoing.start_by:
                return Outcome("not_sent", detail="start_by is over")
            async with asyncio.timeout(self.timeout):
                writer.write(line)
                await writer.drain()
                answer = await reader.readline()
        except (OSError, TimeoutError, ValueError) as fault:
            return Outcome("ambiguous", detail=str(fault), first_byte_at=now, away=True)
        finally:
            writer.close()
        if answer != b"taken\n":
            return Outcome("ambiguous", detail=f"answer {answer[:40]!r}", first_byte_at=now, away=True)
        return Outcome("accepted", first_byte_at=now)

    async def look_up(self, message_id: str) -> str | None:
        """It keeps no books."""
        return None
