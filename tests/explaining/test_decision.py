"""One decision, from the event to the last receipt; on both stores."""

from typing import Any

import pytest

from streams.explaining.decision import Decision, decision
from tests.explaining.laboratory import EURO_90, NOON, SOON, Shop, Where, opened, run
from tidings.event import HOUR, MINUTE
from tidings.ports import Outcome, Scan


async def firing(shop: Shop, rule: str) -> str:
    def body():
        return [row for row in (yield Scan("records")) if row["rule"] == rule and row["kind"] == "fired"]

    rows = await shop.store.read(body)
    return str(max(rows, key=lambda row: row["episode_at"])["firing_id"])


async def explained(shop: Shop, rule: str) -> Decision:
    found = await decision(shop.books, await firing(shop, rule))
    assert found is not None
    return found


def answers(found: Decision, message: int = 0) -> dict[str, list[tuple[str, str]]]:
    """By gate: mark and origin, each time it was asked."""
    asked = found.gates[message]
    return {
        name: [(one.answers[name].mark, one.answers[name].origin) for one in asked.askings if name in one.answers]
        for name in asked.gates
    }


async def order(shop: Shop, **data: Any) -> None:
    number = f"ord-{shop.number}"
    await shop.happens(
        "sales.order.placed", **{"order_id": number, "customer_id": "c-1", "total": EURO_90, "item_count": 2, **data}
    )


def test_what_was_told_is_told_with_the_gates_as_they_were_asked_right_before(where: Where) -> None:
    async def story():
        async with opened(where, Shop()) as shop:
            await shop.customer()
            await shop.rests()
            shop.post.answers = [Outcome("not_sent", detail="421 later", retry_after=1)]
            await shop.happens(
                "billing.payment.failed", payment_id="p", customer_id="c-1", amount=EURO_90, code="expired_card"
            )
            await shop.rests(SOON)
            await shop.rests(SOON)
            return await explained(shop, "payment-failed")

    found = run(story())
    assert (found.state, found.verdict, found.sums) == ("sent", "Told by e-mail", "1 delivery = 1 sent")
    assert found.for_support is None
    (looked,) = found.looked
    assert [(part.text, part.truth, part.values) for part in looked.parts] == [
        ('code != "fraud_suspected"', "true", "code is 'expired_card'")
    ]
    said = answers(found)
    assert said["consent"] == [("yes", "follows"), ("yes", "recorded")]
    assert said["quiet_hours"] == [("yes", "follows"), ("yes", "recorded")]
    assert found.gates[0].said_no is None
    texts = [one.text for one in found.timeline]
    assert texts[-4:] == [
        "E-mail: attempt 1 begins", "E-mail surely not sent, attempt 1",
        "E-mail: attempt 2 begins", "E-mail accepted, attempt 2",
    ]  # fmt: skip
    times = [one.at for one in found.timeline]
    assert times == sorted(times)


def test_the_gate_that_said_no_is_marked_and_what_lies_behind_it_is_worked_out_and_says_so(where: Where) -> None:
    async def story():
        async with opened(where, Shop()) as shop:
            await shop.customer()
            await shop.happens("customer.preference.changed", customer_id="c-1", topic="orders", allowed=False)
            await shop.rests(SOON)
            await order(shop)
            await shop.rests(SOON)
            return await explained(shop, "order-confirmed")

    found = run(story())
    assert (found.state, found.verdict) == ("supp", "Not told: they have switched this topic off")
    said = answers(found)
    assert said["topic"] == [("no", "recorded")]
    names = list(said)
    assert all(said[name][0][0] == "yes" for name in names[: names.index("topic")])
    assert all(said[name] == [("would", "worked_out")] for name in names[names.index("topic") + 1 :])
    assert "would pass: j•••@w•••.de" in {one.text for one in found.gates[0].askings[0].answers.values()}
    assert found.for_support == (
        "An order was placed, 2027-01-15 13:05 in Berlin: no message was sent. "
        "The customer has switched messages of this topic off."
    )
    assert "switch the topic on again" in (found.next_chance or "")
    (would,) = found.would
    assert (would.template, "ord-" in would.words) == ("shop/order-confirmed", True)


def test_what_waits_says_until_when_and_what_will_be_sent(where: Where) -> None:
    async def story():
        async with opened(where, Shop()) as shop:
            await shop.customer()
            await shop.rests(10 * HOUR)
            await shop.happens(
                "billing.payment.failed", payment_id="p", customer_id="c-1", amount=EURO_90, code="expired_card"
            )
            await shop.rests(SOON)
            held = await explained(shop, "payment-failed")
            await shop.rests(10 * HOUR)
            return held, await explained(shop, "payment-failed")

    held, sent = run(story())
    assert held.state == "flit"
    assert held.verdict == "Not told yet: held until 2027-01-16 08:00 in Berlin, quiet hours"
    assert answers(held)["quiet_hours"] == [("held", "worked_out"), ("held", "worked_out")]
    assert held.next_chance is None
    assert "has not left yet" in (held.for_support or "")
    assert sent.verdict == "Told by e-mail"
    assert answers(sent)["quiet_hours"] == [("held", "worked_out"), ("yes", "recorded")]


def test_what_is_settled_while_it_waits_is_cancelled_by_the_first_gate_and_not_at_decision(where: Where) -> None:
    async def story():
        async with opened(where, Shop()) as shop:
            await shop.customer()
            await shop.rests(10 * HOUR)
            await shop.happens(
                "billing.payment.failed", payment_id="p", customer_id="c-1", amount=EURO_90, code="expired_card"
            )
            await shop.rests(SOON)
            await shop.happens("billing.payment.succeeded", payment_id="p", customer_id="c-1", amount=EURO_90)
            await shop.rests(SOON)
            return await explained(shop, "payment-failed")

    found = run(story())
    assert (found.state, found.verdict) == ("canc", "Not told: it was settled before it left")
    (asked,) = found.gates
    assert [one.title for one in asked.askings] == ["at decision", "afterwards"]
    assert "no" not in {one.mark for one in asked.askings[0].answers.values()}
    assert asked.askings[1].answers["stopped"].mark == "no"
    assert "It was taken back: what it was about is settled" in [one.text for one in found.timeline]


def test_who_was_told_and_hears_that_it_is_over_has_both_in_the_timeline_in_order(where: Where) -> None:
    async def story():
        async with opened(where, Shop()) as shop:
            await shop.customer()
            await shop.rests()
            await order(shop)
            await shop.rests(25 * HOUR)
            await shop.rests(20 * HOUR)
            await shop.happens("sales.order.shipped", order_id=f"ord-{shop.number - 1}", customer_id="c-1")
            await shop.rests(HOUR)
            return await explained(shop, "order-not-shipped")

    found = run(story())
    texts = [one.text for one in found.timeline]
    wanted = [
        "An order was placed", "The deadline passed, and what should have come did not", "E-mail accepted, attempt 1",
        "It was taken back: what it was about is settled", "All-clear (E-mail) accepted, attempt 1",
    ]  # fmt: skip
    assert [text for text in texts if text in wanted] == wanted
    assert [one.message.role for one in found.gates] == ["notice", "notice", "all_clear"]


def test_a_run_its_firing_and_its_messages_lead_to_one_decision_and_nothing_else_does(where: Where) -> None:
    async def story():
        async with opened(where, Shop()) as shop:
            await shop.customer()
            await shop.rests()
            await order(shop)
            await shop.rests(SOON)
            found = await explained(shop, "order-confirmed")
            names = [found.id, found.firing_id, found.messages[0].message_id]
            same = {(await decision(shop.books, name)).id for name in names}  # type: ignore[union-attr]
            shop.books.tenant = "another"
            return found, same, [await decision(shop.books, name) for name in [*names, "nothing", ""]]

    found, same, others = run(story())
    assert same == {found.id}
    assert others == [None] * 5


def test_an_event_says_what_was_before_and_shows_nothing_personal(where: Where) -> None:
    async def story():
        async with opened(where, Shop()) as shop:
            await shop.customer()
            await shop.rests()
            full = {"email": "jonas@wald.de", "first_name": "Jonas", "plan": "free"}
            await shop.happens(
                "crm.customer.changed", customer_id="c-1", before_coverage="ABSENT", after=full, after_coverage="FULL"
            )
            await shop.rests(MINUTE)
            news = {"email": "jonas@see.de"}
            await shop.happens(
                "crm.customer.changed",
                customer_id="c-1",
                after=news,
                after_coverage="CHANGED_FIELDS_ONLY",
                changed_fields=["email"],
            )
            await shop.rests(MINUTE)
            name = await firing(shop, "email-changed")
            return await decision(shop.books, name), await decision(shop.books, name, reveal=True)

    veiled, open_ = run(story())
    assert veiled.verdict == "Told by e-mail"
    (changed,) = veiled.event.fields
    assert (changed.name, changed.before, changed.after) == ("email", "••• (13 letters)", "••• (12 letters)")
    plan = next(one for one in veiled.event.unchanged if one.name == "plan")
    assert (plan.before, plan.after) == ("free", "free")
    assert "jonas" not in str(veiled.to_json()).lower()
    assert [(one.before, one.after) for one in open_.event.fields] == [("jonas@wald.de", "jonas@see.de")]


@pytest.mark.parametrize("known", [True, False])
def test_a_decision_is_explained_whether_or_not_the_catalogue_has_read_so_far(where: Where, known: bool) -> None:
    async def story():
        async with opened(where, Shop()) as shop:
            await shop.customer()
            await shop.rests()
            await order(shop)
            await shop.rests(SOON)
            if known:
                await shop.catalogued()
            return await explained(shop, "order-confirmed")

    found = run(story())
    assert found.event is not None
    assert (found.event.event.occurred_at, found.event.title) == (NOON, "An order was placed")
    assert found.looked[0].rule.id == "order-confirmed"
