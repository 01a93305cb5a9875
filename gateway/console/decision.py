"""`/decisions/{id}`: why one person was told, or was not, from the event to the last receipt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.console.away import kept
from gateway.console.marks import utc
from gateway.console.pages import Pages
from gateway.explaining.reading import books_of
from gateway.site import Site
from streams.explaining import says
from streams.explaining.asked import TITLES, Answer, Asked
from streams.explaining.decision import Decision, decision
from streams.explaining.terms import Looked, Part
from tidings.message import Message
from tidings.reasons import MessageState
from tidings.rule import MACHINES

LONGEST_ID = 100

OUTCOMES = {
    "fired": ("sent", "yes", "fired"), "armed": ("flit", "flit", "waits"), "disarmed": ("canc", "canc", "waits no more"),
    "rescheduled": ("flit", "flit", "waits anew"), "stopped": ("canc", "canc", "takes back"),
    "no_match": ("none", "dash", "did not fire"), "null_key": ("expd", "warn", "cannot see it"),
}  # fmt: skip
"""By what a rule made of an event: colour, shape, word."""
TRUTHS = {"true": ("sent", "yes"), "false": ("canc", "no"), "unknown": ("expd", "unk")}
MARKS = {
    "yes": ("sent", "yes"),
    "no": ("cut supp", "supp"),
    "held": ("flit", "held"),
    "would": ("off", "none"),
    "none": ("none", "dash"),
}
LATER = {"expired": "cut expd", "cancelled": "cut canc", "failed": "cut dead"}
NO_ANSWER = Answer("none", "not asked then", "follows")


@dataclass(frozen=True)
class GateRow:
    """One gate of one message, with what it said each time."""

    title: str
    colour: str
    icon: str
    answers: list[tuple[str, Answer]]


@dataclass(frozen=True)
class MessageBlock:
    """One message and its gates."""

    message: Message
    name: str
    says: str
    asked: Asked
    rows: list[GateRow]

    @property
    def one(self) -> bool:
        """Whether the gates were asked once."""
        return len(self.asked.askings) == 1


def routes(site: Site, pages: Pages) -> APIRouter:
    """Return the page."""
    router = APIRouter()
    books = books_of(site)

    @router.get("/decisions/{name}")
    async def page(name: str, request: Request) -> Response:
        found = None if len(name) > LONGEST_ID else await decision(books, name)
        if found is None:
            raise HTTPException(404, "There is no decision with this id")
        return pages.render(
            request, "decision.html", here="/decisions", d=found, outcomes=OUTCOMES, truths=TRUTHS,
            blocks=[block_of(one) for one in found.gates], gates_say=gates_say(found), rules_say=rules_say(found),
            reached=reached_of(found), terms_of=terms_of, clock=clock_of(found), named=says.NAMED, now=site.now(),
            verdict=verdict_of(found, site),
        )  # fmt: skip

    return router


def verdict_of(found: Decision, site: Site) -> str:
    """Return the decision's sentence; of what is on its way that its provider is away, where this process asks it."""
    leaving = next((one.message for one in found.stored.notices if one.message.is_open), None)
    provider = "" if leaving is None or found.told else kept(leaving.state, leaving.channel, site)
    return f"Not told yet: {provider}" if provider else found.verdict


def reached_of(found: Decision) -> Mapping[str, Sequence[Message]]:
    """Return the messages that were tried, by what is known of whether their recipient has them, in words."""
    heads: dict[str, list[Message]] = {}
    for one in found.messages:
        if one.attempt:
            heads.setdefault(_reached(one), []).append(one)
    return heads


def _reached(message: Message) -> str:
    if message.state in (MessageState.SENDING, MessageState.UNKNOWN, MessageState.UNRESOLVED):
        return "What they may have received"
    if message.is_open:
        return "What they will receive"
    if message.state not in (MessageState.ACCEPTED, MessageState.MERGED) or says.came_back(message):
        return "What did not reach them"
    return "What they received"


def block_of(asked: Asked) -> MessageBlock:
    """Return the gates of one message as rows."""
    message = asked.message
    rows = []
    for name in asked.gates:
        answers = [(one.title, one.answers.get(name, NO_ANSWER)) for one in asked.askings]
        colour, icon = MARKS[_decisive([answer for _, answer in answers]).mark]
        if colour.startswith("cut"):
            colour, icon = LATER.get(str(message.state), colour), says.state_icon(message)
        rows.append(GateRow(TITLES[name], colour, icon, answers))
    word = says.NAMED.get(message.channel, message.channel)
    if message.channel in MACHINES and message.body.get("target"):
        word += f" {message.body['target']}"
    if message.role != "notice":
        word = f"All-clear, {word}"
    state = says.state_word(message)
    return MessageBlock(
        message, word, f"{state}: {says.brief(message.reason)}" if message.reason else state, asked, rows
    )


def _decisive(answers: list[Answer]) -> Answer:
    for mark in ("no", "held"):
        for one in answers:
            if one.mark == mark:
                return one
    return next((one for one in reversed(answers) if one.mark != "none"), answers[-1])


def gates_say(found: Decision) -> str:
    """Return the heading of the gates."""
    if not found.gates:
        return "No message was made"
    stopped = [one.said_no for one in found.gates if one.message.role == "notice" and one.said_no is not None]
    if not stopped:
        held = any(one.message.reason for one in found.gates if one.message.is_open)
        return "It waits at a gate" if held else "Every gate agreed"
    title = f"“{TITLES[stopped[0]]}”"
    notices = sum(one.message.role == "notice" for one in found.gates)
    return (
        f"Stopped at {title}" if len(stopped) == notices else f"{len(stopped)} of {notices} messages stopped at {title}"
    )


def rules_say(found: Decision) -> str:
    """Return the heading of the rules."""
    number = len(found.looked)
    if not number:
        return "No rule reads this event now"
    fired = sum(one.outcome == "fired" for one in found.looked)
    return f"{number} {'rule' if number == 1 else 'rules'} looked at it" + (f", {fired} fired" if fired > 1 else "")


def clock_of(found: Decision) -> list[str]:
    """Return the times of the timeline: with the day where another begins."""
    shown, day = [], "" if found.event is None else utc(found.event.event.occurred_at)[:10]
    for one in found.timeline:
        if one.at is None:
            shown.append("–")
            continue
        text = utc(one.at)
        shown.append(text[11:19] if text[:10] == day or not day else text[5:16])
        day = text[:10]
    return shown


def terms_of(looked: Looked) -> list[Part]:
    """Return the terms of a rule's condition; where it has none, what it said."""
    return list(looked.parts) or [Part("every event of this type", "true", "")]
