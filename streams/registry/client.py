"""The client of a schema registry: five endpoints of Confluent's API, which Apicurio, Karapace and Redpanda speak too.

Every request has a deadline, no answer is read beyond its cap, and no redirect is followed. A registry that says that
it does not have something is believed only if it says so in its own words: a 404 of a proxy is no answer.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote
from uuid import UUID

import aiohttp

from streams.registry.endpoint import Endpoint
from streams.wire import MAX_BYTES, MAX_DEPTH, SchemaName, depth_of
from tidings.ports import StoreUnavailable

Json = Any
Level = Literal["FULL_TRANSITIVE"]

DEADLINE = 10.0
"""Seconds of one request, from the name's resolution to the last byte."""

MAX_ANSWER = 2 * MAX_BYTES + 4096
"""A schema of `MAX_BYTES` as a JSON text within JSON, where a quote takes two bytes, and what stands around it."""

AT_ONCE = 8
"""Requests that run beside each other."""

MISSING = range(40400, 40500)
"""Codes of a registry that looked, and does not have it; a wrong path answers plain 404."""

TYPE = "application/vnd.schemaregistry.v1+json"


class RegistryUnavailable(StoreUnavailable):
    """It cannot be said now what a schema is. Nothing was decided or lost; whoever waits for the store waits for it."""


class Refused(Exception):
    """The registry does not take a schema; the text is its own."""


class TooLarge(Exception):
    """An answer is longer than `MAX_ANSWER`."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A schema as a registry has it. Nothing about it has been believed yet."""

    text: str
    kind: str = "AVRO"
    references: bool = False
    """Whether it names types that stand in other schemas."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a subject."""

    version: int
    number: int
    schema: Registered


class Registry:
    """Asks one registry. Made inside a running loop; `close` ends its connections."""

    def __init__(self, endpoint: Endpoint, *, deadline: float = DEADLINE) -> None:
        self.endpoint = endpoint
        self.deadline = deadline
        headers = {"Accept": f"{TYPE}, application/json", "Accept-Encoding": "identity"}
        if endpoint.username is not None:
            headers["Authorization"] = aiohttp.encode_basic_auth(endpoint.username, endpoint.password or "", "utf-8")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=AT_ONCE, ssl=endpoint.context()),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            headers=headers,
            # A packed body could be unpacked beyond every cap: none is asked for.
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Hang up."""
        await self._session.close()

    async def schema(self, name: SchemaName) -> Registered | None:
        """Return the schema of an id or a GUID, or None where the registry has none.

        Raises:
            RegistryUnavailable: it did not answer, or not with a schema.
            TooLarge: the schema is longer than any of ours may be.
        """
        path = f"/schemas/guids/{name}" if isinstance(name, UUID) else f"/schemas/ids/{name}"
        found = await self._ask("GET", path)
        return None if found is None else self._schema(found)

    async def version(self, subject: str, version: int | Literal["latest"] = "latest") -> Version | None:
        """Return a version of a subject, or None where there is none.

        Raises:
            RegistryUnavailable: as `schema`.
        """
        found = await self._ask("GET", f"/subjects/{quote(subject, safe='')}/versions/{version}")
        if found is None:
            return None
        return Version(self._number(found, "version"), self._number(found, "id"), self._schema(found))

    async def look_up(self, subject: str, schema: Json) -> int | None:
        """Return the id under which a subject has a schema, or None where it has not.

        Raises:
            RegistryUnavailable: as `schema`.
        """
        found = await self._ask("POST", f"/subjects/{quote(subject, safe='')}", _body(schema))
        return None if found is None else self._number(found, "id")

    async def register(self, subject: str, schema: Json) -> int:
        """Add a schema to a subject, unless it has it, and return its id.

        Raises:
            Refused: it does not fit the versions that are there, or the registry finds a fault in it.
            RegistryUnavailable: as `schema`; it may be there all the same, and asking again does no harm.
        """
        found = await self._ask("POST", f"/subjects/{quote(subject, safe='')}/versions", _body(schema))
        return self._number({} if found is None else found, "id")

    async def compatibility(self, subject: str) -> str | None:
        """Return what a subject of its own asks of new versions, or None where it has no rule of its own.

        Raises:
            RegistryUnavailable: as `schema`.
        """
        found = await self._ask("GET", f"/config/{quote(subject, safe='')}")
        if found is None:
            return None
        level = found.get("compatibilityLevel")
        return level if isinstance(level, str) else None

    async def set_compatibility(self, subject: str, level: Level) -> None:
        """Say what new versions of a subject must keep to.

        Raises:
            Refused: the registry does not let us.
            RegistryUnavailable: as `schema`.
        """
        if await self._ask("PUT", f"/config/{quote(subject, safe='')}", {"compatibility": level}) is None:
            raise self._away("does not take a compatibility for a subject")

    async def _ask(self, method: str, path: str, body: Json | None = None) -> dict[str, Any] | None:
        """Return what is answered, or None where the registry has no such thing."""
        url = self.endpoint.url + path
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": TYPE}
        try:
            async with (
                asyncio.timeout(self.deadline),
                self._session.request(method, url, data=data, headers=headers, allow_redirects=False) as response,
            ):
                status, raw = response.status, await _read(response)
        except TimeoutError as fault:
            raise self._away(f"did not answer within {self.deadline:g} s") from fault
        except (aiohttp.ClientError, OSError, ValueError) as fault:
            raise self._away(f"cannot be asked ({type(fault).__name__}: {fault})") from fault
        if len(raw) > MAX_ANSWER:
            if status == 200:  # noqa: PLR2004 - OK
                raise TooLarge
            raise self._away(f"answers {status} and more than {MAX_ANSWER} bytes")
        found = _parsed(raw)
        code = found.get("error_code")
        if status == 200:  # noqa: PLR2004 - OK
            return found
        if status == 404 and isinstance(code, int) and code in MISSING:  # noqa: PLR2004 - not found
            return None
        if method == "GET" and status in (400, 422):
            return (
                None  # it takes this id for none; asked again it would say the same, and one record would stop a topic
            )
        said = str(found.get("message", ""))[:300]
        if status in (409, 422) and method != "GET":
            raise Refused(said or f"{status}")
        mend = {
            401: "; set username and password of [registry]", 403: "; its user may not do this",
            404: "; is the URL the one before /schemas and /subjects?",
        }.get(status, "; name the URL to which it leads" if 300 <= status < 400 else "")  # fmt: skip # noqa: PLR2004
        raise self._away(f"answers {status}{f' ({said})' if said else ''}{mend}")

    def _schema(self, found: dict[str, Any]) -> Registered:
        text, kind, references = found.get("schema"), found.get("schemaType", "AVRO"), found.get("references")
        if not isinstance(text, str):
            raise self._away("answers something that is no schema")
        return Registered(text, str(kind)[:40], bool(references))

    def _number(self, found: dict[str, Any], name: str) -> int:
        number = found.get(name)
        if type(number) is not int or not 0 <= number < 2**32:
            raise self._away(f"answers without '{name}'")
        return number

    def _away(self, what: str) -> RegistryUnavailable:
        return RegistryUnavailable(f"the schema registry {self.endpoint.url} {what}")


def _body(schema: Json) -> Json:
    return {"schema": json.dumps(schema, ensure_ascii=False, separators=(",", ":"))}


def _parsed(raw: bytes) -> dict[str, Any]:
    """Return the object that an answer is, or an empty one."""
    if depth_of(raw) > MAX_DEPTH:
        return {}
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


async def _read(response: aiohttp.ClientResponse) -> bytes:
    read = bytearray()
    while len(read) <= MAX_ANSWER and (chunk := await response.content.read(MAX_ANSWER + 1 - len(read))):
        read += chunk
    return bytes(read)
