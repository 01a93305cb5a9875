"""A mail's headers and source on its page: as they leave, without the right that is in its link, and without its address."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, message_from_string, policy
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.access.keys import make, pepper_of
from gateway.console import message
from gateway.console.leaving import NOBODYS, Leaving, leaving
from handlers.channels import footer, unsubscribe
from handlers.channels.content import Contents
from handlers.channels.wire import Senders, compose
from streams.explaining.became import Became
from streams.ledger.rows import MessageLine
from streams.processors import keys
from tests.explaining.laboratory import EURO_90, SOON, Shop, browsing, opened, run
from tests.kernel.test_gates import MESSAGE, NOW
from tidings.person import Person
from tidings.ports import Outgoing

HERE = {"origin": "http://127.0.0.1"}
SENDERS = Senders("Kleiner Laden <hallo@example.org>")
KEY, PUBLIC, ADDRESS = b"a secret for tests only", "https://news.example.org", "jonas@wald.de"
LINK = unsubscribe.link(PUBLIC, KEY, "t", "c-1", "orders", NOW * 2)
TOKEN = LINK.rpartition("/u/")[2]
PERSON = Person("t", "customer:c-1", known=True, profile={"email": ADDRESS})
TEXTS = {
    "plain": "It is late.",
    "quoted": f"Für Sie:\nTo: {NOBODYS}\n" + "long " * 60,
    "base64": "Ваш заказ в пути. " * 20,
}


def content(text: str) -> dict[str, Any]:
    page = f"<html><body><div><p>{text}</p></div></body></html>"
    words = footer.words("Orders", "de")
    return {"subject": "Ihr Paket für Jonas", "text": text, "html": page, "unsubscribe": LINK, "footer": words}


def composed(text: str, address: str | None = None) -> Leaving:
    return leaving(MESSAGE, Became(MESSAGE, PERSON, content(text), None, ""), NOW, SENDERS, "j•••@w•••.de", address)


def decoded(source: str) -> str:
    """Everything of a mail, as mail programs read it."""
    parts = message_from_string(source, policy=policy.default).walk()
    return source + "".join(part.get_content() for part in parts if not part.is_multipart())


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_it_is_what_leaves_but_for_the_address_and_the_right_in_the_link(text):
    outgoing = Outgoing(
        MESSAGE.message_id, 1, "email", ADDRESS, content(text), NOW, NOW, MESSAGE.recipient, MESSAGE.created_at
    )
    left = compose(outgoing, NOW, SENDERS).body
    seen = composed(text)
    assert dict(seen.headers) == {
        **{name: str(value) for name, value in message_from_bytes(left, policy=policy.default).items()},
        "To": "j•••@w•••.de", "List-Unsubscribe": f"<{PUBLIC}/u/not-shown>",
    }  # fmt: skip
    assert dict(seen.headers)["Subject"] == "Ihr Paket für Jonas"
    assert {"Message-ID", "Auto-Submitted", "Date", "From"} <= set(dict(seen.headers))
    whole = decoded(seen.source)
    assert TOKEN not in whole
    assert ADDRESS not in whole
    assert "/u/not-shown" in whole
    was = decoded(left.decode("ascii").replace("\r\n", "\n"))
    assert whole.count(text.split()[0]) == was.count(text.split()[0])


def test_an_address_that_is_revealed_stands_where_it_stands_in_the_mail():
    seen = composed(TEXTS["quoted"], ADDRESS)
    assert dict(seen.headers)["To"] == ADDRESS
    assert f"\nTo: {ADDRESS}\n" in seen.source
    assert TOKEN not in decoded(seen.source)


def test_what_fits_into_no_mail_says_why():
    body = {**content("x"), "subject": "two\nlines"}
    seen = leaving(MESSAGE, Became(MESSAGE, PERSON, body, None, ""), NOW, SENDERS, "–")
    assert seen.fault == "It fits into no mail: Subject holds a control character or a line break."


def test_a_long_source_is_cut_and_says_so():
    seen = composed("long " * 20_000)
    assert seen.cut
    assert len(seen.source) <= 16_000 < seen.size


@asynccontextmanager
async def mailed(folder: Path) -> AsyncIterator[tuple[Shop, httpx.AsyncClient, MessageLine]]:
    """Give a shop that has confirmed an order by mail, a client before its pages, and the mail's line."""
    async with opened(folder, Shop()) as shop, browsing(shop, render=Contents(PUBLIC, KEY)) as client:
        await shop.customer()
        await shop.happens("sales.order.placed", order_id="ord-1", customer_id="c-1", total=EURO_90)
        await shop.rests(SOON)
        (line,) = [one for one in (await shop.site().ledger.messages()).rows if one.channel == "email"]
        yield shop, client, line


def test_the_page_has_both_only_for_who_may_read_it_and_shows_the_address_only_when_revealed(tmp_path: Path) -> None:
    async def story() -> None:
        async with mailed(tmp_path) as (_, client, line):
            place = f"/messages/{line.message_id}"
            looks = (await client.get(place)).text
            assert 'href="' + place + '?part=headers"' in looks
            for part, seen in (("headers", "List-Unsubscribe"), ("source", "MIME-Version: 1.0")):
                text = unescape((await client.get(f"{place}?part={part}")).text)
                assert seen in text
                assert "auto-generated" in text
                assert f"{PUBLIC}/u/not-shown" in text
                assert not re.search(r"/u/(?!not-shown)\w", text)
                assert ADDRESS not in text
                assert line.to in text
            token = re.findall(r'name="csrf" value="([^"]+)"', looks)[0]
            answer = await client.post(
                f"{place}/reveal?part=source", data={"csrf": token, "reason": "they called"},
                headers=HERE,
            )  # fmt: skip
            assert f"To: {ADDRESS}" in answer.text
            assert answer.headers["refresh"] == f"60; url={place}?part=source"
            assert "reveal?part=" not in "".join(re.findall(r'href="([^"]+)"', answer.text))

    run(story())


def test_whoever_may_not_read_a_mail_gets_neither_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Leaving:
        raise AssertionError("composed")

    monkeypatch.setattr(message, "leaving", never)

    async def story() -> None:
        async with mailed(tmp_path) as (shop, client, line):
            pepper = pepper_of(b"only for tests")
            made = make(pepper, "viewer", tenant="default", scopes=frozenset({"decisions"}), sources=())
            assert not await shop.store.run(keys.add(made.row, "a test"))
            signed = await client.post("/sign-in", data={"key": made.key}, headers=HERE)
            assert signed.status_code == 303
            for part in ("headers", "source"):
                answer = await client.get(f"/messages/{line.message_id}?part={part}")
                assert "Reading it needs a key with the scope" in answer.text
                assert not re.search("List-Unsub|MIME-Version", answer.text)

    run(story())
