"""Why somebody did not hear: the nearest miss, what waits, what was suppressed, what never came; on both stores."""

from typing import Any

import pytest

from streams.explaining.why_not import NoSuchRule, WhyNot, why_not
from tests.explaining.laboratory import EURO_90, SOON, Shop, Where, opened, run
from tidings.event import DAY, HOUR


async def eventful(shop: Shop) -> None:
    """A customer to whom some things happened, and some almost."""
    await shop.customer()
    await shop.rests()
    for code, payment in (("fraud_suspected", "pay-1"), ("expired_card", "pay-2")):
        await shop.happens("billing.payment.failed", payment_id=payment, customer_id="c-1", amount=EURO_90, code=code)
    for number in (1, 2):
        await shop.happens(
            "sales.order.placed", order_id=f"ord-{number}", customer_id="c-1", total=EURO_90, item_count=number + 1
        )
    await shop.rests(HOUR)
    await shop.happens("sales.order.shipped", order_id="ord-1", customer_id="c-1")
    await shop.happens("customer.preference.changed", customer_id="c-1", topic="orders", allowed=False)
    await shop.rests(SOON)
    await shop.happens("sales.order.placed", order_id="ord-3", customer_id="c-1", total=EURO_90, item_count=1)
    await shop.rests(SOON)


def asked(where: Where, **words: Any) -> WhyNot:
    async def story():
        async with opened(where, Shop()) as shop:
            await eventful(shop)
            return await why_not(shop.books, **{"customer": "c-1", **words})

    found: WhyNot = run(story())
    return found


def test_the_event_that_came_closest_answers_with_the_term_that_failed_and_by_how_much(where: Where) -> None:
    (answer,) = asked(where, rule="thanks-for-a-large-order").answers
    assert [one.kind for one in answer.all] == ["near_miss"] * 3
    orders = [one.event.data["order_id"] for one in answer.all if one.event is not None]
    assert orders == ["ord-2", "ord-3", "ord-1"], "fewer failed terms are nearer, and then the newer event"
    assert answer.first.looked is not None
    assert [(part.text, part.truth, part.values, part.short) for part in answer.first.looked.parts] == [
        ("item_count >= 3", "true", "item_count is 3", ""),
        ('total >= money(100, "EUR")', "false", "total is 90.00 EUR", "10.00 EUR"),
    ]
    assert 'total >= money(100, "EUR") was false: total is 90.00 EUR, 10.00 EUR away.' in answer.first.says
    assert "and 1 more term" in answer.all[1].says


def test_what_fired_and_was_suppressed_goes_before_what_was_told_and_names_its_decision(where: Where) -> None:
    (answer,) = asked(where, rule="order-confirmed").answers
    assert [one.kind for one in answer.all] == ["not_told", "told", "told"]
    assert answer.first.says.startswith("Not told: they have switched this topic off.")
    assert all(one.decision for one in answer.all)


def test_an_absence_waits_until_its_deadline_or_was_ended_in_time_by_what_came(where: Where) -> None:
    (answer,) = asked(where, rule="order-not-shipped").answers
    assert [one.kind for one in answer.all] == ["waiting", "waiting", "in_time"]
    assert "it tells on 2027-01-16 13:05 UTC unless sales.order.shipped comes" in answer.first.says
    assert answer.all[2].says.startswith("For ord-1 it did not fire: "), "of the others it says that they wait"
    assert "was followed by sales.order.shipped 1h later, 23h before its deadline" in answer.all[2].says


def test_what_ended_a_wait_is_found_however_much_happened_to_another_order(
    where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.explaining.archive.MANY", 5)

    async def story() -> list[str]:
        async with opened(where, Shop()) as shop:
            await shop.customer()
            for order in ("quiet", "busy"):
                await shop.happens("sales.order.placed", order_id=order, customer_id="c-1", total=EURO_90)
            await shop.rests(HOUR)
            await shop.happens("sales.order.shipped", order_id="quiet", customer_id="c-1")
            for _ in range(8):
                await shop.rests(SOON)
                await shop.happens("sales.order.shipped", order_id="busy", customer_id="c-2")
            await shop.rests(SOON)
            await shop.catalogued()
            (answer,) = (await why_not(shop.books, "c-1", rule="order-not-shipped")).answers
            return [one.kind for one in answer.all]

    assert run(story()) == ["in_time", "in_time"]


def test_an_order_answers_for_itself_alone(where: Where) -> None:
    found = asked(where, about="ord-1")
    kinds = {one.rule.id: one.first.kind for one in found.answers if one.first.kind != "nothing"}
    assert kinds["order-not-shipped"] == "in_time"
    assert kinds["order-confirmed"] == "told"
    assert "payment-failed" not in kinds


def test_where_nothing_came_it_says_what_would_have_been_read(where: Where) -> None:
    found = asked(where, customer="c-2", rule="payment-failed")
    assert (found.looked_at, found.known) == (0, False)
    assert found.says == "Nothing of this customer arrived in this time that this rule reads (billing.payment.failed)."
    assert found.answers[0].first.says == "Nothing arrived that it reads (billing.payment.failed)."
    assert asked(where, since=0, until=DAY).looked_at == 0


def test_a_rule_that_does_not_exist_is_told_with_the_nearest_name(where: Where) -> None:
    with pytest.raises(NoSuchRule, match="no rule or topic 'order-confirmd'; did you mean 'order-confirmed'"):
        asked(where, rule="order-confirmd")


def test_an_absence_whose_topics_stand_still_says_which_one_it_waits_for(where: Where) -> None:
    async def story():
        async with opened(where, Shop()) as shop:
            await shop.customer()
            await shop.rests()
            await shop.happens("sales.order.placed", order_id="ord-1", customer_id="c-1", total=EURO_90)
            await shop.rests(HOUR)
            shop.clock += 2 * DAY  # and nobody reads
            return await why_not(shop.books, "c-1", rule="order-not-shipped")

    (answer,) = run(story()).answers
    assert answer.first.kind == "waiting"
    assert answer.first.says.startswith("Its deadline passed on 2027-01-16 12:00 UTC.")
    assert "was last read at 2027-01-15 13:00 UTC" in answer.first.says


def test_the_work_does_not_grow_with_what_happened_to_others(where: Where) -> None:
    async def story():
        async with opened(where, Shop()) as shop:
            await shop.customer()
            for number in range(300):
                await shop.happens(
                    "sales.order.placed", order_id=f"o-{number}", customer_id=f"x-{number}", total=EURO_90
                )
            await shop.happens("sales.order.placed", order_id="ord-1", customer_id="c-1", total=EURO_90)
            await shop.rests(SOON)
            await shop.catalogued()
            decoded = 0
            decode = shop.codec.decode

            def counting(record):
                nonlocal decoded
                decoded += 1
                return decode(record)

            shop.books.codec.decode = counting  # type: ignore[method-assign]
            found = await why_not(shop.books, "c-1")
            return found.looked_at, decoded

    looked_at, decoded = run(story())
    assert looked_at == 1
    assert decoded < 20


def test_what_happened_before_the_window_is_said_to_have_happened(where: Where) -> None:
    async def story() -> None:
        async with opened(where, Shop()) as shop:
            await shop.happens("sales.order.placed", order_id="ord-1", customer_id="c-1", total=EURO_90)
            await shop.rests(20 * DAY)
            found = await why_not(shop.books, "c-1", about="ord-1")
            assert found.says.startswith(
                "Nothing of this customer about ord-1 arrived in this time that these rules read; something did on "
            )
            assert found.says.endswith(": look further back.")
            other = await why_not(shop.books, "c-1", about="ord-2")
            assert other.says == "Nothing of this customer about ord-2 arrived in this time that these rules read."

    run(story())
