"""Tests that run side by side are the tests that ran one after another: none is left out, and no failure is swallowed."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests import lanes

ROOT = Path(__file__).resolve().parents[2]
COLLECTED = [f"tests/{file.parent.name}/{file.name}" for file in ROOT.glob("tests/*/test_*.py")]
CONFTEST = """
import pytest
from tests import lanes

lanes.ALONE = 0

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    return lanes.run(session, 3) or None

@pytest.fixture(scope="module")
def dear(tmp_path_factory):
    yield 1
    with open("taken-down", "a") as file:
        file.write("x")
"""


def ran(folder: Path, *words: str, **files: str) -> tuple[int, dict[str, int], str]:
    """Run files of tests in lanes; return the code, how many ended how, and what was said."""
    (folder / "conftest.py").write_text(CONFTEST)
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", *words],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = done.stdout.strip().rpartition("\n")[2]
    return done.returncode, {word: int(n) for n, word in re.findall(r"(\d+) (\w+)", last)}, done.stdout


def test_every_outcome_is_what_it_is_one_after_another_and_what_was_made_is_taken_down(tmp_path):
    some = """
import pytest
def test_good(dear): print("quiet")
@pytest.mark.skip
def test_skipped(): pass
@pytest.mark.xfail(strict=True)
def test_xfail(): assert False
@pytest.mark.parametrize("n", range(5))
def test_many(dear, n): pass
"""
    bad = "def test_bad(dear):\n    print('what it printed')\n    assert 1 == 2, 'the reason'\n"
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "conftest.py").write_text("")  # hooks of a folder are called in another way
    (tmp_path / "below" / "test_f.py").write_text("def test_below(): pass\n")
    code, counts, said = ran(tmp_path, a=some, b=some, c=some, d=some, e=bad)
    assert (code, counts) == (1, {"failed": 1, "passed": 25, "skipped": 4, "xfailed": 4})
    assert "the reason" in said
    assert "what it printed" in said
    assert (tmp_path / "taken-down").read_text() == "x" * 5


def test_a_lane_that_dies_fails_every_test_that_it_had_taken_and_the_others_go_on(tmp_path):
    dies = "import os\ndef test_first(): pass\ndef test_dies(): os._exit(3)\ndef test_never(): pass\n"
    good = "def test_good(): pass\n"
    code, counts, said = ran(tmp_path, a=dies, b=good, c=good, d=good, e=good)
    assert code == 1
    assert counts["failed"] == 2
    assert "test_dies" in said
    assert "test_never" in said
    assert counts["passed"] == 5


def test_the_first_failure_ends_it_where_that_is_asked_for(tmp_path):
    bad = "import pytest\n@pytest.mark.parametrize('n', range(50))\ndef test_bad(n): assert not n\n"
    code, counts, _ = ran(tmp_path, "-x", a=bad, b=bad, c=bad, d=bad, e=bad)
    assert code == 1
    assert counts["failed"] <= 3


def test_the_files_that_are_begun_first_are_there():
    assert [
        name for name in (*lanes.LONGEST, *lanes.TOGETHER) if not any(one.startswith(name) for one in COLLECTED)
    ] == []
