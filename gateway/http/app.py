"""The FastAPI application: operations of every process, and where a site is given the ways in, the links and the console."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.console.app import console, in_frame
from gateway.console.pages import Pages
from gateway.http.bounds import MAX_BODY, Bounded, Refuse, path_of, plainly
from gateway.http.document import document
from gateway.http.health import KEEP, PATIENCE, Limits, Readiness, alive, body_of
from gateway.http.look import Asked, Look, Progress, Repeating, ways_of
from gateway.http.problems import CONTENT_TYPE as PROBLEM
from gateway.http.problems import HEADERS, Refused, page, problem
from gateway.intake.bounds import EVENTS, MOST_BODY
from gateway.intake.judging import public
from gateway.metrics import CONTENT_TYPE, Metrics, State
from gateway.site import Site
from streams.stores.counts import Waiting
from tidings.ports import StoreUnavailable

logger = logging.getLogger("tidings.http")

TLS_ONLY = {"strict-transport-security": "max-age=31536000"}
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
WITHIN = 0.95
"""Seconds for a whole answer."""
MOST_MISTAKES = 20
OTHERWISE = "is not as /openapi.json says"
SAID = {
    "missing": "is missing", "extra-forbidden": "has a field that is not known here", "json-invalid": "is no JSON",
    "string-type": "has to be a text", "string-too-short": "must not be empty", "string-too-long": "is too long",
}  # fmt: skip


def create_app(
    engine: Progress,
    metrics: Metrics,
    limits: Limits | None = None,
    *,
    site: Site | None = None,
    max_body: int = MAX_BODY,
) -> FastAPI:
    """Return the application for a running engine; with a site the whole edge, else health and metrics.

    FastAPI's own pages load from a CDN and are off; so is its telemetry, which the environment could turn on, and the
    redirect of a path with one slash too many.
    """
    app = FastAPI(
        title="Tidings", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, telemetry=NO_TELEMETRY
    )  # fmt: skip
    pages = None if site is None else console(site)
    larger = {EVENTS: MOST_BODY} if site is not None else {}
    refuse, headers = (plainly if pages is None else in_frame(pages)), (TLS_ONLY if site and site.is_over_tls else {})
    protect(app, max_body=max_body, larger=larger, refuse=refuse, headers=headers)
    bounds = limits or Limits()
    keys, speed = (None, 1) if site is None else (site.door.keys, site.speed)
    readiness = Readiness(engine, bounds, lambda: metrics.refused, keys, speed)

    counted = Asked(lambda: engine.waiting(within=PATIENCE), patience=PATIENCE, keep=KEEP)

    async def written() -> bytes:
        seen, counts = await asyncio.gather(readiness.look(), counted(), return_exceptions=True)
        ages = {name: max(0.0, time.monotonic() - since) for name, since in engine.progress.items()}
        state = State(
            engine.rules, ages, seen if isinstance(seen, Look) else None, counts if isinstance(counts, Waiting) else None,
            engine.store.repeats if isinstance(engine.store, Repeating) else {}, engine.skews, engine.lags,
            metrics.clock(), {name: one.breaker.is_open for name, one in ways_of(engine).items()},
        )  # fmt: skip
        return await asyncio.to_thread(metrics.text, state)

    exposed = Asked(written, patience=WITHIN, keep=KEEP)

    @app.api_route("/healthz", methods=["GET", "HEAD"], include_in_schema=False)
    async def healthz() -> Response:
        status, body = body_of("alive", alive(engine, bounds))
        return JSONResponse(body, status, HEADERS)

    @app.api_route("/readyz", methods=["GET", "HEAD"], include_in_schema=False)
    async def readyz() -> Response:
        status, body = body_of("ready", await readiness())
        return JSONResponse(body, status, HEADERS)

    @app.get("/metrics", include_in_schema=False)
    async def metrics_text(request: Request) -> Response:
        try:
            return Response(await exposed(), 200, {**HEADERS, "content-type": CONTENT_TYPE})
        except TimeoutError:
            return problem(503, request.state.request_id)

    if site is not None and pages is not None:
        join(app, site, pages)
    return app


def join(app: FastAPI, site: Site, pages: Pages) -> None:
    """Let the ways in, the links in messages, and what people look at, join an application.

    Their routes become the application's own: what `include_router` makes looks for changes of itself at every request.
    """
    from gateway.auditing import routes as auditing
    from gateway.console.app import routes as console
    from gateway.explaining.app import routes as explaining
    from gateway.intake.app import routes as intake
    from gateway.intake.published import components
    from gateway.kills.app import routes as kills
    from gateway.links.app import routes as links

    app.state.beside = (site.proof.forever, site.door.keys.watch)

    # What comes most often is looked for first.
    app.router.routes[:0] = intake(site).routes
    app.router.routes += kills(site).routes
    app.router.routes += links(site, pages).routes
    app.router.routes += explaining(site).routes
    app.router.routes += auditing(site).routes
    app.router.routes += console(site, pages).routes
    document(app, components(public(site.contracts)))


def protect(
    app: FastAPI,
    *,
    max_body: int = MAX_BODY,
    larger: Mapping[str, int] | None = None,
    refuse: Refuse = plainly,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Bound what an application takes, and make problems (or pages) of everything that it refuses.

    `larger` has the paths whose bodies may have more bytes; `headers` are of every answer.
    """
    app.state.refuse = refuse
    app.state.ending = asyncio.Event()
    app.add_middleware(Bounded, max_body=max_body, larger=larger or {}, refuse=refuse, headers=headers or {})
    app.add_exception_handler(Refused, _told)
    app.add_exception_handler(StoreUnavailable, _away)
    app.add_exception_handler(TimeoutError, _away)  # a store that does not answer in time is away

    @app.get("/problems/{code}", include_in_schema=False)
    async def problem_page(code: str, request: Request) -> Response:
        return page(code) or problem(404, request.state.request_id)

    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)


async def _told(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, Refused)
    return fault.response(request.state.request_id)


async def _away(request: Request, fault: Exception) -> Response:
    # It is known, and says itself in the log: one line, without the way through our code.
    fields = {"request": request.state.request_id, "path": path_of(request.scope), "why": str(fault)}
    logger.warning("store away", extra={"fields": fields})
    refuse: Refuse = request.app.state.refuse
    found = refuse(request.scope, 503, request.state.request_id, {"retry-after": "5"})
    if found.headers["content-type"] != PROBLEM:
        return found
    return problem(503, request.state.request_id, {"retry-after": "5"}, code="store-unavailable")


async def _refused(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, HTTPException)
    request.scope["state"]["detail"] = fault.detail
    headers = dict(fault.headers or {})
    if fault.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (found := methods(request.app, request.scope["path"])):
        headers["Allow"] = ", ".join(sorted(found))
    refuse: Refuse = request.app.state.refuse
    return refuse(request.scope, fault.status_code, request.state.request_id, headers)


def methods(app: FastAPI, path: str) -> set[str]:
    """Return every method that a path has; the framework names those of the first route that it met."""
    inside = [
        one for outer in app.routes for one in getattr(getattr(outer, "original_router", None), "routes", [outer])
    ]
    return {
        name for one in inside if isinstance(one, Route) and one.path_regex.match(path) for name in one.methods or ()
    }


async def _invalid(request: Request, fault: Exception) -> Response:
    refuse: Refuse = request.app.state.refuse
    found = refuse(request.scope, 422, request.state.request_id, {})
    if found.headers["content-type"] != PROBLEM or not isinstance(fault, RequestValidationError):
        return found
    return problem(422, request.state.request_id, errors=[_mistake(one) for one in fault.errors()[:MOST_MISTAKES]])


def _mistake(one: Mapping[str, Any]) -> dict[str, str]:
    """Return where something is wrong, and what; what was sent is not repeated: it may hold anything."""
    part, *where = one["loc"]
    code = str(one["type"]).replace("_", "-")
    if code == "extra-forbidden" or part != "body":
        # A name that we do not know is theirs; of a path and a query the names are ours.
        name = f"the {part}" if part == "body" else f"{part} {' '.join(map(str, where))}"
        return {"pointer": "", "code": code, "detail": f"{name} {SAID.get(code, OTHERWISE)}"}
    pointer = "" if code == "json-invalid" else "".join(f"/{name}" for name in where)
    return {"pointer": pointer, "code": code, "detail": SAID.get(code, OTHERWISE)}
