"""`POST /v1/events`, from the request to the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse, Response

from gateway.access.keys import Principal
from gateway.http.asked import flags, principal
from gateway.http.direct import Answer, encoded, first, whole
from gateway.http.problems import HEADERS, Refused
from gateway.intake.bounds import MOST_BODY, MOST_ERRORS
from gateway.intake.inflate import inflate
from gateway.intake.judging import shown
from gateway.intake.quota import Quota
from gateway.intake.reading import Body, Given, media_type, read
from gateway.intake.taking import Item, Taking
from gateway.intake.told import counts, told, written
from gateway.intake.would import would
from gateway.site import Site
from streams.json_events import NotAnEvent, rfc3339
from streams.processors.audit import audit

FLAGS = ("atomic", "dry_run")
REVEAL = "customers:reveal"
DRY_RUNS = 2
"""At once in a process."""
ALWAYS = encoded(HEADERS)


@dataclass
class Publishing:
    """One for all requests of a process."""

    site: Site
    taking: Taking
    quota: Quota
    _trying: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(DRY_RUNS))

    async def __call__(self, request: Request) -> Response:
        """Answer one request.

        Raises:
            Refused: nothing of it was taken; the problem says why.
            StoreUnavailable: nothing of it is known to be durable.
        """
        who = await principal(self.site, request, "events")
        asked = flags(request, FLAGS)
        given = first(request.scope)
        kind = media_type(given.get(b"content-type", b"").decode("latin-1"))
        if (paused := await self.site.paused()) is not None:
            raise Refused("intake-paused", paused.why, headers={"retry-after": str(paused.retry_after)})
        raw = await whole(request.receive)
        if (coding := given.get(b"content-encoding")) is not None:
            raw = inflate(coding.decode("latin-1").strip().lower(), raw, MOST_BODY)
        bucket = who.key or who.name
        if (wait := self.quota.take(bucket, len(raw))) is not None:
            raise Refused("too-many-requests", headers={**self.quota.headers(bucket), "retry-after": str(wait)})
        body = await _read(kind, request.headers.raw if b"ce-specversion" in given else (), raw)
        items = await self.taking.judged(who, body, self.site.now())
        if asked["atomic"]:
            _whole(items)
        if asked["dry_run"]:
            if not body.bulk:
                _alone(items, self.quota.headers(bucket))
            return JSONResponse(await self._would(who, items), 200, {**HEADERS, **self.quota.headers(bucket)})
        await self.taking.take(who, items, body.given, atomic=asked["atomic"])
        if asked["atomic"]:
            _whole(items)
        if not body.bulk:
            _alone(items, self.quota.headers(bucket))
        status, said = written(items, bulk=body.bulk)
        return Answer(said, status, [*ALWAYS, *encoded(self.quota.headers(bucket))])

    async def _would(self, who: Principal, items: Sequence[Item]) -> dict[str, Any]:
        async with self._trying:
            appends = [one.fit.append for one in items if one.fit is not None]
            found = await would(self.site, appends, texts=who.may(REVEAL))
        if whose := sorted({one["recipient"] for one in found["messages"] if one["text"] is not None}):
            # Before anybody reads it.
            await self.site.store.run(lambda: audit("dry-run", who.name, _read_of(whose)))
        as_of = rfc3339(self.site.now())
        return {"dry_run": True, "as_of": as_of, **counts(items), "items": told(items), **found}


async def _read(kind: str, attributes: Sequence[tuple[bytes, bytes]], raw: bytes) -> Body:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in attributes]
    try:
        return await read(kind, headers, raw)
    except NotAnEvent as fault:
        codes = {one.code for one in fault.mistakes}
        code = "malformed" if "not-json" in codes else "contract-violation"
        code = "too-large" if "too-large" in codes else code
        raise Refused(code, errors=[shown(Given(None), one) for one in fault.mistakes]) from fault


def _read_of(recipients: Sequence[str]) -> dict[str, Any]:
    """Return what is written down of texts that somebody read: whose, never an address."""
    named = [one for one in recipients if not one.startswith("address:")]
    return {"recipients": named, "addresses": len(recipients) - len(named)}


def _whole(items: Sequence[Item]) -> None:
    """Refuse all where one is refused."""
    errors = [
        {"index": index, **error}
        for index, item in enumerate(items)
        if item.refusal is not None
        for error in item.refusal.errors
    ]
    if errors:
        raise Refused("contract-violation", "nothing was taken: atomic=true", errors=errors[:MOST_ERRORS])


def _alone(items: Sequence[Item], headers: Mapping[str, str]) -> None:
    """Refuse the one event of a body, if it is refused."""
    (item,) = items
    if item.refusal is not None:
        raise Refused(item.refusal.code, errors=item.refusal.errors, headers=headers)
