"""Push messages, neutral of the channel: the company's gateway knows its app, its tokens and its vendor."""

from __future__ import annotations

from handlers.channels.webhook import signed
from handlers.channels.wire import Senders, Unfit, Wire, as_json, composes, text_of
from tidings.event import SECOND, Micros
from tidings.ports import Outgoing

LARGEST = 4096
"""Bytes; FCM and APNs take no more (APNs: 4 KB a notification)."""


@composes("push")
def compose(outgoing: Outgoing, now: Micros, senders: Senders) -> Wire:
    """Return the request. `content`: title, body; data and collapse_key where they are wanted.

    `customer` is whom to reach: their id, else the address that the profile gives. `collapse_key` is the message's id
    unless said otherwise, so that a repeat replaces what is on the screen.
    """
    content = outgoing.content
    customer = outgoing.recipient.removeprefix("customer:") or outgoing.address
    if not customer:
        raise Unfit("nobody is named")
    payload = {
        "message_id": outgoing.message_id,
        "customer": customer,
        "title": text_of(content, "title"),
        "body": text_of(content, "body"),
        "data": content.get("data", {}),
        "ttl_s": max(0, (outgoing.deadline - now) // SECOND),
        "collapse_key": content.get("collapse_key", outgoing.message_id),
    }
    body = as_json(payload, LARGEST)
    return signed(outgoing, now, url=senders.push.url, secret=senders.push.secret, body=body)
