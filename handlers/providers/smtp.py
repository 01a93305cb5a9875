"""E-mail through an SMTP server, in stages, so that "not sent" and "nobody knows" are told apart.

Until the final dot is on its way the server must not deliver; afterwards a lost connection says nothing. aiosmtplib
raises the same error for both, so DATA is sent here in two steps: the body, and the dot.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar, cast

import aiosmtplib

from handlers.channels.wire import Senders, Unfit, Wire, compose
from handlers.providers.reach import unreached
from handlers.providers.registry import provides
from handlers.providers.web import CONFIGURATION
from tidings.event import MINUTE, SECOND, Micros
from tidings.ports import Outcome, Outgoing

T = TypeVar("T")
COMMAND = 30.0
"""Seconds for one command."""
FINAL = 300.0
"""Seconds for the answer to the final dot (RFC 5321, 4.5.3.2.6 asks for ten minutes; the lease is 360 s)."""
GONE = ("5.1.1", "5.1.2", "5.1.10", "5.2.1")
"""The mailbox does not exist any more."""
FULL = "5.2.2"
"""The mailbox is full: a soft bounce, whatever the first digit says."""
FULL_WAIT: Micros = 30 * MINUTE
ENHANCED = re.compile(r"(?:^|\n)\s*([245]\.\d{1,3}\.\d{1,3})\b")
"""At the start of a line only: further on, an answer may repeat what somebody else wrote."""
AUTHENTICATION = (530, 534, 535, 538)
GOES = 421
"""The server closes the connection, whatever was asked."""
CONNECT, DOT = "connect", "after the final dot"
"""The first place of a conversation (greeting, EHLO, TLS and AUTH among it), and the last."""
SYSTEM = "4.3."
"""The mail system itself is full, or takes nothing now (RFC 3463, 3.4)."""
CARRIES = 100
"""Messages over one connection at most: some servers take no more, and those behind one name share the work."""


@dataclass(frozen=True)
class SmtpSettings:
    """How to reach the server."""

    host: str
    sender: str
    """`Small shop <hello@example.org>`"""
    port: int = 25
    tls: Literal["none", "starttls", "tls"] = "starttls"
    username: str | None = None
    password: str | None = None
    timeout: float = COMMAND
    final_timeout: float = FINAL
    keep: float = 0.0
    """Seconds that a connection waits for its next message; 0: each message has its own."""


@provides("smtp")
class SmtpProvider:
    """One connection a message at a time: a server that hangs hurts one. One that took its message carries the next."""

    name = "smtp"
    idempotent = False
    can_look_up = False
    """SMTP keeps no books that we could ask; the Message-ID stays the same, so that mailboxes can tell a repeat."""

    def __init__(self, settings: SmtpSettings, clock: Callable[[], int]) -> None:
        self.settings = settings
        self.clock = clock
        self.senders = Senders(mail=settings.sender)
        self.refused: str | None = None
        """Why the server refuses our credentials, while it does; `doctor` and the log say so."""
        self._kept: list[tuple[aiosmtplib.SMTP, int, asyncio.TimerHandle]] = []
        """Connections that rest, the one used last at the end: how many messages each carried, and what will close it."""

    @property
    def lease(self) -> Micros:
        """Everything before the final dot, and the answer to it."""
        return int((2 * self.settings.timeout + self.settings.final_timeout) * SECOND)

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Hand over one message."""
        try:
            wire = compose(outgoing, self.clock(), self.senders)
        except Unfit as fault:
            return Outcome("permanent", detail=str(fault))
        while True:
            client, carried = self._take()
            stage = _Stage()
            outcome: Outcome | None = None
            try:
                outcome = await self._send(client, outgoing, wire, stage)
            except _Closed:
                continue  # while it rested; of this message it has taken nothing
            except Exception as fault:  # noqa: BLE001 - the stage is known whatever was raised, and nothing leaves this file
                return stage.lost(fault)
            finally:
                self._let_go(client, carried + 1, outcome)
            return outcome

    def _take(self) -> tuple[aiosmtplib.SMTP, int]:
        """Return a connection that rests, or a client that is not connected yet; and how much it has carried."""
        while self._kept:
            client, carried, closing = self._kept.pop()
            closing.cancel()
            if client.is_connected:
                return client, carried
            client.close()
        return self.client(), 0

    def _let_go(self, client: aiosmtplib.SMTP, carried: int, outcome: Outcome | None) -> None:
        """Let a connection rest that stands at the end of a message; close any other."""
        keep = self.settings.keep
        if not keep or carried >= CARRIES or outcome is None or outcome.stage != "accepted":
            client.close()
            return
        closing = asyncio.get_running_loop().call_later(keep, self._close, client)
        self._kept.append((client, carried, closing))

    def _close(self, client: aiosmtplib.SMTP) -> None:
        self._kept = [one for one in self._kept if one[0] is not client]
        client.close()

    async def look_up(self, message_id: str) -> str | None:
        """SMTP has no books."""
        return None

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        # Reading the certificates of this machine takes some 20 ms: once, not once a message.
        return ssl.create_default_context()

    def client(self) -> aiosmtplib.SMTP:
        """Return a client that is not connected yet."""
        settings = self.settings
        return aiosmtplib.SMTP(
            hostname=settings.host, port=settings.port, timeout=settings.timeout, use_tls=settings.tls == "tls",
            start_tls=settings.tls == "starttls", username=settings.username, password=settings.password,
            tls_context=None if settings.tls == "none" else self._trusted,
        )  # fmt: skip

    async def _send(self, client: aiosmtplib.SMTP, outgoing: Outgoing, wire: Wire, stage: _Stage) -> Outcome:
        try:
            # Each command has its time, and all of them together twice that: a server that is slow at every one
            # would else outlast the lease.
            async with asyncio.timeout(2 * self.settings.timeout):
                refused = await self._begin(client, outgoing, wire, stage)
        except aiosmtplib.SMTPAuthenticationError as fault:
            if 400 <= fault.code < 500:  # noqa: PLR2004 - it cannot look now (454), or goes (421): no word about our password
                return answered(fault.code, fault.message, stage.first, at=stage.at)
            self.refused = f"{fault.code} {fault.message}"
            detail = f"configuration: credentials refused: {self.refused}"
            return Outcome("not_sent", detail=detail[:500], retry_after=CONFIGURATION, away=True)
        except aiosmtplib.SMTPResponseException as fault:
            return answered(fault.code, fault.message, stage.first, at=stage.at)
        if refused is not None:
            return refused
        protocol = client.protocol
        assert protocol is not None
        stage.at = DOT
        protocol.write(b".\r\n")
        final = await protocol.read_response(timeout=self.settings.final_timeout)
        if final.code != 250 and not 400 <= final.code < 600:  # noqa: PLR2004 - neither taken nor refused
            return Outcome("ambiguous", detail=f"{final.code} {DOT}", first_byte_at=stage.first, away=True)
        return answered(final.code, final.message, stage.first, at=DOT)

    async def _begin(self, client: aiosmtplib.SMTP, outgoing: Outgoing, wire: Wire, stage: _Stage) -> Outcome | None:
        """Do everything before the final dot; return an outcome where it ended already."""
        rested = client.is_connected
        if not rested:
            await self._within(client.connect())
        self.refused = None
        now = self.clock()
        if now >= outgoing.start_by:
            return Outcome("not_sent", detail="start_by is over")
        stage.first, stage.at = now, "MAIL"
        try:
            await self._within(client.mail(wire.sender))
        except (aiosmtplib.SMTPServerDisconnected, ConnectionError) as fault:
            raise _Closed if rested else fault from fault
        except aiosmtplib.SMTPResponseException as fault:
            raise _Closed if rested and fault.code == GOES else fault from fault
        stage.at = "RCPT"
        await self._within(client.rcpt(wire.to))
        stage.at = "before the final dot"
        answer = await self._within(client.execute_command(b"DATA"))
        if answer.code != 354:  # noqa: PLR2004 - start of input
            return answered(answer.code, answer.message, stage.first, at=stage.at)
        protocol = client.protocol
        assert protocol is not None
        protocol.write(quoted(wire.body))
        await self._within(_flushed(protocol))
        return None

    async def _within(self, step: Awaitable[T]) -> T:
        async with asyncio.timeout(self.settings.timeout):
            return await step


class _Closed(Exception):
    """The server has closed a connection that rested."""


@dataclass
class _Stage:
    """How far a conversation came."""

    at: str = CONNECT
    first: Micros | None = None

    def lost(self, fault: Exception) -> Outcome:
        """Return what is known now that it broke off. Without the final dot the server must not deliver what it has."""
        stage = "ambiguous" if self.at == DOT else "not_sent"
        why = unreached(fault) or f"{type(fault).__name__}: {fault}"
        return Outcome(stage, detail=f"{self.at}: {why}"[:500], first_byte_at=self.first, away=True)


async def _flushed(protocol: aiosmtplib.protocol.SMTPProtocol) -> None:
    """Wait until the body has left this process; raise where the connection is lost meanwhile."""
    while True:
        transport = protocol.transport
        if transport is None or transport.is_closing():
            raise aiosmtplib.SMTPServerDisconnected("connection lost")
        if cast(asyncio.WriteTransport, transport).get_write_buffer_size() == 0:
            # One turn of the loop, so that a connection that was closed meanwhile is noticed.
            await asyncio.sleep(0)
            if protocol.transport is None or transport.is_closing():
                raise aiosmtplib.SMTPServerDisconnected("connection lost")
            return
        await asyncio.sleep(0.005)


def answered(code: int, text: str, first: Micros | None, *, at: str) -> Outcome:
    """Return the outcome of an answer at a place of the conversation.

    Whose fault it was: to `RCPT`, `DATA` and the dot a server speaks of this mail, unless it closes the connection or
    names its own system; before them of itself and of us. What it refuses for good at its greeting is no word about a mail.
    """
    detail = f"{code} {text}"[:500]
    if code == 250:  # noqa: PLR2004 - completed
        found = re.search(r"\bqueued as ([A-Za-z0-9]+)", text)
        return Outcome("accepted", reference=None if found is None else found[1], detail=detail, first_byte_at=first)
    if code in AUTHENTICATION:
        return Outcome("not_sent", None, f"configuration: {detail}"[:500], CONFIGURATION, first, away=True)
    enhanced = ENHANCED.search(text)
    status = "" if enhanced is None else enhanced[1]
    if at == CONNECT or not 500 <= code < 600:  # noqa: PLR2004 - transient, or no answer that SMTP knows
        away = at in (CONNECT, "MAIL") or code == GOES or status.startswith(SYSTEM)
        return Outcome("not_sent", detail=detail, first_byte_at=first, away=away)
    if status == FULL:
        return Outcome("not_sent", None, f"soft bounce, the mailbox is full: {detail}"[:500], FULL_WAIT, first)
    if status.startswith("5.7."):
        detail = f"refused by policy: {detail}"[:500]
    return Outcome("permanent", detail=detail, first_byte_at=first, address_gone=at in ("RCPT", DOT) and status in GONE)


def quoted(raw: bytes) -> bytes:
    """Return a body with CRLF line ends and leading dots doubled (RFC 5321, 4.5.2), ending with a line end."""
    lines = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").removesuffix(b"\n").split(b"\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines) + b"\r\n"
