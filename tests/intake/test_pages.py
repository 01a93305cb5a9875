"""docs/http.md: every command in it runs, and answers as it says."""

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from gateway.access import keys as access
from gateway.cli import edge_verbs
from gateway.http.problems import KINDS
from tests.http.asking import run
from tests.intake.edge import edge

pytestmark = pytest.mark.live

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "http.md").read_text("utf-8")
HERE = "http://127.0.0.1:8321"


def test_every_command_of_the_page_runs_and_answers_as_it_says(tmp_path):
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    wanted = [["202"], ["200"], ["202", "202"], ["200"], ["422"]]

    async def body():
        async with edge(tmp_path) as shop:
            for block, statuses in zip(blocks, wanted, strict=True):
                text = block.replace(HERE, f"http://127.0.0.1:{shop.port}").replace(
                    "curl -sS", "curl -sS -o /dev/null -w '%{http_code}\\n'"
                )
                done = await asyncio.to_thread(
                    subprocess.run, ["sh", "-ec", text], capture_output=True, text=True, check=False
                )
                assert (done.stdout.split(), done.stderr) == (statuses, ""), block
            assert len(await shop.log()) == 3

    run(body())


def test_the_page_names_problems_and_roles_that_there_are():
    assert set(re.findall(r"`([a-z]+-[a-z-]+)`", PAGE)) <= {*KINDS, "event-ref"}
    assert set(edge_verbs.ROLES) == set(access.ROLES)
    assert set(edge_verbs.SCOPES) == set(access.SCOPES)
    assert all(f"`{role}`" in PAGE for role in access.ROLES)
