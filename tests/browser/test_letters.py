"""Dead letters and the customers' page, in a real browser."""

import re

import pytest
from playwright.sync_api import expect

from handlers.channels.unsubscribe import link
from tests.browser.shop import SECRET
from tests.browser.visiting import Visitor
from tidings.event import SECOND

pytestmark = pytest.mark.live


def test_a_record_is_looked_at_tried_and_set_aside(browser, own_shop):
    with Visitor.to(browser, own_shop.url) as visitor:
        visitor.look("/dead-letters")
        page = visitor.go("/dead-letters")
        expect(page.get_by_role("heading", level=1)).to_have_text("1 record could not be read")
        page.locator("td a.go").first.click()
        visitor.look(page.url.removeprefix(own_shop.url).partition("#")[0])
        page.get_by_role("button", name="Show the bytes").click()
        expect(page.locator("pre.hex")).to_contain_text("0000  00 00 00 00 07")
        page = visitor.go("/dead-letters")
        page.get_by_role("checkbox").first.check()
        page.get_by_role("button", name="Redrive the chosen, without sending").click()
        expect(page.get_by_role("region", name=re.compile("tried out"))).to_contain_text("0 of 1 can be read now")
        page.get_by_role("checkbox").first.check()
        page.get_by_label("Why set aside?").fill("a test of theirs")
        page.get_by_role("button", name="Set the chosen aside").click()
        expect(page.get_by_role("status")).to_contain_text("set aside")
        expect(page.get_by_role("heading", level=1)).to_have_text("Every record could be read, or was dealt with")
        visitor.look("/dead-letters?tab=all")
        visitor.look("/dead-letters?tab=deliveries")


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_customer_ends_a_topic_with_one_button_and_is_told_so(browser, own_shop, script):
    with Visitor.to(browser, own_shop.url, script=script) as visitor:
        path = link("", SECRET, "default", "ada", "orders", 4_000_000_000 * SECOND)
        if script:
            visitor.look(path)
        page = visitor.go(path)
        expect(page.get_by_text("Where your orders are")).to_be_visible()
        page.get_by_role("button", name="Stop these messages").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("We have stopped")
        expect(page.get_by_role("status")).to_contain_text("It counts from now on")
        if script:
            visitor.look(path)
            visitor.look(path[:-1], 404)
