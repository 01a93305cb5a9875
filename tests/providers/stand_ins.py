"""Servers on loopback that speak as the real ones do, and break off where a test says so."""

import asyncio
import socket
import struct
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, cast
from urllib.parse import parse_qsl

from aiohttp import web
from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import Envelope

from handlers.channels.wire import Senders, SmsSender
from handlers.providers.twilio import TwilioProvider, TwilioSettings
from handlers.providers.web import Limits
from streams.embedded import wall_clock
from tidings.event import MINUTE, SECOND
from tidings.ports import Outgoing

QUICK = Limits(connect=0.3, total=0.5)
ID = "0b5e3c9a-1111-5222-8333-444455556666"
ACCOUNT = "AC" + "0" * 32
TOKEN = "stand-in-token"
SENDER = "+15005550006"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def resolve(reference: str) -> str:
    known = {"env:TOKEN": TOKEN, "env:WHSEC": WHSEC}
    return known.get(reference, reference)


def outgoing(channel: str, address: str, content: dict[str, Any], **words: Any) -> Outgoing:
    now = wall_clock()
    words = {"message_id": ID, "attempt": 1, "start_by": now + 5 * SECOND, "deadline": now + 10 * MINUTE, **words}
    return Outgoing(channel=channel, address=address, content=content, **words)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """An HTTP server; gives its base URL."""
    runner = web.ServerRunner(web.Server(cast(Any, handler)), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def resetting(after: int) -> AsyncIterator[str]:
    """A server that resets a connection after some bytes of the request; 0: at once."""

    writers: list[asyncio.StreamWriter] = []

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if after:
            await reader.readexactly(after)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    server = await asyncio.start_server(reset, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await hung_up([writer.transport for writer in writers])


@dataclass
class Asked:
    """A request as it came in."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


async def asked(request: web.Request) -> Asked:
    headers = [(key.decode(), value.decode()) for key, value in request.raw_headers]
    return Asked(request.method, request.path_qs, headers, await request.read())


@dataclass
class Receiver:
    """An HTTP server that answers the same to everybody, or breaks off."""

    status: int = 200
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    breaks: str = ""
    """`reset`, `hang`, `half`: after the request has been read."""
    asked: list[Asked] = field(default_factory=list)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await asked(request))
        transport = request.transport
        assert transport is not None
        if self.breaks == "reset":
            transport.abort()
        elif self.breaks == "hang":
            await asyncio.sleep(30)
        elif self.breaks == "half":
            transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n{")
            await asyncio.sleep(0.05)
            transport.close()
        return web.Response(status=self.status, text=self.text, headers=self.headers)


@dataclass
class Twilio:
    """Twilio's Messages resource in its own wire format: form in, basic auth, JSON out."""

    fault: str = ""
    code: int = 0
    status: int = 400
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    made: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        one = await asked(request)
        self.asked.append(one)
        proof = b64decode((one.header("Authorization") or "").removeprefix("Basic ")).decode()
        if proof != f"{ACCOUNT}:{TOKEN}":
            return self.refused(401, 20003, "Authenticate")
        if request.path == f"/2010-04-01/Accounts/{ACCOUNT}.json":
            return web.json_response({"sid": ACCOUNT, "status": "active", "friendly_name": "stand-in"})
        if request.path != f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json":
            return self.refused(404, 20404, f"The requested resource {request.path} was not found")
        if request.method == "GET":
            return self.listed(request)
        transport = request.transport
        assert transport is not None
        if self.code:
            return self.refused(self.status, self.code, "It did not work")
        if self.fault == "lost":
            transport.abort()
            return web.Response()
        message = self.make(dict(parse_qsl(one.body.decode(), keep_blank_values=True, strict_parsing=True)))
        if self.fault == "reset":
            transport.abort()
        elif self.fault == "hang":
            await asyncio.sleep(30)
        elif self.fault in ("half", "half unframed"):
            length = b"Content-Length: 900\r\n" if self.fault == "half" else b"Connection: close\r\n"
            transport.write(b"HTTP/1.1 201 CREATED\r\nContent-Type: application/json\r\n" + length + b'\r\n{"sid": "SM')
            await asyncio.sleep(0.02)
            transport.close()
        elif self.fault == "no sid":
            return web.json_response({"status": "queued"}, status=201)
        elif self.fault == "page":
            return web.Response(status=200, text="<html>Please log in to the network</html>", content_type="text/html")
        return web.json_response(message, status=201)

    def make(self, form: dict[str, str]) -> dict[str, Any]:
        message: dict[str, Any] = {
            "sid": f"SM{len(self.made):032x}", "account_sid": ACCOUNT, "to": form["To"], "from": form.get("From"),
            "body": form["Body"], "status": "queued", "num_segments": "1", "error_code": None, "error_message": None,
            "direction": "outbound-api", "date_created": format_datetime(datetime.now(UTC)), "date_sent": None,
            "date_updated": format_datetime(datetime.now(UTC)), "api_version": "2010-04-01", "price": None,
            "price_unit": "USD", "uri": "/2010-04-01/none.json", "subresource_uris": {}, "num_media": "0",
            "messaging_service_sid": None,
        }  # fmt: skip
        self.made.append(message)
        return message

    def listed(self, request: web.Request) -> web.Response:
        found = [
            one for one in reversed(self.made)
            if one["to"] == request.query.get("To") and one["from"] == request.query.get("From", one["from"])
        ]  # fmt: skip
        return web.json_response({"messages": found, "page": 0, "page_size": 50, "next_page_uri": None, "uri": "/"})

    def refused(self, status: int, code: int, text: str) -> web.Response:
        body = {
            "code": code,
            "message": text,
            "more_info": f"https://www.twilio.com/docs/errors/{code}",
            "status": status,
        }
        return web.json_response(body, status=status, headers=self.headers)


def texter(
    base_url: str, *, look_up: bool = False, clock: Callable[[], int] = wall_clock, **words: Any
) -> TwilioProvider:
    settings = TwilioSettings(SmsSender(SENDER, ACCOUNT, base_url, **words), "env:TOKEN", look_up=look_up)
    return TwilioProvider(settings, resolve, clock, QUICK, allow_loopback=True)


def senders(base_url: str = "https://api.twilio.com") -> Senders:
    return Senders("Small shop <hello@example.org>", SmsSender(SENDER, ACCOUNT, base_url))


class Mailbox:
    """An SMTP server's handler: takes, or answers what it is told to."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.taken: list[Envelope] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: Any) -> str:
        if "RCPT" in self.answers:
            return self.answers["RCPT"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        if "DATA" in self.answers:
            return self.answers["DATA"]
        self.taken.append(envelope)
        return "250 2.0.0 Ok: queued as ABC123"


@asynccontextmanager
async def smtp_served(mailbox: Any, *, port: int = 0, **words: Any) -> AsyncIterator[int]:
    """An SMTP server (aiosmtpd); gives its port."""
    loop = asyncio.get_running_loop()
    controller = UnthreadedController(mailbox, hostname="127.0.0.1", port=0, loop=loop, **words)
    talks: list[Any] = []

    def talk() -> Any:
        talks.append(controller._factory_invoker())
        return talks[-1]

    server = await loop.create_server(talk, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await hung_up([one.transport for one in talks])


async def hung_up(transports: list[Any]) -> None:
    """Close what clients have left open, and wait until the loop has noticed."""
    for transport in transports:
        if transport is not None:
            transport.abort()
    await asyncio.sleep(0.01)
