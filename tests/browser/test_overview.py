"""The overview in a real browser: it adds up, leads on, changes in place, and helps where nothing has arrived yet."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Served
from tests.browser.visiting import Visitor

pytestmark = pytest.mark.live


def figure(page: Page, name: str) -> int:
    return int(page.locator(f"[data-figure={name}]").inner_text().replace(",", ""))


def test_the_overview_is_read_by_everybody(visitor):
    visitor.look("/")


def test_the_sum_is_an_equation_of_links_and_adds_up(visitor):
    page = visitor.go("/?window=7d")
    parts = page.locator(".sum a")
    assert sum(int(one.replace(",", "")) for one in page.locator(".sum a .v").all_inner_texts()) == figure(
        page, "sum-due"
    )
    assert figure(page, "sum-due") > 40
    expect(page.locator("[data-figure=proof]")).to_have_text(re.compile("^adds up, proved .* ago$"))
    for link in parts.all():
        assert parse_qs(urlsplit(link.get_attribute("href") or "").query)["time"] == ["7d"]


def test_a_figure_leads_to_a_list_of_as_many(visitor):
    page = visitor.go("/?window=7d")
    decisions = figure(page, "decisions")
    page.locator("a.big[data-figure=decisions]").click()
    assert figure(page, "count-all") == decisions
    page.go_back()
    row = page.locator("aside a", has_text=re.compile(r"^\d+$")).first
    count = int(row.inner_text())
    row.click()
    assert page.locator("tbody tr").count() == count


def test_what_a_person_has_to_look_at_stands_first_and_in_the_rail(visitor):
    page = visitor.go("/")
    first = page.get_by_role("list", name="Needs attention")
    expect(first).to_contain_text("1 record could not be read")
    expect(page.get_by_role("link", name="Dead letters 1 waiting")).to_be_visible()


def test_figures_change_in_place_and_what_is_newer_is_offered(browser: Browser, own_shop: Served):
    with Visitor.to(browser, own_shop.url) as visitor:
        page = visitor.go("/")
        expect(page.locator("[data-live-word]")).to_have_text("Live")
        before, rows = figure(page, "events"), page.locator("tbody").inner_html()
        for _ in range(5):
            own_shop.do("story")
        expect(page.locator("[data-figure=events]")).not_to_have_text(str(before), timeout=20_000)
        expect(page.locator("[data-newer]")).to_be_visible(timeout=20_000)
        assert page.locator("tbody").inner_html() == rows
        page.locator("[data-newer]").click()
        expect(page.locator("tbody a.go").first).to_be_visible()
        assert page.locator("tbody").inner_html() != rows


def test_where_nothing_has_arrived_the_page_says_what_to_do_and_goes_on_by_itself(browser: Browser, new_shop: Served):
    with Visitor.to(browser, new_shop.url) as visitor:
        visitor.look("/")
        page = visitor.page
        expect(page.get_by_role("heading", level=1)).to_have_text("Nothing has arrived yet")
        expect(page.locator("pre.code")).to_contain_text(f"{new_shop.url}/v1/events")
        expect(page.locator("aside")).to_contain_text("kept here, not sent")
        new_shop.do("open")
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview", timeout=20_000)


def test_on_postgresql_everything_is_as_on_a_file(browser: Browser, shop: Served, postgres_shop: Served):
    seen = []
    for served in (shop, postgres_shop):
        with Visitor.to(browser, served.url) as visitor:
            page = visitor.go("/?window=7d")
            expect(page.locator("[data-figure=proof]")).to_have_text(re.compile("^adds up"))
            found = [page.locator(".flow").inner_text(), page.locator(".sum").inner_text()]
            page = visitor.go("/decisions?time=all&outcome=suppressed&times=utc")
            found.append(page.locator("tbody").inner_text())
            page.locator("#q").fill("payment-failed")
            page.locator("#q").press("Enter")
            expect(page).to_have_url(re.compile("/rules/payment-failed$"))
            seen.append(found)
            visitor.faults.clear()
    assert seen[0] == seen[1]
