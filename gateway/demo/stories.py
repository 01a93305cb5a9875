"""The stories of the small shop, a function each: what begins now, and what follows some hours or days later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.demo.customers import Customer
from gateway.demo.shop import ARTICLES, SPECIAL, Happening, In, Shop, Story, euro, sleep_left
from tidings.event import DAY, MINUTE, Micros

NEWCOMERS = (
    ("Iris Wagner", "de-DE", "Europe/Berlin"), ("Jack Turner", "en-GB", "Europe/London"), ("Kate Lowell", "en-US", "America/New_York"),
    ("Leo Novak", "de-DE", "Europe/Berlin"), ("Mio Ito", "ja-JP", "Asia/Tokyo"), ("Nora Byrne", "en-GB", "Europe/London"),
)  # fmt: skip


# Invoices


def _invoice(shop: Shop, who: Customer, due_in: Micros) -> tuple[str, int, Happening]:
    name, amount = shop.take("inv"), shop.price(900, 24_000)
    data = {"invoice_id": name, "customer_id": who.id, "amount_due": euro(amount), "due_date": In(due_in)}
    return name, amount, shop.happens(0, "billing.invoice.issued", "billing", **data)


def _pays(shop: Shop, delay: Micros, name: str, who: Customer, amount: int) -> Happening:
    data = {"invoice_id": name, "customer_id": who.id, "amount": euro(amount)}
    return shop.happens(delay, "billing.invoice.paid", "billing", **data)


def paid_in_time(shop: Shop, now: Micros) -> Sequence[Happening]:
    """An invoice is paid; its issue is delivered twice, as queues do."""
    who = shop.awake(now)
    name, amount, issued = _invoice(shop, who, DAY)
    again = Happening(30 * MINUTE, issued.fact)
    return [issued, again, _pays(shop, shop.hours(3, 20), name, who, amount)]


def paid_late(shop: Shop, now: Micros) -> Sequence[Happening]:
    """An invoice becomes overdue, and is paid after all."""
    who = shop.awake(now)
    name, amount, issued = _invoice(shop, who, shop.hours(0, 8))
    return [issued, _pays(shop, 2 * DAY + shop.hours(0, 20), name, who, amount)]


def voided(shop: Shop, now: Micros) -> Sequence[Happening]:
    """An invoice was a mistake."""
    who = shop.awake(now)
    name, _, issued = _invoice(shop, who, shop.hours(6, 24))
    data = {"invoice_id": name, "customer_id": who.id, "reason": "duplicate"}
    return [issued, shop.happens(shop.hours(2, 12), "billing.invoice.voided", "billing", **data)]


def rescheduled(shop: Shop, now: Micros) -> Sequence[Happening]:
    """A customer asks for more time, and keeps the new date."""
    who = shop.awake(now)
    name, amount, issued = _invoice(shop, who, 0)
    data = {"invoice_id": name, "customer_id": who.id, "due_date": In(DAY)}
    moved = shop.happens(shop.hours(4, 9), "billing.invoice.rescheduled", "billing", **data)
    return [issued, moved, _pays(shop, DAY + shop.hours(6, 14), name, who, amount)]


# Payments


def _payment(shop: Shop, delay: Micros, outcome: str, name: str, who: str, amount: int, **more: Any) -> Happening:
    data = {"payment_id": name, "customer_id": who, "amount": euro(amount), **more}
    return shop.happens(delay, f"billing.payment.{outcome}", "payments", **data)


CODES = ("expired_card", "insufficient_funds", "do_not_honor")


def _declined(shop: Shop, who: Customer, amount: int) -> tuple[str, Happening]:
    name = shop.take("pay")
    return name, _payment(shop, 0, "failed", name, who.id, amount, code=shop.random.choice(CODES))


def declined_at_night(shop: Shop, now: Micros) -> Sequence[Happening]:
    """The nightly run fails; the customer hears of it in the morning."""
    return [_declined(shop, shop.asleep(now), shop.price(1000, 9000))[1]]


def declined_and_settled_before_morning(shop: Shop, now: Micros) -> Sequence[Happening]:
    """It fails and is tried again before anybody is up: nothing to tell."""
    who, amount = shop.asleep(now), shop.price(1000, 9000)
    name, failed = _declined(shop, who, amount)
    again = int(sleep_left(who, now) * shop.random.uniform(0.3, 0.7))
    return [failed, _payment(shop, again, "succeeded", name, who.id, amount)]


def declined_told_and_settled(shop: Shop, now: Micros) -> Sequence[Happening]:
    """It fails, the customer is told, and pays: the all-clear."""
    who, amount = shop.awake(now), shop.price(1000, 9000)
    name, failed = _declined(shop, who, amount)
    return [failed, _payment(shop, shop.hours(5, 9), "succeeded", name, who.id, amount)]


def large_sum_declined_at_night(shop: Shop, now: Micros) -> Sequence[Happening]:
    """Too much money to wait for the morning."""
    who = shop.asleep(now)
    return [_payment(shop, 0, "failed", shop.take("pay"), who.id, shop.price(50_000, 180_000), code="expired_card")]


def suspected(shop: Shop, now: Micros) -> Sequence[Happening]:
    """A suspicion is not told to the customer."""
    who = shop.awake(now)
    return [_payment(shop, 0, "failed", shop.take("pay"), who.id, shop.price(1000, 9000), code="fraud_suspected")]


def large_payment(shop: Shop, now: Micros) -> Sequence[Happening]:
    """The rule for it is on trial."""
    return [_payment(shop, 0, "succeeded", shop.take("pay"), shop.awake(now).id, shop.price(20_000, 90_000))]


def stranger(shop: Shop, now: Micros) -> Sequence[Happening]:
    """Another system's id, which nobody has linked to a customer."""
    name = shop.take("pay")
    return [_payment(shop, 0, "failed", name, f"stripe:cus_{shop.number}", shop.price(1000, 4000), code="do_not_honor")]


# Orders


def _order(shop: Shop, who: Customer, total: int, items: int, *, express: bool = False) -> tuple[str, Happening]:
    name = shop.take("ord")
    data = {"order_id": name, "customer_id": who.id, "total": euro(total), "item_count": items, "express": express}
    return name, shop.happens(0, "sales.order.placed", "shop", **data)


def _ships(shop: Shop, delay: Micros, name: str, who: Customer) -> Happening:
    data = {"order_id": name, "customer_id": who.id, "carrier": shop.random.choice(("DHL", "DPD", "UPS"))}
    return shop.happens(delay, "sales.order.shipped", "warehouse", **data)


def shipped(shop: Shop, now: Micros) -> Sequence[Happening]:
    """An express order leaves within the hour."""
    who = shop.awake(now)
    name, placed = _order(shop, who, shop.price(1500, 9000), shop.random.randint(1, 2), express=True)
    return [placed, _ships(shop, shop.hours(0.5, 1.5), name, who)]


def shipped_at_night(shop: Shop, now: Micros) -> Sequence[Happening]:
    """It leaves while the customer sleeps; in the morning it is no news any more."""
    who = shop.asleep(now)
    name, placed = _order(shop, who, shop.price(1500, 9000), shop.random.randint(1, 2))
    return [placed, _ships(shop, shop.hours(0.3, 1), name, who)]


def not_shipped(shop: Shop, now: Micros) -> Sequence[Happening]:
    """An order lies about: customer and warehouse hear of it, and then it leaves."""
    who = shop.awake(now)
    express = shop.random.random() < 0.5  # noqa: PLR2004 - the half
    name, placed = _order(shop, who, shop.price(2000, 9000), shop.random.randint(1, 2), express=express)
    return [placed, _ships(shop, DAY + shop.hours(10, 30), name, who)]


def cancelled(shop: Shop, now: Micros) -> Sequence[Happening]:
    """An order is cancelled, and nobody waits for it any more."""
    who = shop.awake(now)
    name, placed = _order(shop, who, shop.price(2000, 9000), 1)
    data = {"order_id": name, "customer_id": who.id, "reason": "changed_mind"}
    return [placed, shop.happens(shop.hours(2, 6), "sales.order.cancelled", "shop", **data)]


def large_order(shop: Shop, now: Micros) -> Sequence[Happening]:
    """Thanks for it, if they have agreed to such mail."""
    who = shop.awake(now)
    name, placed = _order(shop, who, shop.price(10_000, 40_000), shop.random.randint(3, 9))
    return [placed, _ships(shop, shop.hours(2, 8), name, who)]


def large_order_without_consent(shop: Shop, now: Micros) -> Sequence[Happening]:
    """Somebody who has not."""
    who = shop.by_id[shop.random.choice(("c-ben", "c-gwen"))]
    name, placed = _order(shop, who, shop.price(10_000, 40_000), shop.random.randint(3, 9))
    return [placed, _ships(shop, shop.hours(2, 8), name, who)]


def _of_special(name: str) -> Story:
    def story(shop: Shop, now: Micros) -> Sequence[Happening]:
        who = shop.by_id[name]
        order, placed = _order(shop, who, shop.price(1500, 9000), 1)
        return [placed, _ships(shop, shop.hours(2, 7), order, who)]

    return story


without_address, topic_off, moved_away = (_of_special(name) for name in SPECIAL)


def delayed(shop: Shop, now: Micros) -> Sequence[Happening]:
    """Late by some hours; told by SMS when they are up."""
    data = {"order_id": shop.take("ord"), "customer_id": shop.awake(now).id, "new_eta": In(shop.hours(6, 40))}
    return [shop.happens(0, "sales.delivery.delayed", "warehouse", **data)]


def fish_delayed(shop: Shop, now: Micros) -> Sequence[Happening]:
    """Late, and it spoils: told at night as well."""
    data = {"order_id": shop.take("ord"), "customer_id": shop.asleep(now).id, "new_eta": In(shop.hours(6, 20))}
    return [shop.happens(0, "sales.delivery.delayed", "warehouse", perishable=True, **data)]


# Accounts, complaints, supply


def _complaint(shop: Shop, who: Customer, topic: str, **more: Any) -> Happening:
    data = {"complaint_id": shop.take("case"), "customer_id": who.id, "topic": topic, **more}
    return shop.happens(0, "crm.complaint.opened", "crm", **data)


def vip_complains(shop: Shop, now: Micros) -> Sequence[Happening]:
    """The complaint does not say who complains; the CRM knows."""
    return [_complaint(shop, shop.by_id["c-dan"], shop.random.choice(("a broken mug", "a late parcel", "the hotline")))]


def complains(shop: Shop, now: Micros) -> Sequence[Happening]:
    """Somebody else does, about little."""
    return [_complaint(shop, shop.by_id["c-ben"], "a scratched lamp", amount_at_risk=euro(8900))]


def _row(shop: Shop, who: str, before: dict[str, Any], after: dict[str, Any], coverage: str) -> Happening:
    data = {
        "customer_id": who,
        "before": before,
        "after": after,
        "before_coverage": coverage,
        "after_coverage": coverage,
    }
    return shop.happens(0, "crm.customer.changed", "crm", **data)


def downgraded(shop: Shop, now: Micros) -> Sequence[Happening]:
    """A paying customer goes."""
    who = shop.random.choice(("c-ada", "c-emi", "c-gwen"))
    return [_row(shop, who, {"plan": "pro"}, {"plan": "free"}, "CHANGED_FIELDS_ONLY")]


def mail_changed(shop: Shop, now: Micros) -> Sequence[Happening]:
    """The address of an account was changed; the old one hears of it."""
    after = {"email": f"ada.{shop.number}@example.org"}
    return [_row(shop, "c-ada", {"email": "ada@example.org"}, after, "CHANGED_FIELDS_ONLY")]


def trial(shop: Shop, now: Micros) -> Sequence[Happening]:
    """Somebody tries the larger plan."""
    data = {
        "subscription_id": shop.take("sub"), "customer_id": shop.awake(now).id, "before": {"status": "incomplete"},
        "after": {"status": "trialing", "plan": "gold", "current_period_end": In(14 * DAY)},
        "before_coverage": "CHANGED_FIELDS_ONLY", "after_coverage": "FULL",
    }  # fmt: skip
    return [shop.happens(0, "billing.subscription.changed", "billing", **data)]


def newcomer(shop: Shop, now: Micros) -> Sequence[Happening]:
    """Somebody registers."""
    name, locale, zone = shop.random.choice(NEWCOMERS)
    first, who = name.partition(" ")[0], shop.take("c")
    profile = {"customer_id": who, "name": name, "email": f"{who}@example.org", "locale": locale, "timezone": zone}
    row = {"customer_id": who, "after": {"first_name": first}, "before_coverage": "ABSENT", "after_coverage": "FULL"}
    shop.people.append(Customer(who, name, zone, profile))
    return [
        shop.happens(0, "customer.profile.changed", "crm", **profile),
        shop.happens(10 * MINUTE, "crm.customer.changed", "crm", **row),
    ]


def sold(shop: Shop, now: Micros) -> Sequence[Happening]:
    """A shelf empties; when it is low, it is filled again later."""
    sku, _, _ = shop.random.choice(ARTICLES)
    before = shop.stock[sku]
    after = before - shop.random.randint(8, 16)
    moves = [(0, before, after)]
    if after < 12:  # noqa: PLR2004 - pieces
        moves.append((shop.hours(10, 30), after, after + 40))
    shop.stock[sku] = moves[-1][2]
    return [_stock(shop, delay, sku, before, after) for delay, before, after in moves]


def _stock(shop: Shop, delay: Micros, sku: str, before: int, after: int) -> Happening:
    data = {
        "sku": sku, "warehouse": "berlin", "before": {"on_hand": before}, "after": {"on_hand": after},
        "before_coverage": "FULL", "after_coverage": "FULL",
    }  # fmt: skip
    return shop.happens(delay, "inventory.stock.changed", "warehouse", **data)


def repriced(shop: Shop, now: Micros) -> Sequence[Happening]:
    """Somebody lowers a price, and then forgets a digit."""
    sku, title, price = shop.random.choice(ARTICLES)
    lower = price - shop.random.randint(1, 3) * 50
    moves = ((0, price, lower), (shop.hours(1, 4), lower, lower // 10))
    return [_price(shop, delay, sku, title, before, after) for delay, before, after in moves]


def _price(shop: Shop, delay: Micros, sku: str, title: str, before: int, after: int) -> Happening:
    data = {
        "sku": sku, "title": title, "before": euro(before), "after": euro(after),
        "before_coverage": "FULL", "after_coverage": "FULL",
    }  # fmt: skip
    return shop.happens(delay, "inventory.price.changed", "shop", **data)


SLOW: tuple[Story, ...] = (
    paid_late,
    not_shipped,
    declined_at_night,
    declined_and_settled_before_morning,
    vip_complains,
)
STORIES: tuple[Story, ...] = (
    *SLOW, paid_in_time, voided, rescheduled, declined_told_and_settled, large_sum_declined_at_night, suspected,
    large_payment, stranger, shipped, shipped_at_night, cancelled, large_order, large_order_without_consent,
    without_address, topic_off, moved_away, delayed, fish_delayed, complains, downgraded, mail_changed, trial, newcomer,
    sold, repriced,
    # What takes days, and what the night decides, comes twice.
    paid_late, paid_late, not_shipped, declined_at_night, declined_told_and_settled,
)  # fmt: skip
