"""The list of decisions in a real browser."""

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Served
from tests.browser.visiting import Visitor

pytestmark = pytest.mark.live


def test_the_list_is_read_by_everybody(visitor):
    visitor.look("/decisions?time=all")


def test_filters_tab_times_and_page_stand_in_the_url_and_back_works(visitor):
    page = visitor.go("/decisions?time=all")
    page.get_by_role("link", name="Suppressed").click()
    expect(page).to_have_url(re.compile("outcome=suppressed"))
    page.get_by_role("link", name="UTC").click()
    page.locator("select[name=rule]").select_option("order-confirmed")
    page.get_by_role("button", name="Apply").click()
    for part in ("outcome=suppressed", "times=utc", "rule=order-confirmed", "time=all"):
        assert part in page.url
    for row in page.locator("tbody tr").all():
        expect(row).to_contain_text("order-confirmed")
    shown = page.locator("tbody").inner_text()
    page.go_back()
    assert "rule=order-confirmed" not in page.url
    page.go_forward()
    expect(page.locator("tbody")).to_have_text(re.compile("order-confirmed"))
    # Whoever is given the link sees the same list.
    visitor.go(page.url.removeprefix(visitor.url))
    assert page.locator("tbody").inner_text() == shown


def test_pages_of_the_list_hold_every_decision_once(visitor):
    page = visitor.go("/decisions?time=all")
    everything = int(page.locator("[data-figure=count-all]").inner_text().replace(",", ""))
    seen = [one.get_attribute("href") for one in page.locator("tbody a.go").all()]
    while (older := page.get_by_role("link", name="Older")).count():
        older.click()
        seen += [one.get_attribute("href") for one in page.locator("tbody a.go").all()]
    assert len(seen) == len(set(seen)) == everything > 40
    page.get_by_role("link", name="Newer").click()
    assert page.locator("tbody a.go").last.get_attribute("href") in seen


def test_a_tab_counts_what_it_shows(visitor):
    page = visitor.go("/decisions?time=all&outcome=cancelled")
    assert page.locator("tbody tr").count() == int(page.locator("[data-figure=count-cancelled]").inner_text())


def test_what_is_typed_as_customer_is_looked_up_and_an_address_stands_in_no_url(visitor):
    page = visitor.go("/decisions?time=all")
    page.get_by_label("Customer, order or event", exact=True).fill("c-ben")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(re.compile("recipient=customer%3Ac-ben"))
    for row in page.locator("tbody tr").all():
        expect(row).to_contain_text("c-ben")
    page.get_by_label("Customer, order or event", exact=True).fill("ben@example.org")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing here is known")
    assert "example.org" not in page.url
    visitor.faults = [one for one in visitor.faults if "404" not in one]


def test_an_event_says_what_came_of_it_and_an_order_leads_to_its_events(visitor):
    page = visitor.go("/decisions?time=all&outcome=sent&rule=order-confirmed")
    order = page.locator("tbody .mono.dim").first.inner_text()
    page.locator("tbody a.go").first.click()
    page.locator(".spine").get_by_role("link", name=re.compile("^evt-")).click()
    expect(page).to_have_url(re.compile("/events/"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("told by e-mail")
    expect(page.get_by_role("heading", name="Decisions that came of it")).to_be_visible()
    visitor.look(page.url.removeprefix(visitor.url))
    page.go_back()
    page = visitor.go("/decisions")
    page.get_by_label("Customer, order or event", exact=True).fill(order)
    page.get_by_role("button", name="Apply").click()
    page.get_by_role("link", name="An order was placed").first.click()
    expect(page).to_have_url(re.compile("/events/"))


def test_what_is_personal_in_an_event_is_shown_for_a_reason_and_a_minute(visitor):
    page = visitor.go("/decisions?time=all&rule=email-changed")
    page.locator("tbody a.go").first.click()
    page.locator(".spine .hd a").first.click()
    expect(page.get_by_text(re.compile("•••")).first).to_be_visible()
    page.get_by_text("Show what is personal").click()
    page.get_by_label("Why?").fill("ticket 7")
    page.get_by_role("button", name="Show it for one minute").click()
    expect(page.get_by_role("status").filter(has_text="written down")).to_be_visible()
    expect(page.locator(".diff")).to_contain_text("@")


def test_what_is_new_is_counted_and_no_row_moves_until_the_reader_wants_it(browser: Browser, own_shop: Served):
    with Visitor.to(browser, own_shop.url) as visitor:
        page = visitor.go("/decisions?time=all")
        expect(page.locator("[data-live-word]")).to_have_text("Live")
        rows = page.locator("tbody").inner_html()
        everything = int(page.locator("[data-figure=count-all]").inner_text())
        for _ in range(6):
            own_shop.do("story")
        newer = page.locator("[data-newer]")
        expect(newer).to_be_visible(timeout=15_000)
        expect(newer).to_have_text(re.compile(r"^\d+ newer decisions?\. Show (it|them)$"))
        expect(page.locator("[data-figure=count-all]")).not_to_have_text(str(everything), timeout=15_000)
        assert page.locator("tbody").inner_html() == rows
        newer.click()
        expect(page.locator("tbody")).not_to_have_text(re.compile(re.escape(rows)))
        first = page.locator("tbody tr").first.inner_text()
        # Paused: the URL says since when, and nothing changes, whatever happens.
        page.get_by_role("link", name="Pause").click()
        expect(page).to_have_url(re.compile(r"paused=\d+"))
        expect(page.locator(".live")).to_contain_text("Paused at")
        for _ in range(4):
            own_shop.do("story")
        page.reload()
        assert page.locator("tbody tr a.go").count()
        assert page.locator("tbody tr").first.inner_text().split()[:4] == first.split()[:4]
        page.get_by_role("link", name="Resume").click()
        assert "paused" not in page.url


def test_a_lost_connection_is_said(browser: Browser, own_shop: Served):
    with Visitor.to(browser, own_shop.url) as visitor:
        page = visitor.go("/decisions")
        expect(page.locator("[data-live-word]")).to_have_text("Live")
        own_shop.end()
        expect(page.locator("[data-live-word]")).to_contain_text("Connection lost", timeout=20_000)
        visitor.faults.clear()
