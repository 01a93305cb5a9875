"""What a stop did to a message is told as it was then, whoever has released it since; on both stores."""

import json
from dataclasses import replace
from typing import Any

import pytest

from streams.explaining import stops
from streams.explaining.became import became, became_of
from streams.explaining.because import stale
from streams.explaining.stops import read_stops
from streams.explaining.why_not import why_not
from streams.processors import kills
from tests.explaining.laboratory import EURO_90, NOON, SOON, Shop, Where, browsing, opened, run
from tests.explaining.test_decision import explained, firing, order
from tidings.event import DAY, HOUR, MINUTE
from tidings.stops import Stop

WHO, WHY = "root-of-ours", "wrong prices"


async def stop(shop: Shop, scope: str = "all") -> None:
    await shop.store.run(kills.kill(scope, WHO, WHY))


async def release(shop: Shop, scope: str = "all") -> None:
    await kills.release(shop.store, scope, "ann", "mended")


async def fails(shop: Shop, **data: Any) -> None:
    given = {"payment_id": "p", "customer_id": "c-1", "amount": EURO_90, "code": "expired_card", **data}
    await shop.happens("billing.payment.failed", **given)


def answers(found: Any, gate: str = "kill") -> dict[str, tuple[str, str, str]]:
    """By time of asking: what a gate of the first message said."""
    said = {one.title: one.answers[gate] for one in found.gates[0].askings if gate in one.answers}
    return {title: (one.mark, one.origin, one.text) for title, one in said.items()}


def test_the_gate_at_decision_says_what_was_stopped_then_also_when_it_is_released_since(where: Where) -> None:
    async def story():
        async with opened(where, Shop()) as shop:
            await shop.customer()
            await shop.rests(SOON)
            await stop(shop)
            await shop.rests(MINUTE)
            await fails(shop)
            await shop.rests(MINUTE)
            held = await explained(shop, "payment-failed")
            await shop.rests(HOUR)
            await release(shop)
            await shop.rests(MINUTE)
            shop.clock += MINUTE
            await stop(shop, "channel:email")
            await shop.rests(MINUTE)
            return held, await explained(shop, "payment-failed")

    held, sent = run(story())
    since = "stopped: everything, by root-of-ours since 2027-01-15 13:05 in Berlin"
    assert held.verdict == "Not told yet: held until an operator lets it go"
    assert answers(held) == {"at decision": ("held", "recorded", since), "now": ("held", "worked_out", since)}
    assert [one.at for one in held.would] == [None]
    assert held.for_support == (
        "A payment failed (p), 2027-01-15 13:06 in Berlin: the message has not left yet. It has been held back by us since "
        "2027-01-15 13:07 in Berlin, and leaves once that ends, if it is before 2027-01-17 03:06 in Berlin."
    )
    assert sent.verdict == "Told by e-mail"
    assert answers(sent) == {
        "at decision": ("held", "recorded", f"{since}, released 2027-01-15 14:07 in Berlin"),
        "at send": ("yes", "recorded", "nobody has stopped it"),
    }
    texts = [(one.text, one.detail) for one in sent.timeline]
    assert ("Stopped: everything", f"by {WHO}: {WHY}") in texts
    assert ("Released: everything", "by ann: mended") in texts
    assert not any("email" in text for text, _ in texts), "what was stopped after it had left did nothing to it"


def test_what_expired_while_it_was_stopped_says_so_wherever_its_reason_is_told_and_names_nobody(where: Where) -> None:
    async def story():
        async with opened(where, Shop()) as shop:
            await shop.customer()
            await shop.rests(SOON)
            await stop(shop, "rule:payment-failed")
            await fails(shop)
            await shop.rests(MINUTE)
            await shop.rests(3 * DAY)
            standing = await explained(shop, "payment-failed")
            await release(shop, "rule:payment-failed")
            await shop.rests(MINUTE)
            await shop.catalogued()
            found = await explained(shop, "payment-failed")
            asked = await why_not(shop.books, "c-1", rule="payment-failed")
            (told,) = await became(shop.books, await firing(shop, "payment-failed"))
            async with browsing(shop) as client:
                page = (await client.get(f"/decisions/{found.id}")).text
                message = (await client.get(f"/messages/{told.message.message_id}")).text
                api = (await client.get(f"/v1/decisions/{found.id}")).json()
                assert ", expired" not in (await client.get("/decisions")).text, "its state has said so"
            return standing, found, asked, told, page, message, api

    standing, found, asked, told, page, message, api = run(story())
    assert told.message.reason == "expired"
    assert "It has been held back by us since 2027-01-15 13:06 in Berlin, and is too late to be useful by now." in (
        standing.for_support or ""
    )
    why = "It was held back by us from 2027-01-15 13:06 to 2027-01-18 13:06 in Berlin, and by then it was too late to be useful."
    assert found.verdict == "Not told in time: sending was stopped until it was too late"
    assert (found.for_support or "").endswith(f"no message was sent. {why}")
    assert told.because == why
    assert api["messages"][0]["because"] == why
    assert why in page
    assert why in message
    assert (found.verdict in asked.says, "held back by us from 2027-01-15 12:06 to 2027-01-18 12:06 UTC" in asked.says) == (
        True, True,
    )  # fmt: skip
    assert not any(
        name in text for name in (WHO, WHY, "ann") for text in (found.for_support or "", asked.says, message, why)
    )
    assert [one.text for one in found.timeline if "rule payment-failed" in one.text] == [
        "Stopped: rule payment-failed", "Released: rule payment-failed",
    ]  # fmt: skip
    assert None not in [one.at for one in found.timeline], "where its end is not kept it is its deadline, or later"
    mark, origin, text = answers(found, "deadline")["afterwards"]
    assert (mark, origin) == ("no", "recorded")
    assert f"stopped then: rule payment-failed, by {WHO} since" in text


def test_what_was_dropped_names_the_stop_with_which_it_was_and_not_the_decision(where: Where) -> None:
    async def story():
        async with opened(where, Shop()) as shop:
            await shop.customer()
            await shop.rests(SOON)
            await fails(shop, payment_id="before")
            await shop.rests(MINUTE)
            await stop(shop, "channel:email")
            await shop.rests(MINUTE)
            await order(shop)
            await shop.rests(MINUTE)
            shop.clock += MINUTE
            await kills.drop(shop.store, "channel:email", "ann", "nobody shall get these")
            await shop.rests(MINUTE)
            await stop(shop, "channel:email")
            await shop.rests(MINUTE)
            return await explained(shop, "order-confirmed")

    found = run(story())
    assert found.messages[0].reason == "killed"
    assert found.for_support.endswith(
        "no message was sent. It was held back by us from 2027-01-15 13:08 to 13:09 in Berlin, and withdrawn then."
    )
    said = answers(found)
    assert said["at decision"][:2] == ("held", "recorded")
    assert said["afterwards"][:2] == ("no", "recorded")
    assert said["afterwards"][2].startswith(
        f"Stopped: channel email, by {WHO} since 2027-01-15 13:06 in Berlin, dropped 2027-01-15 13:09 in Berlin."
    )
    assert "Dropped: channel email" in [one.text for one in found.timeline]


def test_a_stop_that_reaches_others_only_is_not_told_and_nobody_had_stopped_it(where: Where) -> None:
    async def story():
        async with opened(where, Shop()) as shop:
            await shop.customer()
            await shop.rests(SOON)
            for scope in ("tenant:another", "channel:sms"):
                await stop(shop, scope)
            await fails(shop)
            await shop.rests(MINUTE)
            return await explained(shop, "payment-failed")

    found = run(story())
    assert answers(found)["at decision"] == ("yes", "recorded", "nobody had stopped it")
    assert WHO not in json.dumps(found.to_json())


def test_further_back_than_stops_are_looked_at_it_says_that_it_does_not_know(
    where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stops, "NEWEST", 2)

    async def story():
        async with opened(where, Shop()) as shop:
            await shop.customer()
            await shop.rests(SOON)
            await fails(shop)
            await shop.rests(MINUTE)
            for scope in ("all", "channel:sms", "all"):
                await stop(shop, scope)
                shop.clock += MINUTE
                await release(shop, scope)
                shop.clock += MINUTE
            return await explained(shop, "payment-failed"), await shop.store.read(read_stops)

    found, known = run(story())
    mark, origin, text = answers(found)["at decision"]
    assert (mark, origin) == ("none", "follows")
    assert text.startswith("not known")
    at = NOON + SOON + 3 * MINUTE
    assert known.all == [
        Stop("channel:sms", at, at + MINUTE, WHO, WHY, "release", "ann", ended_because="mended"),
        Stop("all", at + 2 * MINUTE, at + 3 * MINUTE, WHO, WHY, "release", "ann", ended_because="mended"),
    ]


def test_what_was_too_old_says_how_old_it_was_and_how_long_its_rule_tells(where: Where) -> None:
    async def story():
        async with opened(where, Shop()) as shop:
            await shop.customer()
            await shop.rests(SOON)
            await shop.happens(
                "billing.payment.failed", at=NOON - 30 * HOUR, payment_id="p", customer_id="c-1", amount=EURO_90,
                code="expired_card",
            )  # fmt: skip
            await shop.rests(0)
            shop.clock += MINUTE
            await stop(shop)
            shop.clock += MINUTE
            found = await explained(shop, "payment-failed")
            return found, await became_of(shop.books, found.messages[0])

    found, told = run(story())
    assert found.messages[0].reason == "stale"
    assert not any("Stopped" in one.text for one in found.timeline), "it was stopped when all was over"
    assert told.because == found.because[found.messages[0].message_id]
    assert told.because.endswith(
        "It was 1d 6h 5m old when it was decided, and what is older than 1d is told to nobody (unless its rule says 'expires')."
    )
    assert answers(found, "deadline")["at decision"][2].startswith("It was 1d 6h 5m old when it was decided")
    rule, message = found.rule, found.messages[0]
    history = replace(message, created_at=message.body["logical_at"] + 2 * HOUR)
    assert stale(history, rule).startswith(
        "it was 2h old when it was decided, and had happened before its topic was connected here: what was there already "
        "is history"
    )
