"""Tickets, webhooks, workflows and push against a receiver that checks signatures with a library of somebody else."""

import asyncio
import json
import time
from typing import Any

import pytest
from standardwebhooks import Webhook

from handlers.channels.wire import PushGateway, Senders
from handlers.providers.web import Limits
from handlers.providers.webhook import WebhookProvider, key_of
from streams.embedded import wall_clock
from tests.providers.stand_ins import ID, QUICK, WHSEC, Asked, Receiver, outgoing, resetting, resolve, served
from tidings.errors import Misconfigured
from tidings.event import HOUR, SECOND
from tidings.ports import Outcome

pytestmark = pytest.mark.live

MADE = 1_772_704_800 * SECOND


def provider(clock=wall_clock, push: str = "", limits: Limits = QUICK) -> WebhookProvider:
    senders = Senders(push=PushGateway(push, "env:WHSEC"))
    return WebhookProvider(senders, resolve, clock, limits, allow_loopback=True)


def request(url: str, channel: str = "webhook", secret: str | None = "env:WHSEC", **words: Any) -> Any:
    content: dict[str, Any] = {
        "data": {"customer_id": "c-1", "amount": {"amount_minor": 4200, "currency": "EUR"}, "name": "Zoë"},
        "target": {"name": "crm", "url": url, "secret": secret},
    }
    if channel == "ticket":
        content |= {"title": "Call back", "body": "They asked for it."}
    content |= words.pop("content", {})
    return outgoing(channel, "", content, created_at=MADE, **words)


def post(receiver: Receiver, channel: str = "webhook", **words: Any) -> Outcome:
    async def story() -> Outcome:
        async with served(receiver) as url:
            return await provider().send(request(url + "/hook", channel, **words))

    return asyncio.run(story())


def verified(one: Asked) -> Any:
    return Webhook(WHSEC).verify(one.body, {name.lower(): value for name, value in one.headers})


@pytest.mark.parametrize(
    ("channel", "kind", "data"),
    [
        ("webhook", "tidings.webhook.requested", {"customer_id": "c-1", "amount": {"amount_minor": 4200, "currency": "EUR"}, "name": "Zoë"}),
        ("workflow", "tidings.workflow.requested", {"customer_id": "c-1", "amount": {"amount_minor": 4200, "currency": "EUR"}, "name": "Zoë"}),
        ("ticket", "tidings.ticket.requested", {"title": "Call back", "body": "They asked for it.", "data": {
            "customer_id": "c-1", "amount": {"amount_minor": 4200, "currency": "EUR"}, "name": "Zoë"}}),
    ],
)  # fmt: skip
def test_a_request_is_signed_so_that_another_library_believes_it(channel, kind, data):
    receiver = Receiver(status=202)
    outcome = post(receiver, channel)
    assert (outcome.stage, outcome.detail) == ("accepted", "202")
    (one,) = receiver.asked
    assert (one.method, one.path, one.header("webhook-id")) == ("POST", "/hook", ID)
    assert verified(one) == {"type": kind, "timestamp": "2026-03-05T10:00:00Z", "data": data}
    assert one.header("Content-Type") == "application/json"


def test_the_second_opinion_can_say_no():
    receiver = Receiver()
    post(receiver)
    (one,) = receiver.asked
    one.body = one.body.replace(b"c-1", b"c-2")
    with pytest.raises(Exception, match="No matching signature"):
        verified(one)


def test_every_attempt_has_the_same_id_and_body_and_its_own_time_and_signature():
    receiver = Receiver(status=503)
    now = wall_clock()

    async def story() -> None:
        async with served(receiver) as url:
            for attempt in (1, 2):
                at = now + attempt * 30 * SECOND
                one = request(url, attempt=attempt, start_by=at + SECOND, deadline=now + HOUR)
                assert (await provider(clock=lambda at=at: at).send(one)).stage == "not_sent"

    asyncio.run(story())
    first, second = receiver.asked
    assert first.body == second.body
    assert first.header("webhook-id") == second.header("webhook-id") == ID
    assert first.header("webhook-timestamp") != second.header("webhook-timestamp")
    assert first.header("webhook-signature") != second.header("webhook-signature")
    verified(first)
    verified(second)


def test_a_type_of_its_own_is_kept():
    receiver = Receiver()
    post(receiver, "workflow", content={"type": "shop.onboarding.start"})
    assert json.loads(receiver.asked[0].body)["type"] == "shop.onboarding.start"


def test_without_a_secret_it_goes_unsigned():
    receiver = Receiver()
    assert post(receiver, secret=None).stage == "accepted"
    assert receiver.asked[0].header("webhook-signature") is None
    assert receiver.asked[0].header("webhook-id") == ID


ANSWERS: dict[str, tuple[Receiver, str, int | None]] = {
    "200": (Receiver(200), "accepted", None),
    "204": (Receiver(204), "accepted", None),
    "301": (Receiver(301, headers={"Location": "http://127.0.0.1:1/"}), "not_sent", None),
    "400": (Receiver(400), "permanent", None),
    "401": (Receiver(401), "not_sent", 60),
    "404": (Receiver(404), "permanent", None),
    "410": (Receiver(410), "permanent", None),
    "422": (Receiver(422), "permanent", None),
    "408": (Receiver(408), "not_sent", None),
    "429": (Receiver(429, headers={"Retry-After": "3"}), "not_sent", 3),
    "500": (Receiver(500), "not_sent", None),
    "503": (Receiver(503, headers={"Retry-After": "120"}), "not_sent", 120),
    "reset": (Receiver(breaks="reset"), "not_sent", None),
    "hang": (Receiver(breaks="hang"), "not_sent", None),
    "half": (Receiver(breaks="half"), "not_sent", None),
    "endless": (Receiver(200, text="x" * 10_000_000), "accepted", None),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_has_its_outcome_and_what_may_be_repeated_is(name):
    """Receivers drop repeats of `webhook-id`, so whatever is not acknowledged goes again."""
    receiver, stage, wait = ANSWERS[name]
    began = time.monotonic()
    outcome = post(receiver)
    wanted = None if wait is None else wait * SECOND
    assert (outcome.stage, outcome.retry_after, outcome.address_gone) == (stage, wanted, False), outcome
    assert not outcome.away  # one of many servers
    assert outcome.first_byte_at is not None
    assert len(receiver.asked) == 1
    # Bounded by our own limit; a hang would be 30 s, and a slow machine does not decide.
    assert time.monotonic() - began < 20


def test_a_date_in_retry_after_is_understood():
    receiver = Receiver(503, headers={"Retry-After": "Thu, 05 Mar 2026 10:02:00 GMT"})

    async def story() -> Outcome:
        async with served(receiver) as url:
            return await provider(clock=lambda: MADE).send(request(url, start_by=MADE + SECOND, deadline=MADE + HOUR))

    assert asyncio.run(story()).retry_after == 120 * SECOND


@pytest.mark.parametrize("after", [0, 1, 80])
def test_a_receiver_that_resets_is_tried_again(after):
    async def story() -> Outcome:
        async with resetting(after) as url:
            return await provider().send(request(url))

    assert asyncio.run(story()).stage == "not_sent"


def test_of_a_lost_outcome_it_says_that_it_may_go_again():
    assert provider().can_look_up
    assert asyncio.run(provider().look_up(ID)) == "absent"


def test_push_is_neutral_of_the_channel_and_signed():
    receiver = Receiver()

    async def story() -> Outcome:
        async with served(receiver) as url:
            content = {"title": "Shipped", "body": "Your order is on its way", "data": {"order": "o-1"}}
            message = outgoing("push", "token", content, recipient="customer:c-1")
            return await provider(push=url).send(message)

    assert asyncio.run(story()).stage == "accepted"
    payload = verified(receiver.asked[0])
    assert payload.pop("ttl_s") in (599, 600)
    assert payload == {
        "message_id": ID, "customer": "c-1", "title": "Shipped", "body": "Your order is on its way",
        "data": {"order": "o-1"}, "collapse_key": ID,
    }  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        {"data": {1: object()}}, {"data": float("nan")}, {"data": "x" * 300_000}, {"target": "https://x"}, {"target": {}},
        {"data": "half \ud800"}, {"type": "no type"}, {"type": 7}, {"target": {"url": 7}},
    ],
)  # fmt: skip
def test_data_that_cannot_travel_is_permanent(content):
    receiver = Receiver()
    assert post(receiver, content=content).stage == "permanent"
    assert receiver.asked == []


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_short", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!", "whsec_" + "A" * 200, "ü"]
)
def test_a_secret_that_is_none_is_configuration_and_never_shown(secret):
    with pytest.raises(Misconfigured):
        key_of(secret)

    async def story() -> Outcome:
        out = provider()
        out.resolve = lambda reference: secret if reference == "env:WHSEC" else reference
        return await out.send(request("http://127.0.0.1:1"))

    outcome = asyncio.run(story())
    assert (outcome.stage, outcome.retry_after) == ("not_sent", 60 * SECOND)
    assert "configuration" in outcome.detail
    assert not secret or secret not in outcome.detail.replace("'whsec_'", "")


def test_a_reference_that_cannot_be_read_is_configuration():
    async def story() -> Outcome:
        out = provider()

        def missing(reference: str) -> str:
            raise Misconfigured("the environment variable X is not set")

        out.resolve = missing
        return await out.send(request("env:X"))

    outcome = asyncio.run(story())
    assert (outcome.stage, outcome.first_byte_at) == ("not_sent", None)
    assert "X is not set" in outcome.detail
