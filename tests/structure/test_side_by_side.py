"""Tests that run side by side: none is left out, those of a file stay together and in their order, the longest are first."""

from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import side_by_side

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    *side_by_side.LONGEST[:3],
    "tests/browser/test_a.py",
    "tests/browser/test_b.py",
    "tests/x/test_c.py",
    "tests/x/test_d.py",
)


class Item:
    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid
        self.group = ""

    def add_marker(self, marker: pytest.MarkDecorator) -> None:
        (self.group,) = marker.args


@given(st.lists(st.sampled_from(FILES), max_size=30))
def test_what_belongs_together_stays_so_and_the_longest_is_first(files):
    items = [Item(f"{file}::test[{n}]") for n, file in enumerate(files)]
    arranged = list(items)
    side_by_side.arrange(arranged)  # type: ignore[arg-type]
    assert sorted(map(id, arranged)) == sorted(map(id, items))
    groups = [group for group, _ in groupby(arranged, lambda item: item.group)]
    assert len(groups) == len(set(groups))
    for file in set(files):
        own = [item.nodeid for item in items if item.nodeid.startswith(f"{file}::")]
        assert [item.nodeid for item in arranged if item.nodeid.startswith(f"{file}::")] == own
    ranked = [side_by_side.LONGEST.index(group) for group in groups if group in side_by_side.LONGEST]
    assert ranked == sorted(ranked)


def test_what_is_said_to_last_longest_is_there():
    for name in (*side_by_side.LONGEST, *side_by_side.TOGETHER):
        assert (ROOT / name).exists(), name
