"""Slack and Microsoft Teams against stand-ins: their payloads, their answers, and what is not known."""

import asyncio
import json
from typing import Any

import pytest

from handlers.providers.chat import SlackProvider, TeamsProvider
from streams.embedded import wall_clock
from tests.providers.stand_ins import QUICK, Receiver, outgoing, resetting, resolve, served
from tidings.event import SECOND
from tidings.ports import Outcome

pytestmark = pytest.mark.live

CONTENT: dict[str, dict[str, Any]] = {
    "slack": {"text": "Stock of *A* is low &amp; falling"},
    "teams": {"title": "Stock", "text": "Stock of **A** is low"},
}
ROOMS: dict[str, Any] = {"slack": SlackProvider, "teams": TeamsProvider}


def room(channel: str) -> Any:
    return ROOMS[channel](resolve, wall_clock, QUICK, allow_loopback=True)


def say(channel: str, receiver: Receiver, content: Any = None) -> Outcome:
    async def story() -> Outcome:
        async with served(receiver) as url:
            out = room(channel)
            out.resolve = lambda reference: {"env:ROOM": url + "/services/T0/B0/secret"}[reference]
            outcome = await out.send(outgoing(channel, "env:ROOM", CONTENT[channel] if content is None else content))
            assert isinstance(outcome, Outcome)
            assert "secret" not in outcome.detail
            return outcome

    return asyncio.run(story())


def test_slack_gets_a_text():
    receiver = Receiver(text="ok")
    assert say("slack", receiver).stage == "accepted"
    assert json.loads(receiver.asked[0].body) == CONTENT["slack"]
    assert receiver.asked[0].path == "/services/T0/B0/secret"


@pytest.mark.parametrize("title", [True, False])
def test_teams_gets_an_adaptive_card(title):
    receiver = Receiver(status=202)
    content = CONTENT["teams"] if title else {"text": "Stock of **A** is low"}
    assert say("teams", receiver, content).stage == "accepted"
    message = json.loads(receiver.asked[0].body)
    (attachment,) = message["attachments"]
    assert (message["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert [block["text"] for block in card["body"]] == list(content.values())
    assert all(block["type"] == "TextBlock" and block["wrap"] for block in card["body"])


ANSWERS: dict[str, tuple[str, Receiver, str, int | None]] = {
    "slack, another 200": ("slack", Receiver(text="<html>"), "ambiguous", None),
    "slack, too many": ("slack", Receiver(429, headers={"Retry-After": "5"}), "not_sent", 5),
    "slack, revoked": ("slack", Receiver(404, "no_service"), "permanent", None),
    "slack, archived": ("slack", Receiver(410, "channel_is_archived"), "permanent", None),
    "slack, bad payload": ("slack", Receiver(400, "invalid_payload"), "permanent", None),
    "slack, 500": ("slack", Receiver(500, "rollup_error"), "ambiguous", None),
    "slack, reset": ("slack", Receiver(breaks="reset"), "ambiguous", None),
    "slack, hang": ("slack", Receiver(breaks="hang"), "ambiguous", None),
    "slack, half": ("slack", Receiver(breaks="half"), "ambiguous", None),
    "slack, redirect": ("slack", Receiver(302, headers={"Location": "http://127.0.0.1:1"}), "not_sent", 60),
    "teams, 200": ("teams", Receiver(200), "accepted", None),
    "teams, error inside": (
        "teams",
        Receiver(200, "Webhook message delivery failed with error: 429"),
        "ambiguous",
        None,
    ),
    "teams, too many": ("teams", Receiver(429, headers={"Retry-After": "5"}), "not_sent", 5),
    "teams, gone": ("teams", Receiver(404), "permanent", None),
    "teams, 502": ("teams", Receiver(502), "ambiguous", None),
    "teams, hang": ("teams", Receiver(breaks="hang"), "ambiguous", None),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_has_its_outcome(name):
    channel, receiver, stage, wait = ANSWERS[name]
    outcome = say(channel, receiver)
    assert (outcome.stage, outcome.retry_after) == (stage, None if wait is None else wait * SECOND), outcome
    assert not outcome.away  # one room of many
    assert len(receiver.asked) == 1


@pytest.mark.parametrize("channel", ROOMS)
def test_nobody_there_is_not_sent_and_a_reset_while_it_is_read_ambiguous(channel):
    async def story() -> list[str]:
        nobody = await room(channel).send(outgoing(channel, "http://127.0.0.1:1", CONTENT[channel]))
        async with resetting(20) as url:
            reset = await room(channel).send(outgoing(channel, url, CONTENT[channel]))
        return [nobody.stage, reset.stage]

    assert asyncio.run(story()) == ["not_sent", "ambiguous"]


@pytest.mark.parametrize(
    ("channel", "content"),
    [
        ("slack", {"text": " "}),
        ("slack", {"text": "x" * 40_001}),
        ("teams", {"text": "x" * 30_000}),
        ("slack", {}),
        ("teams", {"text": 7}),
    ],
)
def test_what_a_room_would_refuse_is_permanent(channel, content):
    assert say(channel, Receiver(), content).stage == "permanent"
