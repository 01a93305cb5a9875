"""A whole edge over a real engine, or over a database with a log in Kafka, on a port of this machine."""

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from gateway.access.keys import make, pepper_of
from gateway.edge import site_of
from gateway.http.app import create_app
from gateway.http.serve import serving
from gateway.metrics import Metrics
from gateway.site import Site
from handlers.channels.content import Contents
from schemas import contracts
from streams.embedded import Engine, wall_clock
from streams.processors import keys
from tests.http.asking import Answer, exchange, parsed
from tests.live.engines import Shelf, engine

SECRET = b"a secret for tests only"
FORM = "application/x-www-form-urlencoded"
PUBLIC = "https://news.example.org"


@dataclass
class Edge:
    """What a test asks."""

    engine: Engine
    provider: Shelf
    site: Site
    port: int

    async def ask(self, method: str, path: str, body: str = "", **headers: str) -> Answer:
        lines = {"host": f"127.0.0.1:{self.port}", "connection": "close", **headers}
        if method == "POST":
            lines["content-length"] = str(len(body.encode()))
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        return parsed(await exchange(self.port, f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}".encode()))

    async def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return await self.ask(method, path, **headers)

    async def post(self, path: str, body: str, kind: str = FORM, **headers: str) -> Answer:
        return await self.ask("POST", path, body, content_type=kind, **headers)

    async def submit(self, page: str, path: str, **fields: str) -> Answer:
        """Post a form as a browser does that has loaded a page before."""
        found = re.search(r'name="csrf" value="([^"]+)"', (await self.get(page)).body.decode())
        token = "" if found is None else found[1]
        origin = f"http://127.0.0.1:{self.port}"
        return await self.post(path, urlencode({"csrf": token, **fields}), origin=origin)

    async def key(self, name: str, *scopes: str, tenant: str = "default") -> str:
        sources = ("*",) if "events" in scopes else ()
        made = make(pepper_of(SECRET), name, tenant=tenant, scopes=frozenset(scopes), sources=sources)
        assert not await self.engine.store.run(keys.add(made.row, "a test"))
        return made.key


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
        site = replace(site_of(running, "127.0.0.1"), secret=SECRET, **given)
        site.door.keys.pepper = pepper_of(SECRET)
        async with serving(create_app(running, metrics, site=site), "127.0.0.1", 0) as (_, port):
            yield Edge(running, provider, site, port)
        await site.close()
