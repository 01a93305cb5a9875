"""Messages as people have them before them, in a real browser."""

import contextlib
import re
import sqlite3

import pytest
from playwright.sync_api import expect

from tests.browser.visiting import Visitor

pytestmark = pytest.mark.live

FIRST = "td a.go"


def test_the_list_is_readable_for_everybody_and_narrows_to_a_channel_and_a_state(visitor):
    visitor.look("/messages?time=all")
    page = visitor.go("/messages?time=all")
    page.get_by_label("Channel").select_option("sms")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator(FIRST).first).to_contain_text("SMS")
    assert page.locator(FIRST).count() == page.get_by_role("link", name=re.compile("^SMS")).count() > 0
    assert "channel=sms" in page.url
    visitor.look("/messages?time=all&outcome=suppressed&times=utc")
    visitor.look("/messages?time=all&rule=nobody")


def test_a_mail_is_seen_at_two_widths_in_a_frame_that_loads_and_leads_nowhere(visitor):
    page = visitor.go("/messages?time=all&channel=email&outcome=sent")
    page.locator(FIRST).first.click()
    path = page.url.removeprefix(visitor.url)
    visitor.look(path)
    page = visitor.go(path)
    frame = page.locator("iframe")
    assert frame.get_attribute("sandbox") == ""
    body = page.frame_locator("iframe").locator("body")
    expect(body).not_to_be_empty()
    wide = frame.bounding_box()
    page.get_by_text("Phone", exact=True).click()
    narrow = frame.bounding_box()
    assert wide is not None
    assert narrow is not None
    assert narrow["width"] <= 377 < wide["width"]
    assert body.evaluate("() => [...document.links].length") == 0
    # The address is masked wherever the page shows it, in what leaves as well.
    assert not re.search(r"[a-z0-9]+@[a-z0-9-]+\.[a-z]+", page.locator("aside").inner_text())
    for part, seen in (("Headers", "Auto-Submitted"), ("Source", "MIME-Version: 1.0")):
        visitor.look(f"{path}?part={part.lower()}")
        page.get_by_role("link", name=part, exact=True).press("Enter")
        expect(page.locator("main")).to_contain_text(seen)
        assert page.get_by_role("link", name=part, exact=True).get_attribute("aria-current") == "true"
        assert not re.search(r"To:?\s+[a-z0-9.]+@", page.locator("main").inner_text())


def test_a_text_message_a_request_and_what_was_never_sent_have_pages_of_their_own(visitor):
    for query, seen in (
        ("channel=sms&outcome=sent", ".bub"),
        ("channel=slack", "pre.code"),
        ("channel=webhook", "pre.code"),
        ("outcome=suppressed", "h1"),
    ):
        page = visitor.go(f"/messages?time=all&{query}")
        if not page.locator(FIRST).count():
            continue
        page.locator(FIRST).first.click()
        expect(page.locator(seen).first).to_be_visible()
        visitor.look(page.url.removeprefix(visitor.url))


def test_an_address_is_revealed_with_a_reason_for_a_minute_and_without_script(browser, own_shop, tmp_path):
    for script in (False, True):
        with Visitor.to(browser, own_shop.url, script=script) as visitor:
            page = visitor.go("/messages?time=all&channel=email&outcome=sent")
            page.locator(FIRST).first.click()
            page.get_by_text("Reveal the address").click()
            page.get_by_label("Why?").fill("they called about it")
            with page.expect_response(re.compile("/reveal$")) as answered:
                page.get_by_role("button", name="Reveal for one minute").click()
            assert answered.value.headers["refresh"].startswith("60; url=/messages/")
            expect(page.locator("aside dd b")).to_have_text(re.compile(r".+@.+"))
            page.get_by_role("link", name="Hide it now").click()
            expect(page.locator("aside dd b")).to_have_count(0)
    with contextlib.closing(sqlite3.connect(tmp_path / "tidings.db")) as file:
        written = file.execute("SELECT who, verb, CAST(body AS TEXT) FROM audit ORDER BY seq").fetchall()
    # Opened once, however often it was looked at; revealed twice, with the reason, and without the address.
    assert [(who, verb) for who, verb, _ in written] == [
        ("local", "messages open"), ("local", "customers reveal"), ("local", "customers reveal")
    ]  # fmt: skip
    assert all("@" not in body for *_, body in written)
    assert all("they called about it" in body for _, verb, body in written if verb == "customers reveal")


def test_whoever_may_not_reveal_reads_no_body_and_sees_no_address(browser, own_shop):
    key = own_shop.do("key viewer decisions")
    with Visitor.to(browser, own_shop.url) as visitor:
        page = visitor.go("/sign-in")
        page.get_by_label(re.compile("key", re.IGNORECASE)).fill(key)
        page.get_by_role("button", name=re.compile("sign in", re.IGNORECASE)).click()
        page = visitor.go("/messages?time=all&channel=email&outcome=sent")
        page.locator(FIRST).first.click()
        path = page.url.removeprefix(own_shop.url)
        expect(page.get_by_text("Reading it needs a key with the scope")).to_be_visible()
        assert page.locator("iframe").count() == 0
        assert page.get_by_text("Reveal the address").count() == 0
        visitor.look(path)
        visitor.go(f"{path}/body", 403)
        visitor.go(f"{path[:-4]}zzzz", 404)
