"""Tickets, webhooks and workflows, after Standard Webhooks: other systems are told what should be done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from handlers.channels.wire import JSON_HEADERS, Senders, Unfit, Wire, as_json, composes, text_of
from tidings.event import SECOND, Micros
from tidings.ports import Outgoing

TYPE = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+){1,7}")
"""What `type` looks like: words with full stops between them."""


@composes("ticket", "webhook", "workflow")
def compose(outgoing: Outgoing, now: Micros, senders: Senders) -> Wire:
    """Return the request. `content`: target {name, url, secret}, data; a ticket has title and body beside it."""
    content = outgoing.content
    target = content["target"]
    if not isinstance(target, Mapping):
        raise Unfit("'target' of the content is no mapping")
    kind = content.get("type") or f"tidings.{outgoing.channel}.requested"
    if not isinstance(kind, str) or TYPE.fullmatch(kind) is None:
        raise Unfit("'type' is no words with full stops between them")
    data: Any = content.get("data", {})
    if outgoing.channel == "ticket":
        data = {"title": text_of(content, "title"), "body": text_of(content, "body"), "data": data}
    # The same on every attempt, where the message says when it was made: the receiver sees one fact.
    made = now if outgoing.created_at is None else outgoing.created_at
    body = as_json({"type": kind, "timestamp": _instant(made), "data": data})
    return signed(outgoing, now, url=text_of(target, "url"), secret=target.get("secret"), body=body)


def signed(outgoing: Outgoing, now: Micros, *, url: str, secret: str | None, body: bytes) -> Wire:
    """Return a request that its provider signs: the id stays, the time is that of the attempt."""
    headers = (
        *JSON_HEADERS,
        ("webhook-id", outgoing.message_id),
        ("webhook-timestamp", str(now // SECOND)),
    )
    return Wire(outgoing.channel, "POST", url, body, headers, secret=secret)


def _instant(at: Micros) -> str:
    return datetime.fromtimestamp(at // SECOND, UTC).isoformat().replace("+00:00", "Z")
