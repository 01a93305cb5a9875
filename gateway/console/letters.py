"""`/dead-letters`: records that could not be read, why, and what helps; and beside them, never added, failed deliveries.

Redriving is tried first: what the records would be now, and whom that would tell. Only then does a button say how many
leave. Bytes may hold personal data: they are shown to who may, when asked for, and that is written down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway import redriving
from gateway.cli.told import Told
from gateway.console.headers import HEADERS
from gateway.console.pages import Pages
from gateway.console.session import fields, principal, require
from gateway.console.standing import Standing
from gateway.letters import HELPS, at_fault, place_of
from gateway.redriving import READERS, Place, name_of, read_place, rows_of
from gateway.site import Site
from streams.ledger.rows import Count, Filter, Outcome, read_key
from streams.processors.audit import audit
from streams.redrive import set_aside
from streams.registry.client import RegistryUnavailable
from tidings.errors import Refusal
from tidings.ports import Body, Row, Transaction
from tidings.scopes import read_reason

HERE = "/dead-letters"
ROWS = 25
SHOWN = 512
"""Bytes of a record that are shown; 'tidings dead-letters show --json' has all."""


@dataclass(frozen=True, slots=True)
class Line:
    """Sixteen bytes: where they begin, the bytes before, in and behind what is at fault, and as letters."""

    at: str
    before: str
    inside: str
    behind: str
    pad: str
    """So that the letters of all lines stand below each other."""
    text: str


@dataclass(frozen=True)
class Opened:
    """One record, looked at closely."""

    row: Row
    name: str
    place: str
    size: int
    helps: str
    lines: Sequence[Line] | None
    """None: nobody has asked for the bytes."""
    more: int


def routes(site: Site, pages: Pages) -> APIRouter:
    """Return the page and its forms."""
    router = APIRouter()
    pages.standings.add(lambda: _standing(site))
    allowed = [Depends(require("jobs"))]

    async def page(request: Request, status: int = 200, **more: Any) -> Response:
        context = await _context(site, request, opened="opened" not in more)
        return pages.render(request, "dead-letters.html", here=HERE, status=status, **{**context, **more})

    @router.get(HERE)
    async def show(request: Request) -> Response:
        return await page(request)

    @router.post(f"{HERE}/open", dependencies=allowed)
    async def open_(request: Request) -> Response:
        place = read_place(fields(request).get("record", ""))
        found = None if place is None else await _opened(site, place, bytes_too=True)
        if place is None or found is None:
            raise HTTPException(404)
        await site.store.run(_looked(principal(request).name, place))
        return await page(request, opened=found)

    @router.post(f"{HERE}/try", dependencies=allowed)
    async def try_(request: Request) -> Response:
        chosen = _chosen(fields(request))
        if not chosen:
            return await page(request, 422, wrong="choose at least one record")
        try:
            return await page(request, tried=await redriving.tried(site, chosen))
        except (RegistryUnavailable, Told) as fault:
            return await page(request, 503, wrong=str(fault))

    @router.post(f"{HERE}/redrive", dependencies=allowed)
    async def redrive(request: Request) -> Response:
        form, who = fields(request), principal(request).name
        try:
            done = await redriving.redrive(site, _chosen(form), who, read_reason(form.get("reason", "")))
        except (ValueError, RegistryUnavailable, Told) as fault:
            return await page(request, 422, wrong=str(fault))
        if not done:
            return await page(request, 422, wrong="none of them can be read yet, or somebody was faster")
        return RedirectResponse(f"{HERE}?done=redriven", 303, HEADERS)

    @router.post(f"{HERE}/set-aside", dependencies=allowed)
    async def aside(request: Request) -> Response:
        form = fields(request)
        chosen = _chosen(form)
        try:
            reason = read_reason(form.get("reason", ""))
        except ValueError as fault:
            return await page(request, 422, wrong=str(fault))
        if not chosen:
            return await page(request, 422, wrong="choose at least one record")
        places = [(reader, *place) for place in chosen for reader in READERS]
        await site.store.run(set_aside(places, principal(request).name, reason))
        return RedirectResponse(f"{HERE}?done=aside", 303, HEADERS)

    return router


async def _context(site: Site, request: Request, *, opened: bool) -> dict[str, Any]:
    """Return what the page shows of a URL; `opened`: the record as well that it names."""
    params = request.query_params
    tab = params.get("tab", "")
    counts = await site.ledger.dead_letter_counts()
    failed = await site.ledger.message_counts(Filter())
    kind = Outcome.UNRESOLVED if params.get("outcome") == "unresolved" else Outcome.FAILED
    letters, messages, older = [], [], None
    if tab == "deliveries":
        found = await site.ledger.messages(Filter(outcome=kind), before=read_key(params.get("before", "")), limit=ROWS)
        messages, older = list(found.rows), found.older
    else:
        reason = params.get("reason") if params.get("reason") in set(Refusal) else None
        page_of = await site.ledger.dead_letters(
            reason=reason, waiting=tab != "all", before=read_key(params.get("before", "")), limit=ROWS
        )
        letters, older = list(page_of.rows), page_of.older
    context: dict[str, Any] = {
        "tab": tab, "letters": letters, "messages": messages, "older": older, "counts": counts, "kind": kind,
        "waiting": total(counts), "failed": failed.get(Outcome.FAILED), "unresolved": failed.get(Outcome.UNRESOLVED),
        "may": principal(request).may("jobs"), "opened": None, "tried": None, "wrong": "", "name_of": name_of,
        "done": params.get("done", ""),
    }  # fmt: skip
    if (place := read_place(params.get("record", ""))) is not None and opened:
        context["opened"] = await _opened(site, place, bytes_too=False)
    return context


def total(counts: Mapping[str, Count]) -> Count:
    """Return how many wait, of all reasons."""
    return Count(sum(one.number for one in counts.values()), any(one.more for one in counts.values()))


def _chosen(form: Mapping[str, str]) -> list[Place]:
    found = [read_place(value) for name, value in form.items() if name.startswith("r-")]
    return list(dict.fromkeys(place for place in found if place is not None))[:ROWS]


async def _opened(site: Site, place: Place, *, bytes_too: bool) -> Opened | None:
    rows = await site.store.read(rows_of([place]))
    if not rows:
        return None
    row = rows[0]
    value = row["value"] or b""
    lines = list(dump(value[:SHOWN], at_fault(row))) if bytes_too else None
    return Opened(
        row, f"{place[0]}/{place[1]}/{place[2]}", place_of(row), len(value), HELPS[row["reason"]], lines, max(0, len(value) - SHOWN)
    )  # fmt: skip


def dump(value: bytes, fault: range) -> Sequence[Line]:
    """Return bytes as hexadecimal digits and letters, with those at fault apart."""
    lines = []
    for start in range(0, len(value), 16):
        part = value[start : start + 16]
        begin, end = (min(max(at - start, 0), len(part)) for at in (fault.start, fault.stop))
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)  # noqa: PLR2004 - printable ASCII
        lines.append(
            Line(
                f"{start:04x}",
                part[:begin].hex(" "),
                part[begin:end].hex(" "),
                part[end:].hex(" "),
                " " * 3 * (16 - len(part)),
                letters,
            )
        )
    return lines


def _looked(who: str, place: Place) -> Body[None]:
    def body() -> Transaction[None]:
        yield from audit("dead-letters open", who, {"letter": list(place)})

    return body


async def _standing(site: Site) -> Standing:
    return Standing({"dead_letters": total(await site.ledger.dead_letter_counts()).number})
