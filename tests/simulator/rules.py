"""The rules of the simulated shop, built by hand: the simulator tests the kernel, not the loader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from handlers.operators.event import EventOperator, StopMatcher
from handlers.operators.missing import MissingOperator
from tidings.contract import Contract, Field, Type
from tidings.event import SECOND, Event
from tidings.quiet_hours import QuietHours, Window
from tidings.rule import Matcher, Rule, RuleSet, Step
from tidings.unknown import UNKNOWN

ISSUED, PAID, MOVED, PING = "billing.invoice.issued", "billing.invoice.paid", "billing.invoice.rescheduled", "app.ping"
DECLINED = "billing.payment.failed"
TOPICS = {kind: f"{kind}.v1" for kind in (ISSUED, PAID, MOVED, PING, DECLINED)}
PEOPLE = {
    kind: f"{kind}.v1"
    for kind in (
        "customer.profile.changed", "customer.consent.given", "customer.consent.withdrawn",
        "customer.preference.changed",
    )
}  # fmt: skip
QUIET = QuietHours((Window(8 * 60 + 1, 8 * 60 + 2),), "customer", "UTC")
"""Histories begin at 08:00:00 UTC, so that the quiet minute falls into them; other zones are never quiet meanwhile."""


@dataclass(frozen=True)
class Value:
    """A field of the payload, as an expression; `plus` is added to the event's time where `name` is empty."""

    name: str = ""
    plus: int = 0

    def true(self, data: Mapping[str, Any], event: Event, params: Mapping[str, Any]) -> bool:
        return bool(data.get(self.name))

    def value(self, data: Mapping[str, Any], event: Event, params: Mapping[str, Any]) -> Any:
        if not self.name:
            return event.occurred_at + self.plus
        found = data.get(self.name)
        return UNKNOWN if found is None else found


def _contract(kind: str) -> Contract:
    fields = {name: Field(name, Type("string")) for name in ("invoice_id", "customer_id")}
    return Contract(kind, kind, TOPICS[kind], 1, 1, "sim", "", ("invoice_id",), fields, ("customer_id",))


CONTRACTS = {kind: _contract(kind) for kind in TOPICS}


def _matcher(kind: str) -> Matcher:
    return Matcher(kind, TOPICS[kind])


@dataclass(frozen=True)
class Shop:
    """What a seed chooses about its rules."""

    lateness: int = 5 * SECOND
    once: bool = False
    on_repeat: Any = "keep"
    patience: int = 300 * SECOND
    on_unknown: Any = "unresolved"
    consent: str = "marketing"
    names: tuple[str, ...] = ("overdue", "silent", "paid", "declined")
    quiet: bool = False
    """Whether its messages respect the quiet minute."""
    off: tuple[str, ...] = field(default=())


def rule_set(shop: Shop) -> RuleSet:
    """Return the rule set of a shop; its hash names every choice."""
    send = (Step("email", "t", {"due": Value("due")}),)
    over = (Step("email", "over", {"customer": Value("customer_id")}),)
    paths = dict.fromkeys(TOPICS, ("customer_id",))
    common: dict[str, Any] = {
        "owner": "sim", "steps": send, "customer_paths": paths, "consent": shop.consent, "expires": shop.patience,
        "on_unknown": shop.on_unknown, "topic": "news", "quiet_hours": QUIET if shop.quiet else None,
    }  # fmt: skip
    keep = frozenset({"customer_id", "due"})
    overdue = MissingOperator(
        after=_matcher(ISSUED), expect=(_matcher(PAID),), deadline=Value("due"), by=("invoice_id",),
        reschedule_on=(_matcher(MOVED),), once=shop.once, on_repeat=shop.on_repeat,
        allowed_lateness=shop.lateness, keep=keep,
    )  # fmt: skip
    silent = MissingOperator(
        after=_matcher(PING), expect=(_matcher(PING),), deadline=Value("", 20 * SECOND), by=("customer_id",),
        allowed_lateness=shop.lateness, keep=keep,
    )  # fmt: skip
    declined = EventOperator(
        _matcher(DECLINED), stops=(StopMatcher(_matcher(PAID), (("customer_id",),)),), match_here=(("customer_id",),),
        keep=frozenset({"customer_id"}), allowed_lateness=shop.lateness,
    )  # fmt: skip
    every = {
        "overdue": Rule("overdue", operator=overdue, **common, on_stop=over),
        "declined": Rule("declined", operator=declined, **common, on_stop=over),
        "silent": Rule("silent", operator=silent, **common),
        "paid": Rule("paid", operator=EventOperator(_matcher(PAID)), **{**common, "consent": "transactional"}),
    }
    rules = tuple(every[name] for name in shop.names if name not in shop.off)
    return RuleSet(sha256(repr(shop).encode()).hexdigest()[:16], rules, CONTRACTS)
