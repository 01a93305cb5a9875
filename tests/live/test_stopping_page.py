"""docs/stopping.md does what it says: every command on it, in its order, against a file with something to send."""

import re
import shlex
from pathlib import Path

import pytest

from gateway.cli.main import main
from tests.live.test_operations import shop

pytestmark = pytest.mark.live

PAGE = Path(__file__).parents[2] / "docs" / "stopping.md"
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL) for line in block.splitlines()
]
__all__ = ["shop"]


def test_every_command_of_the_page_works_in_its_order(shop, capsys):
    said = []
    for line in COMMANDS:
        words = shlex.split(line)
        assert words[0] == "tidings"
        assert main([*words[1:], "--data", str(shop)]) == 0, (line, capsys.readouterr())
        said.append((words[1], capsys.readouterr().out))
    assert [verb for verb, _ in said] == ["kill"] * 4 + ["kills"] + ["release"] * 2 + ["drop"] * 2
    listed = dict(said)["kills"]
    for scope in ("everything", "channel sms", "rule payment-failed", "tenant default"):
        assert f"{scope}: stopped by" in listed
    assert [("add --confirm" in out) for verb, out in said if verb in ("release", "drop")] == [True, False, True, False]
