"""Pages in the console's frame: templates, security headers, static files under names that change with their bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from gateway.console.headers import HEADERS
from gateway.console.live import Live
from gateway.console.marks import VIEW, View, marks
from gateway.console.session import Entrance, Session
from gateway.console.standing import Standing, Standings
from gateway.explaining.counting import Counting
from gateway.explaining.reading import books_of
from gateway.site import Site

FOLDER = Path(__file__).parent / "static"
KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
FOR_EVER = "public, max-age=31536000, immutable"
MAX_PARAMS = 20
"""Parameters of a URL that a page keeps."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One of the rail."""

    href: str
    icon: str
    word: str
    counted: str = ""
    """Name of the figure of what waits there for a person."""
    scope: str = "decisions"


ENTRIES = (
    Entry("/", "home", "Overview"),
    Entry("/decisions", "decide", "Decisions"),
    Entry("/messages", "msg", "Messages"),
    Entry("/rules", "rule", "Rules"),
    Entry("/dead-letters", "letter", "Dead letters", "dead_letters", "jobs"),
    Entry("/kills", "pause", "Stop", "kills"),
)


@dataclass(frozen=True, slots=True)
class Static:
    """One file, in memory: there are few, and they are small."""

    body: bytes
    kind: str
    digest: str


def static_of(path: Path) -> Static:
    """Read a file; a sheet without its comments and line ends, which nobody reads there."""
    body = path.read_bytes()
    if path.suffix == ".css":
        body = re.sub(rb"/\*.*?\*/|\s*\n\s*", b"", body, flags=re.DOTALL)
    return Static(body, KINDS[path.suffix[1:]], sha256(body).hexdigest()[:16])


class Pages:
    """Renders."""

    def __init__(self, site: Site, entrance: Entrance) -> None:
        self.site = site
        self.entrance = entrance
        self.standings = Standings()
        self.live = Live(entrance.lasts)
        self.counting = Counting(books_of(site))
        self.files = {path.name: static_of(path) for path in sorted(FOLDER.iterdir()) if path.suffix[1:] in KINDS}

    @cached_property
    def environment(self) -> Environment:
        """Return the templates; what a page forgets to give is an error, not a blank."""
        made = Environment(
            loader=PackageLoader("gateway.console"), autoescape=True, undefined=StrictUndefined, auto_reload=False,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        made.globals.update(marks(self.static), static=self.static)
        return made

    def static(self, name: str) -> str:
        """Return the URL of a file; it changes with the file."""
        return f"/static/{self.files[name].digest}/{name}"

    def file(self, digest: str, name: str) -> Response | None:
        """Return a file. Asked for under another digest, as while versions change, it may not be kept."""
        found = self.files.get(name)
        if found is None:
            return None
        kept = FOR_EVER if digest == found.digest else "no-cache"
        headers = {**HEADERS, "cache-control": kept, "etag": f'"{found.digest}"'}
        return Response(found.body, 200, headers, found.kind)

    async def stand(self, request: Request) -> None:
        """Look at what the frame itself shows."""
        request.state.standing = await self.standings()

    def render(self, request: Request, template: str, *, here: str = "", status: int = 200, **context: Any) -> Response:
        """Return a page. `here` is the entry of the rail to which it belongs.

        Templates have, beside `context`: now, times (how instants are shown), path, params, principal, and the marks.
        """
        session: Session | None = getattr(request.state, "session", None)
        params = dict(list(request.query_params.items())[:MAX_PARAMS])
        csrf = "" if session is None else self.entrance.csrf(session.binding)
        view = View(self.site.now(), request.url.path, params, csrf)
        before = VIEW.set(view)
        try:
            found = self.environment.get_template(template)
            text = found.render(self._frame(request, session, view, here) | context)
        finally:
            VIEW.reset(before)
        return Response(text, status, HEADERS, "text/html; charset=utf-8")

    def _frame(self, request: Request, session: Session | None, view: View, here: str) -> dict[str, Any]:
        standing: Standing = getattr(request.state, "standing", None) or Standing()
        return {
            "here": here,
            "path": view.path,
            "params": view.params,
            "times": view.times,
            "now": view.now,
            "installation": "" if session is None else self.site.name,
            "rule_set": "" if session is None else self.site.rules().hash,
            "session": session,
            "principal": None if session is None else session.principal,
            "navigation": [
                {"href": one.href, "icon": one.icon, "word": one.word, "count": standing.waiting.get(one.counted, 0)}
                for one in ENTRIES
                if session is None or session.principal.may(one.scope)
            ],
            "banners": standing.banners,
            "outside": False,
        }
