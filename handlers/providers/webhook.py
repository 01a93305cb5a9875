"""Signed requests after Standard Webhooks: tickets, webhooks, workflows, and push over the company's own gateway.

`webhook-id` is the message's id, the same on every attempt, and receivers drop what they have seen (that is what the
standard asks of them). Repeats are harmless, so this way is *effectively once* with every fault tried again: an attempt
without a 2xx counts as `not_sent`, also where the connection was lost after the request was written, or the answer was
a 5xx; and of a delivery whose outcome was lost with its process the look-up says `absent`. Both say "send it again",
not "it is not there": a run that was stopped in just that moment ends as cancelled, though the receiver may have it.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

from handlers.channels.wire import Senders, Unfit, Wire, compose
from handlers.providers.registry import provides
from handlers.providers.web import CONFIGURATION, PATIENT, Answer, Limits, Web, retry_after
from tidings.errors import Misconfigured
from tidings.event import Micros
from tidings.ports import Outcome, Outgoing

SECRET = "whsec_"  # noqa: S105 - the prefix of every such secret
SECRET_BYTES = range(24, 65)
"""Standard Webhooks, "Signature scheme"."""
MAKES_ONE = "'echo whsec_$(openssl rand -base64 32)' makes a secret"


def signature(secret: str, wire: Wire) -> str:
    """Return `webhook-signature` for a request.

    Raises:
        Misconfigured: the secret is none.
    """
    headers = dict(wire.headers)
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + wire.body
    return f"v1,{b64encode(hmac.digest(key_of(secret), signed, sha256)).decode()}"


def key_of(secret: str) -> bytes:
    """Return the bytes of a `whsec_…`.

    Raises:
        Misconfigured: it is none; the text does not hold it.
    """
    try:
        key = b64decode(secret.removeprefix(SECRET), validate=True)
    except (NoBase64, ValueError):
        key = b""
    if not secret.startswith(SECRET) or len(key) not in SECRET_BYTES:
        raise Misconfigured("a webhook's secret is 'whsec_' and 24 to 64 bytes in base64")
    return key


@provides("webhook")
class WebhookProvider:
    """Posts over HTTPS, a new time and signature each attempt."""

    name = "webhook"
    can_look_up = True
    idempotent = True

    def __init__(
        self,
        senders: Senders,
        resolve: Callable[[str], str],
        clock: Callable[[], Micros],
        limits: Limits = PATIENT,
        *,
        allow_loopback: bool = False,
    ) -> None:
        self.senders = senders
        self.resolve = resolve
        self.web = Web(clock, limits, allow_loopback=allow_loopback)

    @property
    def lease(self) -> Micros:
        """One request."""
        return self.web.limits.lease

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Hand over one message."""
        now = self.web.clock()
        try:
            wire = compose(outgoing, now, self.senders)
            url = self.resolve(wire.to)
            proof = () if wire.secret is None else (("webhook-signature", signature(self.resolve(wire.secret), wire)),)
        except Unfit as fault:
            return Outcome("permanent", detail=str(fault))
        except Misconfigured as fault:
            return Outcome("not_sent", detail=f"configuration: {fault}", retry_after=CONFIGURATION)
        answer = await self.web.ask(wire.method, url, (*wire.headers, *proof), wire.body, outgoing.start_by)
        if isinstance(answer, Outcome):
            return replace(answer, stage="not_sent", away=False)  # one of many servers
        return answered(answer, self.web.clock())

    async def look_up(self, message_id: str) -> str | None:
        """Say `absent`: sending it again is harmless."""
        return "absent"


def answered(answer: Answer, now: Micros) -> Outcome:
    """Return the outcome of an answer."""
    status, first = answer.status, answer.first_byte_at
    if 200 <= status < 300:  # noqa: PLR2004 - success
        return Outcome("accepted", detail=str(status), first_byte_at=first)
    if status in (401, 403):
        return Outcome("not_sent", None, f"configuration: {status}, not allowed", CONFIGURATION, first)
    if status in (408, 425, 429) or status >= 500 or 300 <= status < 400:  # noqa: PLR2004 - later, perhaps
        why = f"{status}, redirects are not followed" if status < 400 else str(status)  # noqa: PLR2004
        return Outcome("not_sent", None, why, retry_after(answer.headers, now), first)
    return Outcome("permanent", detail=str(status), first_byte_at=first)
