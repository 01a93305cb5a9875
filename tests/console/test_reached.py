"""Every page that a link leads to: it is there, and says every instant as a time."""

from __future__ import annotations

import html
import re
from collections import Counter
from urllib.parse import parse_qsl

import httpx
import pytest

from streams.embedded_log import Append
from streams.json_events import rfc3339
from streams.processors.audit import audit
from streams.processors.kills import kill
from tests.explaining.laboratory import EURO_90, NOON, Shop, browsing, opened, run
from tests.explaining.test_pages import eventful
from tidings.event import DAY, HOUR

SAMPLES = 3
"""Of pages that differ in an id only."""
TOMORROW = rfc3339(NOON + DAY)
INSTANT = re.compile(r"(?<![\w-])1[78]\d{14}(?!\d)")


async def everything(shop: Shop) -> None:
    """Let there be something on every page."""
    await eventful(shop)
    await shop.happens(
        "billing.invoice.issued", invoice_id="inv-1", customer_id="c-1", amount_due=EURO_90, due_date=TOMORROW
    )
    await shop.happens("sales.order.placed", order_id="ord-2", customer_id="c-2", total=EURO_90)
    await shop.happens("sales.delivery.delayed", order_id="ord-1", customer_id="c-1", new_eta=TOMORROW)
    await shop.happens(
        "billing.subscription.changed",
        subscription_id="s",
        customer_id="c-1",
        before_coverage="FULL",
        before={"status": "active", "current_period_end": rfc3339(NOON)},
        after={"status": "canceled", "current_period_end": TOMORROW},
        after_coverage="FULL",
    )
    await shop.log.append([Append("sales.order.placed.v1", b"k", b"no record")])
    await shop.rests(HOUR)
    await shop.catalogued()
    # A key itself would close the door to the test.
    await shop.store.run(lambda: audit("keys create", "ops", {"name": "billing", "expires_at": shop.clock + DAY}))
    await shop.store.run(kill("channel:sms", "ops", "try"))


def kind_of(link: str) -> str:
    """Return what pages have in common that differ in an id only."""
    path, _, query = link.partition("?")
    above, _, _ = path.rpartition("/")
    names = sorted(name for name, _ in parse_qsl(query, keep_blank_values=True))
    return f"{above or path}?{'&'.join(names)}"


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> dict[str, httpx.Response]:
    """Return what every page answers to which a link leads, by its path."""

    async def story() -> dict[str, httpx.Response]:
        async with opened(tmp_path_factory.mktemp("reached"), Shop()) as shop, browsing(shop) as client:
            await everything(shop)
            found: dict[str, httpx.Response] = {}
            wanted, many = ["/", "/audit", "/keys", "/dead-letters", "/events/evt-3"], Counter[str]()
            while wanted:
                path = wanted.pop(0)
                found[path] = await client.get(path)
                for link in map(html.unescape, re.findall(r'<a [^>]*href="(/[^"#]*)', found[path].text)):
                    kind = kind_of(link)
                    if link not in found and link not in wanted and many[kind] < SAMPLES and kind.count("&") < 2:
                        many[kind] += 1
                        wanted.append(link)
            return found

    reached: dict[str, httpx.Response] = run(story())
    return reached


def test_every_link_of_a_page_leads_to_a_page(reached: dict[str, httpx.Response]) -> None:
    assert {path: answer.status_code for path, answer in reached.items() if answer.status_code not in (200, 303)} == {}
    assert len(reached) > 60


def test_every_instant_on_a_page_is_a_time_and_no_number(reached: dict[str, httpx.Response]) -> None:
    raw = {path: INSTANT.findall(re.sub(r"<[^>]+>", " ", answer.text)) for path, answer in reached.items()}
    assert {path: numbers for path, numbers in raw.items() if numbers} == {}
    assert "expires_at 2027-01-" in reached["/audit"].text
