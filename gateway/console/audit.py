"""`/audit`: who did what, when, upon what and why; newest first. Who and verb stand in the URL."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.auditing import meant, reason_of, upon
from gateway.console.decisions import text
from gateway.console.pages import Pages
from gateway.site import Site
from streams.ledger.rows import read_key

ROWS = 50
OPENINGS = ("messages open", "dead-letters open")
"""What somebody looked at: often most of the rows, and left out unless it is asked for."""
VERBS = (
    "kill", "release begun", "release", "drop begun", "drop", "rules apply", "keys create", "keys revoke",
    "dead-letters redrive", "dead-letters set aside", "repair", "dry-run", "sources accept", "ground release",
    "events reveal", "customers reveal", *OPENINGS,
)  # fmt: skip
"""Those that are suggested; what is written down by others is found as well."""


def routes(site: Site, pages: Pages) -> APIRouter:
    """Return the page."""
    router = APIRouter()

    @router.get("/audit")
    async def audit(request: Request) -> Response:
        params = request.query_params
        who, verb = text(params, "who"), text(params, "verb")
        before, after = (read_key(params.get(word, "")) for word in ("before", "after"))
        opened = verb is not None or params.get("openings") == "1"
        found = await site.ledger.audit(
            who=who,
            verb=verb,
            before=before,
            after=None if before else after,
            limit=ROWS,
            but=() if opened else OPENINGS,
        )
        rows = [(one, upon(one), reason_of(one)) for one in found.rows]
        near = "" if rows else await meant(site.ledger, who, verb)
        return pages.render(
            request, "audit.html", page=found, rows=rows, who_=who, verb_=verb, near=near, verbs=VERBS, opened=opened
        )

    return router
