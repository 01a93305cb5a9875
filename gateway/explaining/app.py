"""`/v1/decisions`, `/v1/decisions/{id}`, `/v1/explain` and `/v1/why-not`: scope `decisions`; nothing here writes, or shows what is personal."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.explaining.listing import CURSOR, INSTANT, MOST, Cursors, instant, listed
from gateway.explaining.models import TIME, DecisionList, DecisionStory, EventStory, WhyNotAnswer
from gateway.explaining.reading import books_of, topics_of
from gateway.http import asked
from gateway.http.document import problems
from gateway.http.problems import HEADERS, Refused
from gateway.http.shapes import Shape
from gateway.site import Site
from handlers.rules.conditions import parse_duration
from streams.explaining import veil
from streams.explaining.decision import decision
from streams.explaining.seen import seen_of
from streams.explaining.terms import look
from streams.explaining.why_not import NoSuchRule, why_not
from streams.ledger.rows import Filter, Outcome
from tidings.event import DAY
from tidings.reasons import Reason

SCOPE = "decisions"
LONGEST = 400 * DAY
TEXT = r"^[^\x00-\x1f\x7f]+$"
WINDOW = r"^([1-9][0-9]{0,4}[smhd]){1,4}$"
RULE = "the id of a rule, or a topic that customers may switch off: only what it says"
Text = Annotated[str, Query(min_length=1, max_length=200, pattern=TEXT)]
WHOSE = Query(
    min_length=1, max_length=210, pattern=TEXT, description="with its kind", examples=["customer:c-1", "team:care"]
)  # fmt: skip
Answers = dict[int | str, dict[str, Any]]


def answers(shape: type[Shape]) -> Answers:
    """Return the declarations of an operation's answers."""
    return {200: {"model": shape}, **problems("not-found", "invalid", "unknown-parameter")}


def only(*names: str) -> Any:
    """Return the dependency that refuses parameters of other names, and one that is given twice."""

    async def checked(request: Request) -> None:
        errors = []
        given = [name for name, _ in request.query_params.multi_items()]
        for name in dict.fromkeys(given):
            if name not in names:
                near = get_close_matches(name, names, 1)
                more = {"did_you_mean": near[0]} if near else {}
                text = f"there is no parameter {name[:40]!r}"
                errors.append({"pointer": "", "code": "unknown-parameter", "detail": text, **more})
            elif given.count(name) > 1:
                errors.append({"pointer": "", "code": "unknown-parameter", "detail": f"{name} is given twice"})
        if errors:
            raise Refused("unknown-parameter", errors=errors[: asked.MOST_ERRORS])

    return Depends(checked)


def routes(site: Site) -> APIRouter:
    """Return the routes."""
    books = books_of(site)

    async def allowed(request: Request) -> None:
        await asked.principal(site, request, SCOPE)

    router = APIRouter(prefix="/v1", tags=["decisions"], dependencies=[Depends(allowed)])
    cursors = Cursors(site.secret or secrets.token_bytes(32))

    @router.get(
        "/decisions", summary="Decisions, newest first", operation_id="list_decisions", responses=answers(DecisionList),
        dependencies=[only("rule", "recipient", "firing", "outcome", "reason", "from", "to", "limit", "cursor")],
        response_class=JSONResponse,
    )  # fmt: skip
    async def list_decisions(
        rule: Text | None = None, recipient: Annotated[str | None, WHOSE] = None, firing: Text | None = None,
        outcome: Outcome | None = None, reason: Reason | None = None,
        since: Annotated[str | None, Query(alias="from", pattern=INSTANT, json_schema_extra=TIME)] = None,
        until: Annotated[str | None, Query(alias="to", pattern=INSTANT, json_schema_extra=TIME, description="exclusive")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST)] = 50, cursor: Annotated[str | None, Query(pattern=CURSOR)] = None,
    ) -> Response:  # fmt: skip
        about = Filter(
            since=instant("from", since), until=instant("to", until), rule=rule, recipient=recipient, firing=firing,
            outcome=outcome, reason=None if reason is None else str(reason),
        )  # fmt: skip
        before = None if cursor is None else cursors.read(cursor, about, site.tenant)
        page = await site.ledger.decisions(about, before=before, limit=limit)
        return answer(listed(page, cursors, about, site.tenant).model_dump(mode="json"))

    @router.get(
        "/decisions/{id}", summary="One decision, with everything that led to it and came of it", responses=answers(DecisionStory),
        dependencies=[only()], response_class=JSONResponse,
    )  # fmt: skip
    async def read_decision(
        name: Annotated[
            str, Path(alias="id", max_length=200, pattern=TEXT, description="of a run, a firing or a message")
        ],
    ) -> Response:
        found = await decision(books, name)
        if found is None:
            raise Refused("not-found", "there is no decision, firing or message with this id")
        return answer(found.to_json())

    @router.get(
        "/why-not", summary="Why a customer did not hear of something, rule by rule", responses=answers(WhyNotAnswer),
        dependencies=[only("customer", "rule", "about", "window")], response_class=JSONResponse,
    )  # fmt: skip
    async def read_why_not(
        customer: Text, rule: Text | None = None, about: Text | None = None,
        window: Annotated[str, Query(pattern=WINDOW, description="how far back to look")] = "7d",
    ) -> Response:  # fmt: skip
        length = parse_duration(window)
        if length is None or not 0 < length <= LONGEST:
            raise Refused("invalid", "'window' is a time of up to 400 days, as 36h or 7d")
        now = books.now()
        try:
            found = await why_not(books, customer, rule=rule, about=about, since=now - length, until=now)
        except NoSuchRule as fault:
            raise Refused("not-found", str(fault)) from fault
        return answer(found.to_json())

    @router.get(
        "/explain", summary="What every rule makes of one event, term by term", responses=answers(EventStory),
        dependencies=[only("event", "rule")], response_class=JSONResponse,
    )  # fmt: skip
    async def explain(event: Text, rule: Text | None = None) -> Response:
        rules = await books.active()
        found = await books.archive.began(event, topics_of(books, rules)) or await books.archive.named(event)
        if found is None:
            raise Refused("not-found", "there is no such event among those that are kept, no firing and no message")
        found = await books.archive.completed(found)
        looked: Sequence[dict[str, Any]] = [
            {**one.to_json(), "parts": [part.to_json() for part in one.parts]}
            for other in rules.by_type.get(found.type, ())
            if rule in (None, other.id)
            for one in [
                look(
                    other, await books.archive.beside(other, found),
                    veil.over(rules.contracts, rules.contracts.get(found.type), other),
                )
            ]
        ]  # fmt: skip
        seen = seen_of(found, books.archive.by_type)
        return answer({"event": seen.to_json(), "rule_set": rules.hash, "rules": looked})

    return router


def answer(body: dict[str, Any]) -> Response:
    """Return an answer that nobody keeps."""
    return JSONResponse(body, headers=HEADERS)
