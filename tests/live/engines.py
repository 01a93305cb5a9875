"""Engines on real files, with rules that a test writes itself."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from handlers.rules.load import load
from schemas import contracts
from streams.embedded import Engine, wall_clock
from streams.json_events import from_json, rfc3339
from tidings.event import MINUTE
from tidings.ports import Outcome, Outgoing, Scan

RULES = b"""version: 1
rules:
  - id: payment-failed
    title: A payment failed
    owner: team-billing
    status: live
    when: { event: billing.payment.failed }
    to: customer
    topic: news
    then: [{ send: email, template: failed, with: { code: code } }]
"""
TOPICS = b"topics: { news: { sentence: What happens to you } }\n"
TEMPLATES = {"failed": "Subject: A payment failed\n\nIt said {{ code }}.\n"}


class Shelf:
    """A provider that takes everything and keeps it."""

    name = "shelf"
    lease = 30_000_000
    can_look_up = False

    def __init__(self) -> None:
        self.taken: list[Outgoing] = []

    async def send(self, outgoing: Outgoing) -> Outcome:
        self.taken.append(outgoing)
        return Outcome("accepted", first_byte_at=wall_clock())

    async def look_up(self, _: str) -> str | None:
        return None


def engine(
    path: Path,
    provider: Any,
    rules: bytes = RULES,
    templates: Mapping[str, str] = TEMPLATES,
    clock: Callable[[], int] = wall_clock,
    **words: Any,
) -> Engine:
    files = {"rules/test.yaml": rules, "topics.yaml": TOPICS}
    loaded = load(files, templates, contracts().by_type)
    assert loaded.rules is not None, [str(one) for one in loaded.diagnostics]
    words.setdefault("history", "live")
    return Engine(path, contracts(), files, templates, loaded.rules, lambda _channel: provider, clock, **words)


def event(kind: str, name: str, at: int | None = None, **data: Any) -> dict[str, Any]:
    """The payload of an event of now."""
    contract = contracts().by_type[kind]
    when = rfc3339(wall_clock() if at is None else at)
    return from_json(contract, {"id": name, "source": "test", "time": when, "data": data})


def customer(name: str) -> dict[str, Any]:
    return event(
        "customer.profile.changed", f"p-{name}", wall_clock() - MINUTE, customer_id=name, email=f"{name}@example.org"
    )


def failed(name: str, who: str = "c-1", **data: Any) -> dict[str, Any]:
    amount = {"amount_minor": 1000, "currency": "EUR"}
    rest = {"payment_id": name, "customer_id": who, "amount": amount, "code": "card_declined", **data}
    return event("billing.payment.failed", name, **rest)


async def rest(running: Engine, seconds: float = 20) -> None:
    """Wait until nothing is left to do."""
    async with asyncio.timeout(seconds):
        while not await running.at_rest():
            running.check()
            await asyncio.sleep(0.02)


async def rows(running: Engine, table: str) -> list[dict[str, Any]]:
    def body() -> Any:
        return list((yield Scan(table)))

    found: list[dict[str, Any]] = await running.store.read(body)
    return found
