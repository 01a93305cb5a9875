"""A schema registry in memory, which speaks as a real one does, and says something else where a test wants it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from schemas import contracts
from schemas.examples import described
from streams.codec import Codec
from streams.json_events import from_json
from streams.registry.endpoint import Endpoint
from streams.registry.schemas import RegistrySchemas
from streams.wire import SCHEMA_HEADER
from tests.providers.stand_ins import served
from tidings.log import LogRecord

KNOWN = contracts()
PAID = KNOWN.by_type["billing.invoice.paid"]
KEY, FRAMED = Codec(KNOWN).encode(PAID.type, from_json(PAID, described(PAID)))
BARE = FRAMED[5:]
"""The Avro of an example, without a frame."""

Reply = Callable[[web.Request], web.StreamResponse | None]


@dataclass
class StandIn:
    """What it has, and what it was asked."""

    texts: list[str] = field(default_factory=list)
    """By id, from 1 on."""
    kinds: dict[int, dict[str, Any]] = field(default_factory=dict)
    """More of what is said about an id."""
    guids: dict[str, int] = field(default_factory=dict)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    levels: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)
    says: Reply | None = None
    hangs: bool = False

    def hold(self, schema: Any, **more: Any) -> int:
        """Have a schema; return its id."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        if text not in self.texts:
            self.texts.append(text)
        self.kinds[number := self.texts.index(text) + 1] = more
        return number

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        self.headers.append(request.headers)
        if self.hangs:
            await asyncio.sleep(60)
        if self.says is not None and (said := self.says(request)) is not None:
            return said
        _, *path = request.path.split("/")
        body = json.loads(await request.read() or b"{}")
        match request.method, *path:
            case "GET", "schemas", "ids", number:
                return self._schema(int(number))
            case "GET", "schemas", "guids", guid:
                return self._schema(self.guids.get(guid, 0))
            case "GET", "config", subject:
                level = self.levels.get(subject)
                return _missing(40408) if level is None else web.json_response({"compatibilityLevel": level})
            case "PUT", "config", subject:
                self.levels[subject] = body["compatibility"]
                return web.json_response(body)
            case "GET", "subjects", subject, "versions", version:
                there = self.subjects.get(subject)
                if there is None:
                    return _missing(40401)
                at = len(there) if version == "latest" else int(version)
                return self._version(subject, at) if at <= len(there) else _missing(40402)
            case "POST", "subjects", subject:
                there = self.subjects.get(subject, [])
                found = next((at for at, n in enumerate(there, 1) if self._same(n, body["schema"])), None)
                return _missing(40403 if there else 40401) if found is None else self._version(subject, found)
            case "POST", "subjects", subject, "versions":
                if json.loads(body["schema"]).get("name") == "Stranger":
                    return web.json_response({"error_code": 42201, "message": "Invalid schema"}, status=422)
                there = self.subjects.setdefault(subject, [])
                given = self.hold(body["schema"])
                if given not in there:
                    there.append(given)
                return web.json_response({"id": given})
        return web.json_response({"error_code": 404, "message": "HTTP 404 Not Found"}, status=404)

    def _same(self, number: int, text: str) -> bool:
        return bool(json.loads(self.texts[number - 1]) == json.loads(text))

    def _schema(self, number: int) -> web.Response:
        if not 0 < number <= len(self.texts):
            return _missing(40403)
        return web.json_response({"schema": self.texts[number - 1], **self.kinds.get(number, {})})

    def _version(self, subject: str, at: int) -> web.Response:
        number = self.subjects[subject][at - 1]
        text = self.texts[number - 1]
        return web.json_response({"subject": subject, "version": at, "id": number, "schema": text})


def _missing(code: int) -> web.Response:
    return web.json_response({"error_code": code, "message": "not found"}, status=404)


@dataclass
class Clock:
    at: float = 0.0

    def __call__(self) -> float:
        return self.at


@asynccontextmanager
async def reading(there: StandIn) -> AsyncIterator[tuple[Codec, Clock]]:
    """A codec on a stand-in, and the clock by which it forgets."""
    clock = Clock()
    async with served(there) as url:
        codec = Codec(KNOWN, schemas=RegistrySchemas(Endpoint(url), KNOWN, clock=clock, settle=0.0))
        try:
            yield codec, clock
        finally:
            await codec.close()


def framed(number: int, body: bytes = BARE, topic: str = PAID.topic) -> LogRecord:
    return LogRecord(topic, 0, 7, 1, KEY, b"\x00" + number.to_bytes(4, "big") + body)


def headed(header: bytes, body: bytes = BARE) -> LogRecord:
    return LogRecord(PAID.topic, 0, 7, 1, KEY, body, ((SCHEMA_HEADER, header),))
