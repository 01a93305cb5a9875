"""The operations of intake: publish, ask what became of an event, read the contracts."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from gateway.http.asked import flags, principal
from gateway.http.direct import Direct
from gateway.http.document import problems
from gateway.http.problems import HEADERS, Refused
from gateway.intake import shapes
from gateway.intake.bounds import EVENTS
from gateway.intake.judging import Judge, dataschema_of, public
from gateway.intake.models import Bulk, Contract, ContractList, DryRun, Event, Taken
from gateway.intake.published import bodies
from gateway.intake.publishing import Publishing
from gateway.intake.quota import BYTES, Quota
from gateway.intake.standing import standing
from gateway.intake.taking import Grouped, Taking
from gateway.site import Site
from schemas.examples import described
from streams.json_events import rfc3339
from tidings.contract import Contract as Known
from tidings.event import Micros


def routes(site: Site) -> APIRouter:
    """Return the operations over a site."""
    router = APIRouter(route_class=Direct)
    taking = Taking(Judge(site.codec), Grouped(site.publish))
    size = BYTES if site.settings is None or site.settings.settings.http is None else site.settings.settings.http.quota
    publishing = Publishing(site, taking, Quota(size))
    known = public(site.contracts)

    @router.post(
        EVENTS,
        status_code=202,
        summary="Publish one event or a batch",
        openapi_extra={"parameters": [_flag("dry_run", DRY), _flag("atomic", ATOMIC)], "requestBody": bodies()},
        responses={
            202: {"model": Taken | Bulk, "description": "durable: all of it"},
            200: {"model": DryRun, "description": "with dry_run=true: what would be decided"},
            207: {"model": Bulk, "description": "a batch of which some were refused"},
            **problems(
                "unknown-parameter", "state-conflict", "unsupported-media-type", "contract-violation", "too-many-requests",
                "too-slow", "intake-paused",
            ),
        },
    )  # fmt: skip
    async def publish(request: Request) -> Response:
        return await publishing(request)

    @router.api_route(EVENTS, methods=["OPTIONS"], include_in_schema=False)
    async def handshake(request: Request) -> Response:
        """Let a CloudEvents sender know that it may deliver here (HTTP 1.1 Web Hooks for Event Delivery, 4)."""
        await principal(site, request, "events")
        found = {"allow": "POST, OPTIONS", **HEADERS}
        origin = request.headers.get("webhook-request-origin")
        if origin:
            found["webhook-allowed-origin"] = origin
            found["webhook-allowed-rate"] = "*"
        return Response(None, 204, found)

    @router.get(
        EVENTS + "/{event_ref}",
        summary="What is known of an event",
        responses={200: {"model": Event}, **problems("not-found")},
    )
    async def event(event_ref: str, request: Request) -> Response:
        who = await principal(site, request, "events")
        flags(request)
        found = await standing(site, who, taking.recent, event_ref)
        if found is None:
            raise Refused("not-found", "no event of this reference is known; it may be too old, or never have come")
        return JSONResponse(found, 200, HEADERS)

    @router.get("/v1/contracts", summary="Every contract", responses={200: {"model": ContractList}, **problems()})
    async def contracts(request: Request) -> Response:
        await principal(site, request)
        flags(request)
        return JSONResponse({"items": [_line(one) for one in known.values()], "next": None}, 200, HEADERS)

    @router.get(
        "/v1/contracts/{type}", summary="A contract, and an event that is taken as it is",
        responses={200: {"model": Contract}, **problems("not-found")},
    )  # fmt: skip
    async def contract(type: str, request: Request) -> Response:  # noqa: A002 - as the path has it
        await principal(site, request)
        flags(request)
        found = known.get(type)
        if found is None:
            near = get_close_matches(type[:200], known, 1)
            raise Refused(
                "not-found", f"there is no contract of this type{f'; did you mean {near[0]}?' if near else ''}"
            )
        return JSONResponse(_contract(found, site.now()), 200, HEADERS)

    return router


DRY = "Say what would be decided, and do nothing."
ATOMIC = "Take all of a batch or nothing of it."


def _flag(name: str, about: str) -> dict[str, Any]:
    return {
        "name": name, "in": "query", "required": False, "description": about,
        "schema": {"type": "string", "enum": ["true", "false"], "default": "false"},
    }  # fmt: skip


def _line(one: Known) -> dict[str, Any]:
    return {
        "type": one.type, "doc": one.doc, "owner": one.owner, "dataschema": dataschema_of(one),
        "href": f"/v1/contracts/{one.type}",
    }  # fmt: skip


def _contract(one: Known, now: Micros) -> dict[str, Any]:
    # Of now, and with an id of its own: it is taken as it is, and nobody is told that it is old.
    example = described(one)
    example |= {"id": f"{example['id']}-{now}", "time": rfc3339(now)}
    return {
        "type": one.type, "doc": one.doc, "owner": one.owner, "version": one.version, "topic": one.topic,
        "dataschema": dataschema_of(one), "key": ".".join(one.key),
        "customer": None if one.customer is None else ".".join(one.customer),
        "event_schema": shapes.event_schema(one), "example": example,
    }  # fmt: skip
