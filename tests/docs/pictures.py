"""The pictures of the README, taken from the running demonstration: `make pictures`.

A page is printed by Chromium as the screen shows it, and its PDF becomes an SVG: text, sharp at every size, that a diff can read.
Needs Chromium and `pdftocairo` (Debian: chromium, poppler-utils).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.docs.pages import ROOT

FOLDER = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 1280, 800
PORT = 8377
PLAYS = 75
"""Seconds for which the shop has been open when its picture is taken; six of its days."""
PAGES = {"overview": "/?window=7d"}
THEMES = ("light", "dark")


def main() -> int:
    """Take every picture."""
    programs = [shutil.which(name) for name in ("chromium", "pdftocairo")]
    if None in programs:
        print("needed: chromium and pdftocairo (Debian: apt install chromium poppler-utils)", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        words = [sys.executable, "-m", "gateway.cli.main", "demo", "--plain", "--data", place, "--port", str(PORT)]
        shop = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            _take(Path(place), str(programs[0]), str(programs[1]))
        finally:
            shop.terminate()
            shop.wait(30)
    return 0


def _take(place: Path, chromium: str, converter: str) -> None:
    _until_open()
    time.sleep(PLAYS)
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        for theme in THEMES:
            page.emulate_media(media="screen")
            for name, path in PAGES.items():
                page.goto(f"http://127.0.0.1:{PORT}{path}", wait_until="load")
                # What is printed knows no dark scheme of the system's; the page's own switch is heard.
                page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
                page.wait_for_timeout(1_000)
                printed = place / f"{name}.pdf"
                page.pdf(path=printed, width=f"{WIDTH}px", height=f"{HEIGHT}px", print_background=True, page_ranges="1")
                file = FOLDER / f"{name}{'' if theme == 'light' else '-dark'}.svg"
                subprocess.run([converter, "-svg", str(printed), str(file)], check=True)
                print(file.relative_to(ROOT))
        browser.close()


def _until_open() -> None:
    for _ in range(120):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/healthz", timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    text = "the demonstration does not open its port"
    raise TimeoutError(text)


if __name__ == "__main__":
    sys.exit(main())
