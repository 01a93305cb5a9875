"""Histories in which others went wrong. Each is short enough to be told; times are seconds."""

from itertools import permutations

import pytest

from streams.processors import detect
from streams.processors.detect import Idle, Skipped
from tests.histories.detector import Detector
from tests.simulator.rules import ISSUED, PAID, PING, TOPICS, Shop, rule_set
from tidings.event import DAY, HOUR, SECOND


def shop(lateness: float = 0, **words) -> Detector:
    return Detector(rule_set(Shop(lateness=int(lateness * SECOND), **words)))


def due(second: float) -> int:
    return int(second * SECOND)


def test_1_an_empty_poll_that_is_written_late_accuses_nobody():
    """The poll looked at 4 and saw nothing; `issued` came at 5, `paid` at 6; the mark of the poll is written at 30."""
    d = shop()
    empty = [Idle((topic, 0), 0, 4 * SECOND) for topic in TOPICS.values()]
    d.append(ISSUED, "i", 5, invoice_id="i", due=due(20))
    d.batch(ISSUED)
    d.append(PAID, "p", 6, invoice_id="i")
    d.now = 30
    d.run(detect.mark_idle(empty))
    d.tick()
    assert d.said() == []
    d.batch()
    d.idle(40)
    d.tick()
    assert d.said() == []


def test_1_and_a_mark_of_a_position_that_has_moved_is_not_believed():
    d = shop()
    d.append(ISSUED, "i", 5, invoice_id="i", due=due(20))
    d.batch(ISSUED)
    assert d.run(detect.mark_idle([Idle((TOPICS[ISSUED], 0), 0, 30 * SECOND)])) == 0


def test_2_a_producer_whose_clock_is_four_minutes_fast_accuses_nobody():
    """W follows the smaller of event time and append time, so another's `paid` within the deadline still wins."""
    d = shop()
    d.append(ISSUED, "i", 10, invoice_id="i", due=due(60))
    d.append(PAID, "fast", 20 + 240, appended=20, invoice_id="other")
    d.batch()
    d.idle(20, ISSUED, PING, "billing.invoice.rescheduled")
    d.tick()
    assert d.said() == []
    d.append(PAID, "p", 50, appended=51, invoice_id="i")
    d.batch()
    d.idle(300)
    d.tick()
    assert d.said() == []


def test_3_a_repeat_in_a_batch_that_was_begun_before_a_tick_drained_the_key():
    """The tick answers the key and deletes its rows; the repeat, fetched before, must not begin it anew."""
    d = shop()
    issued = d.append(ISSUED, "i", 5, invoice_id="i", due=due(20))
    d.append(PAID, "p", 8, invoice_id="i")
    d.batch()
    d.repeat(issued)
    begun = d.poll(ISSUED)
    d.idle(10)
    d.tick()
    assert [row for row in d.store.rows("state") if row["value"] is not None] == []
    d.apply(begun)
    d.idle(100)
    d.tick()
    assert d.said() == []


def test_3_and_a_repeat_after_a_firing_fires_once():
    d = shop()
    issued = d.append(ISSUED, "i", 5, invoice_id="i", due=due(20))
    d.batch()
    d.repeat(issued)
    begun = d.poll(ISSUED)
    d.idle(30)
    d.tick()
    d.apply(begun)
    d.idle(100)
    d.tick()
    assert d.said() == [("overdue", "fired", 5.0)]


NAMES = list(permutations(("a", "b"), 2))


@pytest.mark.parametrize("names", NAMES, ids=str)
@pytest.mark.parametrize("sources", NAMES, ids=str)
@pytest.mark.parametrize("order", [(ISSUED, PAID), (PAID, ISSUED), None], ids=["issued", "paid", "together"])
def test_4_issued_and_paid_at_one_instant_are_paid_whatever_their_ids_and_order(names, sources, order):
    """At one instant what arms goes first, then what closes, on any topics and in any order of arrival."""
    d = shop()
    d.append(ISSUED, names[0], 5, source=sources[0], invoice_id="i", due=due(20))
    d.append(PAID, names[1], 5, source=sources[1], invoice_id="i")
    if order is None:
        d.batch()
    else:
        for kind in order:
            d.batch(kind)
    d.idle(100)
    d.tick()
    assert d.said() == []


def test_4_and_paid_exactly_at_the_deadline_is_paid():
    d = shop()
    d.append(ISSUED, "i", 5, invoice_id="i", due=due(20))
    d.append(PAID, "p", 20, invoice_id="i")
    d.batch(ISSUED)
    d.idle(20 - 1e-6, PAID)
    d.tick()
    d.batch(PAID)
    d.idle(100)
    d.tick()
    assert d.said() == []


def test_6_a_lateness_that_changes_there_and_back_makes_no_extra_firing():
    """1 s, then 5 s, then 1 s: W(rule) would go back with the second; its floor keeps settled events settled."""
    d = shop(1)
    issued = d.append(ISSUED, "i", 5, invoice_id="i", due=due(10))
    d.batch()
    d.idle(12)
    d.tick()
    assert d.said() == [("overdue", "fired", 5.0)]
    for lateness in (5, 1):
        d.switch(rule_set(Shop(lateness=lateness * SECOND)))
        d.repeat(issued)
        d.batch()
        d.tick()
        d.idle(13)
        d.tick()
    d.idle(100)
    d.tick()
    assert d.said() == [("overdue", "fired", 5.0)]


def test_6_and_a_repeat_of_what_was_paid_does_not_arm_again():
    d = shop(1)
    issued = d.append(ISSUED, "i", 5, invoice_id="i", due=due(30))
    d.append(PAID, "p", 8, invoice_id="i")
    d.batch()
    d.idle(12)
    d.tick()
    for lateness in (60, 1):
        d.switch(rule_set(Shop(lateness=lateness * SECOND)))
        d.repeat(issued)
        d.batch()
        d.tick()
    d.idle(500)
    d.tick()
    assert d.said() == []


def test_7_paid_lies_in_a_partition_that_nobody_has_read_yet():
    """The row of the new partition exists before producers use it, and holds W until somebody has read it."""
    d = shop()
    d.append(ISSUED, "i", 5, invoice_id="i", due=due(20))
    d.batch()
    d.now = 10
    d.connect(PAID, partition=1)
    d.append(PAID, "p", 12, partition=1, invoice_id="i")
    d.idle(100)
    d.tick()
    assert d.said() == []
    d.batch(PAID, partition=1)
    d.idle(100, PAID, partition=1)
    d.tick()
    assert d.said() == []


def test_8_what_came_six_days_ago_does_not_excuse_todays_absence():
    """An order six days ago, a cart today that no order follows: fires. (Here: paid, then issued for the same key.)"""
    d = shop()
    d.append(PAID, "p", 0, invoice_id="i")
    d.batch()
    d.idle(1)
    d.tick()
    today = 6 * DAY / SECOND
    d.append(ISSUED, "i", today, invoice_id="i", due=due(today + 3600))
    d.batch()
    d.idle(today + 7200)
    d.tick()
    assert d.said() == [("overdue", "fired", today)]


def test_8_a_heartbeat_fires_when_the_pings_stop():
    """Every ping is what the one before waited for, and begins a wait of its own."""
    d = shop()
    for number in range(5):
        d.append(PING, f"ping-{number}", 10 * number, customer_id="machine")
        d.batch()
        d.idle(10 * number)
        d.tick()
    assert d.said() == []
    d.idle(HOUR / SECOND)
    d.tick()
    assert d.said() == [("silent", "fired", 40.0)]
    d.append(PING, "back", 4000, customer_id="machine")
    d.batch()
    d.idle(4001)
    d.tick()
    assert d.said() == [("silent", "fired", 40.0), ("silent", "stopped", 40.0)]


def test_9_a_late_closer_whose_copy_waits_while_an_older_episode_is_due():
    """Its copy in the buffer is punctual, the repeat is late; the older episode is stopped once, the newer one closed."""
    d = shop(5)
    d.append(ISSUED, "old", 5, invoice_id="i", due=due(10))
    d.batch(ISSUED)
    paid = d.append(PAID, "p", 14, invoice_id="i")
    d.batch(PAID)
    assert [row["time"] for row in d.store.rows("buffer")] == [5 * SECOND, 14 * SECOND]
    d.repeat(paid)
    begun = d.poll(PAID)
    # W(rule) passes the deadline and the closer, but nobody ticks before the repeat, now late, is decided.
    d.idle(20)
    d.apply(begun)
    d.tick()
    d.idle(100)
    d.tick()
    assert d.said() == [("overdue", "fired", 5.0), ("overdue", "stopped", 5.0)]
    assert d.store.rows("buffer") == []


def test_10_a_paused_worker_whose_position_is_ahead_of_the_database():
    """It saw an empty fetch behind a batch that was never applied: its mark is refused, the batch is read again."""
    d = shop()
    d.append(ISSUED, "i", 5, invoice_id="i", due=due(20))
    d.batch()
    d.append(PAID, "p", 8, invoice_id="i")
    lost = d.poll(PAID)
    ahead = [Idle((topic, 0), len(d.partitions[topic, 0]), 100 * SECOND) for topic in TOPICS.values()]
    believed = d.run(detect.mark_idle(ahead))
    assert believed == len(TOPICS) - 1
    d.tick()
    assert d.said() == []
    d.apply(lost)
    d.tick()
    assert d.said() == []
    assert isinstance(d.apply(lost), Skipped)


def test_a_key_that_lives_once_is_closed_by_what_happened_before_it_however_late_it_comes():
    """Paid before it was issued, says an event that comes when W has passed both; seven days are looked back."""
    d = shop(once=True)
    d.append(ISSUED, "i", 5, invoice_id="i", due=due(20))
    d.batch()
    d.idle(6)
    d.tick()
    d.append(PAID, "p", 2, appended=7, invoice_id="i")
    d.batch()
    d.idle(100)
    d.tick()
    assert d.said() == []


def test_and_takes_back_what_has_fired():
    d = shop(once=True)
    d.append(ISSUED, "i", 5, invoice_id="i", due=due(20))
    d.batch()
    d.idle(30)
    d.tick()
    d.append(PAID, "p", 2, appended=31, invoice_id="i")
    d.batch()
    d.idle(100)
    d.tick()
    assert d.said() == [("overdue", "fired", 5.0), ("overdue", "stopped", 5.0)]
