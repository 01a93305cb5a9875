"""`/decisions`: what was decided, newest first. Filters, tab, times, page and pause stand in the URL."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.console.finding import answer, known, no_rule
from gateway.console.headers import HEADERS
from gateway.console.live import Told
from gateway.console.marks import href
from gateway.console.overview import MOST_NEWER, newer
from gateway.console.pages import Pages
from gateway.console.session import fields
from gateway.console.zones import zones_of
from gateway.http.look import Asked as Question
from gateway.intake.judging import LATEST
from gateway.site import Site
from streams.ledger.rows import Count, Decision, Filter, Found, Outcome, Page, read_key
from tidings.event import DAY, HOUR, MINUTE, SECOND, Micros
from tidings.reasons import Reason

WINDOWS: Mapping[str, tuple[str, Micros | None]] = {
    "1h": ("Last hour", HOUR),
    "24h": ("Last 24 hours", DAY),
    "7d": ("Last 7 days", 7 * DAY),
    "30d": ("Last 30 days", 30 * DAY),
    "all": ("All that is kept", None),
}
WINDOW = "7d"
TABS: Sequence[tuple[str, Outcome]] = (
    ("Told", Outcome.SENT),
    ("Suppressed", Outcome.SUPPRESSED),
    ("In flight", Outcome.IN_FLIGHT),
    ("Cancelled", Outcome.CANCELLED),
    ("Expired", Outcome.EXPIRED),
    ("Failed", Outcome.FAILED),
    ("Unresolved", Outcome.UNRESOLVED),
    ("Nothing to say", Outcome.NOTHING),
)
ROWS = 25
MOST_RULES = 100
"""More are typed, not chosen from a list: the page stays small."""
LONGEST = 200
COUNTED_FOR = 3.0
"""Seconds for which counts are shown again."""
MOST_COUNTED = 200
PATIENCE = 5.0
Counted = Question[Mapping[Outcome | None, Count]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a URL asks for."""

    filter: Filter
    window: str
    paused: Micros | None


def asked(params: Mapping[str, str], now: Micros) -> Asked:
    """Read the parameters of a URL; what is not understood is left out: a page has refused it before (`parameters`)."""
    window = params.get("time", WINDOW)
    if window not in WINDOWS:
        window = WINDOW
    length = WINDOWS[window][1]
    since = instant(params.get("from", ""))
    until = instant(params.get("to", ""))
    paused = instant(params.get("paused", ""))
    if since is None and until is None and length is not None:
        # To the minute, so that whoever looks within it asks the same.
        since = ((now if paused is None else paused) - length) // MINUTE * MINUTE
    if paused is not None:
        until = min(paused + 1, until or paused + 1)
    outcome = params.get("outcome")
    reason = params.get("reason")
    return Asked(
        Filter(
            since=since,
            until=until,
            rule=text(params, "rule"),
            recipient=text(params, "recipient"),
            firing=text(params, "firing"),
            outcome=Outcome(outcome) if outcome in set(Outcome) else None,
            reason=reason if reason in set(Reason) else None,
        ),
        window if params.get("from") is None and params.get("to") is None else "between",
        paused,
    )


def text(params: Mapping[str, str], name: str) -> str | None:
    """Return a parameter that is not empty and that a store takes."""
    found = params.get(name, "").strip()[:LONGEST]
    return found if found and found.isprintable() else None


def instant(value: str) -> Micros | None:
    """Return the instant of `2026-11-12T14:32` (UTC), with seconds or without, as `utc` writes it, or of digits alone, microseconds.

    One that no event can have is none.
    """
    if value.isascii() and value.isdigit() and len(value) <= 17:  # noqa: PLR2004 - more than `LATEST` has
        return int(value) if int(value) < LATEST else None
    try:
        found = datetime.fromisoformat(value[:40].strip().removesuffix(" UTC"))
    except ValueError:
        return None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    at = int(found.timestamp()) * SECOND
    return at if 0 <= at < LATEST else None


class Counts:
    """The counts of tabs: the dearest that a page asks (eight walks of 2,000 entries), so they are asked once in a while."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._asked: dict[Filter, Counted] = {}

    async def __call__(self, about: Filter) -> Mapping[Outcome | None, Count]:
        """Return them, as of some seconds ago at most."""
        about = replace(about, outcome=None)
        if about not in self._asked:
            if len(self._asked) >= MOST_COUNTED:
                self._asked.clear()
            self._asked[about] = Question(
                lambda: self.site.ledger.decision_counts(about), patience=PATIENCE, keep=COUNTED_FOR
            )
        return await self._asked[about]()


def routes(site: Site, pages: Pages) -> APIRouter:
    """Return the list, what it is filtered by, and what changes in it."""
    router = APIRouter()
    counting = Counts(site)

    @router.get("/decisions")
    async def decisions(request: Request) -> Response:
        event = text(request.query_params, "event")
        if event is not None:
            return RedirectResponse(href("events", event), 303, HEADERS)
        return await _page(site, pages, counting, request)

    @router.post("/decisions")
    async def narrowed(request: Request) -> Response:
        """What was typed is looked up first: a mail address never stands in a URL."""
        form = fields(request)
        kept = {
            name: form[name] for name in ("time", "rule", "reason", "outcome", "times", "from", "to") if form.get(name)
        }
        if kept.get("time") == "between":
            del kept["time"]
            now = site.now()
            kept = {"from": as_text(now - DAY), "to": as_text(now + MINUTE), **kept}
        elif "time" in kept:
            kept.pop("from", None)
            kept.pop("to", None)
        typed = form.get("about", "").strip()[:LONGEST]
        if typed:
            found = await known(site, typed)
            if not found:
                return await _page(site, pages, counting, request, unknown=typed, status=404)
            narrow = await _named(site, found)
            if narrow is None:  # an event, the events of an order, a message: they have pages of their own
                return answer(pages, request, typed, found)
            kept |= narrow
        return RedirectResponse(f"/decisions?{urlencode(kept)}" if kept else "/decisions", 303, HEADERS)

    @router.get("/live/decisions")
    async def changes(request: Request) -> Response:
        params = dict(request.query_params)

        async def ask() -> Told:
            return await _changes(site, counting, params)

        return pages.live.stream(request, ask)

    return router


async def _named(site: Site, found: Sequence[Found]) -> Mapping[str, str] | None:
    """Return the parameters for what was found; None: a list is not filtered by it."""
    for one in found:
        match one.kind:
            case "customer":
                return {"recipient": f"customer:{one.id}"}
            case "firing":
                return {"firing": one.id}
            case "decision":
                decision = await site.ledger.decision(one.id)
                return None if decision is None else {"firing": decision.firing_id}
            case "rule":
                return {"rule": one.id}
            case "team":
                return {"recipient": f"team:{one.id}"}
    return None


async def _page(
    site: Site, pages: Pages, counting: Counts, request: Request, *, unknown: str = "", status: int = 200
) -> Response:
    now = site.now()
    params = {} if unknown else dict(request.query_params)
    wanted = asked(params, now)
    before, after = read_key(params.get("before", "")), read_key(params.get("after", ""))
    page, counts = await asyncio.gather(
        site.ledger.decisions(wanted.filter, before=before, after=after, limit=ROWS),
        counting(wanted.filter),
    )
    # Rows that are older than the newest do not hear of newer ones: they are another page of the list.
    first = before is None and page.newer is None
    query = urlencode({name: value for name, value in params.items() if name not in ("before", "after", "times")})
    top = page.rows[0].place if page.rows else None
    return pages.render(
        request,
        "decisions.html",
        here="/decisions",
        status=status,
        page=page,
        tabs=_tabs(counts, wanted.filter.outcome),
        every=counts.get(None, Count(0)),
        asked=wanted,
        paused=wanted.paused,
        windows=WINDOWS,
        rules=_rules(site),
        reasons=sorted(str(one) for one in Reason),
        zones=await zones_of(site, [one.recipient for one in page.rows]),
        stream=f"/live/decisions?{query}&top={top or now}" if first and wanted.paused is None else "",
        says=_says(page),
        unknown=unknown,
        nothing=None if page.rows else await nothing(site, wanted.filter.rule, "decision"),
        as_text=as_text,
    )


def as_text(at: Micros | None) -> str:
    """Return an instant as a field for date and time takes it, in UTC."""
    return "" if at is None else f"{datetime.fromtimestamp(at // SECOND, UTC):%Y-%m-%dT%H:%M}"


async def nothing(site: Site, rule: str | None, kind: str) -> tuple[str, str]:
    """Return what is said where a list is empty, and what helps: of a rule that nobody knows, which one was meant."""
    names = list(site.rules().by_id)
    if rule and rule not in names:
        ever = await site.ledger.decisions(Filter(rule=rule), limit=1)
        if not ever.rows and ever.looked_to is None:
            return f"{no_rule(rule, names)}.", "The page of the rules has the names of all."
    return f"No {kind} fits.", "Take a filter away, or look further back."


def _rules(site: Site) -> list[str]:
    found = sorted(site.rules().by_id)
    return found if len(found) <= MOST_RULES else []


def _tabs(counts: Mapping[Outcome | None, Count], chosen: Outcome | None) -> list[Mapping[str, Any]]:
    return [
        {"word": word, "outcome": str(one), "count": str(counts.get(one, Count(0)))}
        for word, one in TABS
        if counts.get(one, Count(0)).number or one is chosen or one in (Outcome.SENT, Outcome.SUPPRESSED)
    ]


def _says(page: Page[Decision]) -> str:
    if page.looked_to is not None:
        return "Few fit. Older ones may: this page has looked at the newest part, and goes on with Older."
    return "A decision may lead to several messages, so these counts differ from the overview."


async def _changes(site: Site, counting: Counts, params: Mapping[str, str]) -> Told:
    """Return how many are newer than the top of a list, and the counts of its tabs."""
    wanted = asked(params, site.now())
    top = read_key(params.get("top", ""))
    found = await site.ledger.decisions(replace(wanted.filter, until=None), after=top, limit=MOST_NEWER)
    counts = await counting(wanted.filter)
    figures = {f"count-{one}": str(counts.get(one, Count(0))) for _, one in TABS}
    figures["count-all"] = str(counts.get(None, Count(0)))
    return {"figures": figures, "newer": newer(len(found.rows))}
