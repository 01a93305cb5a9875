"""The FastAPI application: operations for now; the ways in and the console join it later."""

from __future__ import annotations

import asyncio
import time

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from gateway.http.bounds import MAX_BODY, Bounded
from gateway.http.health import KEEP, PATIENCE, Limits, Readiness, alive, body_of
from gateway.http.look import Asked, Look, Progress, Repeating
from gateway.http.problems import HEADERS, problem
from gateway.metrics import CONTENT_TYPE, Metrics, State
from streams.stores.counts import Waiting

WITHIN = 0.95
"""Seconds for a whole answer."""


def create_app(
    engine: Progress, metrics: Metrics, limits: Limits | None = None, *, max_body: int = MAX_BODY
) -> FastAPI:
    """Return the application for a running engine.

    FastAPI's own pages load from a CDN and are off; so is the redirect of a path with one slash too many.
    """
    app = FastAPI(title="Tidings", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    protect(app, max_body=max_body)
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

    return app


def protect(app: FastAPI, *, max_body: int = MAX_BODY) -> None:
    """Bound what an application takes, and make problems of everything that it refuses."""
    app.add_middleware(Bounded, max_body=max_body)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)


async def _refused(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, HTTPException)
    headers = dict(fault.headers or {})
    return problem(fault.status_code, request.state.request_id, headers)


async def _invalid(request: Request, _: Exception) -> Response:
    # What was sent is not repeated: it may hold anything.
    return problem(422, request.state.request_id)
