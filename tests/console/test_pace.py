"""How long things take: of messages that nothing held, and by our clock, however fast the shop's runs."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from gateway.console.marks import span
from gateway.console.overview import LATE, way_of, windows_at
from gateway.http.look import Look
from streams.clock import FastClock
from streams.ledger.counted import Way, Window
from streams.ledger.proof import Proof
from tests.console.test_said import plain
from tests.explaining.laboratory import EURO_90, NOON, SOON, Shop, browsing, opened, run
from tidings.breaker import Breaker
from tidings.event import HOUR, MINUTE, SECOND
from tidings.reasons import MessageState

DEMO = 7_200


def test_the_time_from_event_to_provider_is_of_messages_that_nothing_held(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop:
            ledger = shop.site().ledger
            proof = Proof(ledger, lambda: shop.clock, lambda _: asyncio.sleep(0))
            await shop.customer()
            for wait in (SOON, 10 * HOUR, 12 * HOUR):
                name = f"pay-{wait}"
                await shop.happens(
                    "billing.payment.failed", payment_id=name, customer_id="c-1", amount=EURO_90, code="expired_card"
                )
                shop.clock += 2 * SECOND
                await shop.rests()
                await shop.rests(wait)
            await proof.step()
            seen = proof.overview(Window.WEEK)
            assert seen is not None
            assert seen.latency is not None
            states = [one.state for one in (await ledger.messages()).rows if one.rule == "payment-failed"]
            # The second came at night, and left in the morning: it is no measure of how fast this is.
            assert states == [MessageState.ACCEPTED] * 3
            assert seen.latency.most <= 2 * SECOND
            assert seen.latency.measured == 2

    run(story())


def test_what_waits_is_told_by_our_clock_and_so_is_the_pace_of_a_shop_whose_clock_runs_fast(tmp_path: Path) -> None:
    since = {"message": NOON - 6 * MINUTE}
    assert Look(NOON, None, {}, {}, since, ()).waits == 6 * MINUTE > LATE
    assert Look(NOON, None, {}, {}, since, (), (), DEMO).waits == SECOND // 20
    assert windows_at(1) == list(Window)
    assert windows_at(DEMO) == [Window.DAY, Window.WEEK, Window.MONTH]
    assert windows_at(86_400) == [Window.WEEK, Window.MONTH]

    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop:
            await shop.customer()
            await shop.rests()
            for now, offered, said in ((lambda: shop.clock, True, False), (FastClock(shop.clock, DEMO), False, True)):
                async with browsing(shop, now=now) as client:
                    text = plain((await client.get("/")).text)
                    assert ("1 h" in text) is offered
                    assert ("7,200 times as fast as ours: its day takes 12 s" in text) is said

    run(story())


def test_a_span_is_never_nothing_but_below_a_millisecond() -> None:
    spans = {900: "0 s", 7_900: "7 ms", 410_000: "0.41 s", 4_300_000: "4.3 s", 59 * SECOND: "59 s", 26 * HOUR: "26 h"}
    assert {size: span(size) for size in spans} == spans


def test_since_when_a_provider_is_away_is_told_by_our_clock(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop:
            await shop.customer()
            await shop.rests()
            shop.deliverer.holding.breaker = Breaker(
                "d", times=1, since=shop.clock - 20 * HOUR, until=shop.clock + HOUR
            )
            async with browsing(shop, now=FastClock(shop.clock, DEMO)) as client:
                assert re.search(r"post is away since \d+ s;", plain((await client.get("/")).text))

    run(story())


def test_a_way_out_says_in_words_what_it_did_not_take() -> None:
    way = Way("catcher", {"accepted": 294, "permanent": 4, "not_sent": 2, "open": 1}, NOON, 25 * SECOND, "", None)
    assert way_of(way)["says"] == "did not take all"
    assert way_of(way)["more"] == (
        "of 300 attempts 4 refused for good, 2 not sent and tried again; half were taken within 25 s"
    )
    good = way_of(Way("smtp", {"accepted": 3}, NOON, 7_200 * SECOND, "", None), DEMO)
    assert (good["says"], good["more"]) == ("took all", "half were taken within 1 s")
    assert way_of(Way("smtp", {"open": 1}, NOON, None, "", None))["says"] == "no answer yet"
