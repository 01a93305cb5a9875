"""`/messages`: what was written to people, newest first. Filters, tab, times and page stand in the URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.console.decisions import LONGEST, WINDOWS, asked, nothing
from gateway.console.finding import known
from gateway.console.headers import HEADERS
from gateway.console.pages import Pages
from gateway.console.session import fields
from gateway.console.zones import zones_of
from gateway.site import Site
from streams.explaining.says import NAMED
from streams.ledger.rows import Count, Filter, MessageLine, Outcome, Page, read_key
from tidings.reasons import Reason

HERE = "/messages"
ROWS = 25
CHANNELS = ("email", "sms", "push", "slack", "teams", "ticket", "webhook", "workflow")
TABS: Sequence[tuple[str, Outcome]] = (
    ("Sent", Outcome.SENT),
    ("In flight", Outcome.IN_FLIGHT),
    ("Suppressed", Outcome.SUPPRESSED),
    ("Cancelled", Outcome.CANCELLED),
    ("Expired", Outcome.EXPIRED),
    ("Failed", Outcome.FAILED),
    ("Unresolved", Outcome.UNRESOLVED),
)


def routes(site: Site, pages: Pages) -> APIRouter:
    """Return the list, and what it is filtered by."""
    router = APIRouter()

    @router.get(HERE)
    async def messages(request: Request) -> Response:
        return await _list(site, pages, request)

    @router.post(HERE)
    async def narrowed(request: Request) -> Response:
        form = fields(request)
        kept = {
            name: form[name] for name in ("time", "rule", "channel", "reason", "outcome", "times") if form.get(name)
        }
        if typed := form.get("about", "").strip()[:LONGEST]:
            about = await _named(site, typed)
            if about is None:
                return await _list(site, pages, request, unknown=typed)
            if name := about.get("message"):
                return RedirectResponse(f"{HERE}/{name}", 303, HEADERS)
            kept |= about
        return RedirectResponse(f"{HERE}?{urlencode(kept)}" if kept else HERE, 303, HEADERS)

    return router


async def _named(site: Site, typed: str) -> Mapping[str, str] | None:
    for found in await known(site, typed):
        match found.kind:
            case "customer" | "team":
                return {"recipient": f"{found.kind}:{found.id}"}
            case "message":
                return {"message": found.id}
            case "firing":
                return {"firing": found.id}
            case "decision":
                one = await site.ledger.decision(found.id)
                return None if one is None else {"firing": one.firing_id}
            case "rule":
                return {"rule": found.id}
    return None


async def _list(site: Site, pages: Pages, request: Request, *, unknown: str = "") -> Response:
    params = {} if unknown else dict(request.query_params)
    wanted = asked(params, site.now())
    channel = params.get("channel")
    about = wanted.filter
    about = Filter(
        about.since, about.until, about.rule, about.recipient, about.outcome, about.reason,
        channel if channel in CHANNELS else None, about.firing,
    )  # fmt: skip
    before, after = read_key(params.get("before", "")), read_key(params.get("after", ""))
    page = await site.ledger.messages(about, before=before, after=after, limit=ROWS)
    counts = await site.ledger.message_counts(about)
    tabs = [
        {"word": word, "outcome": str(one), "count": str(counts.get(one, Count(0)))}
        for word, one in TABS
        if one in counts or one is about.outcome or one is Outcome.SENT
    ]
    rules = sorted(site.rules().by_id)
    return pages.render(
        request, "messages.html", here=HERE, status=404 if unknown else 200, page=page, tabs=tabs,
        every=counts.get(None, Count(0)), about=about, window=wanted.window, windows=WINDOWS, rules=rules,
        reasons=sorted(map(str, Reason)), channels=CHANNELS, named=NAMED, unknown=unknown, word_of=word_of,
        zones=await zones_of(site, [one.recipient for one in page.rows]), says=_says(page),
        nothing=None if page.rows else await nothing(site, about.rule, "message"),
    )  # fmt: skip


def _says(page: Page[MessageLine]) -> str:
    if page.looked_to is not None:
        return "Few fit. Older ones may: this page has looked at the newest part, and goes on with Older."
    return "Sent includes what came back later: it left, and then bounced. All-clears are among them."


def word_of(line: MessageLine) -> str:
    """Return the state that is shown: what the provider said last, where it took the message."""
    if line.outcome is Outcome.SENT and line.receipt is not None:
        return line.receipt
    return str(line.state)
