"""What came of an event, on both stores: decisions, what waits, the nearest miss; its page; lists narrowed by what is typed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from streams.explaining.event import EventStory, event_story
from tests.explaining.laboratory import EURO_90, SOON, Shop, Where, browsing, opened, run
from tests.explaining.test_pages import SECRETS, eventful
from tidings import canonical
from tidings.ports import Scan


def stories(where: Where, *names: str) -> list[EventStory | None]:
    async def story() -> Any:
        async with opened(where, Shop()) as shop:
            await eventful(shop)
            await shop.happens("billing.invoice.issued", invoice_id="inv-1", customer_id="c-1", amount_due=EURO_90,
                               due_date="2099-01-01T00:00:00Z", ident="inv-e")  # fmt: skip
            await shop.rests(SOON)
            return [await event_story(shop.books, name) for name in names]

    found: list[EventStory | None] = run(story())
    return found


def test_an_event_says_what_came_of_it_and_where_nothing_did_what_came_closest(where: Where) -> None:
    told, missed, unread, suppressed, waits, none = stories(
        where, "evt-3", "evt-4", "evt-5", "evt-6", "inv-e", "nothing"
    )
    assert none is None
    assert told is not None
    assert told.verdict == ("sent", "A payment failed: told by e-mail")
    assert [one.looked.rule.id for one in told.decisions] == ["payment-failed"]
    assert missed is not None
    assert missed.verdict == ("none", "Nothing came of it: 1 rule looked, and none fired")
    assert missed.closest.startswith('Closest: A payment failed. code != "fraud_suspected" was false: code is')
    assert unread is not None
    assert unread.verdict == ("none", "No rule reads this kind of event")
    assert suppressed is not None
    assert suppressed.verdict == ("supp", "An order was placed: not told: they have switched this topic off")
    assert [one.looked.outcome for one in suppressed.came] == ["fired", "armed", "no_match"], "what led furthest first"
    assert waits is not None
    assert waits.verdict[0] == "flit"
    assert "unless billing.invoice.paid comes" in waits.verdict[1]


def test_its_page_hides_what_is_personal_until_a_reason_is_written_down(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:
            await eventful(shop)
            moved = await client.get("/events/evt-2")
            assert moved.status_code == 303, "a link shows the receiver the same event"
            page = await client.get(moved.headers["location"])
            assert page.status_code == 200
            assert not [secret for secret in SECRETS if secret in page.text]
            assert len(page.content) <= 40_000
            (token,) = set(re.findall(r'name="csrf" value="([^"]+)"', page.text))
            form = {"csrf": token, "reason": ""}
            headers = {"origin": "http://127.0.0.1"}
            refused = await client.post(moved.headers["location"], data=form, headers=headers)
            assert refused.status_code == 422
            assert "jonas@wald.de" not in refused.text
            form["reason"] = "ticket 7"
            shown = await client.post(moved.headers["location"], data=form, headers=headers)
            assert "jonas@wald.de" in shown.text
            assert shown.headers["refresh"].startswith("60; url=/events/")
            (row,) = await shop.store.read(lambda: (yield Scan("audit")))
            body = canonical.loads(row["body"])
            assert (row["verb"], body["reason"], body["recipient"]) == ("events reveal", "ticket 7", "customer:c-1")
            assert "jonas" not in str(row)
            assert (await client.get("/events/nothing")).status_code == 404

    run(story())


def test_what_is_typed_into_the_list_goes_where_find_goes(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:
            await eventful(shop)
            await shop.happens("sales.order.shipped", order_id="ord-1", customer_id="c-1")
            await shop.rests(SOON)
            await shop.catalogued()
            page = await client.get("/decisions")
            (token,) = set(re.findall(r'name="csrf" value="([^"]+)"', page.text))
            for typed in ("evt-3", "pay-1", "ord-1", "c-1", "payment-failed"):
                listed = await client.post(
                    "/decisions", data={"csrf": token, "about": typed}, headers={"origin": "http://127.0.0.1"}
                )
                found = await client.post("/find", data={"q": typed}, headers={"origin": "http://127.0.0.1"})
                if typed == "ord-1":
                    both = [re.findall(r'class="go" href="([^"]+)"', one.text) for one in (listed, found)]
                    assert both[0] == both[1], "the events of an order"
                    assert len(both[0]) == 2
                elif typed in ("evt-3", "pay-1"):
                    assert listed.headers["location"] == found.headers["location"]
                    assert listed.headers["location"].startswith("/events/")
                else:
                    assert listed.headers["location"].startswith("/decisions?")
            old = await client.get("/decisions?event=evt-3")
            assert old.headers["location"] == "/events/evt-3"

    run(story())


def test_edited_rules_that_are_not_in_use_are_said_on_every_page(tmp_path: Path) -> None:
    why = ["'by' would change what it means"]

    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop, refused=lambda: why, folder=None) as client:
            await eventful(shop)
            for path in ("/", "/decisions", "/rules"):
                assert "Edited rules are not in use" in (await client.get(path)).text
            assert "&#39;by&#39; would change what it means" in (await client.get("/rules")).text

    run(story())
