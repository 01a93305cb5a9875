"""The frame in a real browser: pages for everybody, keys, errors that keep their frame, and who is let in."""

import re
import urllib.error
import urllib.request
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Served
from tests.browser.visiting import PHONE, Visitor

pytestmark = pytest.mark.live


@pytest.mark.parametrize("path", ["/keys", "/sign-in", "/find"])
def test_a_page_is_read_by_everybody_in_both_themes_on_a_desk_and_on_a_phone(visitor, path):
    visitor.look(path)


def test_what_is_not_there_is_said_in_the_frame_with_a_field_to_look_for_it(visitor):
    visitor.look("/decisions/nix/nowhere", 404)
    expect(visitor.page.get_by_role("navigation", name="Main")).to_be_visible()
    visitor.page.locator("main input[name=q]").fill("c-ben")
    visitor.page.get_by_role("button", name="Find").click()
    expect(visitor.page).to_have_url(re.compile(r"/customers/c-ben$"))
    visitor.faults = [one for one in visitor.faults if "404" not in one]


def test_the_keyboard_finds_walks_lists_and_every_key_can_be_switched_off(visitor):
    page = visitor.go("/decisions?time=all")
    page.keyboard.press("j")
    page.keyboard.press("j")
    rows = page.locator("tbody a.go")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(rows.nth(0)).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("jk?")
    expect(page.locator("#q")).to_have_value("jk?")
    page.keyboard.press("Escape")
    expect(page.locator("#q")).not_to_be_focused()
    page.keyboard.press("?")
    page.wait_for_url("**/keys")
    page.get_by_role("checkbox", name="next row of a list").uncheck()
    visitor.go("/decisions?time=all")
    page.keyboard.press("j")
    expect(page.locator("tbody a.go").nth(0)).not_to_be_focused()


def test_an_id_is_copied_whole_and_the_theme_stays_chosen(visitor):
    visitor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visitor.go("/decisions")
    whole = page.locator(".foot .id").get_attribute("data-copy")
    page.locator(".foot .id").click()
    assert page.evaluate("navigator.clipboard.readText()") == whole
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Light or dark").click()
    after = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert before != after
    visitor.go("/keys")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == after


def test_nothing_moves_for_whoever_wants_no_motion(visitor):
    visitor.page.emulate_media(reduced_motion="reduce")
    page = visitor.go("/decisions")
    expect(page.locator("[data-live-word]")).to_have_text("Live")
    assert page.evaluate("document.getAnimations().length") == 0


def test_in_forced_colours_a_state_keeps_its_shape_and_word(visitor):
    visitor.page.emulate_media(forced_colors="active")
    page = visitor.go("/decisions?time=all&outcome=suppressed")
    state = page.locator("tbody .st").first
    expect(state.locator("svg")).to_be_visible()
    assert state.inner_text().strip()


def test_on_a_phone_the_bar_below_hides_nothing_that_has_the_focus(visitor):
    visitor.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    page = visitor.go("/decisions?time=all")
    bar = page.locator(".nav").bounding_box()
    assert bar is not None
    for _ in range(12):
        page.keyboard.press("j")
        box = page.locator(":focus").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= bar["y"]


def test_everything_works_without_script(browser: Browser, shop: Served):
    with Visitor.to(browser, shop.url, script=False) as visitor:
        page = visitor.go("/decisions")
        page.locator("select[name=reason]").select_option("no_consent")
        page.get_by_role("button", name="Apply").click()
        expect(page).to_have_url(re.compile(r"reason=no_consent"))
        expect(page.locator("tbody tr").first).to_contain_text("no consent")
        page.locator("#q").fill("payment-failed")
        page.locator("#q").press("Enter")
        expect(page).to_have_url(re.compile(r"/rules/payment-failed$"))
        visitor.faults.clear()


def asked(url: str, body: bytes | None = None, **headers: str) -> int:
    request = urllib.request.Request(url, body, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as fault:
        with fault:
            return fault.code


@pytest.mark.parametrize(
    "headers",
    [{"Host": "rebound.example:1234"}, {"X_Forwarded_For": "203.0.113.9"}, {"Forwarded": "for=203.0.113.9"}],
    ids=["rebound", "proxied", "forwarded"],
)
def test_without_keys_the_console_is_open_to_this_machine_only(shop, headers):
    assert asked(f"{shop.url}/decisions") == 200
    assert asked(f"{shop.url}/decisions", **headers) == 403


def test_a_form_of_another_site_changes_nothing(shop):
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    others: list[dict[str, str]] = [{}, {"Origin": "null"}, {"Origin": "https://elsewhere.example"}]
    others += [{"Origin": shop.url, "Sec_Fetch_Site": site} for site in ("cross-site", "same-site", "none")]
    for origin in others:
        assert asked(f"{shop.url}/find", b"q=c-ben", **form, **origin) == 403
        assert asked(f"{shop.url}/sign-out", b"csrf=guessed", **form, **origin) == 403
    assert asked(f"{shop.url}/sign-out", b"csrf=guessed", **form, Origin=shop.url) == 403
    assert asked(f"{shop.url}/sign-out", b"csrf=guessed", Content_Type="text/plain", Origin=shop.url) == 415


def test_with_a_key_in_the_store_everybody_signs_in_and_a_revoked_key_ends_it(browser: Browser, own_shop: Served):
    with Visitor.to(browser, own_shop.url) as visitor:
        key = own_shop.do("key support decisions")
        only_events = own_shop.do("key feeder events")
        page = visitor.page
        for _ in range(100):
            page.goto(f"{own_shop.url}/decisions?outcome=sent")
            if "/sign-in?next=" in page.url:  # the first key of all is noticed within a second
                break
            page.wait_for_timeout(100)
        for wrong in (key[:-1] + ("a" if key[-1] != "a" else "b"), only_events, "anything"):
            page.get_by_label("Key", exact=True).fill(wrong)
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("alert")).to_contain_text("Nobody is signed in")
        page.get_by_label("Key", exact=True).fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/decisions?outcome=sent")
        (cookie,) = page.context.cookies()
        kept: Any = cookie
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert key not in cookie["value"]
        expect(page.locator(".foot")).to_contain_text("support")
        # A cookie that somebody has changed is none.
        page.context.add_cookies([kept | {"value": kept["value"][:-2] + "AA"}])
        page.goto(f"{own_shop.url}/decisions")
        page.wait_for_url(re.compile("/sign-in.next="))
        page.context.add_cookies([kept])
        visitor.go("/decisions")
        own_shop.do(f"revoke {key.split('_')[2]}")
        page.goto(f"{own_shop.url}/decisions")
        page.wait_for_url(re.compile("/sign-in.next="))
        visitor.faults = [one for one in visitor.faults if "403" not in one]
