"""`/keys`: what the keyboard does here; each key can be switched off."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.console.pages import Pages
from gateway.site import Site

KEYS = (
    ("/", "go to the field that finds"),
    ("j", "next row of a list"),
    ("k", "row before"),
    ("?", "this page"),
)
FIXED = (("Enter", "open the row"), ("Esc", "leave the field; close what explains a time"))
"""They do what they do everywhere, and are not switched off."""


def routes(_: Site, pages: Pages) -> APIRouter:
    """Return the page."""
    router = APIRouter()

    @router.get("/keys")
    async def keys(request: Request) -> Response:
        return pages.render(request, "keys.html", keys=KEYS, fixed=FIXED)

    return router
