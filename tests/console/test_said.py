"""What pages say of one installation: nothing that the page beside it contradicts, and names where there were ids."""

from __future__ import annotations

import re
from pathlib import Path

from tests.explaining.laboratory import EURO_90, SOON, Shop, browsing, opened, run
from tidings.event import DAY, MINUTE
from tidings.ports import Outcome

HERE = {"origin": "http://127.0.0.1"}


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_the_frame_of_the_stop_page_says_of_every_step_what_the_page_says(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:

            async def send(path: str, **fields: str) -> str:
                page = await client.get("/kills")
                token = re.findall(r'name="csrf" value="([^"]+)"', page.text)[0]
                done = await client.post(path, data={"csrf": token, "reason": "try", **fields}, headers=HERE)
                assert done.status_code == 303, done.text
                return (await client.get(done.headers["location"])).text

            for verb, said in (("release", "Released."), ("drop", "Dropped.")):
                text = await send("/kills", kind="channel", name="email")
                assert "Stopped: channel email" in plain(text)
                (path,) = re.findall(rf'action="(/kills/[^"]+/{verb})"', text)
                text = await send(path)
                assert said in text
                assert "Nothing is stopped" in text
                assert "Stopped:" not in text

    run(story())


def test_where_nothing_needs_anybody_there_is_no_list_of_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:
            await shop.customer()
            await shop.rests()
            text = (await client.get("/")).text
            assert "<h1>Overview</h1>" in text
            assert "Needs attention" not in text

    run(story())


def test_a_provider_that_does_not_take_us_needs_attention_and_what_waits_for_it_is_not_said_twice(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:
            await shop.customer()
            refused = Outcome("not_sent", detail="configuration: 535", away=True)
            shop.post.answers = [refused] * 9
            await shop.happens("sales.order.placed", order_id="ord-1", customer_id="c-1", total=EURO_90)
            await shop.happens("sales.order.shipped", order_id="ord-1", customer_id="c-1")
            await shop.rests()
            shop.clock += 8 * MINUTE
            text = plain((await client.get("/")).text)
            assert "post does not take us since 8 min (configuration: 535). Check username and password" in text
            assert "has been due for" not in text
            for place, says in (
                ("messages", "post does not take us since 8 min: it waits, and leaves when that is over."),
                ("decisions", "Not told yet: post does not take us since 8 min"),
            ):
                found = (await client.get(f"/{place}")).text
                link = re.findall(rf'class="go" href="(/{place}/[^"]+)"', found)[-1]
                text = plain((await client.get(link)).text)
                assert says in text
                assert "Open the message" not in text or "What they will receive" in text
            assert "What they received" not in text

    run(story())


def test_what_was_tried_says_how_often_and_a_deadline_that_is_over_is_told_as_past(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:

            async def first(place: str) -> str:
                links = re.findall(rf'class="go" href="(/{place}/[^"]+)"', (await client.get(f"/{place}")).text)
                return plain((await client.get(links[-1])).text)

            await shop.customer()
            await shop.rests()
            shop.post.answers = [Outcome("not_sent", detail="busy")]
            await shop.happens("sales.order.placed", order_id="ord-1", customer_id="c-1", total=EURO_90)
            await shop.rests()
            assert "It was tried once, and is tried again from 2027-01-15 " in await first("messages")
            text = await first("decisions")
            assert "Not told yet: tried by e-mail once, and is tried again" in text
            assert "What they will receive" in text
            assert "arms it until" in text
            await shop.rests(2 * DAY)
            text = await first("decisions")
            assert "armed it until" in text
            assert "arms it until" not in text

    run(story())


def test_several_events_of_an_order_are_told_apart_by_what_happened_to_whom_and_when(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:
            await shop.happens("sales.order.placed", order_id="ord-1", customer_id="c-1", total=EURO_90)
            shop.clock += SOON
            await shop.happens("sales.order.shipped", order_id="ord-1", customer_id="c-1")
            await shop.rests(SOON)
            await shop.catalogued()
            found = await client.post("/find", data={"q": "ord-1"}, headers=HERE)
            links = re.findall(r'class="go" href="[^"]+">([^<]+)<', found.text)
            assert [link.partition(", ")[2] for link in links] == [
                "c-1, 2027-01-15 12:05 UTC",
                "c-1, 2027-01-15 12:00 UTC",
            ]
            assert len({link.partition(", ")[0] for link in links} - {"sales.order.placed"}) == 2

    run(story())


def test_whoever_is_not_signed_in_is_shown_no_way_that_leads_nowhere(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:
            text = (await client.get("/sign-in")).text
            assert 'role="search"' not in text
            assert "<nav" not in text
            assert 'role="search"' in (await client.get("/decisions")).text

    run(story())


def test_a_test_that_still_runs_is_not_counted_as_one_that_does_not_pass(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:
            said = []
            for _ in range(1000):
                answer = await client.get("/rules/payment-failed")
                said += re.findall(r"(?:running )?\d+ of 5 (?:pass|…)", plain(answer.text))
                if "refresh" not in answer.headers:
                    break
            assert said[-1] == "5 of 5 pass"
            assert set(said[:-1]) <= {f"running {number} of 5 …" for number in range(1, 6)}

    run(story())


def test_a_message_of_every_channel_has_a_page(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:
            await shop.customer()
            await shop.rests()
            await shop.happens("sales.order.placed", order_id="ord-1", customer_id="c-1", total=EURO_90)
            await shop.happens("sales.order.shipped", order_id="ord-1", customer_id="c-1", carrier="DHL")
            await shop.happens(
                "crm.complaint.opened", complaint_id="cmp-1", customer_id="c-1", topic="late", tier="vip"
            )
            await shop.rests(SOON)
            rows = (await shop.site().ledger.messages()).rows
            for one in rows:
                answer = await client.get(f"/messages/{one.message_id}")
                assert answer.status_code == 200, one.channel
                assert "Was good until" not in answer.text
                assert "by post <span" in answer.text or one.attempts == 0
            assert {"email", "push", "slack", "webhook"} <= {one.channel for one in rows}

    run(story())
