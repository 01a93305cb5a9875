"""`POST /find`: from what somebody has at hand to its page. What is typed stands in no URL: it may be an address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.console.headers import HEADERS
from gateway.console.marks import href
from gateway.console.pages import Pages
from gateway.console.session import fields
from gateway.site import Site
from streams.ledger.rows import Filter, Found
from tidings.ports import Read, Transaction

LONGEST = 200
MOST = 20
"""Choices that are shown."""
KINDS = {
    "customer": "Customer",
    "decision": "Decision",
    "firing": "Firing",
    "message": "Message",
    "event": "Event",
    "rule": "Rule",
    "team": "Team",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One page to go to."""

    kind: str
    id: str
    why: str
    href: str


def routes(site: Site, pages: Pages) -> APIRouter:
    """Return what finds."""
    router = APIRouter()

    @router.post("/find")
    async def find(request: Request) -> Response:
        typed = fields(request).get("q", "").strip()[:LONGEST]
        found = await known(site, typed)
        if len(found) == 1:
            return RedirectResponse(place_of(found[0]), 303, HEADERS)
        choices = [Choice(KINDS.get(one.kind, one.kind), one.id, one.why, place_of(one)) for one in found[:MOST]]
        return pages.render(
            request, "find.html", status=200 if choices else 404, typed=typed, choices=choices, is_address="@" in typed
        )

    @router.get("/find")
    async def empty(request: Request) -> Response:
        return pages.render(request, "find.html", typed="", choices=[], is_address=False)

    return router


def place_of(found: Found) -> str:
    """Return the page of what was found."""
    match found.kind:
        case "customer":
            return href("customers", found.id)
        case "rule":
            return href("rules", found.id)
        case "message":
            return href("messages", found.id)
        case "decision":
            return href("decisions", found.id)
        case "team":
            return f"/decisions?{urlencode({'recipient': f'team:{found.id}', 'time': 'all'})}"
        case _:
            return f"/decisions?{urlencode({found.kind: found.id, 'time': 'all'})}"


async def known(site: Site, typed: str) -> Sequence[Found]:
    """Return everything that bears a name, each once."""
    if not typed or not typed.isprintable():
        return ()
    found: list[Found] = []
    rules = site.rules()
    if typed in rules.by_id:
        found.append(Found("rule", typed, "rule"))
    if typed in rules.teams:
        found.append(Found("team", typed, "team"))
    customer = await site.store.read(lambda: _customer(site.tenant, typed))
    if customer is not None:
        found.append(customer)
    if await site.ledger.decision(typed) is not None:
        found.append(Found("decision", typed, "id"))
    if await site.ledger.message(typed) is not None:
        found.append(Found("message", typed, "id"))
    of_firing = (await site.ledger.decisions(Filter(firing=typed), limit=2)).rows
    if len(of_firing) == 1:
        found.append(Found("decision", of_firing[0].id, "firing"))
    elif of_firing:
        found.append(Found("firing", typed, "id"))
    return found


def _customer(tenant: str, name: str) -> Transaction[Found | None]:
    """Find the customer of an id, ours or a system's that was linked to one."""
    recipient = f"customer:{name}"
    row = (yield Read("recipients", [(tenant, recipient)])).get((tenant, recipient))
    if row is None:
        return None
    if row["linked_to"] is not None:
        return Found("customer", str(row["linked_to"]).partition(":")[2], f"linked to {name}")
    return Found("customer", name, "id")
