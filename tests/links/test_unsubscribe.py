"""A customer ends a topic with one click: RFC 8058, from the header of a mail to the message that does not come."""

import asyncio
import re
from email import message_from_bytes, policy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.links.brand import Brand
from gateway.links.words import WORDS, language_of
from handlers.channels import unsubscribe
from handlers.channels.wire import Senders, compose
from schemas import contracts
from streams.codec import Codec
from streams.embedded import wall_clock
from streams.processors import kills, people
from streams.processors.choices import Choice, is_off, switch_off
from streams.processors.detect import Batch
from tests.edge import PUBLIC, SECRET, edge
from tests.http.asking import run, until
from tests.live import cluster, engines
from tests.live.engines import customer, event, failed, rest, rows
from tidings.event import DAY
from tidings.journal import Span
from tidings.log import LogRecord
from tidings.ports import Insert, StoreUnavailable

pytestmark = pytest.mark.live

CLICK = "List-Unsubscribe=One-Click"
SENDERS = Senders(mail="Shop <shop@example.org>")


def token(
    topic: str = "news", customer: str = "c-1", *, at: int | None = None, key: bytes = SECRET, tenant: str = "default"
) -> str:
    expires = (wall_clock() if at is None else at) + 365 * DAY
    return unsubscribe.link("", key, tenant, customer, topic, expires)


async def accepted(shop: Any) -> list[tuple[str, str | None]]:
    await rest(shop.engine)
    return sorted((row["state"], row["reason"]) for row in await rows(shop.engine, "messages"))


def test_from_the_headers_of_a_mail_to_the_message_that_does_not_come(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            await shop.engine.publish("customer.profile.changed", customer("c-1"))
            await shop.engine.publish("billing.payment.failed", failed("p-1"))
            await until(lambda: _told(shop, 1))
            wire = compose(shop.provider.taken[0], wall_clock(), SENDERS)
            mail = message_from_bytes(wire.body, policy=policy.default)
            assert mail["List-Unsubscribe-Post"] == CLICK
            link = re.fullmatch(rf"<{re.escape(PUBLIC)}(/u/\S+)>", mail["List-Unsubscribe"].replace("\r\n", ""))
            assert link is not None
            # Whatever follows links in mails changes nothing.
            for method in ("GET", "HEAD", "GET"):
                seen = await shop.get(link[1], method=method)
                assert (seen.status, "set-cookie" in seen.headers) == (200, False)
            assert not await rows(shop.engine, "runs") or await accepted(shop) == [("accepted", None)]
            # The two bodies that RFC 8058 allows; neither a cookie, an Origin nor a key comes with them.
            form = '--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n'
            first = await shop.post(link[1], form, "multipart/form-data; boundary=b")
            again = await shop.post(link[1], CLICK)
            assert (first.status, first.body) == (200, again.body)
            assert "location" not in first.headers
            assert "set-cookie" not in first.headers
            assert b"We have stopped" in first.body
            await shop.engine.publish("billing.payment.failed", failed("p-2"))
            await until(lambda: _ended(shop, 2))
            assert await accepted(shop) == [("accepted", None), ("suppressed", "topic_off")]
            assert len(shop.provider.taken) == 1
            # One event, however often it was clicked; read back, it changes nothing more.
            log = [row for row in await rows(shop.engine, "log") if row["topic"] == "customer.preference.changed.v1"]
            assert len(log) == 1
            (row,) = [row for row in await rows(shop.engine, "recipients") if row["recipient"] == "customer:c-1"]
            assert row["rev"] == 2

    run(body())


async def _told(shop: Any, count: int) -> bool:
    return len(shop.provider.taken) == count


async def _ended(shop: Any, count: int) -> bool:
    return len([row for row in await rows(shop.engine, "messages") if row["open"] is None]) == count


def test_a_message_that_is_held_meanwhile_is_suppressed_as_well(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            await shop.engine.store.run(kills.kill("all", "somebody"))
            await shop.engine.publish("customer.profile.changed", customer("c-1"))
            await shop.engine.publish("billing.payment.failed", failed("p-1"))
            await until(lambda: _held(shop))
            assert (await shop.post(token(), CLICK)).status == 200
            await kills.release(shop.engine.store, "all", "somebody")
            await until(lambda: _ended(shop, 1))
            assert await accepted(shop) == [("suppressed", "topic_off")]

    run(body())


async def _held(shop: Any) -> bool:
    return [row["reason"] for row in await rows(shop.engine, "messages")] == ["killed"]


def test_links_that_are_over_damaged_or_somebody_elses_say_what_to_do_and_change_nothing(tmp_path):
    async def body():
        async with edge(tmp_path, started=False) as shop:
            over = token(at=wall_clock() - 366 * DAY)
            good = token()
            for path, status, hint in (
                (over, 410, b"newer mail"),
                (good[:-3], 404, b"damaged"),
                (token(key=b"another secret of 16"), 404, b"damaged"),
                (good.replace("/u/", "/u/x"), 404, b"damaged"),
                ("/u/" + "a" * 3000, 404, b"damaged"),
                *(
                    (path, 404, b"damaged")
                    for path in ("/u", "/u/", "/u//", good + "/", good.replace(".", "/"), "/u?token=" + good[3:])
                ),
            ):
                for answer in (await shop.get(path), await shop.post(path, CLICK), await shop.post(path, CLICK)):
                    assert (answer.status, hint in answer.body) == (status, True), path
            for words in ("", "List-Unsubscribe=Two-Clicks", "x=" + "y" * 5000, "a=1&" * 50):
                assert (await shop.post(good, words)).status == 400
            assert not await rows(shop.engine, "recipients")
            assert not await rows(shop.engine, "log")

    run(body())


def test_below_u_a_customer_reads_nothing_of_the_console_whatever_goes_wrong(tmp_path):
    async def body():
        async with edge(tmp_path, started=False) as shop:
            asks = {"accept": "text/html", "accept_language": "de"}
            for method, path, status, title in (
                ("GET", "/u/", 404, "Dieser Link ist beschädigt"),
                ("PUT", token(), 405, "Nichts wurde geändert"),
                ("DELETE", "/u", 405, "Nichts wurde geändert"),
                ("POST", "/u/", 404, "Dieser Link ist beschädigt"),
            ):
                answer = await shop.get(path, method=method, **asks)
                text = answer.body.decode()
                assert (answer.status, f"<h1>{title}</h1>" in text) == (status, True), (method, path)
                assert answer.headers["content-language"] == "de"
                assert answer.headers["x-robots-tag"] == "noindex, nofollow"
                assert not re.search("Tidings|Overview|sign-in|Find", text)

    run(body())


def test_the_page_says_what_a_topic_is_about_in_the_language_that_it_speaks(tmp_path, monkeypatch):
    monkeypatch.setattr(
        engines,
        "TOPICS",
        "topics: { news: { sentence: { en: What happens, de: Was geschieht, fr: Voilà } } }\n".encode(),
    )

    async def body():
        async with edge(tmp_path, started=False) as shop:
            for asked, about in (("de-AT", "Was geschieht"), ("en", "What happens"), ("fr", "What happens")):
                assert f"<b>{about}</b>" in (await shop.get(token(), accept_language=asked)).body.decode()

    run(body())


def test_a_locked_topic_cannot_be_switched_off_and_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "TOPICS", b"topics: { news: { sentence: What happens to you, locked: true } }\n")

    async def body():
        async with edge(tmp_path, started=False) as shop:
            answer = await shop.post(token(), CLICK)
            assert (answer.status, b"These we have to send" in answer.body) == (200, True)
            assert not await rows(shop.engine, "log")

    run(body())


def test_while_the_store_is_away_the_answer_is_not_yet_and_a_mail_program_comes_again(tmp_path):
    class Away(Codec):
        def encode(self, *_):
            raise StoreUnavailable("away")

    async def body():
        async with edge(tmp_path, started=False, codec=Away(contracts())) as shop:
            answer = await shop.post(token(), CLICK)
            assert (answer.status, answer.headers["retry-after"]) == (503, "10")
            assert b"Please try again" in answer.body

    run(body())


def test_the_page_is_the_companys_and_asks_no_other_host(tmp_path):
    async def body():
        brand = Brand("Moss & Timber", "#123456", "#ffffff", "#234567")
        async with edge(tmp_path, started=False, brand=brand) as shop:
            page = await shop.get(token())
            text = page.body.decode()
            assert "Moss &amp; Timber" in text
            assert "What happens to you" in text
            assert "c-1" not in text
            assert not re.search(r"<script|style=|https?://", text)
            assert page.headers["referrer-policy"] == "no-referrer"
            assert page.headers["x-robots-tag"] == "noindex, nofollow"
            assert "#123456" in (await shop.get("/u/brand.css")).body.decode()

    run(body())


def test_on_a_cluster_the_event_is_durable_before_the_row_and_both_are_one_word():
    """The log of this cluster is not a table: what is published is read by whoever reads the topic, afterwards."""
    with cluster.database() as place:

        async def body():

            async with cluster.opened(place) as one:
                published: list[Any] = []

                async def publish(appends):
                    assert not await one.rows("recipients"), "the row came before the event"
                    published.extend(appends)

                async def refuse(_):
                    raise StoreUnavailable("no broker")

                codec, choice = Codec(contracts()), Choice("default", "c-1", "news")
                with pytest.raises(StoreUnavailable):
                    await switch_off(one.store, codec, refuse, choice)
                assert not await one.store.read(is_off(choice))
                assert await switch_off(one.store, codec, publish, choice)
                assert not await switch_off(one.store, codec, publish, choice)
                assert await one.store.read(is_off(choice))
                (record,) = published
                read = codec.decode(LogRecord(record.topic, 0, 0, wall_clock(), record.key, record.value, ()))
                before = await one.rows("recipients")

                def known():
                    yield Insert("sources", [{
                        "reader": people.READER, "topic": record.topic, "partition": 0, "next_offset": 0, "max_time": None,
                        "caught_up_at": None, "connected_at": 0, "history": "live", "base": 0, "log_id": None, "fingerprint": None,
                    }])  # fmt: skip

                await one.store.run(known)
                changed = await one.store.run(people.project(Batch((Span(record.topic, 0, 0, 1),), (read,))))
                assert changed == 0
                assert await one.rows("recipients") == before

        asyncio.run(body())


def test_a_foreign_id_that_was_linked_since_means_the_customer(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            await shop.engine.publish("customer.profile.changed", customer("c-1"))
            linked = event("customer.identity.linked", "l-1", foreign_id="stripe:cus_1", customer_id="c-1")
            await shop.engine.publish("customer.identity.linked", linked)
            await until(lambda: _linked(shop))
            assert (await shop.post(token(customer="stripe:cus_1"), CLICK)).status == 200
            assert await shop.engine.store.read(is_off(Choice("default", "c-1", "news")))
            await shop.engine.publish("billing.payment.failed", failed("p-1"))
            await until(lambda: _ended(shop, 1))
            assert await accepted(shop) == [("suppressed", "topic_off")]

    run(body())


async def _linked(shop: Any) -> bool:
    return any(row["linked_to"] for row in await rows(shop.engine, "recipients"))


def test_a_word_that_came_with_a_fast_clock_does_not_outlive_the_click(tmp_path):
    """A system whose clock is minutes ahead said yes; the customer says no now, and now is later."""

    async def body():
        async with edge(tmp_path) as shop:
            ahead = wall_clock() + 200_000_000
            yes = event("customer.preference.changed", "y-1", ahead, customer_id="c-1", topic="news", allowed=True)
            await shop.engine.publish("customer.preference.changed", yes)
            await until(lambda: _known(shop))
            assert (await shop.post(token(), CLICK)).status == 200
            assert await shop.engine.store.read(is_off(Choice("default", "c-1", "news")))

    run(body())


async def _known(shop: Any) -> bool:
    return bool(await rows(shop.engine, "recipients"))


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_token_that_was_not_made_with_the_key_is_read(body, proof):
    with pytest.raises(unsubscribe.BadLink):
        unsubscribe.read(f"{body}.{proof}", SECRET, 0)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"), ("en-GB", "en"), ("fr;q=1, de;q=0.4, en;q=0.5", "en"), ("fr", "en"), (None, "en"),
        ("de;q=0", "en"), ("de;q=" + "9" * 5000, "en"), ("\x00,;;q=,de", "de"),
    ],
)  # fmt: skip
def test_a_customer_reads_the_page_in_a_language_of_theirs_where_we_have_it(accepted, language):
    assert language_of(accepted) == language


def test_every_language_says_everything():
    first, *others = WORDS.values()
    for other in others:
        for part, words in first.items():
            said = other[part]
            assert set(said) == set(words) if isinstance(words, dict) else said, part
