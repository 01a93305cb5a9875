"""The table: right at every size of a terminal, and nobody's text can break it."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from gateway.cli.folder import example, loaded
from gateway.demo.board import ENDS, KINDS, Board, span
from gateway.demo.customers import everybody
from gateway.demo.members import Group, Member, Watcher
from gateway.demo.scene import SHORT, Ahead, Scene
from tidings.event import DAY, HOUR, MINUTE, SECOND
from tidings.reasons import Reason

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
NOW = 1_780_000_000 * SECOND
RULES = loaded(example())[0].rules
assert RULES is not None
SUMS = {
    "events": 144, "decided": 141, "dead_letters": 2, "not_taken": 1, "steps_due": 96, "holds": True,
    "messages": {**dict.fromkeys(ENDS, 12), "accepted": 24}, "corrections": {"accepted": 5},
}  # fmt: skip


def board(lines: int = 3, *, text: str = "Your invoice inv-1001 is overdue", **more) -> Board:
    assert RULES is not None
    scene = Scene(RULES, lambda: NOW, everybody(example()))
    kinds = list(KINDS)
    for number in range(lines):
        scene.line(kinds[number % len(kinds)], "email", text, "not told", text, text, "Asia/Tokyo")
    ahead = Ahead(3, (NOW + 5 * HOUR, "invoice-overdue", '["inv-1001"]'), 2, (NOW + HOUR, "customer:c-emi"))
    return Board(scene, 7200, NOW - 2 * DAY, **{"ahead": ahead, "sums": SUMS, "ending": "Ctrl-C ends it", **more})


def painted(board: Board, width: int, height: int) -> list[str]:
    out = io.StringIO()
    console = Console(
        file=out, width=width, height=height, force_terminal=True, color_system="truecolor", legacy_windows=False
    )
    with console.capture() as captured:
        console.print(board, end="")
    return [COLOUR.sub("", line) for line in captured.get().split("\n")]


@given(
    st.integers(72, 220), st.integers(12, 70), st.integers(0, 120),
    st.one_of(st.text(max_size=60), st.sampled_from(["請求書の支払い期限が過ぎました" * 3, "a\nb\x1b[31m", "[red]x[/red]", ""])),
)  # fmt: skip
def test_the_board_fills_the_terminal_exactly(width, height, lines, text):
    rows = painted(board(lines, text=text), width, height)
    assert len(rows) == height
    assert all(cell_len(row) <= width for row in rows)
    assert "\x1b" not in "".join(rows)


def test_at_eighty_columns_the_reason_has_a_line_of_its_own():
    rows = painted(board(2), 80, 24)
    assert sum("Your invoice inv-1001" in row for row in rows) == 4
    assert "Ctrl-C ends it" in rows[0]
    assert "due = 24 accepted" in "".join(rows[-3:])


def test_where_there_is_room_it_stands_beside():
    rows = painted(board(2), 140, 40)
    assert sum(row.count("Your invoice inv-1001 is overdue") == 2 for row in rows) == 2
    assert "3 absences wait; the next is due in 5 h 00: invoice-overdue inv-1001" in "".join(rows)
    assert "2 held, the next until" in "".join(rows)


@pytest.mark.parametrize("late", [-30 * SECOND, 0, DAY])
def test_what_is_due_is_due_now(late):
    ahead = Ahead(1, (NOW - late, "invoice-overdue", '["inv-1001"]'))
    assert "1 absence waits; the next is due now: invoice-overdue" in "".join(painted(board(ahead=ahead), 140, 40))


def test_what_only_this_start_has_seen_says_so():
    first, again = (painted(board(again=one), 140, 40) for one in (False, True))
    assert "since this start" not in "".join(first)
    assert "0 kept quiet since this start" in "".join(again)


def test_the_newest_lines_are_shown():
    rows = "".join(painted(board(0), 140, 40))
    one = board(0)
    for number in range(100):
        one.scene.line("told", "email", "Ada", "sent", f"mail {number}", "because")
    rows = "".join(painted(one, 140, 40))
    assert "mail 99" in rows
    assert "mail 40" not in rows


def test_a_sum_that_does_not_hold_is_said_aloud():
    assert "THE SUM DOES NOT HOLD" in "".join(painted(board(sums={**SUMS, "holds": False}), 80, 24))


def test_it_is_told_where_it_is_night():
    rows = painted(board(), 140, 40)
    night = [zone for zone in ("Berlin", "London", "New York", "Tokyo") if f"{zone} " in rows[1]]
    assert len(night) == 4
    assert "☾" in rows[1]


def test_the_short_reasons_are_reasons():
    assert set(SHORT) <= set(Reason)


def test_spans_are_told_in_two_units():
    assert [span(one) for one in (-SECOND, 40 * MINUTE, 3 * HOUR + MINUTE, 2 * DAY + 5 * HOUR)] == [
        "0 min", "40 min", "3 h 01", "2 d 5 h",
    ]  # fmt: skip


@given(st.integers(72, 220), st.integers(0, 400), st.integers(0, 10**7), st.booleans())
def test_the_workers_have_their_place_on_every_terminal(width, partitions, lag, up):
    members = tuple(Member(f"worker-{n}", partitions // 3, lag, up or n > 1) for n in (1, 2, 3))
    group = Group(members, partitions, lag, partitions % 3, 4, 2)
    rows = painted(board(group=group), width, 30)
    assert len(rows) == 30
    assert all(cell_len(row) <= width for row in rows)
    assert any(f"{partitions} partitions" in row and f"lag {lag}" in row for row in rows)


def test_a_rebalance_is_counted_once_all_partitions_have_an_owner_again():
    a, b = ("orders", 0), ("orders", 1)
    watcher = Watcher(("worker-1", "worker-2"))
    ends: dict[tuple[str, int], int] = {a: 5, b: 7}
    none: frozenset[str] = frozenset()
    first = watcher.look({"worker-1": frozenset({a}), "worker-2": frozenset({b})}, {a: 5, b: 4}, ends, none)
    assert (first.lag, first.rebalances, [one.partitions for one in first.members]) == (3, 0, [1, 1])
    under_way = watcher.look({"worker-1": frozenset({a})}, {a: 5, b: 4}, ends, frozenset({"worker-2"}))
    assert (under_way.orphans, under_way.rebalances, under_way.members[1].up) == (1, 0, False)
    after = watcher.look({"worker-1": frozenset({a, b})}, {a: 5, b: 7}, ends, frozenset({"worker-2"}))
    assert (after.orphans, after.rebalances, after.lag) == (0, 1, 0)
