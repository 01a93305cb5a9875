"""`/messages/{id}`: one message as whoever it was for has it before them.

What it says is shown to who may reveal customers' data, and that is written down: once for a session and a message. It is
written anew from the rule set that decided it, with the person as they are known now. A mail stands in a frame that may
do nothing, of a document that may load nothing; its links are dead. Its headers and its source (`?part=`) are composed when
they are asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.console import preview
from gateway.console.away import kept
from gateway.console.leaving import PARTS, Leaving, leaving, senders
from gateway.console.messages import HERE, word_of
from gateway.console.pages import Pages
from gateway.console.preview import Shown
from gateway.console.session import Session, fields, principal, require
from gateway.explaining.reading import books_of
from gateway.site import Site
from streams.explaining.became import Became, became_of
from streams.explaining.books import Books
from streams.explaining.says import NAMED
from streams.explaining.timeline import OUTCOMES, RECEIPTS
from streams.explaining.veil import masked
from streams.ledger.rows import MessageDetail, MessageLine
from streams.processors.audit import audit
from tidings.message import WAITED
from tidings.ports import Body, Transaction
from tidings.scopes import read_reason

REVEAL = "customers:reveal"
MINUTE = 60
"""Seconds for which an address is shown."""
LONGEST_ID = 100
REMEMBERED = 10_000
"""Openings of which it is remembered that they are written down."""


class Opened:
    """Which session has opened which message."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def known(self, session: Session, message_id: str) -> bool:
        """Return whether it is written down already."""
        return self._place(session, message_id) in self._known

    def remember(self, session: Session, message_id: str) -> None:
        """Remember one that is written down: not before it is."""
        self._known[self._place(session, message_id)] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    @staticmethod
    def _place(session: Session, message_id: str) -> tuple[str, str]:
        return f"{session.principal.name}/{session.binding}", message_id


@dataclass
class One:
    """The page of one message."""

    site: Site
    pages: Pages
    books: Books
    opened: Opened = field(default_factory=Opened)

    async def look(self, name: str) -> tuple[MessageDetail, Became]:
        """Return a message and what became of it.

        Raises:
            HTTPException: 404.
        """
        found = None if len(name) > LONGEST_ID else await self.site.ledger.message(name)
        if found is None:
            raise HTTPException(404, "There is no message with this id")
        return found, await became_of(self.books, found.message)

    async def read(self, request: Request, found: MessageDetail, became: Became) -> Shown | None:
        """Return what a message says, to who may read it; written down before it is shown."""
        if not principal(request).may(REVEAL):
            return None
        shown = preview.shown(found.message, became, self.site.now())
        session: Session = request.state.session
        if not self.opened.known(session, found.line.message_id):
            await self.site.store.run(written("messages open", principal(request).name, found, {}))
            self.opened.remember(session, found.line.message_id)
        return shown

    async def page(
        self, request: Request, found: MessageDetail, became: Became, *, revealed: str = "", wrong: str = "", status: int = 200
    ) -> Response:  # fmt: skip
        """Return the page. `revealed`: the address, where it may stand there; `wrong`: why it may not."""
        shown, part = await self.read(request, found, became), part_of(request, found)
        composed = shown is not None and shown.kind == "mail" and part in ("headers", "source")
        context: dict[str, Any] = {
            "m": found, "line": found.line, "person": became.person, "named": NAMED, "receipts": RECEIPTS, "shown": shown,
            "address": address_of(found, became), "revealed": revealed, "wrong": wrong, "may": principal(request).may(REVEAL),
            "attempts": attempts_of(found), "word": word_of(found.line), "part": part,
            "mail": self.leaves(found, became, revealed) if composed else None, "is_test": self.is_test,
            "because": self.because(found.line, became), "now": self.site.now(),
        }  # fmt: skip
        return self.pages.render(request, "message.html", here=HERE, status=status, **context)

    def because(self, line: MessageLine, became: Became) -> str:
        """Return why it is where it is; that its provider is away is known where this process asks it."""
        known = became.because or line.because
        provider = kept(line.state, line.channel, self.site)
        if not provider:
            return known
        return f"{provider}: it waits, and leaves when that is over." + (f" {known}" if line.attempts else "")

    @property
    def is_test(self) -> bool:
        """Whether every message goes to one address of ours instead."""
        return self.site.settings is not None and self.site.settings.settings.test is not None

    def leaves(self, found: MessageDetail, became: Became, revealed: str) -> Leaving:
        """Return a mail as it left at its last attempt, or would leave now."""
        at = found.attempts[-1].intent_at if found.attempts else self.site.now()
        to = found.line.to or masked(address_of(found, became)) or "no address is known"
        return leaving(found.message, became, at, senders(self.site), to, revealed or None)

    async def reveal(self, request: Request, found: MessageDetail, became: Became) -> Response:
        """Return the page with the address on it, for a minute; written down, with the reason, before it is shown."""
        address = address_of(found, became)
        try:
            reason = read_reason(fields(request).get("reason", ""))
        except ValueError as fault:
            return await self.page(request, found, became, wrong=str(fault), status=422)
        if not address:
            return await self.page(request, found, became, wrong="there is no address", status=422)
        why = {"channel": found.line.channel, "reason": reason}
        await self.site.store.run(written("customers reveal", principal(request).name, found, why))
        answer = await self.page(request, found, became, revealed=address)
        # Without script as well: after a minute the page without it takes its place.
        part = part_of(request, found)
        query = f"?part={part}" if part else ""
        answer.headers["refresh"] = f"{MINUTE}; url={HERE}/{found.line.message_id}{query}"
        return answer


def routes(site: Site, pages: Pages) -> APIRouter:
    """Return the page, its preview, and what reveals an address."""
    router = APIRouter()
    one = One(site, pages, books_of(site))
    may = [Depends(require(REVEAL))]

    @router.get(HERE + "/{name}")
    async def message(name: str, request: Request) -> Response:
        return await one.page(request, *(await one.look(name)))

    @router.get(HERE + "/{name}/body", dependencies=may)
    async def body(name: str, request: Request) -> Response:
        """The mail itself, for the frame."""
        shown = await one.read(request, *(await one.look(name)))
        if shown is None or shown.document is None:
            raise HTTPException(404)
        return Response(shown.document, 200, preview.HEADERS, "text/html; charset=utf-8")

    @router.post(HERE + "/{name}/reveal", dependencies=may)
    async def reveal(name: str, request: Request) -> Response:
        return await one.reveal(request, *(await one.look(name)))

    return router


def written(verb: str, who: str, found: MessageDetail, more: Mapping[str, str]) -> Body[None]:
    """Return the body that writes down what somebody looked at; never an address."""

    def body() -> Transaction[None]:
        about = {"message": found.line.message_id}
        if not found.line.recipient.startswith("address:"):
            about["recipient"] = found.line.recipient
        yield from audit(verb, who, {**about, **more})

    return body


def part_of(request: Request, found: MessageDetail) -> str:
    """Return which part of a mail is asked for; nothing is how it looks."""
    part = request.query_params.get("part", "")
    return part if part in PARTS and found.line.channel == "email" else ""


def address_of(found: MessageDetail, became: Became) -> str:
    """Return where it went, or would go now; what is no person's address is not revealed."""
    if found.line.channel not in ("email", "sms"):
        return ""
    went = found.message.body.get("address")
    return str(went or became.person.addresses.get(found.line.channel) or "")


def attempts_of(found: MessageDetail) -> list[dict[str, Any]]:
    """Return what was tried, with what every gate was asked right before."""
    rows = []
    for one in found.attempts:
        icon, word = OUTCOMES.get(one.outcome or "", ("flit", "no answer yet"))
        said = []
        if "consent" in one.asked and found.line.recipient.startswith("customer:"):
            said.append("the customer agrees to it" if one.asked["consent"] else "the customer does not agree to it")
        if quiet := one.asked.get("quiet"):
            said.append(f"it is not quiet in {quiet['zone']}")
        kills = one.asked.get("kills")
        said.append(f"stopped is: {', '.join(kills)}" if kills else "nothing is stopped")
        if one.asked.get(WAITED):
            said.append("a gate had held it before")
        rows.append({"attempt": one, "icon": icon, "word": word, "asked": "; ".join(said)})
    return rows
