"""Stopping and letting go, in a real browser, as whoever is on call does it; and the customer's page."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.visiting import Visitor

pytestmark = pytest.mark.live


def test_everything_is_stopped_with_one_button_and_goes_on_again(browser, own_shop):
    with Visitor.to(browser, own_shop.url) as visitor:
        visitor.look("/kills")
        page = visitor.go("/kills")
        page.get_by_role("region", name="Stop everything").get_by_label("Why?").fill("wrong prices")
        page.get_by_role("button", name=re.compile(r"Stop everything: \d+ (is|are) waiting to leave")).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Everything is stopped")
        expect(page.get_by_text("wrong prices").first).to_be_visible()
        for _ in range(3):
            assert own_shop.do("story") == "ok"
        visitor.look("/kills")
        page = visitor.go("/decisions")
        banner = page.get_by_role("list", name="Needs attention")
        expect(banner).to_contain_text("Stopped: everything")
        banner.get_by_role("link").click()
        page.get_by_label("Why may it go on?").fill("prices are right again")
        page.get_by_role("button", name=re.compile(r"Release: \d+ go on")).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Nothing is stopped")


def test_a_name_that_was_mistyped_says_what_was_meant_and_keeps_what_was_typed(visitor):
    page = visitor.go("/kills")
    part = page.get_by_role("region", name="Stop a part")
    part.get_by_label("Kind").select_option("rule")
    part.get_by_label("Name").fill("payment-faild")
    part.get_by_label("Why?").fill("wrong prices")
    part.get_by_role("button", name="Stop it").click()
    expect(page.get_by_role("alert")).to_contain_text("did you mean 'payment-failed'?")
    expect(part.get_by_label("Name")).to_have_value("payment-faild")
    expect(part.get_by_label("Why?")).to_have_value("wrong prices")
    visitor.faults.clear()  # the browser says of a refused form that it was refused
