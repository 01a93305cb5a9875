"""Rules and a log for the test that kills: events that fire at once and may be taken back, a quiet night, absences."""

from collections.abc import Iterator
from random import Random
from typing import Any

from streams.json_events import rfc3339
from tests.live.engines import event
from tidings.event import HOUR, MINUTE, SECOND

RULES = """version: 1
rules:
  - id: payment-failed
    title: Sent again where nobody knows
    owner: team-billing
    status: live
    on_unknown: resend
    when: { event: billing.payment.failed, allowed_lateness: 1m }
    to: customer
    topic: news
    policy: { consent: transactional, quiet_hours: { start: "START", end: "END", timezone: UTC } }
    stop_on: [{ event: billing.payment.succeeded, match: { payment_id: payment_id } }]
    then: [{ send: email, template: failed, with: { name: payment_id } }]
    on_stop: [{ send: email, template: settled, with: { name: payment_id } }]
  - id: order-placed
    title: Left to a person where nobody knows
    owner: team-sales
    status: live
    on_unknown: unresolved
    when: { event: sales.order.placed }
    to: customer
    topic: news
    then: [{ send: email, template: order, with: { name: order_id } }]
  - id: invoice-overdue
    title: An absence
    owner: team-billing
    status: live
    on_unknown: resend
    when:
      missing:
        after: { event: billing.invoice.issued }
        expect: { event: billing.invoice.paid }
        by: [invoice_id]
        once: true
        deadline: due_date
        cancel_on: [billing.invoice.voided]
        allowed_lateness: 1m
    to: customer
    topic: news
    then: [{ send: email, template: overdue, with: { name: invoice_id } }]
"""
TEMPLATES = {name: f"Subject: {name}\n\n{{{{ name }}}}\n" for name in ("failed", "settled", "order", "overdue")}
CUSTOMERS = 25


def rules(opening: int) -> bytes:
    """The rules, with a quiet night of ten hours that ends at an instant, a full minute."""
    start, end = (rfc3339(at)[11:16] for at in (opening - 10 * HOUR, opening))
    return RULES.replace("START", start).replace("END", end).encode()


def workload(now: int, count: int, seed: int = 3) -> Iterator[tuple[str, dict[str, Any]]]:
    """Events of the last hours in the order in which they are written: out of order by a minute, some of them twice."""
    chance = Random(seed)
    found: list[tuple[int, str, dict[str, Any]]] = []
    money = {"amount_minor": 1200, "currency": "EUR"}
    for number in range(count):
        at = now - 2 * HOUR + number * HOUR // count
        who = f"c-{chance.randrange(CUSTOMERS)}"
        kind = chance.randrange(4)
        if kind == 0:
            name, data = "billing.payment.failed", {"payment_id": f"p-{number}", "amount": money, "code": "declined"}
            if chance.random() < 0.5:
                again = at + chance.randrange(30) * MINUTE
                body = {"payment_id": f"p-{number}", "customer_id": who, "amount": money}
                kind_of = "billing.payment.succeeded"
                found.append((again, kind_of, event(kind_of, f"again-{number}", again, **body)))
        elif kind == 1:
            name, data = "sales.order.placed", {"order_id": f"o-{number}", "total": money}
        else:
            due = at + 10 * MINUTE
            name, data = "billing.invoice.issued", {"invoice_id": f"i-{number}", "amount_due": money}
            data["due_date"] = rfc3339(due)
            if kind == 3 or chance.random() < 0.3:
                paid = at + chance.randrange(1, 30) * MINUTE
                body = {"invoice_id": f"i-{number}", "customer_id": who, "amount": money}
                found.append(
                    (paid, "billing.invoice.paid", event("billing.invoice.paid", f"paid-{number}", paid, **body))
                )
        found.append((at, name, event(name, f"e-{number}", at, customer_id=who, **data)))
    found.sort(key=lambda one: one[0] + chance.randrange(MINUTE - SECOND))
    for _, name, payload in found:
        yield name, payload
        if chance.random() < 0.02:
            yield name, payload
