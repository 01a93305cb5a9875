"""Whether a log is still the one that was read, as pure facts; and offsets that never mean two records."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tidings.ground import Choice, Finding, Moved, NoChoice, Seen, Standing, choose, is_proven, judge, moved_row
from tidings.log import LogRecord, fingerprint

CASES = [
    (Standing(0), None, None), (Standing(3, "a"), None, Moved.GONE),
    (Standing(0), Seen(0, 0), None), (Standing(0), Seen(0, 9), None), (Standing(0), Seen(2, 9), Moved.EXPIRED),
    (Standing(5, "a"), Seen(0, 5, "a"), None), (Standing(5, "a"), Seen(0, 9, "a"), None),
    (Standing(5, "a"), Seen(0, 4), Moved.SHORTER), (Standing(5, "a"), Seen(0, 0), Moved.SHORTER),
    (Standing(5, "a"), Seen(0, 9, "b"), Moved.DIFFERS), (Standing(5, "a"), Seen(0, 9, None), Moved.DIFFERS),
    (Standing(5, "a"), Seen(5, 9), None), (Standing(5, "a"), Seen(6, 9), Moved.EXPIRED),
    (Standing(5, "a", "one"), Seen(0, 9, "a", "two"), Moved.REMADE), (Standing(5, "a", "one"), Seen(0, 9, "b", "one"), Moved.DIFFERS),
    (Standing(5, "a", "one"), Seen(0, 2, None, "two"), Moved.REMADE), (Standing(0, None, "one"), Seen(0, 9, None, "two"), None),
    (Standing(5, "a", None), Seen(0, 9, "a", "two"), None), (Standing(5, "a", "one"), Seen(0, 9, "a", None), None),
    (Standing(5, None), Seen(0, 9, "b"), None), (Standing(5, None), Seen(0, 4), Moved.SHORTER),
]  # fmt: skip


@pytest.mark.parametrize(("standing", "seen", "moved"), CASES, ids=str)
def test_each_way_in_which_a_log_moves_is_named(standing, seen, moved):
    finding = judge(standing, seen)
    assert (None if finding is None else finding.moved) == moved
    if finding is not None:
        assert not is_proven(standing, seen)
        assert str(standing.position) in str(finding) or moved is Moved.DIFFERS


@pytest.mark.parametrize("standing", [Standing(5, None), Standing(0), Standing(5, "a")], ids=str)
def test_only_the_record_itself_is_a_proof(standing):
    assert not is_proven(standing, Seen(5, 9))
    assert is_proven(standing, Seen(0, 9, "a")) == (standing.fingerprint == "a")


def test_a_fingerprint_knows_time_key_and_value_and_shows_none_of_them():
    plain = LogRecord("t", 0, 7, 42, b"ada@example.org", b"secret")
    others = [
        LogRecord("t", 0, 7, 43, b"ada@example.org", b"secret"), LogRecord("t", 0, 7, 42, None, b"secret"),
        LogRecord("t", 0, 7, 42, b"ada@example.or", b"gsecret"), LogRecord("t", 0, 7, 42, b"ada@example.org", None),
        LogRecord("t", 0, 7, 42, b"", b"secret"),
    ]  # fmt: skip
    assert len({fingerprint(one) for one in (plain, *others)}) == len(others) + 1
    assert fingerprint(plain) == fingerprint(LogRecord("t", 0, 99, 42, b"ada@example.org", b"secret"))
    assert "ada" not in fingerprint(plain)


@pytest.mark.parametrize("where", [-1, 2, 10, "elsewhere"], ids=str)
def test_nobody_goes_on_where_the_log_holds_nothing(where):
    with pytest.raises(NoChoice):
        choose([Finding(Moved.DIFFERS, 5, 3, 9)], Seen(3, 9), where)


def test_nobody_goes_on_in_a_partition_that_is_not_there():
    with pytest.raises(NoChoice, match="topics apply"):
        choose([Finding(Moved.GONE, 5)], None, "start")


def test_what_is_lost_is_counted():
    assert choose([Finding(Moved.EXPIRED, 3, 5, 9)], Seen(5, 9), "end") == Choice(9, 4, 0, 2)
    assert choose([Finding(Moved.SHORTER, 9, 0, 4)], Seen(0, 4), 1) == Choice(1, 1, 3, 0, another_log=True)


offsets = st.integers(0, 10**6)


@given(st.lists(st.tuples(offsets, offsets), min_size=1, max_size=3), offsets, offsets)
@settings(derandomize=True, database=None)
def test_after_another_log_no_offset_of_the_store_means_two_records_and_none_goes_back(readers, start, length):
    rows = [{"next_offset": base + position, "base": base} for base, position in readers]
    highest = max(row["next_offset"] for row in rows)
    for at in {start, start + length // 2, start + length}:
        choice = Choice(at, 0, 0, another_log=True)
        after = [moved_row(row, choice, highest, "f", "new") for row in rows]
        assert len({row["base"] for row in after}) == 1
        for row in after:
            assert row["next_offset"] - row["base"] == at
            assert row["next_offset"] > highest


@given(offsets, offsets, offsets)
@settings(derandomize=True, database=None)
def test_in_the_same_log_a_reader_moves_forward_only(base, position, at):
    assume(at != position)
    row = {"next_offset": base + position, "base": base, "fingerprint": "old"}
    after = moved_row(row, Choice(at, 0, 0), row["next_offset"], "new", "id")
    assert after["base"] == base
    assert after["next_offset"] - base == max(position, at)
    assert after["fingerprint"] == ("new" if at > position else "old")
