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
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.utils import format_datetime, parseaddr
from typing import Literal, TypeVar, cast

import aiosmtplib

from tidings.event import SECOND, Micros
from tidings.ports import Outcome, Outgoing

T = TypeVar("T")
COMMAND = 30.0
"""Seconds for one command."""
FINAL = 300.0
"""Seconds for the answer to the final dot (RFC 5321, 4.5.3.2.6 asks for ten minutes; the lease is 360 s)."""
LEASE: Micros = 360 * SECOND
GONE = ("5.1.1", "5.1.2", "5.1.10", "5.2.1")
"""The mailbox does not exist any more."""
ENHANCED = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
ADDRESS = re.compile(r"[^\s@<>,;:\\\"()\[\]]{1,64}@[A-Za-z0-9.-]{1,253}")
AUTHENTICATION = (530, 534, 535, 538)


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


class SmtpProvider:
    """One connection a message: a server that hangs hurts one."""

    name = "smtp"
    lease = LEASE
    can_look_up = False
    """SMTP keeps no books that we could ask; the Message-ID stays the same, so that mailboxes can tell a repeat."""

    def __init__(self, settings: SmtpSettings, clock: Callable[[], int]) -> None:
        self.settings = settings
        self.clock = clock
        self.refused: str | None = None
        """Why the server refuses our credentials, while it does; `doctor` and the log say so."""

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Hand over one message."""
        if ADDRESS.fullmatch(outgoing.address) is None:
            return Outcome("permanent", detail="the address is none that SMTP can carry")
        body = quoted(letter(outgoing, self.settings.sender, self.clock()))
        client = self.client()
        try:
            return await self._send(client, outgoing, body)
        finally:
            client.close()

    async def look_up(self, message_id: str) -> str | None:
        """SMTP has no books."""
        return None

    def client(self) -> aiosmtplib.SMTP:
        """Return a client that is not connected yet."""
        settings = self.settings
        return aiosmtplib.SMTP(
            hostname=settings.host, port=settings.port, timeout=settings.timeout, use_tls=settings.tls == "tls",
            start_tls=settings.tls == "starttls", username=settings.username, password=settings.password,
            tls_context=None if settings.tls == "none" else ssl.create_default_context(),
        )  # fmt: skip

    async def _send(self, client: aiosmtplib.SMTP, outgoing: Outgoing, body: bytes) -> Outcome:
        try:
            await self._within(client.connect())
            self.refused = None
        except aiosmtplib.SMTPAuthenticationError as fault:
            self.refused = f"{fault.code} {fault.message}"
            return Outcome("not_sent", detail=f"credentials refused: {self.refused}", retry_after=60 * SECOND)
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as fault:
            return Outcome("not_sent", detail=f"connect: {type(fault).__name__}: {fault}")
        if self.clock() >= outgoing.start_by:
            return Outcome("not_sent", detail="start_by is over")
        first = self.clock()
        sender = parseaddr(self.settings.sender)[1]
        try:
            await self._within(client.mail(sender))
            await self._within(client.rcpt(outgoing.address))
            answer = await self._within(client.execute_command(b"DATA"))
            if answer.code != 354:  # noqa: PLR2004 - start of input
                return answered(answer.code, answer.message, first)
            protocol = client.protocol
            assert protocol is not None
            protocol.write(body)
            await self._within(_flushed(protocol))
        except aiosmtplib.SMTPResponseException as fault:
            return answered(fault.code, fault.message, first)
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as fault:
            # The final dot has not left: the server must not deliver what it has.
            return Outcome(
                "not_sent", detail=f"before the final dot: {type(fault).__name__}: {fault}", first_byte_at=first
            )
        try:
            protocol.write(b".\r\n")
            final = await protocol.read_response(timeout=self.settings.final_timeout)
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as fault:
            return Outcome(
                "ambiguous", detail=f"after the final dot: {type(fault).__name__}: {fault}", first_byte_at=first
            )
        return answered(final.code, final.message, first)

    async def _within(self, step: Awaitable[T]) -> T:
        async with asyncio.timeout(self.settings.timeout):
            return await step


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


def answered(code: int, text: str, first: Micros) -> Outcome:
    """Return the outcome of an answer."""
    detail = f"{code} {text}"[:500]
    if code == 250:  # noqa: PLR2004 - completed
        found = re.search(r"\bqueued as ([A-Za-z0-9]+)", text)
        return Outcome("accepted", reference=None if found is None else found[1], detail=detail, first_byte_at=first)
    if code in AUTHENTICATION or 400 <= code < 500:  # noqa: PLR2004 - transient
        return Outcome("not_sent", detail=detail, first_byte_at=first)
    enhanced = ENHANCED.search(text)
    if enhanced is not None and enhanced[1] not in GONE and enhanced[1].startswith("5.7."):
        detail = f"refused by policy: {detail}"
    return Outcome("permanent", detail=detail, first_byte_at=first)


def letter(outgoing: Outgoing, sender: str, now: Micros) -> bytes:
    """Return the message as it goes over the wire, without the final dot."""
    name, address = parseaddr(sender)
    message = EmailMessage(policy=POLICY)
    message["From"] = Address(display_name=name, addr_spec=address)
    message["To"] = Address(addr_spec=outgoing.address)
    message["Subject"] = outgoing.content["subject"]
    message["Date"] = format_datetime(datetime.fromtimestamp(now // SECOND, UTC))
    # The same on every attempt: mailboxes that know it show one message.
    message["Message-ID"] = f"<{outgoing.message_id}@{address.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(outgoing.content["text"])
    if "html" in outgoing.content:
        message.add_alternative(outgoing.content["html"], subtype="html")
    return message.as_bytes()


def quoted(raw: bytes) -> bytes:
    """Return a body with CRLF line ends and leading dots doubled (RFC 5321, 4.5.2), ending with a line end."""
    lines = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\n").split(b"\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines) + b"\r\n"
