"""A shop that goes on while the proof runs: what happens when, and in which order its records are written.

Everything is drawn from a seed. Times are the log's: a record is written up to `DELAY` after its event happened, and
sometimes twice. Invoices, payments and cancellations share their keys over three topics.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from schemas import contracts
from streams.codec import Codec
from streams.json_events import rfc3339
from tests.live.engines import event
from tidings.event import SECOND, Micros

CUSTOMERS = 200
DUE = 20 * SECOND
"""From an invoice to its deadline."""
LATEST = 60 * SECOND
"""From an invoice to the latest payment."""
DELAY = 4 * SECOND
"""From an event to its record, when nothing is broken."""

RULES = """version: 1
rules:
  - id: payment-failed
    title: Sent again where nobody knows
    owner: team-billing
    status: live
    on_unknown: resend
    when: { event: billing.payment.failed, allowed_lateness: LATENESS }
    to: customer
    topic: news
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
        allowed_lateness: LATENESS
    to: customer
    topic: news
    then: [{ send: email, template: overdue, with: { name: invoice_id } }]
"""
TEMPLATES = {name: f"Subject: {name}\n\n{{{{ name }}}}\n" for name in ("failed", "settled", "order", "overdue")}
TOPICS = b"topics: { news: { sentence: What happens to you } }\n"
MONEY = {"amount_minor": 1200, "currency": "EUR"}


def rule_files(lateness: Micros) -> dict[str, bytes]:
    """The rules; no event may come later than `lateness`."""
    rules = RULES.replace("LATENESS", f"{lateness // SECOND}s").encode()
    return {"rules/shop.yaml": rules, "topics.yaml": TOPICS}


@dataclass(frozen=True, slots=True)
class Written:
    """A record as it is handed to the producer."""

    topic: str
    key: bytes
    value: bytes


@dataclass(order=True, slots=True)
class _Due:
    send_at: Micros
    number: int
    kind: str = field(compare=False)
    name: str = field(compare=False)
    at: Micros = field(compare=False)
    data: dict[str, Any] = field(compare=False)
    twice: bool = field(compare=False)


class Shop:
    """Events of `rate` a second from `start` on, `total` of them altogether; both may be set anew while it goes on."""

    def __init__(self, seed: int, total: int, start: Micros, rate: float, people: int = CUSTOMERS) -> None:
        self.people = people
        self.chance = Random(seed)
        self.total = total
        self.start = start
        self.rate = rate
        self.codec = Codec(contracts())
        self.begun = 0
        """Events that were planned."""
        self.repeated = 0
        self.last: Micros = start
        """When the last event happened, or an invoice is due: then everything is decided."""
        self.shift: Micros = 0
        """How long the shop was closed because nothing could be written."""
        self._waiting: list[_Due] = []
        self._said: dict[str, dict[str, Any]] = {}
        self._count = 0
        self._until = start

    def customers(self) -> Iterator[Written]:
        """Who the customers are: known before anything happens."""
        for number in range(self.people):
            who = f"c-{number}"
            facts = {"customer_id": who, "email": f"{who}@example.org"}
            yield self._record(
                "customer.profile.changed", event("customer.profile.changed", f"p-{who}", self.start, **facts)
            )

    def stood(self, micros: Micros) -> None:
        """Nothing could be written for a while: the shop was closed as long, so that nothing comes too late for that."""
        self.shift += micros

    def due(self, now: Micros) -> Iterator[Written]:
        """Yield the records that are to be written by an instant."""
        now -= self.shift
        while self.begun < self.total and self._until < now:
            self._happen(self._until)
            self._until += int(self.chance.expovariate(1) * SECOND * STORY / self.rate)
        while self._waiting and self._waiting[0].send_at <= now:
            one = heapq.heappop(self._waiting)
            yield self._record(one.kind, self._payload(one))

    @property
    def over(self) -> bool:
        """Whether everything has been written."""
        return self.begun >= self.total and not self._waiting

    def _record(self, kind: str, payload: dict[str, Any]) -> Written:
        key, value = self.codec.encode(kind, payload)
        return Written(contracts().by_type[kind].topic, key, value)

    def _payload(self, one: _Due) -> dict[str, Any]:
        """Say what happened, at the time that it has with all that the shop was closed. A repeat says the very same."""
        if one.name in self._said:
            return self._said.pop(one.name)
        data = dict(one.data)
        at = one.at + self.shift
        if "due" in data:
            due = data.pop("due") + self.shift
            self.last = max(self.last, due)
            data["due_date"] = rfc3339(due)
        self.last = max(self.last, at)
        payload = event(one.kind, one.name, at, **data)
        if one.twice:
            self._said[one.name] = payload
        return payload

    def _happen(self, at: Micros) -> None:
        """Begin a story: an invoice and what becomes of it, a payment that fails, or an order."""
        chance, number = self.chance, self.begun
        who = f"c-{chance.randrange(self.people)}"
        kind = chance.random()
        if kind < 0.05:
            name = f"p-{number}"
            self._plan("billing.payment.failed", name, at, who, payment_id=name, amount=MONEY, code="declined")
            if chance.random() < 0.5:
                again = at + chance.randrange(1, 30) * SECOND
                self._plan("billing.payment.succeeded", f"{name}-ok", again, who, payment_id=name, amount=MONEY)
        elif kind < 0.10:
            name = f"o-{number}"
            self._plan("sales.order.placed", name, at, who, order_id=name, total=MONEY)
        else:
            name, due = f"i-{number}", at + DUE
            self._plan("billing.invoice.issued", name, at, who, invoice_id=name, amount_due=MONEY, due=due)
            if chance.random() < 0.9:
                # Most in time, some late, some at the very deadline.
                late = chance.random() < 0.1
                paid = (
                    due
                    if chance.random() < 0.05
                    else at + chance.randrange(*((DUE, LATEST) if late else (SECOND, DUE)))
                )
                self._plan("billing.invoice.paid", f"{name}-paid", paid, who, invoice_id=name, amount=MONEY)
            elif chance.random() < 0.5:
                self._plan("billing.invoice.voided", f"{name}-void", at + chance.randrange(DUE), who, invoice_id=name)

    def _plan(self, kind: str, name: str, at: Micros, who: str, **data: Any) -> None:
        self.begun += 1
        times = 2 if self.chance.random() < 0.02 else 1
        self.repeated += times - 1
        for _ in range(times):
            self._count += 1
            send_at = at + 1 + self.chance.randrange(DELAY)
            heapq.heappush(
                self._waiting, _Due(send_at, self._count, kind, name, at, {"customer_id": who, **data}, times == 2)
            )


STORY = 1.9
"""Events of a story, on average."""
