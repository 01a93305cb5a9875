"""`/v1/decisions/{id}`, `/v1/explain` and `/v1/why-not`: scope `decisions`; nothing here writes, or shows what is personal."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.access.keys import Principal
from gateway.explaining.reading import books_of, topics_of
from gateway.http.problems import HEADERS
from gateway.site import Site
from handlers.rules.conditions import parse_duration
from streams.explaining import veil
from streams.explaining.decision import decision
from streams.explaining.seen import seen_of
from streams.explaining.terms import look
from streams.explaining.why_not import NoSuchRule, why_not
from tidings.event import DAY

LONGEST = 400 * DAY
TEXT = r"^[^\x00-\x1f\x7f]+$"
Name = Annotated[str, Path(max_length=200, pattern=TEXT, description="an id")]


class WhyNotQuery(BaseModel):
    """What is asked."""

    model_config = ConfigDict(extra="forbid")

    customer: str = Field(
        min_length=1, max_length=200, pattern=TEXT, description="id of the customer, as events name it"
    )
    rule: str | None = Field(
        None, max_length=200, pattern=TEXT, description="only this rule, or the rules of this topic"
    )
    about: str | None = Field(
        None, max_length=200, pattern=TEXT, description="only what concerns this order, invoice … or event"
    )
    window: str = Field("7d", max_length=20, description="how far back to look, as 36h or 7d")


class ExplainQuery(BaseModel):
    """What is asked."""

    model_config = ConfigDict(extra="forbid")

    event: str = Field(
        min_length=1, max_length=200, pattern=TEXT, description="id of an event, our reference, a firing or a message"
    )
    rule: str | None = Field(None, max_length=200, pattern=TEXT, description="only this rule")


def routes(site: Site) -> APIRouter:
    """Return the routes."""
    books = books_of(site)

    async def reader(request: Request) -> Principal:
        principal = await site.door.bearer(request.headers)
        if principal is None:
            raise HTTPException(401, headers={"www-authenticate": "Bearer"})
        if not principal.may("decisions"):
            raise HTTPException(403, "this needs the scope decisions")
        return principal

    router = APIRouter(prefix="/v1", tags=["decisions"], dependencies=[Depends(reader)])

    @router.get("/decisions/{name}", summary="One decision, with everything that led to it and came of it")
    async def one(name: Name) -> Response:
        found = await decision(books, name)
        if found is None:
            raise HTTPException(404, "there is no decision, firing or message with this id")
        return answer(found.to_json())

    @router.get("/why-not", summary="Why a customer did not hear of something, rule by rule")
    async def why(query: Annotated[WhyNotQuery, Query()]) -> Response:
        window = parse_duration(query.window)
        if window is None or not 0 < window <= LONGEST:
            raise HTTPException(422, "window is no time; write it as 36h, 7d or 30d")
        now = books.now()
        try:
            found = await why_not(
                books, query.customer, rule=query.rule, about=query.about, since=now - window, until=now
            )  # fmt: skip
        except NoSuchRule as fault:
            raise HTTPException(404, str(fault)) from fault
        return answer(found.to_json())

    @router.get("/explain", summary="What every rule makes of one event, term by term")
    async def explain(query: Annotated[ExplainQuery, Query()]) -> Response:
        rules = await books.active()
        event = await books.archive.began(query.event, topics_of(books, rules)) or await books.archive.named(
            query.event
        )
        if event is None:
            raise HTTPException(404, "there is no such event among those that are looked at, no firing and no message")
        event = await books.archive.completed(event)
        looked = []
        for rule in rules.by_type.get(event.type, ()):
            if query.rule in (None, rule.id):
                over = veil.over(rules.contracts, rules.contracts.get(event.type), rule)
                looked.append(look(rule, await books.archive.beside(rule, event), over))
        said = [{**one.to_json(), "parts": [part.to_json() for part in one.parts]} for one in looked]
        return answer({"event": seen_of(event, books.archive.by_type).to_json(), "rule_set": rules.hash, "rules": said})

    return router


def answer(body: dict[str, Any]) -> Response:
    """Return an answer that nobody keeps."""
    return JSONResponse(body, headers=HEADERS)
