"""The small shop of the demonstration: its customers, and what happens to them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from streams.json_events import rfc3339
from tidings.event import SECOND

Planned = tuple[int, str, dict[str, Any]]
"""(delay in microseconds, event type, plain JSON event without its time)"""


def customers(folder: Path, at: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events that make the shop's customers known, as of an instant."""
    for person in json.loads((folder / "customers.json").read_text("utf-8")):
        name = person["customer_id"]
        profile = {key: person[key] for key in ("customer_id", "email", "name", "locale", "timezone")}
        yield "customer.profile.changed", _event(f"profile-{name}", "crm", at, profile)
        for kind in person["consent"]:
            data = {"customer_id": name, "consent_class": kind}
            yield "customer.consent.given", _event(f"consent-{name}-{kind}", "crm", at, data)
        for foreign in person["foreign_ids"]:
            data = {"foreign_id": foreign, "customer_id": name}
            yield "customer.identity.linked", _event(f"link-{foreign}", "crm", at, data)


def _event(name: str, source: str, at: int, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "source": source, "time": rfc3339(at), "data": data}


def euro(minor: int) -> dict[str, Any]:
    """Return an amount in EUR."""
    return {"amount_minor": minor, "currency": "EUR"}


@dataclass
class Shop:
    """Draws what happens: small stories of a few events each. Ids begin with `day`, so that no two runs share one."""

    seed: int
    day: str
    random: Random = field(init=False)
    count: int = 0
    told: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.seed)  # noqa: S311 - a shop for show
        self.deck: list[Any] = []

    def story(self) -> Sequence[Planned]:
        """Return the next story; all kinds come before one comes again."""
        if not self.deck:
            self.deck = [
                self._paid_late, self._paid, self._declined, self._suspected, self._large_order, self._shipped,
                self._not_shipped, self._large_payment, self._voided, self._stranger, self._moved, self._stock,
            ]  # fmt: skip
            self.random.shuffle(self.deck)
        self.told += 1
        return self.deck.pop()()  # type: ignore[no-any-return]

    def at(self, planned: Planned, now: int) -> tuple[str, dict[str, Any]]:
        """Return an event of a story with its time; a due date counts from now as well."""
        _, kind, event = planned
        data = dict(event["data"])
        if "due_in" in data:
            data["due_date"] = rfc3339(now + data.pop("due_in"))
        return kind, {**event, "time": rfc3339(now), "data": data}

    def _one(self, delay: float, kind: str, source: str, **data: Any) -> Planned:
        self.count += 1
        return int(delay * SECOND), kind, {"id": f"{self.day}-{self.count}", "source": source, "data": data}

    def _who(self) -> str:
        return self.random.choice(("c-ada", "c-ben", "c-cleo", "c-dan"))

    def _number(self, kind: str) -> str:
        self.count += 1
        return f"{kind}-{self.day}-{self.count}"

    def _invoice(self, who: str, due_in: float) -> tuple[str, int, Planned]:
        name, amount = self._number("inv"), self.random.randint(900, 25_000)
        issued = self._one(
            0, "billing.invoice.issued", "billing", invoice_id=name, customer_id=who, amount_due=euro(amount),
            due_in=int(due_in * SECOND),
        )  # fmt: skip
        return name, amount, issued

    def _pay(self, delay: float, name: str, who: str, amount: int) -> Planned:
        data = {"invoice_id": name, "customer_id": who, "amount": euro(amount)}
        return self._one(delay, "billing.invoice.paid", "billing", **data)

    def _paid(self) -> Sequence[Planned]:
        who = self._who()
        name, amount, issued = self._invoice(who, 1)
        # The issue is delivered twice, as queues do.
        return [issued, (SECOND // 2, *issued[1:]), self._pay(1.5, name, who, amount)]

    def _paid_late(self) -> Sequence[Planned]:
        who = self.random.choice(("c-ada", "c-ben", "c-cleo"))
        name, amount, issued = self._invoice(who, 0.5)
        return [issued, self._pay(6.5, name, who, amount)]

    def _voided(self) -> Sequence[Planned]:
        who = self._who()
        name, _, issued = self._invoice(who, 1)
        void = self._one(1, "billing.invoice.voided", "billing", invoice_id=name, customer_id=who, reason="duplicate")
        return [issued, void]

    def _moved(self) -> Sequence[Planned]:
        who = self._who()
        name, amount, issued = self._invoice(who, 0.5)
        moved = self._one(
            1, "billing.invoice.rescheduled", "billing", invoice_id=name, customer_id=who, due_in=2 * SECOND
        )
        return [issued, moved, self._pay(4, name, who, amount)]

    def _payment(self, kind: str, amount: int, **more: Any) -> Planned:
        data = {"payment_id": self._number("pay"), "customer_id": self._who(), "amount": euro(amount), **more}
        return self._one(0, f"billing.payment.{kind}", "payments", **data)

    def _declined(self) -> Sequence[Planned]:
        return [self._payment("failed", self.random.randint(1000, 9000), code="expired_card")]

    def _suspected(self) -> Sequence[Planned]:
        return [self._payment("failed", self.random.randint(1000, 9000), code="fraud_suspected")]

    def _large_payment(self) -> Sequence[Planned]:
        return [self._payment("succeeded", 45_000)]

    def _stranger(self) -> Sequence[Planned]:
        return [self._payment("failed", 1999, code="do_not_honor", customer_id="stripe:cus_stranger")]

    def _order(self, who: str, total: int, items: int, *, express: bool) -> tuple[str, Planned]:
        name = self._number("ord")
        placed = self._one(
            0, "sales.order.placed", "shop", order_id=name, customer_id=who, total=euro(total), item_count=items,
            express=express,
        )  # fmt: skip
        return name, placed

    def _ship(self, delay: float, name: str, who: str) -> Planned:
        return self._one(delay, "sales.order.shipped", "warehouse", order_id=name, customer_id=who, carrier="DHL")

    def _large_order(self) -> Sequence[Planned]:
        who = self._who()
        name, placed = self._order(who, self.random.randint(10_000, 40_000), 4, express=False)
        return [placed, self._ship(1, name, who)]

    def _shipped(self) -> Sequence[Planned]:
        who = self._who()
        name, placed = self._order(who, 4200, 1, express=True)
        return [placed, self._ship(1, name, who)]

    def _not_shipped(self) -> Sequence[Planned]:
        who = self._who()
        name, placed = self._order(who, 8900, 2, express=True)
        return [placed, self._ship(7, name, who)]

    def _stock(self) -> Sequence[Planned]:
        level = self.random.randint(0, 40)
        data = {
            "sku": "mug-blue",
            "warehouse": "berlin",
            "after": {"on_hand": level, "reserved": 0},
            "after_coverage": "FULL",
        }
        return [self._one(0, "inventory.stock.changed", "warehouse", **data)]
