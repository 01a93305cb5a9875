"""The FastAPI application: operations, and with a site the ways in and the console."""

from __future__ import annotations

import asyncio
import time

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from gateway.console.app import console, in_frame
from gateway.console.app import routes as console_routes
from gateway.explaining.app import routes as explaining_routes
from gateway.http.bounds import MAX_BODY, Bounded, Refuse, plainly
from gateway.http.health import KEEP, PATIENCE, Limits, Readiness, alive, body_of
from gateway.http.look import Asked, Look, Progress, Repeating
from gateway.http.problems import HEADERS, problem
from gateway.kills.app import routes as kills_routes
from gateway.links.app import routes as links_routes
from gateway.metrics import CONTENT_TYPE, Metrics, State
from gateway.site import Site
from streams.stores.counts import Waiting

WITHIN = 0.95
"""Seconds for a whole answer."""


def create_app(
    engine: Progress,
    metrics: Metrics,
    limits: Limits | None = None,
    *,
    max_body: int = MAX_BODY,
    site: Site | None = None,
) -> FastAPI:
    """Return the application for a running engine; with a site, everything that people and systems come for.

    FastAPI's own pages load from a CDN and are off; so is the redirect of a path with one slash too many.
    """
    app = FastAPI(title="Tidings", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    pages = None if site is None else console(site)
    protect(app, max_body=max_body, refuse=plainly if pages is None else in_frame(pages))
    bounds = limits or Limits()
    readiness = Readiness(engine, bounds, lambda: metrics.refused)

    counted = Asked(lambda: engine.waiting(within=PATIENCE), patience=PATIENCE, keep=KEEP)

    async def written() -> bytes:
        seen, counts = await asyncio.gather(readiness.look(), counted(), return_exceptions=True)
        ages = {name: max(0.0, time.monotonic() - since) for name, since in engine.progress.items()}
        state = State(
            engine.rules, ages, seen if isinstance(seen, Look) else None, counts if isinstance(counts, Waiting) else None,
            engine.store.repeats if isinstance(engine.store, Repeating) else {}, engine.skews, engine.lags,
            metrics.clock(),
        )  # fmt: skip
        return await asyncio.to_thread(metrics.text, state)

    exposed = Asked(written, patience=WITHIN, keep=KEEP)

    @app.api_route("/healthz", methods=["GET", "HEAD"])
    async def healthz() -> Response:
        status, body = body_of("alive", alive(engine, bounds))
        return JSONResponse(body, status, HEADERS)

    @app.api_route("/readyz", methods=["GET", "HEAD"])
    async def readyz() -> Response:
        status, body = body_of("ready", await readiness())
        return JSONResponse(body, status, HEADERS)

    @app.get("/metrics")
    async def metrics_text(request: Request) -> Response:
        try:
            return Response(await exposed(), 200, {**HEADERS, "content-type": CONTENT_TYPE})
        except TimeoutError:
            return problem(503, request.state.request_id)

    if site is not None and pages is not None:
        app.include_router(kills_routes(site))
        app.include_router(links_routes(site, pages))
        app.include_router(explaining_routes(site))
        app.include_router(console_routes(site, pages))
    return app


def protect(app: FastAPI, *, max_body: int = MAX_BODY, refuse: Refuse = plainly) -> None:
    """Bound what an application takes, and make problems (or pages) of everything that it refuses."""
    app.state.refuse = refuse
    app.state.ending = asyncio.Event()
    app.add_middleware(Bounded, max_body=max_body, refuse=refuse)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)


async def _refused(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, HTTPException)
    request.scope["state"]["detail"] = fault.detail
    refuse: Refuse = request.app.state.refuse
    return refuse(request.scope, fault.status_code, request.state.request_id, dict(fault.headers or {}))


async def _invalid(request: Request, _: Exception) -> Response:
    # What was sent is not repeated: it may hold anything.
    refuse: Refuse = request.app.state.refuse
    return refuse(request.scope, 422, request.state.request_id, {})
