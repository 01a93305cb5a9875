"""Why somebody was told, or was not, in a real browser, as support reads it."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.visiting import Visitor

pytestmark = pytest.mark.live


def first(visitor: Visitor, path: str) -> str:
    """The path of the first decision of a list."""
    page = visitor.go(path)
    found = page.locator("a.go").first.get_attribute("href")
    assert found is not None
    return found


def test_one_that_was_told_shows_what_came_what_looked_and_what_was_done(visitor):
    path = first(visitor, "/decisions?outcome=sent&rule=payment-failed")
    visitor.look(path)
    page = visitor.go(path)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Told by e-mail")
    expect(page.get_by_role("heading", name="A payment was tried and failed")).to_be_visible()
    expect(page.get_by_text('code != "fraud_suspected"')).to_be_visible()
    expect(page.get_by_role("heading", name="Every gate agreed")).to_be_visible()
    expect(page.get_by_text(re.compile("E-mail accepted, attempt 1"))).to_be_visible()


def test_one_that_was_not_told_marks_the_gate_and_has_a_sentence_to_paste(visitor):
    path = first(visitor, "/decisions?outcome=suppressed&reason=topic_off")
    visitor.look(path)
    page = visitor.go(path)
    expect(page.get_by_role("heading", level=1)).to_have_text("Not told: they have switched this topic off")
    expect(page.locator(".gates .cut")).to_contain_text("The customer has switched messages of this topic off.")
    expect(page.locator(".gates .off").first).to_contain_text("would pass")
    expect(page.get_by_role("heading", name="Nothing was sent")).to_be_visible()
    expect(page.locator("aside .say p").first).to_contain_text("no message was sent")


def test_a_customer_is_asked_about_and_the_question_is_in_the_url(visitor):
    path = first(visitor, "/decisions?outcome=suppressed&reason=topic_off")
    customer = visitor.go(path).locator(".facts").get_by_role("link", name=re.compile("^c-")).get_attribute("href")
    visitor.look(f"{customer}?ask=1")
    page = visitor.go(customer)
    page.get_by_label("When").select_option("90d")
    page.get_by_role("button", name="Explain").click()
    expect(page).to_have_url(re.compile(r"\?ask=1&rule=&about=&window=90d$"))
    expect(page.locator(".answer")).to_contain_text("Not told: they have switched this topic off.")
    page.locator(".answer").get_by_role("link", name="Decision").first.click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert "/decisions/" in page.url


def test_rules_have_three_counts_and_their_lines_say_what_they_did(visitor):
    page = visitor.go("/rules")
    expect(page.locator("tbody tr").filter(has_text="payment-failed").locator("td").nth(5)).to_have_text(
        re.compile(r"\d+ told"), timeout=30_000
    )
    visitor.look("/rules")
    page = visitor.go("/rules/payment-failed")
    expect(page.locator(".src")).to_contain_text(re.compile(r"\d+ of \d+ passed"), timeout=30_000)
    visitor.look("/rules/payment-failed")
    visitor.look("/rules/order-not-shipped")
    visitor.go("/decisions").get_by_role("link", name="Near misses").click()
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Near misses")
    visitor.look("/near-misses")


def test_a_decision_reads_without_script(browser, shop):
    with Visitor.to(browser, shop.url, script=False) as visitor:
        page = visitor.go(first(visitor, "/decisions?outcome=sent&rule=order-confirmed"))
        expect(page.get_by_role("heading", level=1)).to_contain_text("Told by e-mail")
        page = visitor.go("/rules/order-confirmed")
        expect(page.locator(".src")).to_contain_text(re.compile(r"\d+ came"), timeout=30_000)
