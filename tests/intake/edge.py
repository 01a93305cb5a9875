"""The edge of a running engine on loopback, and a client of it."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from gateway.access import keys as access
from gateway.edge import site_of
from gateway.http.app import create_app
from gateway.http.serve import serving
from gateway.metrics import Metrics
from gateway.site import Site
from schemas import contracts
from schemas.examples import described
from streams.embedded import Engine, wall_clock
from streams.json_events import rfc3339
from streams.processors import keys as rows
from tests.live.engines import Shelf, engine
from tidings.ports import Scan

SECRET = b"a secret of sixteen bytes"


@dataclass
class Edge:
    engine: Engine
    site: Site
    client: httpx.AsyncClient
    port: int
    provider: Shelf

    async def post(
        self, event: Any, *, kind: str = "application/json", key: str | None = None, query: str = "", **headers: str
    ) -> httpx.Response:
        content = event if isinstance(event, bytes) else json.dumps(event).encode()
        given = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if key is not None:
            given["authorization"] = f"Bearer {key}"
        return await self.client.post(f"/v1/events{query}", content=content, headers=given)

    async def log(self) -> list[dict[str, Any]]:
        return await self.engine.store.read(lambda: (yield Scan("log")))

    async def key(self, name: str = "billing", *scopes: str, sources: tuple[str, ...] = ("*",)) -> str:
        assert self.site.door.keys.pepper is not None
        made = access.make(
            self.site.door.keys.pepper, name, tenant="default", scopes=frozenset(scopes or ("events",)), sources=sources
        )
        assert not await self.engine.store.run(rows.add(made.row, "a test"))
        return made.key


def event(kind: str = "billing.invoice.paid", **more: Any) -> dict[str, Any]:
    """Return the example of a contract, of now."""
    found = described(contracts().by_type[kind])
    return {**found, "time": rfc3339(wall_clock()), **more}


@contextlib.asynccontextmanager
async def edge(
    path: Path, *, started: bool = False, secret: bytes | None = SECRET, **words: Any
) -> AsyncIterator[Edge]:
    provider = Shelf()
    running = engine(path / "tidings.db", provider, **words)
    metrics = Metrics(lambda: running.rules, contracts().by_type, wall_clock)
    running.observe = metrics.observe
    async with running:
        if started:
            await running.start()
        site = site_of(running, "127.0.0.1")
        if secret is not None:
            site.door.keys.pepper = access.pepper_of(secret)
        app = create_app(running, metrics, site=site)
        async with (
            serving(app, "127.0.0.1", 0) as (_, port),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
        ):
            yield Edge(running, site, client, port, provider)
        await site.close()
