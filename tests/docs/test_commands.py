"""Every command of the README and of the tutorials runs as written, in the order in which it stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Block, blocks

pytestmark = pytest.mark.live

PAGES = ("README.md", "docs/tutorial.md", "examples/shop/README.md")
COPIED = ("examples", "docs", "deploy", "README.md", "Makefile")
WITHIN = 180
"""Seconds for a block; a generous end, not a promise."""
SHORTER = (
    # What a page shows for a minute is shown for seconds; `make` would set the environment up once more.
    (re.compile(r"make demo FOR=60s"), ".venv/bin/tidings demo --for 8s"),
)
NOT_HERE = ("make test", "make services", "make demo ON=kafka", "docker compose")
"""Beginnings of lines that other tests, or other machines, run."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder as a reader has it after `make setup`."""
    place: Path = tmp_path_factory.mktemp("reader")
    for name in COPIED:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, place / name)
    tools = place / ".venv" / "bin"
    tools.mkdir(parents=True)
    (tools / "tidings").symlink_to(Path(sys.executable).with_name("tidings"))
    return place


def lines_of(block: Block) -> str:
    """Return what is run of a block."""
    kept = [line for line in block.text.splitlines() if not line.startswith(NOT_HERE)]
    text = "\n".join(kept)
    for what, instead in SHORTER:
        text = what.sub(instead, text)
    return text


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_as_written(page, folder):
    environment = {**os.environ, "NO_COLOR": "1", "PAGER": "cat"}
    known: dict[str, str] = {}
    run = 0
    for block in blocks(page, "sh"):
        if block.remarked("not run") is not None or not lines_of(block).strip():
            continue
        script = re.sub(r"\b(EVENT|CUSTOMER|INVOICE)\b", lambda found: known.get(found[0], found[0]), lines_of(block))
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, errors="replace",
            timeout=WITHIN, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        wanted = int(block.remarked("ends with") or 0)
        assert done.returncode == wanted, f"{block.place}\n{script}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr, block.place
        if found := re.search(r"rules explain (\S+)", done.stdout):
            known["EVENT"] = found[1]
        run += 1
    assert run, f"{page} has no commands"
