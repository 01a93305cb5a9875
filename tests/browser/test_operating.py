"""What whoever is on call does in a real browser: stop, let go, deal with what could not be read; and the customer's page."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from handlers.channels.unsubscribe import link
from tests.browser.conftest import Served, serve
from tests.browser.shop import SECRET
from tests.browser.visiting import PHONE, WIDE, Visitor
from tidings.event import SECOND

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def own(browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A shop that these tests change."""
    yield from serve(tmp_path_factory.mktemp("operating"))


def test_everything_is_stopped_with_one_button_and_goes_on_again(browser, own):
    with Visitor.to(browser, own.url) as visitor:
        visitor.look("/kills")
        page = visitor.go("/kills")
        page.get_by_role("region", name="Stop everything").get_by_label("Why?").fill("wrong prices")
        page.get_by_role("button", name=re.compile(r"Stop everything: \d+ (is|are) waiting to leave")).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Everything is stopped")
        expect(page.get_by_text("wrong prices").first).to_be_visible()
        for _ in range(3):
            assert own.do("story") == "ok"
        visitor.look("/kills")
        page = visitor.go("/decisions")
        banner = page.get_by_role("list", name="Needs attention")
        expect(banner).to_contain_text("Stopped: everything")
        banner.get_by_role("link").click()
        page.get_by_label("Why may it go on?").fill("prices are right again")
        page.get_by_role("button", name=re.compile(r"Release: \d+ (go|goes) on")).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Nothing is stopped")
        page.get_by_role("link", name="Who stopped what, and when").click()
        expect(page.get_by_role("row").nth(1)).to_contain_text("prices are right again")
        page.get_by_role("link", name="kill", exact=True).click()
        expect(page.get_by_role("row").nth(1)).to_contain_text("wrong prices")
        expect(page.get_by_text("prices are right again")).to_have_count(0)
        visitor.look("/audit")


def test_a_name_that_was_mistyped_says_what_was_meant_and_keeps_what_was_typed(visitor):
    page = visitor.go("/kills")
    part = page.get_by_role("region", name="Stop a rule or a tenant")
    part.get_by_label("Kind").select_option("rule")
    part.get_by_label("Name").fill("payment-faild")
    part.get_by_label("Why?").fill("wrong prices")
    part.get_by_role("button", name="Stop it").click()
    expect(page.get_by_role("alert")).to_contain_text("did you mean 'payment-failed'?")
    expect(part.get_by_label("Name")).to_have_value("payment-faild")
    expect(part.get_by_label("Why?")).to_have_value("wrong prices")
    visitor.faults.clear()  # the browser says of a refused form that it was refused


def test_a_record_is_looked_at_tried_and_set_aside(browser, own):
    with Visitor.to(browser, own.url) as visitor:
        visitor.look("/dead-letters")
        page = visitor.go("/dead-letters")
        expect(page.get_by_role("heading", level=1)).to_have_text("1 record could not be read")
        for size in (PHONE, WIDE):
            # Where the record stands is to be read on a phone as well.
            page.set_viewport_size({"width": size[0], "height": size[1]})
            expect(page.locator("tbody td.mono")).to_have_text(
                re.compile(r"^[a-z.]+\.v1\s*partition and offset \d+ / \d+$")
            )
            expect(page.locator("tbody td.mono")).to_be_visible()
        page.locator("td a.go").first.click()
        visitor.look(page.url.removeprefix(own.url).partition("#")[0])
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
def test_a_customer_ends_a_topic_with_one_button_and_is_told_so(browser, own, script):
    with Visitor.to(browser, own.url, script=script) as visitor:
        path = link("", SECRET, "default", f"somebody-{script}", "orders", 4_000_000_000 * SECOND)
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
