"""`/customers/{id}`: why they did not hear about something, what is still to come, what they were told, how to reach them."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.console.headers import HEADERS
from gateway.console.marks import href
from gateway.console.pages import Pages
from gateway.console.session import fields
from gateway.explaining.reading import books_of
from gateway.site import Site
from streams.explaining import says
from streams.explaining.candidate import ICONS
from streams.explaining.customer import customer
from streams.explaining.why_not import NoSuchRule, why_not
from streams.ledger.rows import Filter, read_key
from streams.wording import moment
from tidings.event import DAY

ROWS = 20
LONGEST_ID = 200
WINDOWS = {"1d": ("in the last day", DAY), "7d": ("in the last 7 days", 7 * DAY), "30d": ("in the last 30 days", 30 * DAY),
           "90d": ("in the last 90 days", 90 * DAY)}  # fmt: skip
ANSWERS = 12
"""Rules whose answers are shown."""
NO_ADDRESS = "an address is no order, invoice or event: give the number of one of those"
CHOICES = {"yes": ("sent", "yes"), "no": ("none", "no"), "unsaid": ("none", "dash"), "locked": ("none", "on")}


def routes(site: Site, pages: Pages) -> APIRouter:
    """Return the page."""
    router = APIRouter()
    books = books_of(site)

    @router.get("/customers/{name:path}")
    async def show(name: str, request: Request) -> Response:
        return await page(name, request, request.query_params)

    @router.post("/customers/{name:path}")
    async def ask(name: str, request: Request) -> Response:
        """What was typed is looked at first: a mail address never stands in a URL."""
        form = fields(request)
        params = {"ask": "1", **{word: form.get(word, "").strip()[:LONGEST_ID] for word in ("rule", "about", "window")}}
        if is_address(params):
            return await page(name, request, params, status=422)
        return RedirectResponse(f"{href('customers', name)}?{urlencode(params)}", 303, HEADERS)

    async def page(name: str, request: Request, params: Mapping[str, str], status: int = 200) -> Response:
        if len(name) > LONGEST_ID or not name.isprintable():
            raise HTTPException(404, "There is no customer with this id")
        once = books.once()
        found = await customer(once, name)
        rules = await books.active()
        window = params.get("window", "7d") if params.get("window") in WINDOWS else "7d"
        answer, wrong = None, ""
        if is_address(params):
            wrong = NO_ADDRESS
            params = {word: value for word, value in params.items() if word not in ("rule", "about")}
        elif "ask" in params:
            asked = _text(params.get("rule", "")), _text(params.get("about", ""))
            now = books.now()
            try:
                answer = await why_not(
                    once, name, rule=asked[0], about=asked[1], since=now - WINDOWS[window][1], until=now
                )  # fmt: skip
            except NoSuchRule as fault:
                wrong = str(fault)
        before, after = (read_key(params[word]) if word in params else None for word in ("before", "after"))
        told = await site.ledger.decisions(
            Filter(recipient=f"customer:{name}"), before=before, after=None if before else after, limit=ROWS
        )
        telling = [one for one in rules.active if one.to.kind == "customer"]
        return pages.render(
            request, "customer.html", status=status, c=found, answer=answer, wrong=wrong, windows=WINDOWS, window=window, icons=ICONS,
            rules=sorted(telling, key=lambda one: one.title or one.id), told=told, named=says.NAMED, brief=says.brief,
            local=moment(books.now(), found.person.timezone), choices=CHOICES, answers=ANSWERS,
            asked={"rule": params.get("rule", "")[:LONGEST_ID], "about": params.get("about", "")[:LONGEST_ID]},
        )  # fmt: skip

    return router


def is_address(params: Mapping[str, str]) -> bool:
    """Return whether what is asked about may be somebody's mail address."""
    return any("@" in params.get(word, "") for word in ("rule", "about"))


def _text(value: str) -> str | None:
    value = value.strip()[:LONGEST_ID]
    return value if value and value.isprintable() else None
