"""Text messages through Twilio's own client, over requests of ours.

The client knows addresses, credentials and the shape of answers. Everything about time and repetition is done here,
because its own HTTP clients ignore a time-out, repeat a POST after a 5xx (three messages for one call), take half a 201
for a success without a sid, and drop `Retry-After`. The body that leaves is the composer's; if the client ever asks for
something else, nothing is sent.

Messages have no idempotency key: what was written and not answered is ambiguous. With `look_up`, the messages of that
number are listed and compared. "Absent" is said only where every message to it since the attempt is known to be another
one; what this process has not sent itself it does not know.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.http import AsyncHttpClient
from twilio.http.response import Response

from handlers.channels import sms
from handlers.channels.wire import Senders, SmsSender, Unfit, Wire, compose
from handlers.providers.registry import provides
from handlers.providers.web import CONFIGURATION, PATIENT, Answer, Limits, Web, retry_after
from tidings.errors import Misconfigured
from tidings.event import MINUTE, SECOND, Micros
from tidings.ports import CONFIGURATION as OURS
from tidings.ports import Outcome, Outgoing

SID = re.compile(r"(?:SM|MM)[0-9a-f]{32}")
PAGE = 50
SKEW: Micros = 5 * MINUTE
"""How far our clock and Twilio's may be apart."""
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a vendor's code says."""

    stage: str
    says: str
    gone: bool = False
    wait: Micros | None = None
    away: bool = False
    """It is about Twilio or our account, whoever the message is for."""


def _permanent(says: str, *, gone: bool = False) -> Meaning:
    return Meaning("permanent", says, gone)


def _mend(says: str) -> Meaning:
    return Meaning("not_sent", f"{OURS}{says}", wait=CONFIGURATION, away=True)


CODES: dict[int, Meaning] = {
    20003: _mend("the credentials are refused"),
    20404: _mend("there is no such account"),
    20429: Meaning("not_sent", "too many requests", away=True),
    20500: Meaning("ambiguous", "internal error", away=True),
    20503: Meaning("ambiguous", "service unavailable", away=True),
    21211: _permanent("the number is none", gone=True),
    21212: _mend("the sender is no number of ours"),
    21408: _permanent("policy: the account may not send to this country"),
    21603: _mend("there is no sender"),
    21606: _mend("the sender cannot send text messages"),
    21610: _permanent("the owner of the number has said STOP", gone=True),
    21611: Meaning("not_sent", "the sender's queue is full", wait=30 * SECOND, away=True),
    21612: _permanent("the sender cannot reach this number"),
    21614: _permanent("the number is no mobile one", gone=True),
    21617: _permanent("the text is too long"),
    21635: _permanent("the number is a landline", gone=True),
    21703: _mend("the messaging service has no sender"),
    30001: Meaning("not_sent", "the queue is full", wait=30 * SECOND, away=True),
    30002: _mend("the account is suspended"),
    30003: Meaning("not_sent", "the handset is off or out of reach", wait=5 * MINUTE),
    30004: _permanent("blocked"),
    30005: _permanent("the handset is unknown", gone=True),
    30006: _permanent("a landline, or a carrier that cannot be reached", gone=True),
    30007: _permanent("policy: filtered by the carrier"),
    30008: Meaning("not_sent", "unknown error", wait=5 * MINUTE),
    30034: _permanent("policy: the sender is not registered"),
}
"""Vendor code → what to do next (Twilio, "Error and Warning Dictionary"). 30001 to 30008 come with receipts mostly."""


@dataclass(frozen=True, slots=True)
class TwilioSettings:
    """The account. Secrets are references."""

    sender: SmsSender
    token: str
    """Auth token of the account, or the secret of `api_key`."""
    api_key: str | None = None
    look_up: bool = False


class _Halted(Exception):
    """The request came to no answer."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome


class _Requests(AsyncHttpClient):  # type: ignore[misc]  # the vendor gives no types
    """The client's way to the network, for one call."""

    def __init__(self, web: Web, wire: Wire | None = None, start_by: Micros | None = None) -> None:
        super().__init__(None, True, None)
        self.web = web
        self.wire = wire
        self.start_by = start_by
        self.answer: Answer | None = None

    async def request(
        self,
        method: str,
        url: str,
        params: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        **_: object,
    ) -> Response:
        """Make one request; the wire's, where there is one."""
        proof = () if auth is None else (("Authorization", f"Basic {b64encode(':'.join(auth).encode()).decode()}"),)
        rest, body = tuple((headers or {}).items()), b""
        if self.wire is not None:
            asked = urlencode({name: data[name] for name in sorted(data)}) if data else ""
            ours = "&".join(sorted(self.wire.body.decode().split("&")))
            if (method, url, asked) != (self.wire.method, self.wire.to, ours):
                raise _Halted(Outcome("not_sent", detail="the vendor's client asks for another request than composed"))
            rest, body = self.wire.headers, self.wire.body
        words = {name: str(value) for name, value in (params or {}).items()}
        answer = await self.web.ask(method, url, (*rest, *proof), body, self.start_by, words or None)
        if isinstance(answer, Outcome):
            raise _Halted(answer)
        self.answer = answer
        return Response(answer.status, answer.body.decode("utf-8", "replace"), answer.headers)


@dataclass(frozen=True, slots=True)
class _Tried:
    """An attempt of unknown outcome."""

    to: str
    text: str
    at: Micros


@provides("twilio")
class TwilioProvider:
    """One connection a message."""

    name = "twilio"
    idempotent = False

    def __init__(
        self,
        settings: TwilioSettings,
        resolve: Callable[[str], str],
        clock: Callable[[], Micros],
        limits: Limits = PATIENT,
        *,
        allow_loopback: bool = False,
    ) -> None:
        self.settings = settings
        self.resolve = resolve
        self.web = Web(clock, limits, allow_loopback=allow_loopback)
        self.senders = Senders(sms=settings.sender)
        self._tried: OrderedDict[str, _Tried] = OrderedDict()
        self._taken: OrderedDict[str, str] = OrderedDict()
        """Sids of other messages, which a look-up must not take for this one."""

    @property
    def lease(self) -> Micros:
        """One request."""
        return self.web.limits.lease

    @property
    def can_look_up(self) -> bool:
        """Where it is configured."""
        return self.settings.look_up

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Hand over one message."""
        now = self.web.clock()
        try:
            wire = compose(outgoing, now, self.senders)
            http = _Requests(self.web, wire, outgoing.start_by)
            client = self._client(http)
        except Unfit as fault:
            return Outcome("permanent", detail=str(fault))
        except Misconfigured as fault:
            return Outcome("not_sent", detail=f"configuration: {fault}", retry_after=CONFIGURATION, away=True)
        fields = sms.form(outgoing, now, self.settings.sender)
        words = {_PYTHON[name]: value for name, value in fields.items()}
        try:
            made = await client.messages.create_async(**words)
            sid = made.sid
        except _Halted as fault:
            outcome = fault.outcome
        except TwilioException as fault:
            outcome = self._refused(fault, http)
        except Exception as fault:  # noqa: BLE001 - an answer that the client cannot read says nothing, and nothing leaves
            outcome = _unread(http, f"answer: {type(fault).__name__}")
        else:
            outcome = _unread(http, "an answer without a sid")
            if isinstance(sid, str) and SID.fullmatch(sid) is not None:
                outcome = replace(outcome, stage="accepted", reference=sid, detail="201", away=False)
        self._remember(outgoing, fields["Body"], outcome)
        return outcome

    async def look_up(self, message_id: str) -> str | None:
        """Compare the messages that Twilio lists for the number with what was tried.

        The list is not narrowed by DateSent: a queued message has none yet. It is narrowed by what was created since
        the attempt. A message that is neither ours nor known to be another one's leaves the question open: Twilio may
        have rewritten the text (smart encoding, trial accounts).
        """
        tried = self._tried.get(message_id)
        if tried is None or not self.settings.look_up:
            return None
        words: dict[str, Any] = {"to": tried.to, "page_size": PAGE}
        number = self.settings.sender.number
        if number.startswith("+"):
            words["from_"] = number
        try:
            page = await self._client(_Requests(self.web)).messages.page_async(**words)
            found = list(page)
        except Exception:  # noqa: BLE001 - no answer is an answer: nobody knows yet
            return None
        return self._compared(message_id, tried, found)

    def _compared(self, message_id: str, tried: _Tried, found: list[Any]) -> str | None:
        since = [one for one in found if _created(one) is None or (_created(one) or 0) >= tried.at - SKEW]
        for one in since:
            if one.body == tried.text and self._taken.get(one.sid, message_id) == message_id:
                self._note(self._taken, str(one.sid), message_id)
                return "accepted"
        others = all(self._taken.get(one.sid, message_id) != message_id for one in since)
        whole = len(found) < PAGE or len(since) < len(found)
        return "absent" if others and whole else None

    async def account(self) -> str:
        """Return the account's status, for `doctor`; sends nothing.

        Raises:
            Misconfigured: it cannot be asked, or refuses the credentials.
        """
        http = _Requests(self.web)
        sid = self.settings.sender.account
        try:
            found = await self._client(http).api.accounts(sid).fetch_async()
        except _Halted as fault:
            raise Misconfigured(f"cannot be reached: {fault}") from None
        except TwilioException as fault:
            raise Misconfigured(self._refused(fault, http).detail) from None
        except (ValueError, KeyError, TypeError) as fault:
            raise Misconfigured(f"answers something unreadable: {type(fault).__name__}") from None
        return str(found.status)

    def _client(self, http: _Requests) -> Any:
        from twilio.rest import Client

        settings = self.settings
        # An environment of its own: what the client finds there by itself (edge, region) would be another address.
        client = Client(
            settings.api_key or settings.sender.account, self.resolve(settings.token), settings.sender.account,
            http_client=http, environment={"TWILIO": ""},
        )  # fmt: skip
        client.api.base_url = settings.sender.base_url
        return client

    def _refused(self, fault: TwilioException, http: _Requests) -> Outcome:
        answer = http.answer
        if answer is None or not isinstance(fault, TwilioRestException | TwilioServiceException):
            return _unread(http, type(fault).__name__)
        code = fault.code if isinstance(fault.code, int) else 0
        meaning = CODES.get(code, _by_status(answer.status))
        if answer.status >= 500:  # noqa: PLR2004 - whatever it says, it may have been processed
            meaning = Meaning("ambiguous", meaning.says, away=True)
        wait = retry_after(answer.headers, self.web.clock()) if meaning.stage == "not_sent" else None
        # Never the vendor's sentence: it repeats the number.
        detail = f"{answer.status} {code}: {meaning.says}"
        if meaning.away and meaning.says.startswith(OURS):
            detail = f"{OURS}{answer.status} {code}: {meaning.says.removeprefix(OURS)}"
        return Outcome(
            meaning.stage, None, detail,
            meaning.wait if wait is None else wait, answer.first_byte_at, meaning.gone, meaning.away,
        )  # fmt: skip

    def _remember(self, outgoing: Outgoing, text: str, outcome: Outcome) -> None:
        if outcome.stage == "ambiguous" and self.settings.look_up:
            tried = self._tried.get(outgoing.message_id)
            at = outcome.first_byte_at or self.web.clock()
            self._note(self._tried, outgoing.message_id, tried or _Tried(outgoing.address, text, at))
        elif outcome.reference is not None:
            self._tried.pop(outgoing.message_id, None)
            self._note(self._taken, outcome.reference, outgoing.message_id)

    @staticmethod
    def _note(notes: OrderedDict[str, Any], key: str, value: Any) -> None:
        notes[key] = value
        while len(notes) > REMEMBERED:
            notes.popitem(last=False)


_PYTHON = {
    "To": "to", "From": "from_", "MessagingServiceSid": "messaging_service_sid", "Body": "body",
    "ValidityPeriod": "validity_period", "StatusCallback": "status_callback",
}  # fmt: skip
"""What the client calls the fields of the form."""


def _unread(http: _Requests, detail: str) -> Outcome:
    if http.answer is None:
        return Outcome("not_sent", detail=detail)
    detail = f"{http.answer.status}, {detail}"
    return Outcome("ambiguous", detail=detail, first_byte_at=http.answer.first_byte_at, away=True)


def _by_status(status: int) -> Meaning:
    """Return what a status says whose code nobody has placed."""
    if status == 429:  # noqa: PLR2004 - too many requests
        return CODES[20429]
    if status == 401:  # noqa: PLR2004 - unauthorized
        return _mend("not allowed")
    if status == 403:  # noqa: PLR2004 - forbidden: us, or this message
        return replace(_mend("not allowed"), away=False)
    if 300 <= status < 400:  # noqa: PLR2004 - redirects
        return _mend("redirects are not followed")
    if 400 <= status < 500:  # noqa: PLR2004 - the request is wrong, and will be
        return _permanent("refused")
    return Meaning("ambiguous", "no answer that says something", away=True)


def _created(one: Any) -> Micros | None:
    return int(one.date_created.timestamp() * SECOND) if isinstance(one.date_created, datetime) else None


def placed(code: int) -> Meaning | None:
    """Return what a vendor's code means, for receipts; None where nobody has placed it."""
    return CODES.get(code)
