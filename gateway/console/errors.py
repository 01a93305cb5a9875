"""What the console says when something goes wrong: what failed, what still holds, what to do, and a number to name it by.

The page keeps its frame. Machines get the same as RFC 9457 problems (`gateway.http.problems`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.console.pages import Pages

MACHINES = ("/v1", "/healthz", "/readyz", "/metrics", "/openapi.json", "/problems", "/static", "/live")


@dataclass(frozen=True, slots=True)
class Words:
    """What a page of an error says."""

    failed: str
    holds: str
    do: str


WORDS: Mapping[int, Words] = {
    400: Words(
        "The request could not be understood",
        "Nothing was changed.",
        "Go back and try it from the page, or mend the address.",
    ),
    403: Words("You may not do this here", "Nothing was changed.", "Ask whoever gives out keys for one that may."),
    404: Words(
        "There is nothing here",
        "Ids are whole or not at all: one that was cut in the middle leads nowhere. Old decisions end with the log.",
        "Look for the customer, order, event or id in the field beside.",
    ),
    405: Words("This address takes no such request", "Nothing was changed.", "Go back and try it from the page."),
    413: Words("That was too much in one form", "Nothing was changed.", "Send less."),
    415: Words("That was no form of this console", "Nothing was changed.", "Go back and try it from the page."),
    422: Words("Something in the address cannot be read", "Nothing was changed.", "Begin at the list again."),
    500: Words(
        "Something went wrong in here",
        "Events are taken, decided and delivered all the same: pages only look at them.",
        "Try once more. If it comes back, the log says more under this number.",
    ),
    503: Words(
        "The store does not answer now",
        "What was answered as taken is durable, and goes on where it stopped when the store is back.",
        "Try again in some seconds. 'tidings doctor' says where it looked and what it found.",
    ),
}


def wants_page(path: str, accept: str) -> bool:
    """Return whether a person looks at the answer."""
    machine = any(path == one or path.startswith(f"{one}/") for one in MACHINES)
    return not machine and "text/html" in accept


def page(pages: Pages, request: Request, status: int, request_id: str, detail: str = "") -> Response:
    """Return the page of an error; where nobody is signed in, the way to the sign-in."""
    if status == 401:  # noqa: PLR2004 - the status
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        back = f"?next={quote(wanted, safe='/')}" if request.method in ("GET", "HEAD") and wanted != "/" else ""
        return RedirectResponse(f"/sign-in{back}", 303, {"cache-control": "no-store"})
    words = WORDS.get(status) or WORDS[500 if status >= 500 else 400]  # noqa: PLR2004 - classes of statuses
    return pages.render(
        request, "error.html", status=status, code=status, words=words, detail=detail, request_id=request_id
    )
