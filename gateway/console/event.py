"""`/events/{id}`: what came of an event: its fields, what every rule made of it, the decisions, and what came closest."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.console.decision import OUTCOMES, TRUTHS, terms_of
from gateway.console.headers import HEADERS
from gateway.console.marks import href
from gateway.console.message import MINUTE, REVEAL
from gateway.console.pages import Pages
from gateway.console.session import fields, principal, require
from gateway.explaining.reading import books_of
from gateway.site import Site
from streams.explaining.candidate import ICONS
from streams.explaining.event import EventStory, event_story
from streams.processors.audit import audit
from tidings.ports import Body, Transaction
from tidings.scopes import read_reason

LONGEST_ID = 200


def routes(site: Site, pages: Pages) -> APIRouter:
    """Return the page, and what reveals the event's personal fields."""
    router = APIRouter()
    books = books_of(site)

    async def look(name: str, *, reveal: bool = False) -> EventStory:
        known = len(name) <= LONGEST_ID and name.isprintable()
        found = await event_story(books, name, reveal=reveal) if known else None
        if found is None:
            raise HTTPException(404, "There is no event with this id among those that are kept")
        return found

    def shown(request: Request, found: EventStory, *, revealed: bool = False, wrong: str = "") -> Response:
        return pages.render(
            request, "event.html", here="/decisions", status=422 if wrong else 200, e=found, outcomes=OUTCOMES,
            truths=TRUTHS, now=site.now(), terms_of=terms_of, icons=ICONS, revealed=revealed, wrong=wrong,
            may=principal(request).may(REVEAL), hidden=found.seen.hides,
        )  # fmt: skip

    @router.get("/events/{name:path}")
    async def page(name: str, request: Request) -> Response:
        found = await look(name)
        if name != found.event.ref:
            # Of several events with one id a link keeps showing the same.
            return RedirectResponse(href("events", found.event.ref), 303, HEADERS)
        return shown(request, found)

    @router.post("/events/{name:path}", dependencies=[Depends(require(REVEAL))])
    async def reveal(name: str, request: Request) -> Response:
        """What is personal in it, written down with the reason before it is shown."""
        found = await look(name)
        try:
            reason = read_reason(fields(request).get("reason", ""))
        except ValueError as fault:
            return shown(request, found, wrong=str(fault))
        await site.store.run(written(principal(request).name, found, reason))
        answer = shown(request, await look(name, reveal=True), revealed=True)
        # Without script as well: after a minute the page without it takes its place.
        answer.headers["refresh"] = f"{MINUTE}; url={href('events', found.event.ref)}"
        return answer

    return router


def written(who: str, found: EventStory, reason: str) -> Body[None]:
    """Return the body that writes down who looked at what is personal in an event; not what it is."""

    def body() -> Transaction[None]:
        about = {"event": found.event.ref, "type": found.event.type, "reason": reason}
        if found.customer is not None:
            about["recipient"] = f"customer:{found.customer}"
        yield from audit("events reveal", who, about)

    return body
