"""The frame in a real browser: pages for everybody, keys, errors that keep their frame, and who is let in."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.live


@pytest.mark.parametrize("path", ["/keys", "/sign-in", "/decisions"])
def test_a_page_is_read_by_everybody_in_both_themes_on_a_desk_and_on_a_phone(visitor, path):
    visitor.look(path)


def test_what_is_not_there_is_said_in_the_frame_with_a_field_to_look_for_it(visitor):
    visitor.look("/decisions/nix/nowhere", 404)
    expect(visitor.page.locator("main input[name=q]")).to_be_visible()
    expect(visitor.page.get_by_role("navigation", name="Main")).to_be_visible()
