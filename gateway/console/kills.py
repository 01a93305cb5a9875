"""`/kills`: what is stopped, how much waits, and the button that stops; on every page a line while something is.

Each button says how much it concerns, wants a reason, and is written down. Releasing and dropping are of one kill: a
page that was open for long ends no later one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.console.headers import HEADERS
from gateway.console.marks import span, utc
from gateway.console.pages import Pages
from gateway.console.session import fields, principal, require
from gateway.console.standing import Attention, Standing
from gateway.site import Site
from gateway.stopping import NoScope, Stopping, ending_in_words, id_of, kept_in_words
from streams.processors.endings import DROP, RELEASE
from streams.processors.kills import Kill
from streams.stores.counts import Unsent, Waits
from tidings.gates import GROUND
from tidings.scopes import ALL, CHANNELS, read_reason, said, scope_of

HERE = "/kills"
PARTS = 12
"""Rules and channels that are listed with what waits of them, those with most first."""
KINDS = ("rule", "tenant")
"""What is stopped by a name that is typed; of channels there are few, and one is chosen."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kill, as the page shows it."""

    id: str
    kill: Kill
    said: str
    waits: Waits | None
    kept: tuple[str, str]
    """What other kills mean for a release and for a drop of it, in words."""


@dataclass(frozen=True, slots=True)
class Part:
    """What waits of one rule or channel."""

    kind: str
    name: str
    waits: int


def routes(site: Site, pages: Pages) -> APIRouter:
    """Return the page and its forms."""
    router = APIRouter()
    stopping = Stopping(site)
    frame = pages.standings.add(lambda: _banner(site, stopping))
    allowed = [Depends(require("kill"))]

    async def page(
        request: Request, status: int = 200, *, wrong: str = "", given: Mapping[str, str] | None = None
    ) -> Response:
        # The frame of this page may not say of a second ago what the page says is over.
        frame.forget()
        await pages.stand(request)
        standing, counts = await stopping.standing(), await stopping.unsent()
        scopes = [one.scope for one in standing]
        rows = [
            Row(
                id_of(one), one, said(one.scope), None if counts is None else counts.of(one.scope),
                (kept_in_words(RELEASE, one.scope, counts, scopes), kept_in_words(DROP, one.scope, counts, scopes)),
            )
            for one in standing
        ]  # fmt: skip
        ending = [(said(one.scope), ending_in_words(one), one) for one in await stopping.ending()]
        return pages.render(
            request, "kills.html", here=HERE, status=status, rows=rows, ending=ending, all=None if counts is None else counts.of(ALL),
            stopped=any(one.scope == ALL for one in standing), parts=_parts(counts), kinds=KINDS, channels=CHANNELS,
            may=principal(request).may("kill"), wrong=wrong, given=given or dict(request.query_params),
        )  # fmt: skip

    @router.get(HERE)
    async def show(request: Request) -> Response:
        return await page(request)

    @router.post(HERE, dependencies=allowed)
    async def stop(request: Request) -> Response:
        form = fields(request)
        try:
            scope = scope_of(form.get("kind") or None, form.get("name", "").strip())
            _, new = await stopping.kill(scope, principal(request).name, read_reason(form.get("reason", "")))
        except (NoScope, ValueError) as fault:
            return await page(request, 422, wrong=str(fault), given=form)
        return _back("stopped" if new else "before")

    @router.post(f"{HERE}/{{name}}/{{verb}}", dependencies=allowed)
    async def end(request: Request, name: str, verb: str) -> Response:
        one = await stopping.find(name, verb)
        act = {RELEASE: stopping.release, DROP: stopping.drop}.get(verb)
        if one is None or one.scope == GROUND or act is None:
            return await page(request, 404, wrong="that kill has ended: somebody was faster, or the page was old")
        try:
            done = await act(one, principal(request).name, read_reason(form_reason(request)))
        except ValueError as fault:
            return await page(request, 422, wrong=str(fault))
        if done is None:
            return await page(request, 404, wrong="that kill has ended: somebody was faster")
        if not done.is_over:
            return _back("releasing" if verb == RELEASE else "dropping")
        return _back("released" if verb == RELEASE else "dropped")

    return router


def form_reason(request: Request) -> str:
    """Return the reason that stands in a form."""
    return fields(request).get("reason", "")


def _back(done: str) -> Response:
    """Return to the page by a GET, so that loading it again does nothing again."""
    return RedirectResponse(f"{HERE}?done={done}", 303, HEADERS)


def _parts(counts: Unsent | None) -> list[Part]:
    found: Counter[tuple[str, str]] = Counter()
    for _, rule, channel, state, reason, count in () if counts is None else counts.rows:
        if state in ("pending", "claimed") or reason == "killed":
            found["channel", channel] += count
            found["rule", rule] += count
    listed = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:PARTS]
    return [Part(kind, name, count) for (kind, name), count in listed]


async def _banner(site: Site, stopping: Stopping) -> Standing:
    standing = await stopping.standing()
    banners = [
        Attention(
            "dead",
            f"Stopped: {said(one.scope)}, for {span(max(0, site.now() - one.at))} (since {utc(one.at)}) by {one.by}"
            + (f": {one.reason}" if one.reason and one.is_ours else ""),
            HERE,
            "What waits",
        )
        for one in standing[:3]
    ]
    if len(standing) > len(banners):
        banners.append(Attention("dead", f"{len(standing) - len(banners)} more are stopped", HERE, "All"))
    return Standing({"kills": len(standing)}, banners)
