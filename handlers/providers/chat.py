"""Chat rooms over incoming webhooks: Slack, Microsoft Teams.

The URL is the secret: it is resolved right before the call, and never stored or logged. There is no key that would let
the vendor drop a repeat, so what was written and not answered is ambiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from handlers.channels.wire import NOBODY, Unfit, compose
from handlers.providers.registry import provides
from handlers.providers.web import CONFIGURATION, PATIENT, Answer, Limits, Web, retry_after
from tidings.errors import Misconfigured
from tidings.event import Micros
from tidings.ports import Outcome, Outgoing

Judge = Callable[[Answer, Micros], Outcome]


class _Room:
    """What both have in common."""

    name: str
    can_look_up = False
    idempotent = False
    judge: Judge

    def __init__(
        self,
        resolve: Callable[[str], str],
        clock: Callable[[], Micros],
        limits: Limits = PATIENT,
        *,
        allow_loopback: bool = False,
    ) -> None:
        self.resolve = resolve
        self.web = Web(clock, limits, allow_loopback=allow_loopback)

    @property
    def lease(self) -> Micros:
        """One request."""
        return self.web.limits.lease

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Hand over one message."""
        try:
            wire = compose(outgoing, self.web.clock(), NOBODY)
            url = self.resolve(wire.to)
        except Unfit as fault:
            return Outcome("permanent", detail=str(fault))
        except Misconfigured as fault:
            return Outcome("not_sent", detail=f"configuration: {fault}", retry_after=CONFIGURATION)
        answer = await self.web.ask(wire.method, url, wire.headers, wire.body, outgoing.start_by)
        if isinstance(answer, Outcome):
            return replace(answer, away=False)  # one room of many
        return type(self).judge(answer, self.web.clock())

    async def look_up(self, message_id: str) -> str | None:
        """Webhooks go one way."""
        return None


def slack(answer: Answer, now: Micros) -> Outcome:
    """Slack says `ok`, or a word for what is wrong."""
    if answer.status == 200:  # noqa: PLR2004 - OK
        if answer.body.strip() == b"ok":
            return Outcome("accepted", detail="ok", first_byte_at=answer.first_byte_at)
        return Outcome("ambiguous", detail="200 without 'ok'", first_byte_at=answer.first_byte_at)
    return _refused(answer, now)


def teams(answer: Answer, now: Micros) -> Outcome:
    """Workflows answer 202 and nothing; the older connectors 200, with their troubles in the text."""
    if answer.status in (200, 202):
        if b"failed with error" in answer.body:
            return Outcome("ambiguous", detail="accepted, with an error inside", first_byte_at=answer.first_byte_at)
        return Outcome("accepted", detail=str(answer.status), first_byte_at=answer.first_byte_at)
    return _refused(answer, now)


def _refused(answer: Answer, now: Micros) -> Outcome:
    status, first = answer.status, answer.first_byte_at
    if status == 429:  # noqa: PLR2004 - too many requests
        return Outcome("not_sent", None, "429", retry_after(answer.headers, now), first)
    if status >= 500 or status < 300:  # noqa: PLR2004 - nobody knows whether the room has it
        return Outcome("ambiguous", detail=str(status), first_byte_at=first)
    if status < 400:  # noqa: PLR2004 - redirects
        return Outcome("not_sent", None, f"configuration: {status}, redirects are not followed", CONFIGURATION, first)
    word = answer.body[:60].decode("ascii", "replace")
    return Outcome("permanent", detail=f"{status} {word}" if word.replace("_", "").isalpha() else str(status),
                   first_byte_at=first)  # fmt: skip


@provides("slack")
class SlackProvider(_Room):
    """A Slack room."""

    name = "slack"
    judge = staticmethod(slack)


@provides("teams")
class TeamsProvider(_Room):
    """A Microsoft Teams room."""

    name = "teams"
    judge = staticmethod(teams)
