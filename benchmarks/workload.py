"""The workload: events and rules from `workload.toml`, and a file of the embedded engine that holds both."""

from __future__ import annotations

import asyncio
import json
import sys
import tomllib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from handlers.rules.load import dump_sources, load
from schemas import contracts
from streams.codec import Codec
from streams.embedded_log import Append, EmbeddedLog, create
from streams.processors import detect
from streams.stores.sqlite import SqliteStore
from tidings.event import SECOND
from tidings.rule import RuleSet

FOLDER = Path(__file__).parent
START = 1_767_225_600 * SECOND
"""Event time of the first event: 2026-01-01."""

CHANGED = "crm.customer.changed"
PLANS = ("free", "basic", "team")
REASONS = ("do_not_honor", "fraud_suspected", "processing_error")

Payload = Mapping[str, Any]


@dataclass(frozen=True)
class Workload:
    """What `workload.toml` says."""

    seed: int
    keys: int
    events_per_second: int
    match: float
    fire: float
    repeat: float
    image: float
    before: float
    mix: Mapping[str, float]


def read_workload(path: Path = FOLDER / "workload.toml") -> Workload:
    """Read the file."""
    return Workload(**tomllib.loads(path.read_text("utf-8")))


def topics() -> list[str]:
    """Return the topics of the workload's events."""
    known = contracts().by_type
    return sorted(known[kind].topic for kind in (*read_workload().mix, CHANGED))


def first_profile(customer: str) -> dict[str, Any]:
    """Return what a customer's profile begins with."""
    return {
        "first_name": "Ada", "last_name": f"L-{customer}", "email": f"{customer}@example.org", "phone": None,
        "plan": "free", "tier": None, "mrr": {"amount_minor": 0, "currency": "EUR"}, "delinquent": False,
    }  # fmt: skip


class Generator:
    """Draws events, in order of time. The same seed draws the same ones."""

    def __init__(self, workload: Workload, *, known: bool = False) -> None:
        """With `known`, every customer has an image before the first event: `first_profile`."""
        self.workload = workload
        self.known = known
        self.random = Random(workload.seed)
        self.number = 0
        self.unpaid: deque[tuple[str, str]] = deque()
        self.profiles: dict[str, dict[str, Any] | None] = {}

    def __iter__(self) -> Iterator[tuple[str, Payload]]:
        """Yield (event type, payload), without end."""
        kinds, weights = list(self.workload.mix), list(self.workload.mix.values())
        while True:
            self.number += 1
            if self.random.random() < self.workload.image:
                kind, data = CHANGED, self._changed()
            else:
                kind, data = self._business(self.random.choices(kinds, weights)[0])
            payload = {"meta": self._meta(kind), **data}
            yield kind, payload
            if self.random.random() < self.workload.repeat:
                yield kind, payload

    def at(self) -> int:
        """Return the event time of the newest event."""
        return START + self.number * SECOND // self.workload.events_per_second

    def _meta(self, kind: str) -> Payload:
        return {
            "event_id": f"e-{self.number}", "type": kind, "source": kind.partition(".")[0], "occurred_at": self.at(),
            "recorded_at": self.at(), "tenant": "default", "correlation_id": f"p-{self.number}",
            "subject": None, "actor": None, "causation_id": None, "sequence": None,
        }  # fmt: skip

    def _matches(self) -> bool:
        return self.random.random() < self.workload.match

    def _customer(self) -> str:
        return f"c-{self.random.randrange(self.workload.keys)}"

    def _money(self, low: int, high: int) -> Payload:
        return {"amount_minor": self.random.randrange(low * 100, high * 100), "currency": "EUR"}

    def _business(self, kind: str) -> tuple[str, Payload]:
        customer, matches, random = self._customer(), self._matches(), self.random
        if kind == "billing.invoice.paid" and self.unpaid:
            invoice, customer = self.unpaid.popleft()
            return kind, {"invoice_id": invoice, "customer_id": customer, "amount": self._money(10, 300)}
        if kind in ("billing.invoice.issued", "billing.invoice.paid"):
            invoice = f"i-{self.number}"
            if random.random() >= self.workload.fire:
                self.unpaid.append((invoice, customer))
            due = self.at() + 60 * SECOND
            return "billing.invoice.issued", {
                "invoice_id": invoice, "customer_id": customer, "amount_due": self._money(10, 300), "due_date": due,
                "number": f"2026-{self.number}",
            }  # fmt: skip
        if kind == "billing.payment.failed":
            code, attempt = random.choice(REASONS), random.randrange(1, 3)
            if matches:
                code, attempt = random.choice((("card_declined", 1), ("expired_card", 3), ("insufficient_funds", 4)))
            return kind, {
                "payment_id": f"pay-{self.number}", "invoice_id": None, "customer_id": customer,
                "amount": self._money(10, 300), "code": code, "attempt": attempt,
            }  # fmt: skip
        if kind == "sales.order.placed":
            express, items = random.random() < 0.3, random.randrange(1, 5)
            total = self._money(500, 900) if matches else self._money(5, 90)
            if matches:
                express, items = random.choice(((True, 2), (False, 12)))
            return kind, {
                "order_id": f"o-{self.number}", "customer_id": customer, "total": total, "express": express,
                "item_count": items,
            }  # fmt: skip
        metric = random.choice(("sms", "data")) if matches or random.random() < 0.3 else "voice"
        used = random.randrange(1100, 2000) if matches else random.randrange(0, 800)
        return kind, {"customer_id": customer, "metric": metric, "used": used, "included": 1000}

    def _changed(self) -> Payload:
        customer, matches, random = self._customer(), self._matches(), self.random
        if self.known and customer not in self.profiles:
            self.profiles[customer] = first_profile(customer)
        old = self.profiles.get(customer)
        new: dict[str, Any] | None = {
            **first_profile(customer), "plan": random.choice(PLANS), "mrr": self._money(0, 100),
        }  # fmt: skip
        if old is not None:
            new = {**old, "mrr": self._money(0, 100)}
            if matches:
                what = random.choice(("email", "plan", "close"))
                new["email"] = f"{customer}-{self.number}@example.org" if what == "email" else new["email"]
                new["plan"] = "business" if what == "plan" else new["plan"]
                new = None if what == "close" else new
        self.profiles[customer] = new
        sent = old is not None and random.random() < self.workload.before
        return {
            "customer_id": customer, "before": old if sent else None, "after": new,
            "before_coverage": "FULL" if sent else "ABSENT" if old is None else "UNKNOWN",
            "after_coverage": "ABSENT" if new is None else "FULL", "changed_fields": [],
        }  # fmt: skip


# -- rules

HEAD = """version: 1
rules:
"""
RULE = """  - id: {id}
    title: A rule of the workload
    owner: team-bench
    status: live
    policy: {{ consent: transactional }}
    topic: bench
    when: {when}
    to: customer
    then: [{{ send: email, template: said, with: {with_} }}]
"""
RULES = (
    (
        "invoice-overdue",
        (
            "{ missing: { after: { event: billing.invoice.issued, if: 'amount_due > money(0, \"EUR\")' }, "
            "expect: billing.invoice.paid, by: [invoice_id], once: true, deadline: due_date, allowed_lateness: 1s } }"
        ),
        "{ what: invoice_id, amount: amount_due }",
    ),
    ("payment-declined", '{ event: billing.payment.failed, if: code == "card_declined" }', "{ what: payment_id }"),
    (
        "payment-hopeless",
        '{ event: billing.payment.failed, if: \'code in ["expired_card", "insufficient_funds"] && attempt >= 3\' }',
        "{ what: payment_id, amount: amount }",
    ),
    (
        "order-express",
        "{ event: sales.order.placed, if: 'express && total >= money(500, \"EUR\")' }",
        "{ what: order_id, amount: total }",
    ),
    (
        "order-large",
        "{ event: sales.order.placed, if: 'item_count >= 10 && total >= money(100, \"EUR\")' }",
        "{ what: order_id, amount: total }",
    ),
    ("usage-sms", "{ event: billing.usage.metered, if: 'metric == \"sms\" && used > included' }", "{ what: metric }"),
    (
        "usage-data",
        "{ event: billing.usage.metered, if: 'metric == \"data\" && used * 10 >= included * 9' }",
        "{ what: metric }",
    ),
    (
        "email-changed",
        "{ event: crm.customer.changed, changed: [email] }",
        "{ what: after.email, before: before.email }",
    ),
    (
        "plan-business",
        "{ event: crm.customer.changed, changed: [plan], if: 'has(after.plan) && after.plan == \"business\"' }",
        "{ what: after.plan }",
    ),
    ("account-closed", '{ event: crm.customer.changed, if: after_coverage == "ABSENT" }', "{ what: customer_id }"),
)
"""(id, when, with) of the rules for which something holds."""

OTHERS = (
    ("{ event: billing.payment.failed, if: 'code == \"code-%d\" && attempt >= 2' }", "{ what: payment_id }"),
    ("{ event: sales.order.placed, if: 'customer_id == \"vip-%d\" && item_count >= 1' }", "{ what: order_id }"),
    ("{ event: billing.usage.metered, if: 'metric == \"metric-%d\" && used > included' }", "{ what: metric }"),
    ('{ event: crm.customer.changed, changed: [email], if: customer_id == "vip-%d" }', "{ what: customer_id }"),
    ("{ event: crm.customer.changed, if: 'has(after.plan) && after.plan == \"plan-%d\"' }", "{ what: after.plan }"),
    ('{ event: billing.invoice.paid, if: customer_id == "vip-%d" }', "{ what: invoice_id }"),
    (
        (
            '{ missing: { after: { event: billing.invoice.issued, if: customer_id == "vip-%d" }, '
            'expect: { event: billing.invoice.paid, if: customer_id == "vip-%d" }, by: [invoice_id], '
            "deadline: due_date, allowed_lateness: 1s } }"
        ),
        "{ what: invoice_id }",
    ),
)
"""(when, with) of the others: they look at the same events, and hold for none."""

TEMPLATES = {"said": "Subject: Something happened\n\nIt was {{ what }}.\n"}


TOPICS = b"topics: { bench: { sentence: What the benchmark says } }\n"
TO_A_FILE = 200


def rule_files(number: int) -> dict[str, bytes]:
    """Return files with so many rules; the first ones are always the same, and the only ones that match."""
    rules = [RULE.format(id=name, when=when, with_=with_) for name, when, with_ in RULES[:number]]
    for index in range(number - len(rules)):
        when, with_ = OTHERS[index % len(OTHERS)]
        rules.append(RULE.format(id=f"other-{index}", when=when.replace("%d", str(index)), with_=with_))
    parts = [rules[at : at + TO_A_FILE] for at in range(0, len(rules), TO_A_FILE)]
    files = {f"rules/bench-{place}.yaml": (HEAD + "".join(part)).encode() for place, part in enumerate(parts)}
    return {**files, "topics.yaml": TOPICS}


def rule_set(number: int) -> tuple[RuleSet, bytes]:
    """Return a rule set of so many rules, and its source as the store keeps it."""
    files = rule_files(number)
    loaded = load(files, TEMPLATES, contracts().by_type)
    assert loaded.rules is not None, "\n".join(str(one) for one in loaded.errors[:3])
    return loaded.rules, dump_sources(files, TEMPLATES)


# -- files


async def build(path: Path, rules: int, events: int) -> int:
    """Make a file with an active rule set and a log that nobody has read; return the event time at its end."""
    workload = read_workload()
    now = START
    store = await SqliteStore.open(path, lambda: now)
    try:
        places = [(topic, 0) for topic in topics()]
        await store.run(create(places))
        await store.run(detect.connect(places, now, grace=0, history="live"))
        await store.run(detect.switch(None, *rule_set(rules), grace=0))
        generator = Generator(workload)
        codec, log, known = Codec(contracts()), EmbeddedLog(store), contracts().by_type
        drawn = islice(generator, events)
        while appends := [
            Append(known[kind].topic, *codec.encode(kind, payload)) for kind, payload in islice(drawn, 2_000)
        ]:
            now = generator.at()
            await log.append(appends)
    finally:
        await store.close()
    return now


def main() -> None:
    """Make a file: PATH RULES EVENTS."""
    path, rules, events = sys.argv[1:]
    end = asyncio.run(build(Path(path), int(rules), int(events)))
    print(json.dumps({"end": end}))


if __name__ == "__main__":
    main()
