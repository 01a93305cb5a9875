"""`/u/{token}`: a customer ends a topic with one click (RFC 8058), from a mail program or from the page; no login.

The token is all the right that is needed, and gives no other. GET shows, and changes nothing: scanners of mail follow
links. POST is answered once the choice is durable and in force; again, it gives the same answer. There is no way back
by a click: whoever finds such a link in a forwarded mail can make less come, never more. Whatever goes wrong below `/u` is
told to a customer, without a word of the console.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.console.headers import HEADERS
from gateway.console.pages import Pages
from gateway.links.brand import Brand
from gateway.links.words import WORDS, language_of
from gateway.site import Site
from handlers.channels import unsubscribe
from handlers.channels.unsubscribe import BadLink, Unsubscribe
from handlers.templates import sentence_of
from streams.processors.choices import Choice, is_off, switch_off
from streams.registry.client import RegistryUnavailable
from tidings.ports import StoreUnavailable
from tidings.rule import Topic

logger = logging.getLogger("tidings.http")

FIELD, CLICK = "List-Unsubscribe", "One-Click"
MAX_FIELDS = 10
MAX_PART = 1024
PRIVATE = {"x-robots-tag": "noindex, nofollow"}


@dataclass(frozen=True, slots=True)
class _Known:
    """A link that is ours and good."""

    choice: Choice
    topic: Topic


def routes(site: Site, pages: Pages) -> APIRouter:
    """Return the customers' router."""
    router = APIRouter(include_in_schema=False)
    sheet = site.brand.sheet

    @router.get("/u/brand.css")
    async def brand() -> Response:
        return Response(sheet, 200, {**HEADERS, "cache-control": "public, max-age=300"}, "text/css; charset=utf-8")

    # The rest of the path, whole: a link that was cut after '/u', or has a '/' too many, is damaged like any other.
    @router.api_route("/u", methods=["GET", "HEAD"])
    @router.api_route("/u/{token:path}", methods=["GET", "HEAD"])
    async def show(request: Request) -> Response:
        try:
            found = _known(site, _token(request))
            off = await site.store.read(is_off(found.choice))
        except BadLink as fault:
            return _bad(pages, request, site.brand, fault)
        except StoreUnavailable:
            return _page(pages, request, site.brand, 503, "away", None)
        return _page(pages, request, site.brand, 200, _word(found, off=off), found.topic)

    @router.post("/u")
    @router.post("/u/{token:path}")
    async def click(request: Request) -> Response:
        try:
            found = _known(site, _token(request))
            if not await _is_click(request):
                return _page(pages, request, site.brand, 400, "click", found.topic)
            if not found.topic.locked:
                await switch_off(site.store, site.codec, site.publish, found.choice)
        except BadLink as fault:
            return _bad(pages, request, site.brand, fault)
        except (StoreUnavailable, RegistryUnavailable) as fault:
            logger.warning("a choice was not taken", extra={"fields": {"why": type(fault).__name__}})
            return _page(pages, request, site.brand, 503, "away", None)
        return _page(pages, request, site.brand, 200, _word(found, off=True), found.topic)

    return router


def is_customers(path: str) -> bool:
    """Return whether a path is for customers."""
    return path == "/u" or path.startswith("/u/")


def refused(pages: Pages, request: Request, status: int) -> Response:
    """Return the page for what none of the routes has answered: a method that there is not, a form too large, a fault of ours."""
    word = "away" if status >= 500 else "damaged" if status == 404 else "click"  # noqa: PLR2004 - classes of statuses
    return _page(pages, request, pages.site.brand, status, word, None)


def _token(request: Request) -> str:
    return str(request.path_params.get("token", ""))


def _known(site: Site, token: str) -> _Known:
    """Return what a token says.

    Raises:
        BadLink: it is not ours, or over.
    """
    key = getattr(site.render, "key", None)
    if not isinstance(key, bytes):
        raise BadLink("forged")
    said: Unsubscribe = unsubscribe.read(token, key, site.now())
    topic = site.rules().notice_topics.get(said.topic)
    # A topic that is in no file any more can be switched off all the same: it may come back.
    return _Known(Choice(said.tenant, said.customer, said.topic), topic or Topic(said.topic, ""))


def _word(found: _Known, *, off: bool) -> str:
    return "locked" if found.topic.locked else "off" if off else "ask"


async def _is_click(request: Request) -> bool:
    """Return whether the body is that of RFC 8058, in either of its two forms."""
    try:
        async with request.form(max_files=0, max_fields=MAX_FIELDS, max_part_size=MAX_PART) as form:
            return form.get(FIELD) == CLICK
    except HTTPException:
        return False


def _bad(pages: Pages, request: Request, brand: Brand, fault: BadLink) -> Response:
    expired = fault.reason == "expired"
    return _page(pages, request, brand, 410 if expired else 404, "expired" if expired else "damaged", None)


def _page(pages: Pages, request: Request, brand: Brand, status: int, word: str, topic: Topic | None) -> Response:
    language = language_of(request.headers.get("accept-language"))
    about = "" if topic is None else sentence_of(topic, language) or topic.name
    found = pages.render(
        request, "unsubscribe.html", status=status, word=word, about=about, brand=brand, language=language,
        words=WORDS[language],
    )  # fmt: skip
    found.headers.update({**PRIVATE, "content-language": language, "vary": "accept-language"})
    if status == 503:  # noqa: PLR2004 - the store is away
        found.headers["retry-after"] = "10"
    return found
