"""A whole edge over a real engine, or over a database with a log in Kafka, on a port of this machine."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.access.door import Door
from gateway.access.keys import Keys, pepper_of
from gateway.http.app import create_app
from gateway.http.serve import serving
from gateway.metrics import Metrics
from gateway.site import Site
from handlers.channels.content import Contents
from schemas import contracts
from streams.embedded import Engine, wall_clock
from tests.http.asking import Answer, get
from tests.live.engines import Shelf, engine

SECRET = b"a secret for tests only"
PUBLIC = "https://news.example.org"


@dataclass
class Edge:
    """What a test asks."""

    engine: Engine
    provider: Shelf
    site: Site
    port: int

    async def get(self, path: str, **words: Any) -> Answer:
        return await get(self.port, path, **words)

    async def post(
        self, path: str, body: str, kind: str = "application/x-www-form-urlencoded", more: str = ""
    ) -> Answer:
        head = f"Content-Type: {kind}\r\nContent-Length: {len(body.encode())}\r\n{more}"
        return await get(self.port, path, method="POST", headers=head, body=body.encode())


@contextlib.asynccontextmanager
async def edge(folder: Path, *, started: bool = True, **words: Any) -> AsyncIterator[Edge]:
    provider = words.pop("provider", None) or Shelf()
    given = {name: words.pop(name) for name in ("brand", "codec") if name in words}
    running = engine(folder / "tidings.db", provider, render=Contents(PUBLIC, SECRET), **words)
    metrics = Metrics(lambda: running.rules, contracts().by_type, wall_clock)
    running.observe = metrics.observe
    async with running:
        if started:
            await running.start()
        site = Site(
            "a shop", running.store, contracts(), lambda: running.rules, running.clock, running.log.append,
            Door(Keys(running.store, pepper_of(SECRET), running.clock), "127.0.0.1"), secret=SECRET, link_key=SECRET, **given,
        )  # fmt: skip
        async with serving(create_app(running, metrics, site=site), "127.0.0.1", 0) as (_, port):
            yield Edge(running, provider, site, port)
