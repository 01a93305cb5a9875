"""The console: every page of people, in one router. A page is a module with `routes(site, pages)` and a template."""

from __future__ import annotations

import secrets
from http import HTTPStatus

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from gateway.console import (
    audit,
    customer,
    decision,
    decisions,
    errors,
    event,
    finding,
    keyboard,
    kills,
    letters,
    message,
    messages,
    near,
    overview,
    parameters,
    rules,
)
from gateway.console.headers import HEADERS
from gateway.console.pages import Pages
from gateway.console.session import Entrance, fields_of, require, sign_in, sign_out
from gateway.http.bounds import Refuse, plainly
from gateway.links.app import is_customers, refused
from gateway.site import Site

LOOK = "decisions"
PAGES = (
    (overview, LOOK), (decisions, LOOK), (decision, LOOK), (event, LOOK), (messages, LOOK), (message, LOOK), (customer, LOOK), (rules, LOOK), (near, LOOK),
    (finding, LOOK), (kills, LOOK), (letters, "jobs"), (audit, "admin"), (keyboard, LOOK),
)  # fmt: skip
"""Modules with `routes(site, pages) -> APIRouter`, and the scope without which none of their routes answers; what changes
something asks for more. Of two routes that match, the first is taken."""


def console(site: Site) -> Pages:
    """Return what the pages of an installation are rendered with."""
    return Pages(site, Entrance(site.door, site.secret or secrets.token_bytes(32), secure=site.is_over_tls))


def routes(site: Site, pages: Pages | None = None) -> APIRouter:
    """Return the router of all pages."""
    pages = pages or console(site)
    inside = APIRouter(dependencies=[Depends(pages.entrance.enter), Depends(pages.stand)], include_in_schema=False)
    outside = APIRouter(include_in_schema=False)
    _signing(outside, pages)

    @outside.get("/static/{digest}/{name}")
    async def static(digest: str, name: str, request: Request) -> Response:
        found = pages.file(digest, name)
        if found is None:
            raise HTTPException(404)
        if request.headers.get("if-none-match") == found.headers["etag"]:
            return Response(status_code=304, headers=dict(found.headers))
        return found

    for page, scope in PAGES:
        inside.include_router(
            page.routes(site, pages), dependencies=[Depends(require(scope)), Depends(parameters.known)]
        )
    outside.include_router(inside)
    return outside


def _signing(router: APIRouter, pages: Pages) -> None:
    """Add signing in and out. The key stands in the body of a form, never in a URL."""
    entrance = pages.entrance

    @router.get("/sign-in")
    async def ask(request: Request, next: str = "/") -> Response:  # noqa: A002 - the word in the URL
        return pages.render(request, "sign-in.html", next=inner(next), wrong=False, outside=True)

    @router.post("/sign-in")
    async def take(request: Request) -> Response:
        form = await fields_of(request)
        holder = await entrance.door.holder(form.get("key", "").strip())
        if holder is None or holder.key is None or not holder.may(LOOK):
            back = inner(form.get("next", "/"))
            return pages.render(request, "sign-in.html", status=403, next=back, wrong=True, outside=True)
        response = RedirectResponse(inner(form.get("next", "/")), 303, HEADERS)
        sign_in(entrance, response, holder.key)
        return response

    @router.post("/sign-out", dependencies=[Depends(entrance.enter)])
    async def leave(request: Request) -> Response:
        response = RedirectResponse("/sign-in", 303, HEADERS)
        await sign_out(entrance, request, response)
        return response


def inner(path: str) -> str:
    """Return a path of ours to go on to; anything else is the overview: nobody is sent elsewhere from here."""
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if plain and "\\" not in path else "/"


def in_frame(pages: Pages) -> Refuse:
    """Return what answers with a page where a person asked, and with a problem else."""

    def refuse(scope: Scope, status: int, request_id: str, headers: dict[str, str]) -> Response:
        request = Request(scope)
        if not errors.wants_page(request.url.path, request.headers.get("accept", "")):
            return plainly(scope, status, request_id, headers)
        if is_customers(request.url.path):
            found = refused(pages, request, status)
            found.headers.update(headers)
            return found
        detail = str(scope["state"].get("detail", ""))
        plain = detail == HTTPStatus(status).phrase
        found = errors.page(pages, request, status, request_id, "" if plain else detail)
        found.headers.update(headers)
        return found

    return refuse
