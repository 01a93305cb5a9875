"""The demonstration on a real broker and a real database: workers are killed in it, and nothing is lost or told twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import services

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli.main", "demo", *words], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=150,
    )  # fmt: skip
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return done


def test_a_worker_is_killed_and_the_sum_holds(tmp_path):
    services.kafka()  # skips where there is none
    places = ["--kafka", os.environ[services.KAFKA], "--postgres", os.environ[services.POSTGRES]]
    done = run("--json", "--for", "26s", "--data", str(tmp_path), *places)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    summary = told[-1]
    assert (summary["what"], summary["holds"], summary["not_taken"]) == ("summary", True, 0)
    assert [one["state"] for one in told if one["what"] == "worker"][:2] == ["killed", "back"]
    groups = [one for one in told if one["what"] == "group"]
    shared = [one for one in groups if one["orphans"] == 0 and one["partitions"]]
    assert shared, "nobody was told who reads what"
    (every,) = {one["partitions"] for one in shared}
    assert all(sum(one["workers"].values()) == every for one in shared)
    # One of three is killed and comes back: the others have all of it, then the three share it again.
    assert shared[0]["workers"].keys() == {"worker-1", "worker-2", "worker-3"}
    assert any(min(one["workers"].values()) > 0 for one in shared)
    rebalances = [one["rebalances"] for one in groups]
    assert rebalances == sorted(rebalances)
    assert rebalances[-1] >= 1
    assert all(one["lag"] >= 0 for one in groups)
    assert max(one["lag"] for one in groups) > 0, "who was killed has left something to do"
    caught = [json.loads(line) for line in (tmp_path / "caught.jsonl").read_text().splitlines()]
    assert len(caught) == summary["messages"]["accepted"] + summary["corrections"]["accepted"] > 0
    assert len({letter["message_id"] for letter in caught}) == len(caught)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--kafka", "127.0.0.1:1"), "--postgres"),
        (("--kafka", "nonsense", "--postgres", "127.0.0.1:1"), "HOST:PORT"),
        (("--kafka", "127.0.0.1:1", "--postgres", "127.0.0.1:1"), "make services"),
    ],
)
def test_what_is_missing_is_told_with_the_command_that_brings_it(tmp_path, words, says):
    done = run("--for", "2s", "--data", str(tmp_path), *words)
    assert done.returncode != 0
    assert says in done.stderr
