"""`/v1/kills`: what is stopped; stop, release, drop. Needs a key with the scope `kill`.

By nature without harm when repeated: to stop what is stopped answers with the kill that stands, and an id names one
kill, so that a release that comes twice ends no later one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from gateway.access.keys import Principal
from gateway.http.asked import flags, principal
from gateway.http.problems import Refused
from gateway.site import Site
from gateway.stopping import NoScope, Stopping, id_of
from streams.json_events import rfc3339
from streams.processors.endings import DROP, RELEASE, Ending
from streams.processors.kills import Kill
from streams.stores.counts import Waits
from tidings.gates import GROUND
from tidings.scopes import LONGEST_REASON, read_reason, read_scope

SCOPE = "kill"
Id = Annotated[str, Path(pattern=r"^kil_[0-9a-f]{20}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Reason(_Strict):
    """Why."""

    reason: str = Field(min_length=1, max_length=LONGEST_REASON, description="One line, for whoever is on call next.")


class Stop(Reason):
    """What to stop."""

    scope: str = Field(
        min_length=1,
        max_length=210,
        pattern=r"^(all|(tenant|channel|rule):\S+)$",
        description="`all`, or one of `tenant:NAME`, `channel:NAME`, `rule:ID`.",
        examples=["channel:sms"],
    )


class Waiting(_Strict):
    """How much of a scope has not left."""

    stopped: int = Field(description="Messages that wait to leave: a release lets them go on, a drop cancels them.")
    otherwise: int = Field(description="Messages that wait for a reason of their own, as quiet hours.")
    sending: int = Field(description="Messages that are with a provider at this moment, and may still arrive.")
    complete: bool = Field(description="False: there are more; these are the least.")


class Killed(_Strict):
    """One kill."""

    id: str
    scope: str
    since: str = Field(json_schema_extra={"format": "date-time"})
    by: str
    reason: str
    waiting: Waiting | None = Field(description="Null: it could not be counted in time.")


class Ends(_Strict):
    """One stop that is ending."""

    id: str
    scope: str
    state: Literal["releasing", "dropping"]
    since: str = Field(json_schema_extra={"format": "date-time"})
    by: str
    reason: str
    done: int = Field(description="Messages that have had their turn.")
    total: int | None = Field(description="Messages that waited when it began. Null: they could not be counted.")


class Kills(_Strict):
    """What is stopped, and what is ending."""

    items: list[Killed]
    ending: list[Ends]


class Released(_Strict):
    """What a release has done."""

    id: str
    messages: int = Field(description="Messages that are looked at again now.")
    kept: int = Field(description="Messages that wait on, as another kill keeps them.")
    complete: bool = Field(description="False: it goes on by itself; `GET /v1/kills` says how far it is.")


class Dropped(_Strict):
    """What a drop has done."""

    id: str
    cancelled: int = Field(description="Messages that were cancelled for good.")
    complete: bool = Field(description="False: as for a release.")


def routes(site: Site) -> APIRouter:
    """Return the router."""
    stopping = Stopping(site)

    async def allowed(request: Request) -> None:
        request.state.principal = await principal(site, request, SCOPE)
        flags(request)

    router = APIRouter(prefix="/v1/kills", tags=["kills"], dependencies=[Depends(allowed)])

    @router.get("", operation_id="list_kills", summary="What is stopped, and how much waits")
    async def listing() -> Kills:
        found = await stopping.standing()
        counts = await stopping.unsent() if found else None
        items = [_killed(one, None if counts is None else counts.of(one.scope)) for one in found]
        return Kills(items=items, ending=[_ends(one) for one in await stopping.ending()])

    @router.post(
        "", status_code=201, operation_id="kill", summary="Stop everything, a tenant, a channel or a rule",
        responses={200: {"model": Killed, "description": "It was stopped already; this is the kill that stands."}},
    )  # fmt: skip
    async def kill(request: Request, asked: Stop, response: Response) -> Killed:
        who = _who(request)
        scope, reason = _read(asked)
        try:
            one, new = await stopping.kill(scope, who.name, reason)
        except NoScope as fault:
            raise Refused("invalid", str(fault)) from None
        response.status_code = 201 if new else 200
        counts = await stopping.unsent()
        return _killed(one, None if counts is None else counts.of(scope))

    async def named(name: str, verb: str) -> Kill | Ending:
        found = await stopping.find(name, verb)
        if found is None or found.scope == GROUND:
            raise Refused("not-found", "no such kill stands; GET /v1/kills lists those that do")
        return found

    @router.post("/{id}/release", operation_id="release_kill", summary="End a kill: what waits goes on")
    async def release(request: Request, id: Id, asked: Reason) -> Released:  # noqa: A002 - the word in the URL
        who = _who(request)
        one = await named(id, RELEASE)
        done = await stopping.release(one, who.name, _reason(asked))
        if done is None:
            raise Refused("not-found", "somebody else has ended it meanwhile")
        return Released(id=id, messages=done.done, kept=done.kept, complete=done.is_over)

    @router.post("/{id}/drop", operation_id="drop_kill", summary="End a kill: what waits is cancelled for good")
    async def drop(request: Request, id: Id, asked: Reason) -> Dropped:  # noqa: A002 - likewise
        who = _who(request)
        one = await named(id, DROP)
        done = await stopping.drop(one, who.name, _reason(asked))
        if done is None:
            raise Refused("not-found", "somebody else has ended it meanwhile")
        return Dropped(id=id, cancelled=done.done, complete=done.is_over)

    return router


def _who(request: Request) -> Principal:
    found: Principal = request.state.principal
    return found


def _read(asked: Stop) -> tuple[str, str]:
    try:
        return read_scope(asked.scope), read_reason(asked.reason)
    except ValueError as fault:
        raise Refused("invalid", str(fault)) from None


def _reason(asked: Reason) -> str:
    try:
        return read_reason(asked.reason)
    except ValueError as fault:
        raise Refused("invalid", str(fault)) from None


def _killed(one: Kill, waits: Waits | None) -> Killed:
    said: dict[str, Any] = {"scope": one.scope, "since": rfc3339(one.at), "by": one.by, "reason": one.reason}
    return Killed(id=id_of(one), **said, waiting=None if waits is None else waiting(waits))


def _ends(one: Ending) -> Ends:
    return Ends(
        id=id_of(one), scope=one.scope, state="releasing" if one.verb == RELEASE else "dropping",
        since=rfc3339(one.begun_at), by=one.by, reason=one.reason, done=one.done + one.kept, total=one.total,
    )  # fmt: skip


def waiting(waits: Waits) -> Waiting:
    """Return the numbers of a scope."""
    return Waiting(stopped=waits.stopped, otherwise=waits.otherwise, sending=waits.sending, complete=waits.whole)
