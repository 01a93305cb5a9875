"""What people did, as it was written down: `GET /v1/audit`, scope `admin`; and its words for pages and the command line."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.explaining.app import Text, answer, only
from gateway.explaining.listing import MOST, Cursors
from gateway.explaining.models import time
from gateway.http import asked
from gateway.http.document import problems
from gateway.http.shapes import Shape
from gateway.site import Site
from streams.json_events import rfc3339
from streams.ledger.ledger import Ledger
from streams.ledger.rows import AuditLine
from streams.wording import moment
from tidings.event import Micros

SCOPE = "admin"
PLACE = r"^[A-Za-z0-9_-]{2,400}\.[0-9a-f]{32}$"
SHORT = 80
"""Characters of one part that a line shows."""
LONGEST = 200
"""Characters of a line."""
MOST_LOOKED = 1_000
"""Rows among which a word is looked for that may have been meant."""
FIRST: Micros = 10**14
"""Of 1973. A larger number in a row is an instant: no offset and no count comes so far."""


class AuditRow(Shape):
    """What somebody did."""

    seq: int = Field(description="its number; later ones are larger")
    at: str = time()
    who: str = Field(description="the name of the key, or the user of the command line")
    verb: str
    body: dict[str, Any] = Field(description="upon what, and why; never an address")


class AuditList(Shape):
    """What people did, newest first."""

    items: list[AuditRow]
    next: str | None = Field(description="'cursor' of the part that is older; null: this is the end")


def row_of(line: AuditLine) -> AuditRow:
    """Return a line for scripts."""
    return AuditRow(seq=line.seq, at=rfc3339(line.at), who=line.who, verb=line.verb, body=dict(line.body))


def reason_of(line: AuditLine) -> str:
    """Return why it was done, as whoever did it said."""
    found = line.body.get("reason")
    return found if isinstance(found, str) else ""


async def meant(ledger: Ledger, who: str | None, verb: str | None) -> str:
    """Return what was probably meant where nothing is written down of it, as `verb kill`, or nothing.

    The newest rows are looked at: what was done long ago only is not known here.
    """
    rows = (await ledger.audit(limit=MOST_LOOKED)).rows
    asked = (("who", who, {one.who for one in rows}), ("verb", verb, {one.verb for one in rows}))
    near = [
        f"{name} {found[0]!r}"
        for name, word, there in asked
        if word is not None and word not in there and (found := get_close_matches(word, sorted(there), 1))
    ]
    return " and ".join(near)


def upon(line: AuditLine) -> str:
    """Return upon what it was done, in a line: every part but the reason, long ones by their beginning."""
    said = [f"{name} {_part(value)}" for name, value in line.body.items() if name != "reason" and value is not None]
    return _cut(", ".join(said), LONGEST)


def _part(value: object) -> str:
    if isinstance(value, int) and value >= FIRST:
        return moment(value)
    if isinstance(value, list) and len(value) > 1:
        return f"{len(value)}: {_part(value[0])} …"
    if isinstance(value, list | Mapping):
        value = json.dumps(value, ensure_ascii=False)
    return _cut(str(value), SHORT)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def routes(site: Site) -> APIRouter:
    """Return the route."""

    async def allowed(request: Request) -> None:
        await asked.principal(site, request, SCOPE)

    router = APIRouter(prefix="/v1", tags=["audit"], dependencies=[Depends(allowed)])
    cursors = Cursors(site.secret or secrets.token_bytes(32), "audit")

    @router.get(
        "/audit", summary="What people did, newest first", operation_id="list_audit", responses={200: {"model": AuditList}, **problems("invalid", "unknown-parameter")},
        dependencies=[only("who", "verb", "limit", "cursor")], response_class=JSONResponse,
    )  # fmt: skip
    async def list_audit(
        who: Text | None = None, verb: Text | None = None, limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
        cursor: Annotated[str | None, Query(pattern=PLACE)] = None,
    ) -> Response:  # fmt: skip
        about = (who, verb)
        before = None if cursor is None else cursors.read(cursor, about, site.tenant)
        page = await site.ledger.audit(who=who, verb=verb, before=before, limit=limit)
        following = None if page.older is None else cursors.write(page.older, about, site.tenant)
        return answer(AuditList(items=[row_of(one) for one in page.rows], next=following).model_dump(mode="json"))

    return router
