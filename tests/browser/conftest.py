"""One browser for all of these tests, and the shop behind the whole edge, on a file and on PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests import services
from tests.browser.shop import COPY, FILE
from tests.browser.visiting import Visitor

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """Where the system's Chromium is (Debian: in the package chromium)."""
    for name in CHROMIUM:
        if (found := shutil.which(name)) is not None:
            return found
    text = "Chromium is not installed (Debian: apt install chromium)"
    if os.environ.get(services.REQUIRED):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """It has the event loop of this thread while it lives: what is asynchronous runs in other processes here."""
    with sync_playwright() as running:
        # Without a sandbox of its own, as containers give none; it visits nothing but our own pages.
        opened = running.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield opened
        opened.close()


class Served:
    """The shop in its process."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process, self.folder = process, folder
        self.url = self._answer()

    def do(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """End it in order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(120) == 0

    def _answer(self) -> str:
        assert self.process.stdout is not None
        found = self.process.stdout.readline().strip()
        assert found, f"the shop has ended with {self.process.wait(10)}"
        return found


def serve(folder: Path, *how: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "tests.browser.shop", str(folder), *how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        served = Served(process, folder)
        try:
            yield served
        finally:
            served.end()


@pytest.fixture(scope="package")
def shop(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The shop as everybody looks at it; who changes it asks for one of their own."""
    yield from serve(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def own_shop(shop: Served, tmp_path: Path) -> Iterator[Served]:
    """A shop that a test may change; it begins as the other one stood."""
    shutil.copy(shop.folder / COPY, tmp_path / FILE)
    yield from serve(tmp_path)


@pytest.fixture
def new_shop(browser: Browser, tmp_path: Path) -> Iterator[Served]:
    """A shop in which nothing has happened yet."""
    yield from serve(tmp_path, "new")


@pytest.fixture
def postgres_shop(shop: Served, tmp_path: Path) -> Iterator[Served]:
    """The same shop, on PostgreSQL."""
    services.postgres()
    shutil.copy(shop.folder / COPY, tmp_path / FILE)
    yield from serve(tmp_path, "postgres")


@pytest.fixture
def visitor(browser: Browser, shop: Served) -> Iterator[Visitor]:
    with Visitor.to(browser, shop.url) as found:
        yield found
