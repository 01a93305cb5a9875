"""Chat rooms of teams, over incoming webhooks: Slack, and Microsoft Teams by its Workflows."""

from __future__ import annotations

from typing import Any

from handlers.channels.wire import JSON_HEADERS, Senders, Unfit, Wire, as_json, composes, text_of
from tidings.event import Micros
from tidings.ports import Outgoing

SLACK_LONGEST = 40_000
"""Characters; Slack cuts what is longer."""
TEAMS_LARGEST = 28 * 1024
"""Bytes of a card; Teams refuses more."""


@composes("slack")
def slack(outgoing: Outgoing, now: Micros, senders: Senders) -> Wire:
    """Return the request. `content`: text, in Slack's own markup, escaped already."""
    text = text_of(outgoing.content, "text")
    if not text.strip() or len(text) > SLACK_LONGEST:
        raise Unfit(f"Slack takes 1 to {SLACK_LONGEST} characters; this text has {len(text)}")
    return Wire("slack", "POST", _room(outgoing), as_json({"text": text}), JSON_HEADERS)


@composes("teams")
def teams(outgoing: Outgoing, now: Micros, senders: Senders) -> Wire:
    """Return the request: one Adaptive Card. `content`: text, and title where there is one."""
    blocks: list[dict[str, Any]] = []
    if outgoing.content.get("title"):
        title = text_of(outgoing.content, "title")
        blocks.append({"type": "TextBlock", "text": title, "weight": "Bolder", "size": "Medium", "wrap": True})
    blocks.append({"type": "TextBlock", "text": text_of(outgoing.content, "text"), "wrap": True})
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
    }
    kind = "application/vnd.microsoft.card.adaptive"
    message = {"type": "message", "attachments": [{"contentType": kind, "contentUrl": None, "content": card}]}
    return Wire("teams", "POST", _room(outgoing), as_json(message, TEAMS_LARGEST), JSON_HEADERS)


def _room(outgoing: Outgoing) -> str:
    if not outgoing.address:
        raise Unfit("the room has no address")
    return outgoing.address
