"""Text messages, as the form that Twilio's Messages resource takes."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from handlers.channels.wire import Senders, SmsSender, Unfit, Wire, composes, text_of
from tidings.event import SECOND, Micros
from tidings.ports import Outgoing

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
"""ITU-T E.164: at most fifteen digits; there is no country whose numbers have fewer than seven."""
LONGEST = 1600
"""Characters of a body; Twilio refuses more (error 21617)."""
VALIDITY = (1, 36_000)
"""Seconds that a message may wait at Twilio (`ValidityPeriod`)."""
SERVICE = re.compile(r"MG[0-9a-f]{32}")
HEADERS = (
    ("Content-Type", "application/x-www-form-urlencoded"),
    ("Accept", "application/json"),
    ("Accept-Charset", "utf-8"),
    ("User-Agent", "Tidings"),
)


@composes("sms")
def compose(outgoing: Outgoing, now: Micros, senders: Senders) -> Wire:
    """Return the request. `content`: text; the rest of it is for people who count."""
    fields = form(outgoing, now, senders.sms)
    return Wire("sms", "POST", url_of(senders.sms), urlencode(fields).encode("ascii"), HEADERS)


def url_of(sender: SmsSender) -> str:
    """Return where messages are made."""
    return f"{sender.base_url}/2010-04-01/Accounts/{sender.account or 'none'}/Messages.json"


def number(value: str) -> str:
    """Return a number in the international form.

    Raises:
        Unfit: it is none.
    """
    if E164.fullmatch(value) is None:
        raise Unfit("the number is not in the international form: + and 7 to 15 digits (E.164)")
    return value


def form(outgoing: Outgoing, now: Micros, sender: SmsSender) -> dict[str, str]:
    """Return the fields of the form, in their order.

    Raises:
        Unfit: the number is no `+` and digits, or the text is none that Twilio takes.
    """
    to = number(outgoing.address)
    text = text_of(outgoing.content, "text")
    if not text.strip() or len(text) > LONGEST:
        raise Unfit(f"a text message has 1 to {LONGEST} characters; this one has {len(text)}")
    text.encode()
    fields = {"To": to}
    if sender.number:
        fields["MessagingServiceSid" if SERVICE.fullmatch(sender.number) else "From"] = sender.number
    fields["Body"] = text
    least, most = VALIDITY
    fields["ValidityPeriod"] = str(max(least, min(most, (outgoing.deadline - now) // SECOND)))
    if sender.callback is not None:
        # The vendor signs over the whole URL, so the id in it can be believed.
        fields["StatusCallback"] = f"{sender.callback}/v1/hooks/twilio?delivery={outgoing.message_id}"
    return fields
