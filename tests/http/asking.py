"""A running engine behind a real server on loopback, and a client that shows what came over the wire."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from gateway.http.app import create_app
from gateway.http.health import Limits
from gateway.http.serve import serving
from gateway.metrics import Metrics
from schemas import contracts
from streams.embedded import Engine, wall_clock
from tests.live.engines import Shelf, engine


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def check(self, name: str) -> dict[str, str]:
        (found,) = [check for check in self.json["checks"] if check["name"] == name]
        return found  # type: ignore[no-any-return]


def parsed(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(first.split()[1]), headers, body)


async def exchange(port: int, *parts: bytes, pause: float = 0.0, seconds: float = 10) -> bytes:
    """Send parts, with pauses between them, and return everything until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = bytearray()

    async def read() -> None:
        with contextlib.suppress(ConnectionError):
            while some := await reader.read(65_536):
                found.extend(some)

    async with asyncio.timeout(seconds):
        reading = asyncio.create_task(read())
        for part in parts:
            if reading.done():
                break
            writer.write(part)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            await asyncio.sleep(pause)
        await reading
    await closed(writer)
    return bytes(found)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - over the wire nobody tells
            await asyncio.sleep(0.05)


async def get(port: int, path: str, method: str = "GET", headers: str = "", body: bytes = b"") -> Answer:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"
    return parsed(await exchange(port, head.encode() + body))


@dataclass
class Served:
    engine: Engine
    metrics: Metrics
    app: FastAPI
    port: int

    async def get(self, path: str, **words: Any) -> Answer:
        return await get(self.port, path, **words)


@contextlib.asynccontextmanager
async def served(
    path: Path,
    *,
    limits: Limits | None = None,
    provider: Any = None,
    started: bool = True,
    widen: Callable[[FastAPI], None] = lambda _: None,
    **words: Any,
) -> AsyncIterator[Served]:
    running = engine(path / "tidings.db", provider or Shelf(), **words)
    metrics = Metrics(lambda: running.rules, contracts().by_type, wall_clock)
    running.observe = metrics.observe
    async with running:
        if started:
            await running.start()
        app = create_app(running, metrics, limits)
        widen(app)
        async with serving(app, "127.0.0.1", 0) as (_, port):
            yield Served(running, metrics, app, port)


def run(body: Any) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await body

    asyncio.run(limited())
