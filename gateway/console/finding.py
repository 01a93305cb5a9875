"""`POST /find`: from what somebody has at hand to its page. What is typed stands in no URL: it may be an address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.console.headers import HEADERS
from gateway.console.marks import href
from gateway.console.pages import Pages
from gateway.console.session import fields
from gateway.site import Site
from streams.explaining.seen import sentence_of
from streams.ledger.rows import Filter, Found
from streams.wording import moment
from tidings.contract import Contract
from tidings.ports import Read, Transaction

LONGEST = 200
LEAST = 3
"""Letters of a part of a name that say which one is meant."""
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


def nearest(word: str, words: Sequence[str]) -> str:
    """Return which of the words somebody meant: one that reads like it, or that has it in it; empty: none."""
    typed = word.strip().lower()[:LONGEST]
    like = get_close_matches(typed, words, 1)
    if like or len(typed) < LEAST:
        return like[0] if like else ""
    within = sorted(one for one in words if typed in one.lower())
    return next((one for one in within if one.lower().startswith(typed)), within[0] if within else "")


def no_rule(name: str, names: Sequence[str]) -> str:
    """Say that there is no rule of this name, with the one that was meant."""
    near = nearest(name, names)
    return f"There is no rule {name[:LONGEST]}" + (f"; there is {near}" if near else "")


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
        return answer(pages, request, typed, await known(site, typed))

    @router.get("/find")
    async def empty(request: Request) -> Response:
        return pages.render(request, "find.html", typed="", choices=[], is_address=False)

    return router


def answer(pages: Pages, request: Request, typed: str, found: Sequence[Found]) -> Response:
    """Go to the page of what was found; where it is several, let people choose."""
    if len(found) == 1:
        return RedirectResponse(place_of(found[0]), 303, HEADERS)
    contracts = pages.site.contracts.by_type
    choices = [
        Choice(KINDS.get(one.kind, one.kind), _named(one, contracts), one.why, place_of(one)) for one in found[:MOST]
    ]
    return pages.render(
        request, "find.html", status=200 if choices else 404, typed=typed, choices=choices, is_address="@" in typed
    )


def _named(found: Found, contracts: Mapping[str, Contract]) -> str:
    """Return what names it for people: of an event what happened, to whom, and when."""
    if found.kind != "event" or not found.event_type:
        return found.id
    contract = contracts.get(found.event_type)
    parts = [found.event_type if contract is None else sentence_of(contract)]
    if found.customer is not None:
        parts.append(found.customer.partition(":")[2])
    if found.at is not None:
        parts.append(moment(found.at))
    return ", ".join(parts)


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
        case "event":
            return href("events", found.id)
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
    linked = await site.store.read(lambda: _linked(site.tenant, typed))
    if linked is not None:
        found.append(linked)
    for one in await site.ledger.find(typed):
        bare = one.id.partition(":")[2] if one.kind in ("customer", "team") else one.id
        if linked is None or one.kind != "customer" or bare != typed:
            found.append(Found(one.kind, bare, one.why, one.record, one.event_type, one.at, one.customer))
    seen = {(one.kind, one.id): one for one in reversed(found)}
    return await _shortest(site, list(seen.values())[::-1])


async def _shortest(site: Site, found: list[Found]) -> list[Found]:
    """Return what was found without what only leads to something else of it: the firing of one decision."""
    firings = [one for one in found if one.kind == "firing"]
    for one in firings:
        of_firing = (await site.ledger.decisions(Filter(firing=one.id), limit=2)).rows
        if len(of_firing) == 1:
            at = found.index(one)
            found[at] = Found("decision", of_firing[0].id, "firing")
    return list({(one.kind, one.id): one for one in found}.values())


def _linked(tenant: str, name: str) -> Transaction[Found | None]:
    """Find the customer to whom the id of another system was linked."""
    recipient = f"customer:{name}"
    row = (yield Read("recipients", [(tenant, recipient)])).get((tenant, recipient))
    if row is None or row["linked_to"] is None:
        return None
    return Found("customer", str(row["linked_to"]).partition(":")[2], f"linked to {name}")
