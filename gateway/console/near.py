"""`/near-misses`: events that one term alone kept from firing, for whoever tunes a limit. Counted beside the page."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.console.finding import no_rule
from gateway.console.pages import Pages
from gateway.console.rules import again_soon
from gateway.console.zones import zones_of
from gateway.explaining.reading import books_of
from gateway.site import Site
from tidings.rule import Rule, RuleSet

HERE = "/near-misses"
RULES = 100
"""Rules that are looked at together, by their ids; of others one asks by name."""
ROWS = 20
LONGEST_ID = 200


def routes(site: Site, pages: Pages) -> APIRouter:
    """Return the page."""
    router = APIRouter()
    books = books_of(site)

    @router.get(HERE)
    async def page(request: Request, rule: str = "") -> Response:
        rules = await books.active()
        deciding = sorted((one for one in rules.active), key=lambda one: one.id)
        wanted = [_named(rules, rule.strip()[:LONGEST_ID])] if rule.strip() else deciding[:RULES]
        counted = [pages.counting.known(rules, one.id) for one in wanted]
        found = [one for one in counted if one is not None]
        near = sorted((row for one in found for row in one.near), key=lambda row: -row.occurred_at)
        answer = pages.render(
            request, "near-misses.html", here="/decisions", rows=near[:ROWS], rule=rule.strip(), rules=deciding[:RULES],
            more=max(0, len(deciding) - RULES), looked=len(found), of=len(wanted), total=sum(one.nearly for one in found),
            least=any(one.bounded for one in found), at=min((one.at for one in found), default=None),
            zones=await zones_of(site, [row.recipient for row in near[:ROWS]]),
        )  # fmt: skip
        return again_soon(answer, missing=len(found) < len(wanted))

    return router


def _named(rules: RuleSet, name: str) -> Rule:
    rule = rules.by_id.get(name)
    if rule is None or rule.status == "draft":
        draft = "A draft decides nothing, so nothing comes near it"
        raise HTTPException(404, draft if rule else no_rule(name, [one.id for one in rules.active]))
    return rule
