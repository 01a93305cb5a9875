"""Quiet hours against an oracle that only asks `datetime` what the wall clock shows in each minute."""

import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings import canonical
from tidings.event import DAY, HOUR, MINUTE, SECOND
from tidings.quiet_hours import QuietHours, Window, _offset, is_zone, read_quiet_hours

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = [
    "Europe/Berlin", "Europe/London", "America/New_York", "America/Sao_Paulo", "America/St_Johns",
    "Australia/Lord_Howe", "Australia/Adelaide", "Asia/Kathmandu", "Asia/Tokyo", "Africa/Casablanca", "Pacific/Apia",
    "Pacific/Chatham",
]  # fmt: skip
WEEKDAYS, WEEKEND = frozenset(range(5)), frozenset({5, 6})


def at(hour: int, minute: int = 0) -> int:
    return hour * 60 + minute


POLICIES = {
    "night": [Window(at(21), at(8))],
    "night, other": [Window(at(22, 30), at(6, 45))],
    "ends in the gap": [Window(at(21), at(2, 15))],
    "begins in the gap": [Window(at(2, 15), at(9))],
    "inside the gap": [Window(at(2, 10), at(2, 20))],
    "ends in a half-hour gap": [Window(at(20), at(2, 45))],
    "ends just after midnight": [Window(at(18), at(0, 30))],
    "ends at 24:00": [Window(at(18), 1440)],
    "ends at the start of the day": [Window(at(18), 0)],
    "weekends": [Window(0, 1440, WEEKEND)],
    "nights before working days": [Window(at(22), at(7), frozenset({6, 0, 1, 2, 3}))],
    "sunday night over the end of the week": [Window(at(12), at(11), frozenset({6}))],
    "several": [
        Window(at(21), at(8), WEEKDAYS), Window(at(12, 30), at(14), WEEKDAYS), Window(at(18), at(10, 30), WEEKEND),
    ],
    "overlapping": [Window(at(20), at(3)), Window(at(1, 45), at(3, 15)), Window(at(3, 15), at(4))],
    "all but the hour of the changes, on sundays": [
        Window(0, 1440, frozenset({0, 1, 2, 3, 4, 5})), Window(0, at(2), frozenset({6})), Window(at(3), 1440, frozenset({6})),
    ],
    "a minute": [Window(at(2, 59), at(3), frozenset({6}))],
}  # fmt: skip


def packaged(zone: str) -> ZoneInfo:
    with files("tzdata").joinpath("zoneinfo", *zone.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=zone)


def micros(*when: int) -> int:
    return (datetime(*when, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)  # type: ignore[arg-type, misc]


def shown(zone: ZoneInfo, minute: int) -> tuple[int, int]:
    """Day of the week and minute of the day that the wall clock shows in a minute since the epoch."""
    clock = (EPOCH + timedelta(minutes=minute)).astimezone(zone)
    return clock.weekday(), clock.hour * 60 + clock.minute


def is_in(window: Window, day: int, minute: int) -> bool:
    """The definition, read off the clock: it started today, or yesterday and spans midnight."""
    if window.end > window.start:
        return day in window.days and window.start <= minute < window.end
    return (day in window.days and minute >= window.start) or ((day - 1) % 7 in window.days and minute < window.end)


@cache
def clock_table(zone: str, first: int, last: int) -> list[int]:
    """Minute of the clock's week in each minute [first, last)."""
    known = packaged(zone)
    return [day * 1440 + minute for day, minute in (shown(known, m) for m in range(first, last))]


def quiet_table(clock: list[int], windows: list[Window]) -> bytes:
    week = [any(is_in(one, *divmod(minute, 1440)) for one in windows) for minute in range(7 * 1440)]
    return bytes(week[minute] for minute in clock)


def compared(zone: str, first: int, last: int, step: int, windows: list[Window]) -> int:
    """Compare every `step`th minute of [first, last), and all around each change; return how many comparisons."""
    margin = 16 * 1440  # a week's only opening may be left out once
    clock = clock_table(zone, first, last + margin)
    quiet = quiet_table(clock, windows)
    policy = QuietHours(tuple(windows))
    jumps = [i for i in range(1, last - first) if (clock[i] - clock[i - 1]) % 10_080 != 1]
    edges = [i for i in range(1, last - first) if quiet[i] != quiet[i - 1]]
    asked = set(range(0, last - first, step)) | {i + d for i in edges for d in (-1, 0, 1)}
    asked |= {j + d for j in jumps for d in range(-1500, 1500, 1 if step < 60 else 7)}
    count = 0
    for i in sorted(i for i in asked if 0 <= i < last - first):
        # Anywhere in the minute: offsets of these zones are whole minutes.
        inside = (i * 7_919) % 60_000_000 if i % 3 else 0
        instant = (first + i) * MINUTE + inside
        assert policy.is_quiet(instant, zone) == bool(quiet[i]), (zone, instant)
        for wanted, method in ((b"\x00", policy.opening), (b"\x01", policy.closing)):
            found = quiet.find(wanted, i)
            expected = None if found < 0 else instant if found == i else (first + found) * MINUTE
            assert method(instant, zone) == expected, (zone, method.__name__, instant)
        count += 3
    return count


def changes(zone: str, first: int, last: int) -> Iterator[int]:
    """Minutes (to the day) after which the offset is another one."""
    known = packaged(zone)
    offsets = [(m, (EPOCH + timedelta(minutes=m)).astimezone(known).utcoffset()) for m in range(first, last, 1440)]
    for (_, before), (minute, after) in pairwise(offsets):
        if before != after:
            yield minute


SPANS = [(2011, 2014), (2026, 2029)]
"""Three years of the past (Apia leaves a day out, Casablanca changes four times a year) and the three that come."""


@pytest.mark.parametrize("zone", ZONES)
def test_quiet_openings_and_closings_are_the_clocks_own_around_every_change(zone):
    for begin, _ in SPANS:
        first, last = micros(begin, 1, 1) // MINUTE, micros(begin + 1, 1, 1) // MINUTE
        near = list(changes(zone, first, last)) or [first + 1440]
        for number, minute in enumerate(near):
            # Each change meets a part of the policies; all of them in `make proofs`.
            part = list(POLICIES.values())[number % 3 :: 3]
            for windows in part:
                assert compared(zone, minute - 3 * 1440, minute + 2 * 1440, 97, windows) > 50
    clock_table.cache_clear()


@pytest.mark.proofs
def test_quiet_hours_agree_with_the_minute_oracle_over_twelve_zones_and_three_years():
    total, began = 0, time.monotonic()
    for zone in ZONES:
        for begin, end in SPANS:
            first, last = micros(begin, 1, 1) // MINUTE, micros(end, 1, 1) // MINUTE
            total += sum(compared(zone, first, last, 53, windows) for windows in POLICIES.values())
        clock_table.cache_clear()
    print(
        f"\n{total:,} cases, {len(ZONES)} zones, {len(POLICIES)} policies, 2 × 3 years: 0 wrong ({time.monotonic() - began:.0f} s)"
    )


@pytest.mark.parametrize(
    ("windows", "zone", "now", "opening"),
    [
        # 02:15 does not come on this night: the clock goes from 02:00 to 03:00.
        ([Window(at(21), at(2, 15))], "Europe/Berlin", micros(2026, 3, 28, 23), micros(2026, 3, 29, 1)),
        # 02:15 comes twice: the first is an opening, the second hour is quiet again until its own 02:15.
        ([Window(at(21), at(2, 15))], "Europe/Berlin", micros(2026, 10, 24, 22), micros(2026, 10, 25, 0, 15)),
        ([Window(at(21), at(2, 15))], "Europe/Berlin", micros(2026, 10, 25, 1), micros(2026, 10, 25, 1, 15)),
        # Half an hour is left out at 02:00.
        ([Window(at(20), at(2, 15))], "Australia/Lord_Howe", micros(2026, 10, 3, 14), micros(2026, 10, 3, 15, 30)),
        # Friday 30 December 2011 was left out in Apia; the clock of Saturday is what counts.
        ([Window(0, 1440, frozenset({4}))], "Pacific/Apia", micros(2011, 12, 30, 9), micros(2011, 12, 30, 9)),
        ([Window(at(21), at(8))], "Pacific/Apia", micros(2011, 12, 30, 9), micros(2011, 12, 30, 18)),
    ],
)  # fmt: skip
def test_an_end_that_the_clock_leaves_out_or_repeats_opens_when_the_clock_is_past_it(windows, zone, now, opening):
    assert QuietHours(tuple(windows)).opening(now, zone) == opening


def test_an_hour_that_is_repeated_is_quiet_twice():
    policy = QuietHours((Window(at(2), at(3)),))
    for hour in (0, 1):
        assert policy.is_quiet(micros(2026, 10, 25, hour, 30), "Europe/Berlin")
    assert policy.opening(micros(2026, 10, 25, 0), "Europe/Berlin") == micros(2026, 10, 25, 2)


def test_what_is_always_quiet_never_opens_and_what_never_is_never_closes():
    now = micros(2026, 3, 28, 23)
    always = [
        QuietHours((Window(0, 1440),)),
        QuietHours((Window(at(12), at(18)), Window(at(18), at(12)))),
        QuietHours(tuple(Window(0, 1440, frozenset({day})) for day in range(7))),
    ]
    for policy in always:
        assert policy.opening(now, "Europe/Berlin") is None
        assert policy.closing(now, "Europe/Berlin") == now
    assert QuietHours(()).opening(now, "Europe/Berlin") == now
    assert QuietHours(()).closing(now, "Europe/Berlin") is None


def test_the_weeks_only_opening_that_a_change_leaves_out_comes_a_week_later():
    spared = [
        Window(0, 1440, frozenset(range(6))),
        Window(0, at(2), frozenset({6})),
        Window(at(3), 1440, frozenset({6})),
    ]
    policy = QuietHours(tuple(spared))
    # Sunday 29 March 2026 has no hour from 02:00 to 03:00.
    assert policy.opening(micros(2026, 3, 22, 2), "Europe/Berlin") == micros(2026, 4, 5, 0)


def test_ends_are_exact_to_the_microsecond():
    policy = QuietHours((Window(at(21), at(8)),))
    start, end = micros(2026, 1, 5, 20), micros(2026, 1, 6, 7)
    assert not policy.is_quiet(start - 1, "Europe/Berlin")
    assert policy.is_quiet(start, "Europe/Berlin")
    assert policy.is_quiet(end - 1, "Europe/Berlin")
    assert not policy.is_quiet(end, "Europe/Berlin")
    assert policy.closing(start - 1, "Europe/Berlin") == start
    assert policy.opening(end - 1, "Europe/Berlin") == end


HOSTILE = ["../../etc/passwd", "/etc/localtime", "Europe/../Europe/Berlin", "Europe\x00/Berlin", "\x00", "", ".", "Europe",
           "europe/berlin", "Europe/Berlin ", "x" * 1_000_000, "Mars/Olympus", "zones", "UTC\n", "é", "\ud800"]  # fmt: skip


@pytest.mark.parametrize("name", [None, *HOSTILE], ids=lambda name: repr(name)[:20])
def test_a_zone_that_is_none_counts_as_unknown(name):
    policy = QuietHours((Window(at(21), at(8)),), if_unknown="Europe/Berlin")
    assert policy.zone(name) == "Europe/Berlin"
    assert name is None or not is_zone(name)


def test_the_zone_that_is_named_counts_for_everybody():
    assert QuietHours((), "Asia/Tokyo", "UTC").zone("Europe/Berlin") == "Asia/Tokyo"
    assert QuietHours((), "customer", "UTC").zone("Europe/Berlin") == "Europe/Berlin"
    assert QuietHours((), "Mars/Olympus", "Asia/Tokyo").zone("Europe/Berlin") == "Asia/Tokyo"


def test_to_ask_in_no_zone_is_an_error_and_touches_no_file():
    with pytest.raises(ValueError, match="is no IANA zone"):
        QuietHours((Window(0, 60),)).is_quiet(0, "../../etc/passwd")


WINDOWS = st.builds(
    Window, st.integers(0, 1439), st.integers(0, 1440), st.frozensets(st.integers(0, 6), min_size=1)
).filter(lambda one: one.start != one.end)


@given(
    st.lists(WINDOWS, max_size=5),
    st.sampled_from(["customer", "Asia/Tokyo"]),
    st.sampled_from(["UTC", "Europe/Berlin"]),
)
def test_what_is_written_is_read_again(windows, timezone, if_unknown):
    policy = QuietHours(tuple(windows), timezone, if_unknown)
    body = policy.to_json()
    assert canonical.loads(canonical.dumps(body)) == body
    assert read_quiet_hours(canonical.loads(canonical.dumps(body))) == policy
    assert read_quiet_hours(None) is None


@given(
    st.lists(WINDOWS, min_size=1, max_size=4),
    st.sampled_from(ZONES),
    st.integers(micros(2009, 1, 1), micros(2030, 1, 1)),
)
def test_an_answer_holds_where_it_points_and_nowhere_before(windows, zone, now):
    policy = QuietHours(tuple(windows))
    for quiet, found in ((False, policy.opening(now, zone)), (True, policy.closing(now, zone))):
        if found is None:
            continue
        assert found >= now
        assert policy.is_quiet(found, zone) is quiet
        assert found == now or policy.is_quiet(found - 1, zone) is not quiet
        points = {now + (found - now) * part // 23 for part in range(23)} if found > now else set()
        assert all(policy.is_quiet(point, zone) is not quiet for point in points)


def test_offsets_that_are_no_whole_minutes_are_exact():
    # Monrovia was 44 min 30 s behind until 7 January 1972.
    policy = QuietHours((Window(at(21), at(8)),))
    assert policy.opening(micros(1971, 6, 1), "Africa/Monrovia") == micros(1971, 6, 1, 8, 44, 30)
    assert policy.is_quiet(micros(1971, 6, 1, 8, 44, 29), "Africa/Monrovia")


@pytest.mark.parametrize("instant", [-(2**62), micros(1, 1, 1), micros(9999, 12, 31, 23, 59), 2**62])
def test_instants_that_no_calendar_has_are_answered_all_the_same(instant):
    policy = QuietHours((Window(at(21), at(8)),))
    opening = policy.opening(instant, "Europe/Berlin")
    assert opening is not None
    assert instant <= opening <= instant + DAY


def recorded_changes(raw: bytes) -> list[tuple[int, int, int]]:
    """Changes of the offset that a TZif file (version 2 or later) lists: seconds, offset before, offset after."""
    isut, isstd, leap, times, types, chars = struct.unpack(">6l", raw[20:44])
    head = 44 + times * 5 + types * 6 + chars + leap * 8 + isstd + isut
    _, _, _, times, types, _ = struct.unpack(">6l", raw[head + 20 : head + 44])
    body = head + 44
    instants = struct.unpack(f">{times}q", raw[body : body + 8 * times])
    kinds = raw[body + 8 * times : body + 9 * times]
    offsets = [struct.unpack(">l", raw[body + 9 * times + 6 * n :][:4])[0] for n in range(types)]
    found, before = [], offsets[0]
    for instant, kind in zip(instants, kinds, strict=True):
        if offsets[kind] != before:
            found.append((instant, before, offsets[kind]))
        before = offsets[kind]
    return found


def test_every_change_of_every_zone_is_found_to_the_second_and_none_hides_another():
    root, seen, count = files("tzdata") / "zoneinfo", set(), 0
    for zone in (files("tzdata") / "zones").read_text("utf-8").split():
        raw = root.joinpath(*zone.split("/")).read_bytes()
        if raw in seen:
            continue
        seen.add(raw)
        found = [change for change in recorded_changes(raw) if change[0] > micros(1969, 1, 1) // SECOND]
        assert all(after[0] - before[0] > 2 * DAY // SECOND for before, after in pairwise(found)), zone
        # All of the near past and future, a sample of the rest: `_offset` fills a table for each.
        near = [one for one in found if micros(2020, 1, 1) // SECOND < one[0] < micros(2032, 1, 1) // SECOND]
        for second, before, after in {*near, *random.Random(zone).sample(found, min(6, len(found)))}:
            instant = second * SECOND
            assert _offset(zone, instant - 1)[0] == before * SECOND, (zone, second)
            assert _offset(zone, instant)[0] == after * SECOND, (zone, second)
            assert _offset(zone, instant - HOUR)[1] in (instant, instant - instant % (64 * DAY))
            count += 1
    assert count > 1000


def test_the_machines_own_zone_files_are_not_asked(tmp_path):
    # A machine on which Berlin lies in Tokyo.
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Berlin").write_bytes(files("tzdata").joinpath("zoneinfo", "Asia", "Tokyo").read_bytes())
    program = (
        "from zoneinfo import ZoneInfo; from datetime import datetime; from tidings.quiet_hours import QuietHours, Window\n"
        "print(datetime(2026, 1, 1, tzinfo=ZoneInfo('Europe/Berlin')).utcoffset())\n"
        "print(QuietHours((Window(1260, 480),)).opening(0, 'Europe/Berlin'))"
    )
    words = {**os.environ, "PYTHONTZPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["9:00:00", str(7 * HOUR)]
