"""Somebody before the console, who looks closely: no error, no request to elsewhere, readable for everybody."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

WIDE, PHONE = (1280, 900), (390, 844)
NARROWEST = 320
THEMES = ("light", "dark")
MOST_HTML = 40_000
SERIOUS = ("serious", "critical")
CSP = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"


AXE = Axe()
EVERYTHING = {"resultTypes": ["violations"]}
COLOURS = {**EVERYTHING, "runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
"""What a theme can change: the other rules were asked at the same width in the theme before."""


@dataclass
class Visitor:
    """One browser window."""

    page: Page
    url: str
    faults: list[str] = field(default_factory=list)
    comes_again: bool = False
    """Whether the page loads itself again, because something of it is still being counted."""

    @classmethod
    @contextlib.contextmanager
    def to(cls, browser: Browser, url: str, *, script: bool = True) -> Iterator[Self]:
        context = browser.new_context(
            java_script_enabled=script, viewport={"width": WIDE[0], "height": WIDE[1]}, timezone_id="Europe/Berlin"
        )
        visitor = cls(context.new_page(), url)
        visitor.page.on("console", visitor._heard)
        visitor.page.on("pageerror", lambda fault: visitor.faults.append(str(fault)))
        visitor.page.on("request", visitor._asked)
        try:
            yield visitor
            assert not visitor.faults
        finally:
            context.close()

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.text} ({message.location.get('url')})")

    def _asked(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc and not request.url.startswith(
            ("data:", "about:")
        ):
            self.faults.append(f"asked {request.url}")

    def go(self, path: str, status: int = 200) -> Page:
        """Open a page; it is ours, small, and shows no other site what is on it."""
        found = self.page.goto(f"{self.url}{path}", wait_until="load")
        assert found is not None
        assert found.status == status, f"{path}: {found.status}"
        self._is_ours(found)
        self.comes_again = "refresh" in found.headers
        if status != 200:
            # The browser itself says of every page of an error that it is one.
            self.faults = [one for one in self.faults if f"status of {status}" not in one]
        return self.page

    @staticmethod
    def _is_ours(found: Response) -> None:
        assert found.headers["content-security-policy"] == CSP
        assert found.headers["cache-control"] == "no-store"
        assert found.headers["referrer-policy"] == "no-referrer"
        assert len(found.body()) <= MOST_HTML, f"{found.url}: {len(found.body())} bytes"

    def look(self, path: str, status: int = 200) -> None:
        """Open a page in both themes, on a desk and on a phone: nobody is kept from reading it."""
        for _ in range(30):
            self.go(path, status)
            if not self.comes_again:
                break
            self.page.wait_for_timeout(1000)
        for width, height in (WIDE, PHONE):
            self.page.set_viewport_size({"width": width, "height": height})
            for theme in THEMES:
                self.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
                options = EVERYTHING if theme == THEMES[0] else COLOURS
                found = AXE.run(self.page, options=options).response["violations"]
                serious = [
                    f"{one['id']}: {node['target']} {node['failureSummary']}"
                    for one in found if one["impact"] in SERIOUS for node in one["nodes"]
                ]  # fmt: skip
                assert not serious, f"{path}, {theme}, {width}: {serious}"
            self.fits()
        self.page.set_viewport_size({"width": NARROWEST, "height": 700})
        self.fits()
        self.page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})

    def fits(self) -> None:
        """Nobody scrolls the page sideways; what is wide scrolls inside itself."""
        width, there = self.page.evaluate("[innerWidth, document.documentElement.scrollWidth]")
        assert there <= width, f"{self.page.url}: {there} px of {width}"
