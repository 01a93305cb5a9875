"""In which order tests are begun where pytest-xdist runs them side by side, and what one of its workers has to itself.

Most tests here wait for servers and processes, so there are more workers than processors. A file is run by one worker, in
its order, and so are the folders whose files share something that is dear to start (`TOGETHER`). What a test needs beside
that is its own: a prefix on Kafka, a database, a folder, a port.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

WORKERS = 2 * (os.cpu_count() or 1)
"""How many, for `-n auto`."""
TOGETHER = ("tests/browser/",)
"""Folders that one worker runs: all of their files look at one browser, and at one shop."""
LONGEST = (
    "tests/proofs/test_chaos.py", "tests/live/test_demo.py", "tests/browser/", "tests/docs/test_commands.py",
    "tests/live/test_kill.py", "tests/benchmarks/test_bench.py", "tests/proofs/test_poison.py",
    "tests/proofs/test_members.py", "tests/proofs/test_moved.py", "tests/proofs/test_steady.py",
    "tests/outcomes/test_killed.py", "tests/live/test_compose.py", "tests/kafka/test_worker.py",
    "tests/simulator/test_simulator.py", "tests/live/test_cli.py", "tests/live/test_promises.py",
    "tests/again/test_horizon.py", "tests/live/test_deliver.py", "tests/live/test_run.py",
    "tests/kafka/test_stock_faust.py", "tests/simulator/test_server.py", "tests/live/test_demo_cluster.py",
    "tests/kafka/test_publishing.py", "tests/registry/test_contract.py", "tests/ground/test_moved.py",
    "tests/live/test_wheel.py", "tests/kafka/test_verb.py",
)  # fmt: skip
"""Files that take longest, in that order; the others follow by the number of their tests."""


def group_of(nodeid: str) -> str:
    """Return what is run at a stretch: the test's file, or its folder."""
    file = nodeid.partition("::")[0]
    return next((one for one in TOGETHER if file.startswith(one)), file)


def arrange(items: list[pytest.Item]) -> None:
    """Mark what belongs together, for `--dist loadgroup`, and put first what lasts longest."""
    rank = {name: at for at, name in enumerate(LONGEST)}
    groups = [group_of(item.nodeid) for item in items]
    sizes = Counter(groups)
    for item, group in zip(items, groups, strict=True):
        item.add_marker(pytest.mark.xdist_group(group))
    order = {
        id(item): (rank.get(group, len(rank)), -sizes[group], group) for item, group in zip(items, groups, strict=True)
    }
    items.sort(key=lambda item: order[id(item)])  # stable: within a file as it was
