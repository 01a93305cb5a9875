"""What the console's files promise without a browser: small, nothing inline, nothing from elsewhere."""

import re

import pytest

from gateway.console.pages import FOLDER, KINDS, static_of

TEMPLATES = sorted((FOLDER.parent / "templates").rglob("*.html"))
MOST = {"console.css": 20_000, "console.js": 8_000, "icons.svg": 6_000, "theme.js": 1_000, "mark.svg": 1_000}
"""Bytes, as they are served."""


def test_static_files_are_within_their_budget():
    served = {path.name: len(static_of(path).body) for path in FOLDER.iterdir() if path.suffix[1:] in KINDS}
    assert set(served) == set(MOST), "a new file needs a budget"
    assert {name: size for name, size in served.items() if size > MOST[name]} == {}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_nothing_inline_and_nothing_from_elsewhere(path):
    """The browser would refuse it: `default-src 'self'`."""
    text = path.read_text(encoding="utf-8")
    for wrong in (
        r"\sstyle=",
        r"<style",
        r"\son[a-z]+=",
        r"<script(?![^>]*\ssrc=)",
        r"javascript:",
        r"(?:src|href)=\"(?:https?:)?//",
    ):
        assert not re.search(wrong, text), f"{wrong} in {path.name}"


def test_every_icon_that_a_template_names_is_drawn():
    drawn = set(re.findall(r'id="([a-z-]+)"', (FOLDER / "icons.svg").read_text(encoding="utf-8")))
    named = {
        name for path in TEMPLATES for name in re.findall(r'icon\("([a-z-]+)"\)', path.read_text(encoding="utf-8"))
    }
    assert named <= drawn
